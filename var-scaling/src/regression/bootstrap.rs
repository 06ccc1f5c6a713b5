//! Intervals by the bootstrap: the law of many draws of the same units, with replacement.

use rayon::prelude::*;
use serde_json::{Value, json};
use var_tokenizer::random::Stream;

use super::identify::unidentified;
use super::interval::{self, Ends};
use super::model::{A, B, Form, Point, RSTAR};
use super::problem::Problem;
use super::request::{FitRequest, Unit};
use super::row::{Row, cells};
use super::solve::{self, Solution};

/// The laws of the draws.
pub(super) struct Draws {
    /// Coefficients of the draws with a law, by the model of the fit.
    laws: Vec<Point>,
    /// Draws in all.
    count: u64,
    /// Draws whose rows cannot tell all coefficients.
    without: usize,
    /// Draws whose law is at a bound; they count.
    at_bound: usize,
}

impl Draws {
    /// Draws rows, or all rows with equal variables together, as often as there are of them. Each draw starts at the law of
    /// all rows.
    pub(super) fn new(problem: &Problem<'_>, best: &Solution, request: &FitRequest) -> Self {
        let units: Vec<Vec<&Row>> = match request.unit {
            Unit::Size => cells(problem.rows),
            Unit::Row => problem.rows.iter().map(|row| vec![row]).collect(),
        };
        let stream = Stream::new("bootstrap of a law", request.seed);
        let draw = |i: u64| {
            let words = stream.at(i);
            let place = |k: usize| words.below(k as u64, units.len() as u64) as usize;
            let rows: Vec<Row> =
                (0..units.len()).filter_map(|k| units.get(place(k))).flatten().copied().cloned().collect();
            if problem.model.form != Form::Power && !unidentified(&rows).is_empty() {
                return None;
            }
            let drawn = Problem { rows: &rows, ..problem.clone() };
            let found = solve::from(&drawn, &[best.point])?;
            Some((found.point, solve::edge(&drawn, &found.point).is_some()))
        };
        let all: Vec<Option<(Point, bool)>> = (0..request.draws).into_par_iter().map(draw).collect();
        let laws: Vec<(Point, bool)> = all.iter().flatten().copied().collect();
        Self {
            count: request.draws,
            without: all.len() - laws.len(),
            at_bound: laws.iter().filter(|(_, bound)| *bound).count(),
            laws: laws.into_iter().map(|(point, _)| point).collect(),
        }
    }

    /// Percentile intervals of the coefficients in raw units.
    pub(super) fn ends(&self, problem: &Problem<'_>, level: f64) -> Vec<(usize, Ends)> {
        let raw = |i: usize, p: &Point| match i {
            A => problem.model.ln_factors(p).0.exp(),
            B => problem.model.ln_factors(p).1.exp(),
            RSTAR => p[RSTAR].exp(),
            _ => p[i],
        };
        let names = interval::of_form(problem.model.form).iter();
        names.map(|&(i, _)| (i, self.percentiles(level, |p| raw(i, p)))).collect()
    }

    /// The interval of the law at a row.
    pub(super) fn at(&self, problem: &Problem<'_>, level: f64, row: &Row) -> Ends {
        self.percentiles(level, |p| problem.model.value(p, row))
    }

    fn percentiles(&self, level: f64, value: impl Fn(&Point) -> f64) -> Ends {
        let mut values: Vec<f64> = self.laws.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (values.len().checked_sub(1)? as f64);
            let (low, high) = (*values.get(place.floor() as usize)?, *values.get(place.ceil() as usize)?);
            Some(low + (high - low) * place.fract())
        };
        (at((1.0 - level) / 2.0), at((1.0 + level) / 2.0))
    }

    /// The counts, for fits.json.
    pub(super) fn json(&self) -> Value {
        json!({"draws": self.count, "without_law": self.without, "at_bound": self.at_bound})
    }
}
