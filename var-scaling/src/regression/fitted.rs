//! Laws that are fitted to rows: power, joint, repetition.

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::answer::{begin, coefficient, split};
use super::bootstrap::Draws;
use super::closed::{Joint, PER_TOKEN};
use super::identify::refusal;
use super::interval::{self, Ends};
use super::model::{A, ALPHA, B, BETA, E, Form, Model, RSTAR};
use super::objective::Objective;
use super::problem::Problem;
use super::request::{FitRequest, Interval, Law, Role, Unit, word};
use super::row::{Row, cells, means};
use super::solve::{self, Solution};
use super::table::Table;
use crate::error::{Error, Result};
use crate::statistics::f_tail;
use crate::statistics::pearson;

/// The rows of a law.
///
/// # Errors
/// When the table has no column that the law needs.
pub(super) fn rows(table: &Table, request: &FitRequest, form: Form) -> Result<Vec<Row>> {
    let one = |entry: &super::table::Entry| {
        let get = |role| entry.number(role);
        let need = |role, value: Option<f64>| value.ok_or_else(|| missing(request, role));
        let variable = if form == Form::Power { request.variable.role() } else { Role::N };
        let x = match variable {
            Role::C => get(Role::C).or_else(|| Some(PER_TOKEN * get(Role::N)? * get(Role::D)?)),
            role => get(role),
        };
        let d = match form {
            Form::Power => Some(1.0),
            _ => get(Role::D).or_else(|| Some(get(Role::C)? / PER_TOKEN / get(Role::N)?)),
        };
        let unique = match form {
            Form::Repetition => Some(need(Role::Unique, get(Role::Unique))?),
            _ => None,
        };
        let loss = need(Role::Loss, get(Role::Loss))?;
        Ok(Row::new(entry.line, (need(variable, x)?, need(Role::D, d)?), unique, loss))
    };
    table.entries.iter().map(one).collect()
}

/// The law (power in N, or joint) of trainings: parameters, tokens and loss. As in fits.json; its lines count from 0.
pub(crate) fn of_runs(rows: &[(f64, f64, f64)], request: &FitRequest) -> Map<String, Value> {
    let form = if request.law == Law::Joint { Form::Joint } else { Form::Power };
    let row = |(line, &(x, d, loss)): (usize, &(f64, f64, f64))| {
        Row::new(line, (x, if form == Form::Joint { d } else { 1.0 }), None, loss)
    };
    let rows: Vec<Row> = rows.iter().enumerate().map(row).collect();
    fitted(&rows, request, form)
}

/// A law needs a column.
pub(super) fn missing(request: &FitRequest, role: Role) -> Error {
    let (law, role) = (word(&request.law), word(&role));
    Error::config(format!(
        "the law {law} needs the column of {role}; name it, for example --columns {role}=COLUMN"
    ))
}

/// The law of `rows`, as in fits.json.
pub(super) fn fitted(rows: &[Row], request: &FitRequest, form: Form) -> Map<String, Value> {
    if let Some(refusal) = refusal(rows, request, form) {
        return refusal;
    }
    let objective = request.objective.unwrap_or(match (form, request.given) {
        (Form::Power, Some(_)) => Objective::LogLog,
        (Form::Power, None) => Objective::Squares,
        _ => Objective::Huber(1e-3),
    });
    if objective != Objective::LogLog {
        return curve(rows, request, form, objective, 0.0);
    }
    let above = request.given.unwrap_or(0.0);
    let rows: Vec<Row> = rows.iter().map(|row| Row { loss: row.loss - above, ..row.clone() }).collect();
    curve(&rows, request, form, objective, above)
}

/// A fit to rows whose losses are `above` less than they were.
fn curve(
    rows: &[Row],
    request: &FitRequest,
    form: Form,
    objective: Objective,
    above: f64,
) -> Map<String, Value> {
    let given = request.given.map(|e| e - above);
    let problem = Problem { rows, model: Model::new(form, rows), objective, given };
    let Some(found) = solve::solve(&problem, request.grid) else { return begin(request, "not_falling") };
    let edge = solve::edge(&problem, &found.point);
    let drawn = request.interval == Interval::Bootstrap && edge.is_none();
    let draws = drawn.then(|| Draws::new(&problem, &found, request));
    let least_squares = objective.is_least_squares() && request.interval != Interval::None;
    let wanted = draws.is_some() || (least_squares && edge.is_none());
    // What intervals count as independent, with its own fit.
    let units = if request.unit == Unit::Size { means(rows, objective) } else { rows.to_vec() };
    let units = Problem { rows: &units, ..problem.clone() };
    let best = if wanted && !drawn { solve::from(&units, &[found.point]) } else { None };
    let mut ends = match (&draws, &best) {
        (Some(draws), _) => draws.ends(&problem, request.level),
        (None, Some(best)) => ends(&units, best, request),
        (None, None) => Vec::new(),
    };
    if let Some(e) = request.given {
        ends.retain(|(i, _)| *i != E);
        ends.push((E, (Some(e), Some(e))));
    }
    let end = |i: usize| ends.iter().find(|(j, _)| *j == i).map_or((None, None), |(_, ends)| *ends);

    let names = interval::of_form(form);
    let mut judged = names.iter().filter(|(i, _)| !matches!(*i, A | B));
    let closed = judged.all(|(i, _)| end(*i).0.is_some() && end(*i).1.is_some());
    let status = match edge {
        Some(_) => "at_bound",
        None if closed || !wanted => "determined",
        None => "wide",
    };
    let mut law = begin(request, status);
    if let Some(edge) = edge {
        law.insert("bound".into(), edge.name().into());
    }
    let (ln_a, ln_b) = problem.model.ln_factors(&found.point);
    let value = |i: usize| match i {
        E => found.point[E] + above,
        A => ln_a.exp(),
        B => ln_b.exp(),
        RSTAR => found.point[RSTAR].exp(),
        _ => found.point[i],
    };
    let coefficients: Map<String, Value> =
        names.iter().map(|&(i, name)| (name.to_owned(), coefficient(value(i), end(i)))).collect();
    law.insert("coefficients".into(), coefficients.into());
    if form == Form::Power {
        let alpha = found.point[ALPHA];
        law.insert("published".into(), json!({"alpha": -alpha, "ln_beta": -ln_a / alpha}));
    }
    if objective == Objective::LogLog {
        let logs: Vec<(f64, f64)> = rows.iter().map(|r| (r.x.ln(), r.loss.ln())).collect();
        law.insert("pearson".into(), json!(pearson(&logs)));
    }
    let (sum, count) = (found.sum, rows.len());
    law.insert(
        "objective".into(),
        json!({"kind": objective.to_string(), "sum": sum, "mean": sum / count as f64, "rows": count}),
    );
    law.insert("starts".into(), json!({"tried": found.starts.0, "same_minimum": found.starts.1}));
    if let Some(draws) = &draws {
        law.insert("bootstrap".into(), draws.json());
    }
    law.insert("residuals".into(), spread(&problem, &found));
    law.insert("outliers".into(), outliers(rows, &problem.residuals(&found.point)));
    let forecasts = request.at.iter().map(|at| {
        let row = row_at(at, request, form);
        let ends = match (&draws, &best) {
            (Some(draws), _) => {
                let (low, high) = draws.at(&problem, request.level, &row);
                (low.map(|v| v + above), high.map(|v| v + above))
            }
            (None, Some(best)) if given.is_none() || form == Form::Power => {
                let (low, high) = forecast_interval(&units, best, request.level, &row);
                (low.map(|v| v + above), high.map(|v| v + above))
            }
            _ => (None, None),
        };
        let mut one: Map<String, Value> = at.iter().map(|(role, v)| (word(role), json!(v))).collect();
        one.insert("loss".into(), json!(problem.model.value(&found.point, &row) + above));
        one.insert("low".into(), json!(ends.0));
        one.insert("high".into(), json!(ends.1));
        Value::Object(one)
    });
    law.insert("predictions".into(), forecasts.collect::<Vec<_>>().into());
    if form == Form::Joint && edge.is_none() {
        let (alpha, beta) = (value(ALPHA), value(BETA));
        let joint = Joint { e: value(E), a: value(A), alpha, b: value(B), beta };
        law.insert("optimal".into(), split(&joint, &request.compute, &request.targets));
    }
    law
}

/// Intervals of the coefficients in raw units.
fn ends(problem: &Problem<'_>, found: &Solution, request: &FitRequest) -> Vec<(usize, Ends)> {
    let names = interval::of_form(problem.model.form);
    let (ln_a, ln_b) = problem.model.ln_factors(&found.point);
    let raw = |i: usize, (low, high): Ends| match i {
        A | B | RSTAR => (low.map(f64::exp), high.map(f64::exp)),
        _ => (low, high),
    };
    if request.interval == Interval::Profile {
        let one = |&(i, _): &(usize, &str)| (i, raw(i, interval::profile(problem, found, i, request.level)));
        return names.par_iter().map(one).collect();
    }
    let Some(half) = interval::half_widths(problem, found, request.level) else { return Vec::new() };
    let middle = |i: usize| match i {
        A => ln_a,
        B => ln_b,
        _ => found.point[i],
    };
    let one = |&(i, _): &(usize, &str)| {
        let (low, high) = (middle(i) - half[i], middle(i) + half[i]);
        (i, raw(i, (Some(low), Some(high))))
    };
    names.iter().map(one).collect()
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

/// The place of a forecast; the request has its variables.
fn row_at(at: &[(Role, f64)], request: &FitRequest, form: Form) -> Row {
    let get = |role: Role| at.iter().find(|(r, _)| *r == role).map(|(_, v)| *v);
    let variable = if form == Form::Power { request.variable.role() } else { Role::N };
    let x = get(variable).unwrap_or(f64::NAN);
    Row::new(0, (x, get(Role::D).unwrap_or(1.0)), get(Role::Unique), 1.0)
}

/// The profile of the value at `row`: it takes the place of E, or of A if E is given.
fn forecast_interval(problem: &Problem<'_>, best: &Solution, level: f64, row: &Row) -> Ends {
    if let Some(e) = problem.given {
        let middle = (row.logs.0, problem.model.middle.1);
        let (low, high) = interval::around(problem, best, A, level, middle);
        return (low.map(|v| e + v.exp()), high.map(|v| e + v.exp()));
    }
    let mut point = best.point;
    point[E] = problem.model.value(&best.point, row);
    let model = Model { anchor: Some(row.clone()), ..problem.model.clone() };
    let anchored = Problem { model, ..problem.clone() };
    interval::profile(&anchored, &Solution { point, ..best.clone() }, E, level)
}
