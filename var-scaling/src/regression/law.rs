//! One law of a table: rows, fit, status, intervals, forecasts.

use serde_json::{Map, Value, json};

use super::closed::Joint;
use super::curves::{self, Scored};
use super::interval::{self, Ends};
use super::model::{A, ALPHA, B, BETA, E, Form, Model, RSTAR};
use super::objective::{Objective, Problem};
use super::request::{FitRequest, LAWS};
use super::row::Row;
use super::solve::{self, Solution};
use super::table::{Entry, Table};
use crate::error::{Error, Result};
use crate::fit::distribution::{f_quantile, f_tail};

/// Fewest different sizes of a law.
const LEAST_SIZES: usize = 4;
/// Budgets of an envelope.
const BUDGETS: usize = 200;

/// The law, as in fits.json.
pub(super) fn law(table: &Table, request: &FitRequest) -> Result<Value> {
    match request.law.as_str() {
        "power" | "error" => fitted(table, request, Form::Power),
        "joint" => fitted(table, request, Form::Joint),
        "repetition" => fitted(table, request, Form::Repetition),
        "frontier" => frontier(table, request),
        "isoflop" => isoflop(table, request),
        "optimal" => optimal(table, request),
        other => Err(Error::config(format!("law {other}: expected one of {}", LAWS.join(", ")))),
    }
}

/// The rows of a law.
fn rows(table: &Table, request: &FitRequest, form: Form) -> Result<Vec<Row>> {
    let need = |entry: &Entry, role: &str| entry.number(role).ok_or_else(|| missing(&request.law, role));
    let one = |entry: &Entry| {
        let (n, d, c) = (entry.number("n"), entry.number("d"), entry.number("c"));
        let x = match (form, request.variable.as_str()) {
            (Form::Power, "c") => c.or(Some(6.0 * n? * d?)),
            (Form::Power, "d") => d,
            _ => n,
        };
        Some((x, d.or_else(|| Some(c? / 6.0 / n?))))
    };
    table
        .entries
        .iter()
        .map(|entry| {
            let variable = if form == Form::Power { request.variable.as_str() } else { "n" };
            let (x, d) = one(entry).unwrap_or((None, None));
            let x = x.map_or_else(|| need(entry, variable), Ok)?;
            let d = if form == Form::Power { 1.0 } else { d.map_or_else(|| need(entry, "d"), Ok)? };
            let unique = if form == Form::Repetition { Some(need(entry, "unique")?) } else { None };
            Ok(Row { line: entry.line, x, d, unique, loss: need(entry, "loss")? })
        })
        .collect()
}

/// A law needs a column.
fn missing(law: &str, role: &str) -> Error {
    Error::config(format!(
        "the law {law} needs the column of {role}; name it, for example --columns {role}=COLUMN"
    ))
}

/// Rows with equal variables.
fn cells(rows: &[Row]) -> Vec<Vec<&Row>> {
    let mut cells: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        match cells
            .iter_mut()
            .find(|cell| cell.first().is_some_and(|r| r.x == row.x && r.d == row.d && r.unique == row.unique))
        {
            Some(cell) => cell.push(row),
            None => cells.push(vec![row]),
        }
    }
    cells
}

/// One mean per cell; with a given part in log-log, of the logarithms above it.
fn means(rows: &[Row], above: Option<f64>) -> Vec<Row> {
    cells(rows)
        .into_iter()
        .filter_map(|cell| {
            let n = cell.len() as f64;
            let first = cell.first()?;
            let loss = match above {
                Some(e) => e + (cell.iter().map(|r| (r.loss - e).ln()).sum::<f64>() / n).exp(),
                None => cell.iter().map(|r| r.loss).sum::<f64>() / n,
            };
            Some(Row { loss, ..(*first).clone() })
        })
        .collect()
}

fn different(values: impl Iterator<Item = f64>) -> usize {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all.len()
}

/// A law object with its status.
fn begin(request: &FitRequest, status: &str) -> Map<String, Value> {
    let mut law = Map::new();
    law.insert("law".into(), request.law.clone().into());
    if matches!(request.law.as_str(), "power" | "error") {
        law.insert("variable".into(), request.variable.clone().into());
    }
    law.insert("status".into(), status.into());
    law
}

fn fitted(table: &Table, request: &FitRequest, form: Form) -> Result<Value> {
    let rows = rows(table, request, form)?;
    let loglog = objective(request, form)?;
    if let Some(refusal) = unfit(&rows, request, form) {
        return Ok(Value::Object(refusal));
    }
    match loglog {
        None => Ok(line(&rows, request)),
        Some(objective) => Ok(curve(&rows, request, form, objective)),
    }
}

/// The objective; `None` is a line in log-log.
fn objective(request: &FitRequest, form: Form) -> Result<Option<Objective>> {
    let text = request.objective.as_deref().unwrap_or(match (form, request.given) {
        (Form::Power, Some(_)) => "loglog",
        (Form::Power, None) => "squares",
        _ => "huber=1e-3",
    });
    let bad = || {
        Error::config(format!(
            "objective {text}: expected squares, log-squares, loglog or huber=DELTA, for example huber=1e-3"
        ))
    };
    match text.split_once('=') {
        None if text == "squares" => Ok(Some(Objective::Squares)),
        None if text == "log-squares" => Ok(Some(Objective::LogSquares)),
        None if text == "loglog" && form == Form::Power && request.given.is_some() => Ok(None),
        None if text == "loglog" => {
            Err(Error::config("objective loglog: needs the law power or error, and --irreducible NUMBER"))
        }
        Some(("huber", delta)) => {
            let delta: f64 = delta.parse().map_err(|_| bad())?;
            if delta > 0.0 && delta.is_finite() { Ok(Some(Objective::Huber(delta))) } else { Err(bad()) }
        }
        _ => Err(bad()),
    }
}

/// Why rows have no law, before any fit.
fn unfit(rows: &[Row], request: &FitRequest, form: Form) -> Option<Map<String, Value>> {
    let (sizes, data) = (different(rows.iter().map(|r| r.x)), different(rows.iter().map(|r| r.d)));
    let with = |status: &str, key: &str, value: Value| {
        let mut law = begin(request, status);
        law.insert(key.into(), value);
        Some(law)
    };
    if request.given.is_some_and(|e| rows.iter().any(|r| r.loss <= e)) {
        return with("at_bound", "bound", "E_at_data".into());
    }
    if form == Form::Power {
        if sizes < LEAST_SIZES {
            return Some(begin(request, "too_few_sizes"));
        }
    } else {
        if cells(rows).len() < form.count() + 1 - usize::from(request.given.is_some()) {
            return Some(begin(request, "too_few_sizes"));
        }
        let mut names: Vec<&str> = Vec::new();
        if sizes < 3 {
            names.extend(["A", "alpha", "E"]);
        }
        if data < 3 {
            names.extend(["B", "beta", "E"]);
        }
        // D is one power of N in every run.
        let points: Vec<(f64, f64)> = rows.iter().map(|r| (r.x, r.d)).collect();
        if let (true, Some(line)) = (names.is_empty(), curves::log_line(&points)) {
            let off =
                points.iter().map(|(x, d)| (d.ln() - line.coefficient.ln() - line.exponent * x.ln()).abs());
            if off.fold(0.0, f64::max) < 0.02 {
                names.extend(["A", "alpha", "B", "beta"]);
            }
        }
        names.sort_unstable();
        names.dedup();
        if !names.is_empty() {
            return with("not_identifiable", "unidentified", json!(names));
        }
    }
    let points: Vec<(f64, f64)> = rows.iter().map(|r| (r.x, r.loss.exp())).collect();
    let falls = curves::log_line(&points).is_some_and(|line| line.exponent < 0.0);
    (!falls && form == Form::Power).then(|| begin(request, "not_falling"))
}

fn coefficient(value: f64, ends: Ends) -> Value {
    json!({"value": value, "low": ends.0, "high": ends.1})
}

/// A fit with a given irreducible part: a line in log-log.
fn line(rows: &[Row], request: &FitRequest) -> Value {
    let e = request.given.unwrap_or(0.0);
    let logs = |rows: &[Row]| -> Vec<(f64, f64)> { rows.iter().map(|r| (r.x, r.loss - e)).collect() };
    let points = logs(rows);
    let Some(found) = curves::log_line(&points).filter(|line| line.exponent < 0.0) else {
        return Value::Object(begin(request, "not_falling"));
    };
    let (alpha, ln_a) = (-found.exponent, found.coefficient.ln());
    let units = if request.unit == "size" { means(rows, Some(e)) } else { rows.to_vec() };
    let around = line_interval(&logs(&units), request);
    let a = (around.1.0.map(f64::exp), around.1.1.map(f64::exp));
    let closed = request.interval == "none" || (around.0.0.is_some() && around.0.1.is_some());
    let mut law = begin(request, if closed { "determined" } else { "wide" });
    law.insert(
        "coefficients".into(),
        json!({"E": coefficient(e, (Some(e), Some(e))), "A": coefficient(ln_a.exp(), a), "alpha": coefficient(alpha, around.0)}),
    );
    law.insert("published".into(), json!({"alpha": -alpha, "ln_beta": -ln_a / alpha}));
    let residuals: Vec<f64> = points.iter().map(|(x, y)| ln_a - alpha * x.ln() - y.ln()).collect();
    let sum = residuals.iter().map(|r| r * r / 2.0).sum::<f64>();
    law.insert("objective".into(), objective_value("loglog_squares", sum, rows.len()));
    law.insert("pearson".into(), json!(pearson(&points)));
    law.insert("outliers".into(), outliers(rows, &residuals));
    let forecasts = request.at.iter().map(|at| {
        let x = at.iter().find(|(key, _)| *key == request.variable).map(|(_, v)| *v)?;
        Some(json!({request.variable.as_str(): x, "loss": e + (ln_a - alpha * x.ln()).exp(), "low": null, "high": null}))
    });
    law.insert("predictions".into(), forecasts.collect::<Vec<_>>().into());
    Value::Object(law)
}

/// Student's intervals of α and ln A of a line in log-log.
fn line_interval(points: &[(f64, f64)], request: &FitRequest) -> (Ends, Ends) {
    let none = ((None, None), (None, None));
    let (Some(line), Some(freedom)) =
        (curves::log_line(points), points.len().checked_sub(2).filter(|f| *f > 0))
    else {
        return none;
    };
    if request.interval == "none" {
        return none;
    }
    let n = points.len() as f64;
    let ln_a = line.coefficient.ln();
    let squares: f64 = points.iter().map(|(x, y)| (ln_a + line.exponent * x.ln() - y.ln()).powi(2)).sum();
    let middle = points.iter().map(|(x, _)| x.ln()).sum::<f64>() / n;
    let spread: f64 = points.iter().map(|(x, _)| (x.ln() - middle).powi(2)).sum();
    let allowed = f_quantile(request.level, freedom) * squares / freedom as f64;
    let (half, height) = ((allowed / spread).sqrt(), (allowed * (1.0 / n + middle * middle / spread)).sqrt());
    let alpha = -line.exponent;
    let low = (alpha - half > 0.0).then_some(alpha - half);
    ((low, Some(alpha + half)), (Some(ln_a - height), Some(ln_a + height)))
}

fn objective_value(kind: &str, sum: f64, rows: usize) -> Value {
    json!({"kind": kind, "sum": sum, "mean": sum / rows.max(1) as f64, "rows": rows})
}

/// Pearson's correlation in log-log.
fn pearson(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let (mx, my) = logs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let (xx, xy, yy) = logs.iter().fold((0.0, 0.0, 0.0), |(xx, xy, yy), (x, y)| {
        (xx + (x - mx).powi(2), xy + (x - mx) * (y - my), yy + (y - my).powi(2))
    });
    let value = xy / (xx * yy).sqrt();
    value.is_finite().then_some(value)
}

/// Rows whose residual is more than five robust deviations from the median.
fn outliers(rows: &[Row], residuals: &[f64]) -> Value {
    let center = median(residuals.to_vec());
    let spread = 1.4826 * median(residuals.iter().map(|r| (r - center).abs()).collect());
    let far =
        rows.iter().zip(residuals).filter(|(_, r)| (*r - center).abs() > 5.0 * spread && spread > 1e-12);
    far.map(|(row, r)| json!({"line": row.line, "residual": r})).collect::<Vec<_>>().into()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 }
}

/// A fit of a curve by an objective.
fn curve(rows: &[Row], request: &FitRequest, form: Form, objective: Objective) -> Value {
    let problem = Problem { rows, model: Model::new(form, rows), objective, given: request.given };
    let Some(found) = solve::solve(&problem) else { return Value::Object(begin(request, "not_falling")) };
    let edge = solve::edge(&problem, &found.point);
    let least_squares = !matches!(objective, Objective::Huber(_));
    let wanted = least_squares && edge.is_none() && request.interval != "none";
    let ends = if wanted { ends(&problem, &found, request) } else { Vec::new() };
    let end = |i: usize| ends.iter().find(|(j, _)| *j == i).map_or((None, None), |(_, ends)| *ends);
    let closed = !wanted
        || interval::of_form(form)
            .iter()
            .filter(|(i, _)| !matches!(*i, A | B))
            .all(|(i, _)| end(*i).0.is_some() && end(*i).1.is_some());
    let status = if edge.is_some() {
        "at_bound"
    } else if closed {
        "determined"
    } else {
        "wide"
    };
    let mut law = begin(request, status);
    if let Some(edge) = edge {
        law.insert("bound".into(), edge.name().into());
    }
    let (ln_a, ln_b) = problem.model.ln_factors(&found.point);
    let value = |i: usize| match i {
        A => ln_a.exp(),
        B => ln_b.exp(),
        RSTAR => found.point[RSTAR].exp(),
        _ => found.point[i],
    };
    let names = interval::of_form(form).iter();
    let coefficients: Map<String, Value> =
        names.map(|&(i, name)| (name.to_owned(), coefficient(value(i), end(i)))).collect();
    law.insert("coefficients".into(), coefficients.into());
    if form == Form::Power {
        let alpha = found.point[ALPHA];
        law.insert("published".into(), json!({"alpha": -alpha, "ln_beta": -ln_a / alpha}));
    }
    let kind = match objective {
        Objective::Squares => "squares".to_owned(),
        Objective::LogSquares => "log_squares".to_owned(),
        Objective::Huber(delta) => format!("huber={delta}"),
    };
    law.insert("objective".into(), objective_value(&kind, found.sum, rows.len()));
    law.insert("starts".into(), json!({"tried": found.starts.0, "same_minimum": found.starts.1}));
    let residuals = problem.residuals(&found.point);
    law.insert("residuals".into(), spread(&problem, &found));
    law.insert("outliers".into(), outliers(rows, &residuals));
    law.insert("predictions".into(), forecasts(&problem, &found, request).into());
    if form == Form::Joint && edge.is_none() {
        let joint = Joint {
            e: found.point[E],
            a: value(A),
            alpha: found.point[ALPHA],
            b: value(B),
            beta: found.point[BETA],
        };
        law.insert("optimal".into(), split(&joint, request));
    }
    Value::Object(law)
}

/// Intervals of the coefficients.
fn ends(problem: &Problem<'_>, found: &Solution, request: &FitRequest) -> Vec<(usize, Ends)> {
    let form = problem.model.form;
    let units;
    let (problem, found) = if request.unit == "size" {
        units = means(problem.rows, None);
        let means = Problem { rows: &units, ..problem.clone() };
        let Some(found) = solve::from(&means, &[found.point]) else { return Vec::new() };
        (means, found)
    } else {
        (problem.clone(), found.clone())
    };
    let log = |i: usize| matches!(i, A | B | RSTAR);
    let (ln_a, ln_b) = problem.model.ln_factors(&found.point);
    let middle = |i: usize| match i {
        A => ln_a,
        B => ln_b,
        _ => found.point[i],
    };
    let raw = |i: usize, ends: Ends| if log(i) { (ends.0.map(f64::exp), ends.1.map(f64::exp)) } else { ends };
    if request.interval == "hessian" {
        let Some(half) = interval::half_widths(&problem, &found, request.level) else { return Vec::new() };
        let around = |i: usize| raw(i, (Some(middle(i) - half[i]), Some(middle(i) + half[i])));
        return interval::of_form(form).iter().map(|&(i, _)| (i, around(i))).collect();
    }
    use rayon::prelude::*;
    let all = interval::of_form(form).par_iter();
    all.map(|&(i, _)| (i, raw(i, interval::profile(&problem, &found, i, request.level)))).collect()
}

/// Deviation of repetitions, and the test of the law against it.
fn spread(problem: &Problem<'_>, found: &Solution) -> Value {
    let cells = cells(problem.rows);
    let (mut squares, mut freedom) = (0.0, 0);
    for cell in &cells {
        let mean = cell.iter().map(|r| r.loss).sum::<f64>() / cell.len() as f64;
        squares += cell.iter().map(|r| (r.loss - mean).powi(2)).sum::<f64>();
        freedom += cell.len() - 1;
    }
    if freedom == 0 || squares <= 0.0 {
        return json!({"seed_sd": null, "lack_of_fit": null});
    }
    let first = cells.len().saturating_sub(problem.free());
    let test = (problem.objective == Objective::Squares && first > 0).then(|| {
        let f = ((2.0 * found.sum - squares).max(0.0) / first as f64) / (squares / freedom as f64);
        json!({"F": f, "freedom": [first, freedom], "p": f_tail(f, first, freedom)})
    });
    json!({"seed_sd": (squares / freedom as f64).sqrt(), "lack_of_fit": test})
}

/// Values of the law where they were asked for, with intervals.
fn forecasts(problem: &Problem<'_>, found: &Solution, request: &FitRequest) -> Vec<Value> {
    let form = problem.model.form;
    let of = |at: &Vec<(String, f64)>| {
        let get = |key: &str| at.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
        let x = get(if form == Form::Power { &request.variable } else { "n" })?;
        let d = if form == Form::Power { 1.0 } else { get("d")? };
        let row = Row { line: 0, x, d, unique: get("unique"), loss: 1.0 };
        let loss = problem.model.value(&found.point, &row);
        let ends = forecast_interval(problem, found, request, &row);
        let mut value: Map<String, Value> = at.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        value.insert("loss".into(), loss.into());
        value.insert("low".into(), json!(ends.0));
        value.insert("high".into(), json!(ends.1));
        Some(Value::Object(value))
    };
    request.at.iter().filter_map(of).collect()
}

/// The profile of the value at `row`: it takes the place of E.
fn forecast_interval(problem: &Problem<'_>, found: &Solution, request: &FitRequest, row: &Row) -> Ends {
    if matches!(problem.objective, Objective::Huber(_))
        || problem.given.is_some()
        || request.interval == "none"
    {
        return (None, None);
    }
    let units = if request.unit == "size" { means(problem.rows, None) } else { problem.rows.to_vec() };
    let plain = Problem { rows: &units, ..problem.clone() };
    let Some(best) = solve::from(&plain, &[found.point]) else { return (None, None) };
    let mut point = best.point;
    point[E] = plain.model.value(&best.point, row);
    let anchored = Problem { model: Model { anchor: Some(row.clone()), ..plain.model.clone() }, ..plain };
    interval::profile(&anchored, &Solution { point, ..best }, E, request.level)
}

/// The best split of budgets, and the compute for losses.
fn split(joint: &Joint, request: &FitRequest) -> Value {
    let (a, b) = joint.exponents();
    let points: Vec<Value> = request
        .compute
        .iter()
        .map(|&c| joint.split(c))
        .map(|s| json!({"C": s.c, "N": s.n, "D": s.d, "loss": s.loss}))
        .collect();
    let targets: Vec<Value> =
        request.targets.iter().map(|&t| json!({"target": t, "C": joint.compute_for(t)})).collect();
    json!({"a": a, "b": b, "G": joint.g(), "points": points, "compute_for": targets})
}

fn optimal(table: &Table, request: &FitRequest) -> Result<Value> {
    let get = |name: &str| {
        request.coefficients.iter().find(|(k, _)| k == name).map(|(_, v)| *v).ok_or_else(|| {
            Error::config(format!(
                "the law optimal needs the coefficient {name}; give --coefficients E=…,A=…,alpha=…,B=…,beta=…"
            ))
        })
    };
    let joint = Joint { e: get("E")?, a: get("A")?, alpha: get("alpha")?, b: get("B")?, beta: get("beta")? };
    let mut request = request.clone();
    if request.compute.is_empty() {
        request.compute = table.entries.iter().filter_map(|e| e.number("c")).collect();
    }
    let mut law = begin(&request, "determined");
    let given: Map<String, Value> = request
        .coefficients
        .iter()
        .map(|(k, v)| (k.clone(), coefficient(*v, (Some(*v), Some(*v)))))
        .collect();
    law.insert("coefficients".into(), given.into());
    law.insert("optimal".into(), split(&joint, &request));
    Ok(Value::Object(law))
}

/// The validations of a table; without a column c, the steps order a run.
fn scored(table: &Table, law: &str) -> Result<Vec<Scored>> {
    let one = |entry: &Entry| {
        let text = |role: &str| entry.texts.get(role).cloned().unwrap_or_default();
        let step = text("step").parse().unwrap_or(entry.line as f64);
        let n = entry.number("n").ok_or_else(|| missing(law, "n"))?;
        let c = entry.number("c").or_else(|| Some(6.0 * n * entry.number("d")?)).unwrap_or(n * step);
        let loss = entry.number("loss").ok_or_else(|| missing(law, "loss"))?;
        Ok(Scored { line: entry.line, run: text("run"), n, c, loss, step })
    };
    table.entries.iter().map(one).collect()
}

fn frontier(table: &Table, request: &FitRequest) -> Result<Value> {
    let points = scored(table, &request.law)?;
    let whole = curves::frontier(&points);
    let from = curves::contested_from(&points).unwrap_or(f64::INFINITY);
    let contested: Vec<&Scored> = whole.iter().filter(|p| p.c >= from).collect();
    let best = curves::envelope(&points, BUDGETS);
    let n_opt = curves::log_line(&best.iter().map(|b| (b.0, b.2)).collect::<Vec<_>>());
    // L(C) on the contested part; its points are not independent, so there is no interval.
    let rows: Vec<Row> =
        contested.iter().map(|p| Row { line: p.line, x: p.c, d: 1.0, unique: None, loss: p.loss }).collect();
    let power =
        FitRequest { law: "power".into(), variable: "c".into(), interval: "none".into(), ..request.clone() };
    let law = unfit(&rows, &power, Form::Power).map(Value::Object);
    let law = law.unwrap_or_else(|| match objective(&power, Form::Power) {
        Ok(Some(objective)) => curve(&rows, &power, Form::Power, objective),
        _ => line(&rows, &power),
    });
    let mut object = match law {
        Value::Object(object) => object,
        _ => begin(request, "not_falling"),
    };
    object.insert("law".into(), "frontier".into());
    object.insert(
        "frontier".into(),
        whole.iter().map(|p| json!({"line": p.line, "c": p.c, "loss": p.loss})).collect::<Vec<_>>().into(),
    );
    object.insert("contested".into(), contested.iter().map(|p| json!(p.line)).collect::<Vec<_>>().into());
    object.insert("envelope".into(), json!({"budgets": BUDGETS, "n_opt": n_opt.map(log_line)}));
    let over = curves::overfitted(&points);
    let over =
        over.iter().map(|o| json!({"run": o.run, "best_step": o.best_step, "best": o.best, "last": o.last}));
    object.insert("overfitted".into(), over.collect::<Vec<_>>().into());
    Ok(Value::Object(object))
}

fn log_line(line: curves::LogLine) -> Value {
    json!({"exponent": line.exponent, "coefficient": line.coefficient})
}

fn isoflop(table: &Table, request: &FitRequest) -> Result<Value> {
    let budgets = curves::isoflop(&scored(table, &request.law)?);
    let good: Vec<(f64, f64, f64)> = budgets
        .iter()
        .filter(|b| b.excluded.is_none())
        .filter_map(|b| Some((b.c, b.vertex?.0, b.vertex?.1)))
        .collect();
    let line = |value: &dyn Fn(&(f64, f64, f64)) -> f64| {
        curves::log_line(&good.iter().map(|g| (g.0, value(g))).collect::<Vec<_>>()).map(log_line)
    };
    let rows = budgets.iter().map(|b| {
        let (n, d, loss) = b.vertex.map_or((None, None, None), |v| (Some(v.0), Some(v.1), Some(v.2)));
        json!({"c": b.c, "points": b.points, "n_opt": n, "d_opt": d, "loss": loss, "excluded": b.excluded})
    });
    let status = if good.len() >= 2 { "determined" } else { "too_few_sizes" };
    Ok(json!({
        "law": "isoflop", "status": status, "budgets": rows.collect::<Vec<_>>(),
        "n_opt": line(&|g| g.1), "d_opt": line(&|g| g.2)
    }))
}
