// The page of `var-model serve`. Images are PNGs in base64; the server keeps none of them.
'use strict';

const $ = id => document.getElementById(id);
const png = text => `data:image/png;base64,${text}`;
const MOST_RESULTS = 40; // of the history
const SMALL = 96; // pixels; smaller images are enlarged without smoothing

function el(tag, properties = {}, ...children) {
  const { data = {}, aria = {}, ...own } = properties;
  const node = Object.assign(document.createElement(tag), own);
  Object.assign(node.dataset, data);
  for (const [name, value] of Object.entries(aria)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// ---- Messages -------------------------------------------------------------------------------------------------------

function say(text) {
  $('status').textContent = text;
}

/** Says something for a while that has no progress. */
function tell(text) {
  say(text);
  drawLadder(0, [1]);
  delete $('progress').dataset.idle;
  clearTimeout(idle);
  idle = setTimeout(() => { $('progress').dataset.idle = ''; }, 6000);
}

function complain(error) {
  $('alert-text').textContent = error.message ?? String(error);
  $('alert').hidden = false;
  $('alert').scrollIntoView({ block: 'nearest' });
}

function calm() {
  $('alert').hidden = true;
  $('alert-text').textContent = '';
}

/** Runs what a click asks for; its error is shown. */
const trying = work => async event => {
  event?.preventDefault?.();
  calm();
  try {
    await work(event);
  } catch (error) {
    complain(error);
  }
};

// ---- Requests -------------------------------------------------------------------------------------------------------

async function send(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error('The server does not answer. Is it still running?');
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Error(told.error ?? `The server refused the request (${answer.status}).`);
}

const asJson = body => ({
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
});

/** The events of a request, one after the other. */
async function* events(path, body, signal) {
  const answer = await send(path, { ...asJson(body), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read().catch(error => {
      throw error.name === 'AbortError' ? error : new Error('The connection to the server broke off.');
    });
    if (done) return;
    const searched = Math.max(0, rest.length - 1);
    rest += value;
    let from = searched, end;
    while ((end = rest.indexOf('\n\n', from)) >= 0) {
      const block = rest.slice(0, end);
      rest = rest.slice(end + 2);
      from = 0;
      if (block.startsWith('data: ')) yield JSON.parse(block.slice(6));
    }
  }
}

async function inBase64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = '';
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}

function blobOf(text, type = 'image/png') {
  return new Blob([Uint8Array.from(atob(text), c => c.charCodeAt(0))], { type });
}

function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// ---- State ----------------------------------------------------------------------------------------------------------

let model; // what /api/model says
let idle; // timer that hides the line of progress
let running = null; // AbortController of the present request
let shown = null; // the sample on the stage
let picked = null; // number of the chosen image of it
let edited = null; // the edit on the stage
const results = []; // newest first
const chosen = new Set(); // class numbers to sample; null is "no class"

const className = number => {
  if (number === null) return 'no class';
  const name = model.classes[number];
  return name ? name.split(',')[0] : `class ${number}`;
};

// ---- Running a request ----------------------------------------------------------------------------------------------

function drawLadder(done, sides) {
  const largest = Math.max(...sides);
  const marks = sides.length > 1 ? sides.map((side, i) => {
    const mark = el('i', { className: i < done ? 'done' : '' });
    mark.style.width = mark.style.height = `${5 + Math.round((13 * side) / largest)}px`;
    return mark;
  }) : [];
  $('ladder').replaceChildren(...marks);
}

/** Sends a request and follows its events; `result` is filled on the way, and `show` draws it on the `stage`. */
async function run(path, body, result, stage, show) {
  if (running) throw new Error('A request is running already. Cancel it, or wait.');
  running = new AbortController();
  busy(true);
  say('Sent …');
  drawLadder(0, model.scales);
  let last = null;
  try {
    for await (const event of events(path, body, running.signal)) {
      last = event;
      if (event.event === 'queued') {
        say(event.ahead ? `Waiting: ${event.ahead} before this one` : 'Waiting for the model …');
      } else if (event.event === 'started') {
        Object.assign(result, { command: event.command, notes: event.notes, frames: [], count: event.images });
        say(`Sampling ${event.images} ${event.images > 1 ? 'images' : 'image'} …`);
        show(false);
        comeIntoView(stage);
      } else if (event.event === 'step') {
        onStep(event, result);
        if (event.images.length) show(false);
      } else if (event.event === 'failed') {
        throw new Error(event.error);
      } else if (event.event === 'done') {
        Object.assign(result, { images: event.images, seconds: event.seconds });
        event.images.forEach((image, i) => (result.frames[i] ??= []).push(image));
      }
    }
    if (last?.event !== 'done') throw new Error('The server ended before the images were finished.');
    const seconds = result.seconds < 10 ? result.seconds.toFixed(1) : Math.round(result.seconds);
    say(`Done: ${result.images.length} ${result.images.length > 1 ? 'images' : 'image'} in ${seconds} s`);
    show(true);
    remember(result);
    comeIntoView(stage);
  } catch (error) {
    show(false, true);
    if (error.name !== 'AbortError') {
      say('');
      throw error;
    }
    say('Cancelled');
  } finally {
    running = null;
    busy(false);
  }
}

function onStep(event, result) {
  event.images.forEach((image, i) => (result.frames[event.first + i] ??= []).push(image));
  const sides = model.scales;
  const batch = event.batch < result.count ? `, images ${event.first + 1}–${event.first + event.batch}` : '';
  if (sides.length === 1) {
    say(`Token ${event.step} of ${event.steps}${batch}`);
    return;
  }
  drawLadder(event.step, sides);
  say(`Scale ${event.step} of ${event.steps}: ${event.side} × ${event.side} tokens${batch}`);
}

/** On a phone, the stage is not next to the settings. */
function comeIntoView(stage) {
  if (narrow()) $(stage).scrollIntoView({ block: 'start' });
}

function busy(is) {
  clearTimeout(idle);
  $('cancel').hidden = !is;
  $('sample-go').disabled = is;
  $('edit-go').disabled = is || !photo;
  const bar = $('progress');
  if (is) delete bar.dataset.idle;
  else idle = setTimeout(() => { bar.dataset.idle = ''; }, 4000);
}

// ---- Sampling -------------------------------------------------------------------------------------------------------

const number = id => {
  const field = $(id);
  if (!field.checkValidity() || field.value === '') {
    field.focus();
    throw new Error(`${field.labels[0].textContent.trim()}: ${field.validationMessage || 'a number is missing'}`);
  }
  return Number(field.value);
};

const choice = prefix => ({
  cfg: number(`${prefix}cfg`), top_k: number(`${prefix}top-k`), top_p: number(`${prefix}top-p`),
  more_smooth: $(`${prefix}smooth`).checked, seed: number(prefix ? 'edit-seed' : 'seed'),
});

async function sample() {
  const classes = [...chosen];
  if (!classes.length) throw new Error('Choose at least one class.');
  const body = { classes, per_class: number('per-class'), scales: $('scales').checked, ...choice('') };
  const total = classes.length * body.per_class;
  if (total > model.limits.images) {
    throw new Error(`${total} images: at most ${model.limits.images} at once. Choose fewer classes or images.`);
  }
  const result = { kind: 'sample', body, frames: [], images: null };
  result.titles = classes.flatMap(c => Array(body.per_class).fill(className(c)));
  result.columns = columnsFor(total, body.per_class);
  shown = result;
  picked = null;
  await run('/api/sample', body, result, 'stage', (done, failed) => shown === result && showSample(failed));
}

/** Columns on the stage: few images are shown large, and images of a class stay in a row where they fit. */
function columnsFor(images, perClass) {
  const most = images <= 4 ? images : images <= 8 ? 4 : 6;
  return perClass <= most ? most - (most % perClass) : most;
}

/** Draws the sample on the stage. */
function showSample(failed = false) {
  const result = shown;
  const done = Boolean(result.images);
  const scales = Math.max(1, ...result.frames.map(frames => frames?.length ?? 0));
  const scrub = $('scrub');
  if (Number(scrub.max) !== scales || !done) {
    scrub.max = scales;
    scrub.value = scales;
  }
  $('scrub-row').hidden = !done || scales < 2;
  showNumber(scrub);
  const at = Number(scrub.value) - 1;
  const tiles = $('tiles');
  tiles.style.setProperty('--columns', result.columns);
  if (tiles.childElementCount !== result.titles.length || tiles.dataset.of !== String(result.body.seed)) {
    tiles.replaceChildren();
  }
  tiles.dataset.of = result.body.seed;
  result.titles.forEach((title, i) => {
    const frames = result.frames[i] ?? [];
    let tile = tiles.children[i];
    if (!tile) {
      tile = el('button', { type: 'button', className: 'tile', title: 'Choose this image', onclick: () => pick(i) }, el('span'), el('span'));
      tiles.append(tile);
    }
    tile.setAttribute('aria-pressed', picked === i);
    tile.lastChild.textContent = title;
    const source = frames[Math.min(at, frames.length - 1)];
    const name = `Image ${i + 1}: ${title}`;
    if (source) {
      if (tile.firstChild.tagName !== 'IMG') tile.firstChild.replaceWith(el('img'));
      Object.assign(tile.firstChild, { src: png(source), alt: name });
    } else {
      tile.firstChild.replaceWith(el('span', { className: failed ? 'blank still' : 'blank', title: name }));
    }
  });
  $('sample-tools').hidden = !done;
  $('get-image').textContent = picked === null && result.titles.length > 1 ? 'Grid' : 'Image';
  for (const id of ['get-strip', 'get-gif', 'get-apng']) $(id).hidden = scales < 2;
  $('edit-this').hidden = !model.edits;
  $('edit-this').textContent = picked === null && result.titles.length > 1 ? 'Edit the first image' : 'Edit this image';
  showCommand('sample-command', done && result.command);
}

function pick(i) {
  picked = picked === i ? null : i;
  showSample();
}

const narrow = () => matchMedia('(max-width: 820px)').matches;

async function assembled(form, result) {
  let { frames, columns } = { frames: result.frames, columns: result.body.per_class };
  if (form === 'grid') frames = result.images.map(image => [image]);
  else frames = (picked === null ? frames : [frames[picked]]).slice(0, model.limits.scale_images);
  if (form !== 'grid') columns = 1;
  return (await send('/api/assemble', asJson({ form, columns, images: frames }))).blob();
}

const stem = result => `var-${result.titles[picked ?? 0].replace(/[^\p{L}\p{N}]+/gu, '-')}-${result.body.seed}`;

async function saveSample(form, ending) {
  if (form === 'grid' && (picked !== null || shown.images.length === 1)) {
    download(blobOf(shown.images[picked ?? 0]), `${stem(shown)}.png`);
  } else if (form === 'grid') {
    download(await assembled('grid', shown), 'images.png');
  } else {
    download(await assembled(form, shown), `${stem(shown)}-${ending}`);
    const most = model.limits.scale_images;
    if (picked === null && shown.images.length > most) tell(`The file shows the first ${most} images. Choose one for itself.`);
  }
}

function showCommand(id, text) {
  $(id).hidden = !text;
  $(id).querySelector('code').textContent = text || '';
}

async function copy(box) {
  const code = box.querySelector('code');
  const button = box.querySelector('button');
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // Without a secure context: the text is selected, and the old way is tried.
    getSelection().selectAllChildren(code);
    document.execCommand('copy');
  }
  button.textContent = 'Copied';
  say('The command is copied.');
  setTimeout(() => { button.textContent = 'Copy command'; }, 1800);
}

// ---- Classes --------------------------------------------------------------------------------------------------------

function drawClasses() {
  const asked = $('class-search').value.trim().toLowerCase();
  const all = [...model.classes.keys(), null];
  const fits = n => !asked || className(n).toLowerCase().includes(asked) || String(n) === asked
    || (n !== null && model.classes[n].toLowerCase().includes(asked));
  const found = all.filter(fits);
  const first = all.length > 40 ? [...chosen].filter(n => !found.slice(0, 40).includes(n)) : [];
  const listed = [...first, ...found.slice(0, 40)];
  $('class-list').replaceChildren(...listed.map(n => el('button', {
    type: 'button', textContent: className(n), title: n === null ? 'Without a class' : `${n}: ${model.classes[n]}`,
    aria: { 'aria-pressed': chosen.has(n) }, data: { class: String(n) },
    onclick: () => toggleClass(n),
  })));
  const more = found.length > 40 ? ` ${found.length - 40} more: search.` : '';
  $('class-hint').textContent = found.length ? `${chosen.size} chosen.${more}` : 'No class has such a name.';
}

function toggleClass(n) {
  if (chosen.has(n)) chosen.delete(n);
  else if (chosen.size >= model.limits.classes) {
    complain(`At most ${model.limits.classes} classes at once.`);
  } else chosen.add(n);
  drawClasses();
  $('class-list').querySelector(`[data-class="${n}"]`)?.focus();
}

// ---- History --------------------------------------------------------------------------------------------------------

function remember(result) {
  results.unshift(result);
  results.length = Math.min(results.length, MOST_RESULTS);
  drawHistory();
}

function drawHistory() {
  $('history').hidden = !results.length;
  $('history-list').replaceChildren(...results.map(result => {
    const { body } = result;
    const images = result.images.slice(0, 9);
    const width = result.kind === 'sample' ? model.side : result.photo.width;
    const mini = el('span', { className: width < SMALL ? 'mini small-images' : 'mini' }, ...images.map(image => el('img', { src: png(image), alt: '' })));
    mini.style.setProperty('--columns', Math.ceil(Math.sqrt(images.length)));
    if (result.images.length > 9) mini.dataset.more = `+${result.images.length - 9}`;
    const title = result.kind === 'sample' ? [...new Set(result.titles)].join(', ') : `Edit of ${result.photo.name}`;
    const settings = `seed ${body.seed}, guidance ${body.cfg}, top-k ${body.top_k}, top-p ${body.top_p}`;
    return el('button', {
      type: 'button', className: 'past', onclick: () => recall(result),
      aria: { 'aria-pressed': result === shown || result === edited },
    }, mini, el('span', {}, el('b', { textContent: title, title }), settings));
  }));
}

function recall(result) {
  if (result.kind === 'sample') {
    shown = result;
    picked = null;
    $('scrub').max = 0;
    $('tiles').replaceChildren();
    openTab('sample');
    showSample();
  } else {
    edited = result;
    openTab('edit');
    showEdit();
  }
  drawHistory();
  $('main').scrollIntoView({ block: 'start' });
}

// ---- Editing: the photo and the area --------------------------------------------------------------------------------

let photo = null; // { name, file (base64), width, height, image }
let mask = null; // canvas, white where pixels are generated
let box = [0.25, 0.25, 0.75, 0.75]; // top, left, bottom, right
let zoom = 1; // pixels of the canvas per pixel of the shown photo
let pointer = [0.5, 0.5]; // of the keyboard, in fractions
let drag = null;

const tool = () => document.querySelector('[name=tool]:checked').value;
const outside = () => document.querySelector('[name=side]:checked').value === 'outside';
const clamp = x => Math.min(1, Math.max(0, x));

async function openPhoto(blob, name) {
  // These are the names of the mask and the results in the command line.
  if (/^(mask|edited)/.test(name)) name = `photo-${name}`;
  if (blob.size > model.limits.photo_bytes) {
    throw new Error(`${name}: larger than ${model.limits.photo_bytes >> 20} MB.`);
  }
  const told = await (await send('/api/photo', { method: 'POST', body: blob })).json();
  const image = new Image();
  image.src = png(told.image);
  await image.decode();
  photo = { name, file: await inBase64(blob), width: told.width, height: told.height, image };
  mask = el('canvas', { width: image.naturalWidth, height: image.naturalHeight });
  const canvas = $('canvas');
  zoom = Math.max(1, Math.round(640 / Math.max(mask.width, mask.height)));
  canvas.width = mask.width * zoom;
  canvas.height = mask.height * zoom;
  canvas.classList.toggle('pixels', mask.width < SMALL);
  $('photo-hint').textContent = `${name}, ${told.width} × ${told.height} pixels. Draw a box with mouse or finger, or paint with the brush.`;
  $('edit-go').disabled = Boolean(running);
  draw();
}

/** Draws the photo with the area to generate. */
function draw() {
  if (!photo) return;
  const canvas = $('canvas');
  const to = canvas.getContext('2d');
  const { width, height } = canvas;
  to.imageSmoothingEnabled = mask.width >= SMALL;
  to.drawImage(photo.image, 0, 0, width, height);
  // The part that is generated is tinted.
  const tint = el('canvas', { width, height });
  const on = tint.getContext('2d');
  on.imageSmoothingEnabled = false;
  const byBox = tool() === 'box';
  if (byBox) {
    const [top, left, bottom, right] = box;
    on.fillRect(left * width, top * height, (right - left) * width, (bottom - top) * height);
  } else on.drawImage(mask, 0, 0, width, height);
  on.globalCompositeOperation = outside() ? 'source-out' : 'source-in';
  on.fillStyle = '#5b58f5';
  on.fillRect(0, 0, width, height);
  to.globalAlpha = 0.55;
  to.drawImage(tint, 0, 0);
  to.globalAlpha = 1;
  if (byBox) {
    const [top, left, bottom, right] = box;
    to.lineWidth = Math.max(2, width / 260);
    to.strokeStyle = '#fff';
    to.setLineDash([8, 6]);
    to.strokeRect(left * width, top * height, (right - left) * width, (bottom - top) * height);
    to.setLineDash([]);
  } else if (document.activeElement === canvas) {
    to.lineWidth = Math.max(2, width / 260);
    to.strokeStyle = '#fff';
    to.beginPath();
    to.arc(pointer[1] * width, pointer[0] * height, brush() * zoom, 0, 7);
    to.stroke();
  }
}

/** Radius of the brush in pixels of the mask. */
const brush = () => Math.max(0.5, (Number($('brush-size').value) / 200) * Math.max(mask.width, mask.height));

function paint([y0, x0], [y1, x1]) {
  const to = mask.getContext('2d');
  to.globalCompositeOperation = tool() === 'eraser' ? 'destination-out' : 'source-over';
  to.strokeStyle = to.fillStyle = '#fff';
  to.lineCap = 'round';
  to.lineWidth = 2 * brush();
  to.beginPath();
  to.moveTo(x0 * mask.width, y0 * mask.height);
  to.lineTo(x1 * mask.width + 1e-3, y1 * mask.height);
  to.stroke();
}

function setBox(next) {
  box = next.map(clamp);
  box.forEach((value, i) => { edge(i).value = Math.round(value * 1000) / 10; });
  draw();
}

const edge = i => document.querySelector(`[data-edge="${i}"]`);

function place(event) {
  const { left, top, width, height } = $('canvas').getBoundingClientRect();
  return [clamp((event.clientY - top) / height), clamp((event.clientX - left) / width)];
}

function pointerDown(event) {
  if (!photo || event.button) return;
  event.preventDefault();
  $('canvas').setPointerCapture(event.pointerId);
  drag = { id: event.pointerId, from: place(event), last: place(event) };
  if (tool() !== 'box') paint(drag.from, drag.from);
  draw();
}

function pointerMove(event) {
  if (!drag || event.pointerId !== drag.id) return;
  const at = place(event);
  if (tool() === 'box') {
    const [y, x] = drag.from;
    const next = [Math.min(y, at[0]), Math.min(x, at[1]), Math.max(y, at[0]), Math.max(x, at[1])];
    if (next[2] - next[0] > 0.01 && next[3] - next[1] > 0.01) setBox(next);
  } else paint(drag.last, at);
  drag.last = at;
  draw();
}

function pointerUp(event) {
  if (drag?.id === event.pointerId) drag = null;
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function canvasKey(event) {
  if (!photo) return;
  const arrow = ARROWS[event.key];
  if (tool() === 'box' && arrow) {
    const [dy, dx] = arrow.map(d => d / 32);
    const [top, left, bottom, right] = box;
    if (event.shiftKey) {
      setBox([top, left, Math.max(top + 1 / 32, bottom + dy), Math.max(left + 1 / 32, right + dx)]);
    } else if (top + dy >= 0 && left + dx >= 0 && bottom + dy <= 1 && right + dx <= 1) {
      setBox([top + dy, left + dx, bottom + dy, right + dx]);
    }
  } else if (arrow) {
    pointer = [clamp(pointer[0] + arrow[0] / 32), clamp(pointer[1] + arrow[1] / 32)];
    draw();
  } else if (event.key === ' ' && tool() !== 'box') {
    paint(pointer, pointer);
    draw();
  } else return;
  event.preventDefault();
}

function toolChanged() {
  const byBox = tool() === 'box';
  $('edges').hidden = !byBox;
  $('brush-row').hidden = byBox;
  draw();
}

function wholeArea(fill) {
  if (!photo) return;
  const to = mask.getContext('2d');
  to.globalCompositeOperation = 'source-over';
  to.clearRect(0, 0, mask.width, mask.height);
  if (fill) {
    to.fillStyle = '#fff';
    to.fillRect(0, 0, mask.width, mask.height);
  }
  setBox(fill ? [0, 0, 1, 1] : [0.25, 0.25, 0.75, 0.75]);
}

/** The mask as a file: white on black, without grey. */
async function maskFile() {
  const flat = el('canvas', { width: mask.width, height: mask.height });
  const to = flat.getContext('2d');
  to.drawImage(mask, 0, 0);
  const pixels = to.getImageData(0, 0, flat.width, flat.height);
  let any = false;
  for (let i = 0; i < pixels.data.length; i += 4) {
    const on = pixels.data[i + 3] >= 128 ? 255 : 0;
    any ||= on > 0;
    pixels.data.set([on, on, on, 255], i);
  }
  if (!any) throw new Error('Nothing is painted. Paint the area with the brush, or draw a box.');
  to.putImageData(pixels, 0, 0);
  return inBase64(await new Promise(ready => flat.toBlob(ready, 'image/png')));
}

// ---- Editing: the request and the result ----------------------------------------------------------------------------

async function edit() {
  if (!photo) throw new Error('Choose a photo first.');
  const body = {
    photo: photo.file, name: photo.name, outside: outside(), scales: true, variants: number('variants'),
    class: $('edit-class').value === '' ? null : Number($('edit-class').value),
    feather: $('feather').value === '' ? null : number('feather'), ...choice('edit-'),
  };
  if (tool() === 'box') body.box = box.map(value => Math.round(value * 1e4) / 1e4);
  else body.mask = await maskFile();
  const result = { kind: 'edit', body, frames: [], images: null, photo, at: 0 };
  result.titles = Array.from({ length: body.variants }, (_, i) => `Result ${i + 1}`);
  edited = result;
  await run('/api/edit', body, result, 'result-card', (done, failed) => edited === result && showEdit(failed));
}

/** Draws the edit on the stage: while it forms, what the model sees; then before and after. */
function showEdit(failed = false) {
  const result = edited;
  const done = Boolean(result.images);
  $('compare').hidden = !done;
  $('edit-tools').hidden = !done;
  $('get-mask').hidden = !result.body.mask;
  $('edit-notes').textContent = done ? result.notes.join('. ') : '';
  showCommand('edit-command', done && result.command);
  $('forming').style.setProperty('--columns', Math.min(2, result.titles.length));
  $('forming').replaceChildren(...(done ? [] : result.titles.map((title, i) => {
    const frame = result.frames[i]?.at(-1);
    const name = `${title}, forming`;
    return el('div', { className: 'tile' }, frame ? el('img', { src: png(frame), alt: name })
      : el('span', { className: failed ? 'blank still' : 'blank' }), el('span', { textContent: title }));
  })));
  $('variants-list').replaceChildren();
  if (!done) return;
  $('compare').classList.toggle('small-images', result.photo.width < SMALL);
  $('before').src = result.photo.image.src;
  $('after').src = png(result.images[result.at]);
  if (result.images.length > 1) {
    $('variants-list').append(...result.images.map((image, i) => el('label', {}, el('input', {
      type: 'radio', name: 'variant', checked: i === result.at, aria: { 'aria-label': `Result ${i + 1}` },
      onchange: () => { result.at = i; $('after').src = png(image); },
    }), el('span', {}, el('img', { src: png(image), alt: '' })))));
  }
}

function slide() {
  const slider = $('slider');
  $('compare').style.setProperty('--at', `${slider.value}%`);
  slider.setAttribute('aria-valuetext', `${slider.value}% of the photo before`);
}

// ---- Tabs and start -------------------------------------------------------------------------------------------------

function openTab(name, byExample = true) {
  for (const tab of ['sample', 'edit']) {
    const on = tab === name;
    $(`tab-${tab}`).setAttribute('aria-selected', on);
    $(`tab-${tab}`).tabIndex = on ? 0 : -1;
    $(`panel-${tab}`).hidden = !on;
  }
  if (name === 'edit' && byExample && !photo && model?.edits) trying(() => example('dog'))();
}

async function example(name) {
  await openPhoto(await (await send(`/example/${name}.png`)).blob(), `${name}.png`);
}

async function editSample() {
  if (!shown?.images) throw new Error('There is no sample yet. Sample an image first.');
  const image = shown.images[picked ?? 0];
  openTab('edit', false);
  await openPhoto(blobOf(image), `${stem(shown)}.png`);
}

function showNumber(range) {
  const output = range.parentElement.querySelector('output');
  if (!output) return;
  const off = range.id.includes('top-') && range.value === '0';
  output.textContent = off ? 'all' : range.id === 'scrub' ? `${range.value}/${range.max}` : range.value;
}

function listen() {
  for (const tab of ['sample', 'edit']) {
    $(`tab-${tab}`).onclick = () => openTab(tab);
    $(`tab-${tab}`).onkeydown = event => {
      if (!['ArrowLeft', 'ArrowRight', 'Home', 'End'].includes(event.key)) return;
      const other = event.key === 'Home' ? 'sample' : event.key === 'End' ? 'edit' : tab === 'edit' ? 'sample' : 'edit';
      if ($(`tab-${other}`).disabled) return;
      openTab(other);
      $(`tab-${other}`).focus();
    };
  }
  $('alert-close').onclick = calm;
  $('cancel').onclick = () => running?.abort();
  document.addEventListener('keydown', event => event.key === 'Escape' && running?.abort());
  for (const range of document.querySelectorAll('input[type=range]')) {
    range.addEventListener('input', () => showNumber(range));
    showNumber(range);
  }
  for (const dice of document.querySelectorAll('[data-dice]')) {
    dice.setAttribute('aria-label', 'New random seed');
    dice.onclick = () => { $(dice.dataset.dice).value = Math.floor(Math.random() * 1e6); };
  }
  $('class-search').oninput = drawClasses;
  $('class-search').onkeydown = event => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    $('class-list').querySelector('button')?.click();
    $('class-search').focus();
  };
  $('sample-form').onsubmit = trying(sample);
  $('scrub').oninput = () => showSample();
  $('get-image').onclick = trying(() => saveSample('grid'));
  $('get-strip').onclick = trying(() => saveSample('strip', 'strip.png'));
  $('get-gif').onclick = trying(() => saveSample('gif', 'scales.gif'));
  $('get-apng').onclick = trying(() => saveSample('apng', 'scales.apng'));
  $('edit-this').onclick = $('use-sample').onclick = trying(editSample);
  for (const command of document.querySelectorAll('.command')) command.querySelector('button').onclick = () => copy(command);
  $('history-clear').onclick = () => { results.length = 0; drawHistory(); };
  listenToEdits();
}

function listenToEdits() {
  $('edit-form').onsubmit = trying(edit);
  $('file').onchange = trying(async () => {
    const [file] = $('file').files;
    $('file').value = '';
    if (file) await openPhoto(file, file.name);
  });
  for (const button of document.querySelectorAll('[data-example]')) {
    button.onclick = trying(() => example(button.dataset.example));
  }
  const canvas = $('canvas');
  Object.assign(canvas, {
    onpointerdown: pointerDown, onpointermove: pointerMove, onpointerup: pointerUp, onpointercancel: pointerUp,
    onkeydown: canvasKey, onfocus: draw, onblur: draw,
  });
  for (const radio of document.querySelectorAll('[name=tool]')) radio.onchange = toolChanged;
  for (const radio of document.querySelectorAll('[name=side]')) radio.onchange = draw;
  for (let i = 0; i < 4; i += 1) {
    edge(i).onchange = () => {
      const next = [0, 1, 2, 3].map(n => clamp(Number(edge(n).value) / 100));
      if (next[0] < next[2] && next[1] < next[3]) setBox(next);
      else {
        setBox(box);
        complain('The box needs its top above its bottom, and its left edge before its right edge.');
      }
    };
  }
  $('area-all').onclick = () => wholeArea(true);
  $('area-clear').onclick = () => wholeArea(false);
  $('slider').oninput = slide;
  $('get-edited').onclick = () => download(blobOf(edited.images[edited.at]), `edited-${edited.at}.png`);
  $('get-mask').onclick = () => download(blobOf(edited.body.mask), 'mask.png');
  $('get-photo').onclick = () => download(blobOf(edited.photo.file, 'application/octet-stream'), edited.photo.name);
  $('edit-on').onclick = trying(() => openPhoto(blobOf(edited.images[edited.at]), `edited-${edited.at}.png`));
  document.addEventListener('dragover', event => {
    event.preventDefault();
    document.body.classList.add('dragging');
  });
  document.addEventListener('dragleave', event => {
    if (!event.relatedTarget) document.body.classList.remove('dragging');
  });
  const take = async file => {
    if (!file) return;
    if (!model.edits) throw new Error('This model cannot edit photos.');
    openTab('edit', false);
    await openPhoto(file, file.name || 'pasted.png');
  };
  document.addEventListener('drop', event => {
    document.body.classList.remove('dragging');
    trying(() => take(event.dataTransfer.files[0]))(event);
  });
  document.addEventListener('paste', event => {
    const file = event.clipboardData?.files[0];
    if (file) trying(() => take(file))(event);
  });
}

async function start() {
  listen();
  slide();
  model = await (await send('/api/model')).json();
  const { side, scales, precision, device } = model;
  const name = model.model.split(/[\\/]/).slice(-2).join('/');
  const steps = scales.length > 1 ? `${scales.length} scales` : `${model.steps} tokens`;
  $('facts').textContent = `${name} · ${side} × ${side} pixels · ${steps} · ${device}, ${precision}`;
  for (const id of ['tiles', 'forming']) $(id).classList.toggle('small-images', side < SMALL);
  for (let n = 0; n < Math.min(4, model.classes.length); n += 1) chosen.add(n);
  if (!model.classes.length) chosen.add(null);
  for (const prefix of ['', 'edit-']) {
    const range = $(`${prefix}top-k`);
    range.max = model.codes;
    range.value = Math.min(Number(range.getAttribute('value')), model.codes);
    showNumber(range);
  }
  $('edit-class').append(el('option', { value: '', textContent: 'no class' }),
    ...model.classes.map((_, n) => el('option', { value: n, textContent: className(n) })));
  if (!model.edits) {
    $('tab-edit').disabled = true;
    $('tab-edit').title = 'This model generates in raster order and cannot edit.';
    $('scales').checked = false;
    $('scales').disabled = true;
  }
  drawClasses();
  document.body.dataset.ready = '';
}

start().catch(complain);
