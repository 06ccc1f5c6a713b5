//! The eight laws of a sweep, and `fits.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bootstrap::Bootstrap;
use super::frontier::{Scored, contested};
use super::law::{FittedLaw, Point, Subject};
use super::power::Mode;
use crate::error::{Error, Result};
use crate::results::{Metric, Results};
use var_tokenizer::files::write_atomically;

/// The unit of `N`: billions of parameters, as published.
pub const PARAMETER_UNIT: f64 = 1e9;
/// The unit of `C`: 10¹⁵ FLOPs, as published.
pub const COMPUTE_UNIT: f64 = 1e15;

/// What is given and what is fitted, and how intervals are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// Irreducible part of each metric, in the order of [`Metric::ALL`].
    pub irreducible: [Mode; 4],
    /// The bootstrap.
    pub bootstrap: Bootstrap,
}

impl Default for FitOptions {
    /// Losses: fitted. Error rates: none (given as 0), as in the published form.
    fn default() -> Self {
        let irreducible = [Mode::Fitted, Mode::Fitted, Mode::Given(0.0), Mode::Given(0.0)];
        Self { irreducible, bootstrap: Bootstrap::default() }
    }
}

impl FitOptions {
    /// Sets the irreducible part from `metric=value` or `metric=fitted`.
    ///
    /// # Errors
    /// When the metric is not known or the value neither a number nor `fitted`.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let bad = || {
            Error::Config(format!(
                "--irreducible {assignment}: write METRIC=NUMBER or METRIC=fitted with a metric of {}",
                Metric::ALL.map(|m| m.key()).join(", ")
            ))
        };
        let (key, value) = assignment.split_once('=').ok_or_else(bad)?;
        let place = Metric::ALL
            .iter()
            .zip(self.irreducible.iter_mut())
            .find(|(m, _)| m.key() == key.trim())
            .map(|(_, mode)| mode)
            .ok_or_else(bad)?;
        *place = match value.trim() {
            "fitted" => Mode::Fitted,
            number => match number.parse::<f64>() {
                Ok(c) if c.is_finite() && c >= 0.0 => Mode::Given(c),
                _ => return Err(bad()),
            },
        };
        Ok(())
    }
}

/// `fits.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitsFile {
    /// Version of this format.
    pub version: u32,
    /// How to read the coefficients.
    pub about: String,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Draws of the bootstrap.
    pub draws: usize,
    /// The laws.
    pub laws: Vec<FittedLaw>,
}

impl FitsFile {
    /// Fits all laws to the results of a sweep.
    pub fn new(results: &Results, options: &FitOptions) -> Self {
        let mut laws = Vec::new();
        for (metric, &mode) in Metric::ALL.iter().zip(&options.irreducible) {
            laws.push(by_parameters(results, *metric, mode, &options.bootstrap));
        }
        for (metric, &mode) in Metric::ALL.iter().zip(&options.irreducible) {
            laws.push(by_compute(results, *metric, mode, &options.bootstrap));
        }
        Self {
            version: 1,
            about: "value = irreducible + (beta * X) ^ alpha, beta = exp(ln_beta); X = N in billions of parameters, \
                    or C in 1e15 FLOPs along the Pareto frontier of all runs"
                .into(),
            seed: options.bootstrap.seed,
            draws: options.bootstrap.draws,
            laws,
        }
    }

    /// The law of this short name.
    pub fn law(&self, name: &str) -> Option<&FittedLaw> {
        self.laws.iter().find(|l| l.subject.name == name)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(path, e.to_string()))?;
        Ok(write_atomically(path, format!("{text}\n").as_bytes())?)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        serde_json::from_str(&text).map_err(|e| {
            Error::file(path, format!("does not hold fits ({e}); write them anew with `var-scaling fit`"))
        })
    }
}

fn by_parameters(results: &Results, metric: Metric, mode: Mode, bootstrap: &Bootstrap) -> FittedLaw {
    let points = results
        .lines
        .iter()
        .map(|r| Point {
            run: r.name.clone(),
            size: r.size(),
            x: r.params as f64 / PARAMETER_UNIT,
            y: r.metric(metric),
        })
        .collect();
    let subject = Subject {
        name: format!("{}(N)", metric.symbol()),
        quantity: metric.words().into(),
        variable: "N".into(),
        unit: "billions of parameters".into(),
    };
    FittedLaw::fit(subject, points, mode, bootstrap, Some(metric.published_by_parameters()))
}

fn by_compute(results: &Results, metric: Metric, mode: Mode, bootstrap: &Bootstrap) -> FittedLaw {
    let points = contested(&validations(results, metric))
        .into_iter()
        .map(|p| Point { run: p.run, size: p.size, x: p.flops / COMPUTE_UNIT, y: p.value })
        .collect();
    let subject = Subject {
        name: format!("{}(C)", metric.symbol()),
        quantity: format!("{} along the frontier", metric.words()),
        variable: "C".into(),
        unit: "1e15 FLOPs of training".into(),
    };
    let mut law = FittedLaw::fit(subject, points, mode, bootstrap, Some(metric.published_by_compute()));
    law.notes.push(
        "the frontier begins where the cheapest run ends; points of one run are not independent, so the \
         interval counts sizes, not points; points before the end of a run have not seen the low end of the \
         learning rate"
            .into(),
    );
    law
}

/// Every validation of every run as a point of compute and `metric`.
pub fn validations(results: &Results, metric: Metric) -> Vec<Scored> {
    let mut points = Vec::new();
    for line in &results.lines {
        let curve = results.curve(&line.name);
        let scored = curve.iter().filter(|p| p.step < line.steps).filter_map(|p| {
            Some(Scored {
                run: line.name.clone(),
                size: line.size(),
                flops: line.flops * p.step as f64 / line.steps as f64,
                value: p.validation?.value(metric),
                last: false,
            })
        });
        points.extend(scored);
        points.push(Scored {
            run: line.name.clone(),
            size: line.size(),
            flops: line.flops,
            value: line.metric(metric),
            last: true,
        });
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn irreducible_parts_are_set_by_metric_and_bad_ones_refused() {
        let mut options = FitOptions::default();
        options.set("loss_all=4.5").unwrap();
        options.set("err_last=fitted").unwrap();
        assert_eq!(options.irreducible[0], Mode::Given(4.5));
        assert_eq!(options.irreducible[3], Mode::Fitted);
        for bad in ["loss_all", "loss=1", "loss_all=x", "loss_all=-1", "loss_all=inf"] {
            assert!(options.set(bad).unwrap_err().to_string().contains("loss_last"), "{bad}");
        }
    }
}
