//! What whole training curves show: the frontier with its law, over-fitted runs, isoFLOP parabolas.

use serde_json::{Map, Value, json};

use super::closed::PER_TOKEN;
use super::curves::{self, LogLine, Scored};
use super::fitted::{fitted, missing};
use super::model::Form;
use super::request::{FitRequest, Interval, Law, Role, Variable};
use super::row::Row;
use super::table::{Entry, Table};
use crate::error::Result;

/// Budgets of an envelope.
const BUDGETS: usize = 200;

/// The validations of a table; without compute, the steps order a run.
fn scored(table: &Table, request: &FitRequest) -> Result<Vec<Scored>> {
    let one = |entry: &Entry| {
        let text = |role: Role| entry.texts.get(&role).cloned().unwrap_or_default();
        let need = |role| entry.number(role).ok_or_else(|| missing(request, role));
        let step = text(Role::Step).parse().unwrap_or(entry.line as f64);
        let (n, loss) = (need(Role::N)?, need(Role::Loss)?);
        let of_tokens = || Some(PER_TOKEN * n * entry.number(Role::D)?);
        let c = entry.number(Role::C).or_else(of_tokens).unwrap_or(n * step);
        Ok(Scored { line: entry.line, run: text(Role::Run), n, c, loss, step })
    };
    table.entries.iter().map(one).collect()
}

/// The frontier, its law L(C), the envelope, and over-fitted runs.
///
/// # Errors
/// When the table has no column that it needs.
pub(super) fn frontier(table: &Table, request: &FitRequest) -> Result<Map<String, Value>> {
    let points = scored(table, request)?;
    let whole = curves::frontier(&points);
    let from = curves::contested_from(&points).unwrap_or(f64::INFINITY);
    let contested: Vec<&Scored> = whole.iter().copied().filter(|p| p.c >= from).collect();
    let rows: Vec<Row> = contested.iter().map(|p| Row::new(p.line, (p.c, 1.0), None, p.loss)).collect();
    // The points of one run are not independent, so this law has no intervals.
    let power =
        FitRequest { law: Law::Power, variable: Variable::C, interval: Interval::None, ..request.clone() };
    let mut law = fitted(&rows, &power, Form::Power);
    law.insert("law".into(), "frontier".into());
    let line = |p: &&Scored| json!({"line": p.line, "c": p.c, "loss": p.loss});
    law.insert("frontier".into(), whole.iter().map(line).collect::<Vec<_>>().into());
    law.insert("contested".into(), contested.iter().map(|p| json!(p.line)).collect::<Vec<_>>().into());
    let n_opt = curves::log_line(&curves::envelope(&points, BUDGETS));
    law.insert("envelope".into(), json!({"budgets": BUDGETS, "n_opt": n_opt.map(exponent)}));
    let over = curves::overfitted(&points);
    let over =
        over.iter().map(|o| json!({"run": o.run, "best_step": o.best_step, "best": o.best, "last": o.last}));
    law.insert("overfitted".into(), over.collect::<Vec<_>>().into());
    Ok(law)
}

fn exponent(line: LogLine) -> Value {
    json!({"exponent": line.exponent, "coefficient": line.coefficient})
}

/// The best N and D of each budget, and their exponents in C.
///
/// # Errors
/// When the table has no column that it needs.
pub(super) fn isoflop(table: &Table, request: &FitRequest) -> Result<Map<String, Value>> {
    let budgets = curves::isoflop(&scored(table, request)?);
    let good = budgets.iter().filter(|b| b.excluded.is_none());
    let (of_n, of_d): (Vec<_>, Vec<_>) =
        good.filter_map(|b| b.vertex.map(|(n, d, _)| ((b.c, n), (b.c, d)))).unzip();
    let rows = budgets.iter().map(|b| {
        let (n, d, loss) = b.vertex.map_or((None, None, None), |v| (Some(v.0), Some(v.1), Some(v.2)));
        json!({"c": b.c, "points": b.points, "n_opt": n, "d_opt": d, "loss": loss, "excluded": b.excluded})
    });
    let lines = (curves::log_line(&of_n), curves::log_line(&of_d));
    let status = if lines.0.is_some() { "determined" } else { "too_few_sizes" };
    let mut law = super::answer::begin(request, status);
    law.insert("budgets".into(), rows.collect::<Vec<_>>().into());
    law.insert("n_opt".into(), json!(lines.0.map(exponent)));
    law.insert("d_opt".into(), json!(lines.1.map(exponent)));
    Ok(law)
}
