// Tables: a click on a title sorts by its column. Without this script, the page is complete.
for (const table of document.querySelectorAll("table")) {
  const [head, ...rows] = table.rows;
  if (rows.length < 2) continue;
  for (const [column, title] of [...head.cells].entries()) {
    if (!title.textContent) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const falling = title.getAttribute("aria-sort") === "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      title.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const order = (a, b) => compare(value(a.cells[column]), value(b.cells[column]));
      rows.sort(falling ? (a, b) => order(b, a) : order);
      rows.at(0).parentNode.append(...rows);
    });
  }
}

function value(cell) {
  const text = cell.querySelector("data")?.value ?? cell.textContent.replace("\u2212", "-");
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}
