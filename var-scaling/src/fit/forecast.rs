//! The loss of a model that was not trained, from the law of those that were.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::joint::{JointLaw, rows};
use super::options::FitOptions;
use crate::error::{Error, Result};
use crate::quantity::interval;
use crate::regression::{self, FitRequest, Law, Objective, Role};
use crate::result_line::Metric;
use crate::results::Results;
use crate::statistics::f_quantile;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForecastRequest {
    /// Parameters of a model.
    pub parameters: Option<f64>,
    /// Tokens of its training; none for a sweep of one length.
    pub tokens: Option<f64>,
    /// Budgets of compute in FLOPs, for the best split into parameters and tokens.
    pub compute: Vec<f64>,
    /// Losses whose compute is asked for.
    pub targets: Vec<f64>,
    /// Of a sweep with several lengths: the law of parameters of the length that most sizes have, in place of the law of
    /// parameters and tokens.
    pub one_length: bool,
}

/// A forecast of one score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The score, for example `loss_all`.
    pub metric: String,
    /// The law, with its status, coefficients, and `optimal` for budgets and targets.
    pub law: Map<String, Value>,
    /// Trainings that the law was fitted to.
    pub runs: usize,
    /// Level of the intervals.
    pub level: f64,
    /// The loss of the model, if one was asked for.
    pub loss: Option<f64>,
    /// The law there, as an interval: profile likelihood. Null: no end.
    pub of_law: [Option<f64>; 2],
    /// One training there: the law's interval with the scatter of trainings around the law.
    pub of_training: [Option<f64>; 2],
    /// How far it is outside of the trainings; empty inside.
    pub reach: Vec<String>,
}

impl Forecast {
    /// The variables of the law: `N`, or `N, D`.
    pub fn variables(&self) -> &'static str {
        match self.law.get("law").and_then(Value::as_str) {
            Some("joint") => "N, D",
            _ => "N",
        }
    }

    /// The forecast in one line: value, interval of one training, status.
    pub fn words(&self) -> String {
        let status = self.law.get("status").and_then(Value::as_str).unwrap_or_default().replace('_', " ");
        match self.loss {
            Some(loss) => {
                let ends = interval(self.of_training, 4);
                format!("{} {loss:.4} ({ends}; law of {}: {status})", self.metric, self.variables())
            }
            None => format!("{}: no forecast, the law of {} is {status}", self.metric, self.variables()),
        }
    }
}

/// Forecasts `metric` from the results of a sweep.
///
/// # Errors
/// When nothing is asked for, a number is out of range, or the sweep has not the trainings for it.
pub fn forecast(
    results: &Results,
    metric: Metric,
    options: &FitOptions,
    request: &ForecastRequest,
) -> Result<Forecast> {
    let joint = JointLaw::possible(results) && !request.one_length;
    let place = place(request, joint)?;
    let rows = if joint { rows(&results.lines, metric) } else { rows(results.equal_lengths(), metric) };
    let fit = FitRequest {
        law: if joint { Law::Joint } else { Law::Power },
        given: options.irreducible_of(metric).given(),
        objective: Some(Objective::Squares),
        level: options.level,
        at: place.iter().cloned().collect(),
        compute: request.compute.clone(),
        targets: request.targets.clone(),
        ..FitRequest::default()
    };
    fit.check()?;
    let law = regression::of_runs(&rows, &fit);
    let there = law.get("predictions").and_then(|all| all.get(0));
    let number = |key: &str| there.and_then(|one| one.get(key)).and_then(Value::as_f64);
    let (loss, ends) = (number("loss"), [number("low"), number("high")]);
    let scatter = scatter(&law, &rows, options.level);
    let of_training = ends.map(|end| Some(loss? + widened(end? - loss?, scatter?)));
    let outside = |(role, asked): &(Role, f64)| {
        let values = rows.iter().map(|row| if *role == Role::D { row.1 } else { row.0 });
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
        let what = if *role == Role::D { "tokens" } else { "parameters" };
        match asked {
            a if *a > high => Some(format!("{:.1} times the {what} of the largest training", a / high)),
            a if *a < low => Some(format!("{:.1} times fewer {what} than the smallest training", low / a)),
            _ => None,
        }
    };
    let reach = place.iter().flatten().filter_map(outside).collect();
    Ok(Forecast {
        metric: metric.key().into(),
        runs: rows.len(),
        level: options.level,
        loss,
        of_law: ends,
        of_training,
        reach,
        law,
    })
}

/// Where the law is asked for.
fn place(request: &ForecastRequest, joint: bool) -> Result<Option<Vec<(Role, f64)>>> {
    let splits = !request.compute.is_empty() || !request.targets.is_empty();
    if !joint && (splits || request.tokens.is_some()) {
        return Err(Error::config(
            "the best split of compute and other numbers of tokens need trainings of at least three sizes and three \
             lengths; give the preset [[ladder.lengths]], as cifar-laws does, or ask for parameters alone",
        ));
    }
    match (request.parameters, request.tokens) {
        (Some(n), Some(d)) => Ok(Some(vec![(Role::N, n), (Role::D, d)])),
        (Some(n), None) if !joint => Ok(Some(vec![(Role::N, n)])),
        (None, None) if splits => Ok(None),
        (None, None) => Err(Error::config("name the parameters of a model, a budget of compute, or a loss")),
        _ => Err(Error::config(
            "this sweep has several lengths; name both the parameters and the tokens of the model",
        )),
    }
}

/// How far a training is from the law, at this level; `None` without a fit. Its variance is that of the means of repeated
/// trainings around the law, with the part of their seeds that a mean does not have.
fn scatter(law: &Map<String, Value>, rows: &[(f64, f64, f64)], level: f64) -> Option<f64> {
    let sum = law.get("objective")?["sum"].as_f64()?;
    let fitted = law.get("coefficients")?.as_object()?.len();
    let places: BTreeSet<(u64, u64)> = rows.iter().map(|(n, d, _)| (n.to_bits(), d.to_bits())).collect();
    let freedom = places.len().checked_sub(fitted).filter(|freedom| *freedom > 0)?;
    let seeds = law.get("residuals").and_then(|r| r["seed_sd"].as_f64()).unwrap_or(0.0).powi(2);
    let each = rows.len() as f64 / places.len() as f64;
    let between = (2.0 * sum - seeds * (rows.len() - places.len()) as f64).max(0.0);
    let variance = between / each / freedom as f64 + seeds * (1.0 - 1.0 / each);
    Some((variance * f_quantile(level, freedom)).sqrt())
}

/// A distance from the value, with an independent one.
fn widened(distance: f64, other: f64) -> f64 {
    distance.hypot(other).copysign(distance)
}
