//! The eight laws of a sweep, and `fits.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::frontier::{Scored, contested, mean_runs, one_per_size};
use super::joint::JointLaw;
use super::law::{FittedLaw, Subject};
use super::options::FitOptions;
use super::point::Point;
use super::power::Mode;
use crate::error::{Error, Result};
use crate::result_line::Metric;
use crate::results::Results;
use var_tokenizer::files::write_atomically;

/// The unit of `C`: 10¹⁵ FLOPs, as published.
pub(crate) const COMPUTE_UNIT: f64 = 1e15;

/// Version of `fits.json`.
const VERSION: u32 = 2;

/// `fits.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitsFile {
    /// Version of this format.
    pub version: u32,
    /// How to read the coefficients.
    pub about: String,
    /// How the intervals are computed.
    pub intervals: String,
    /// The laws.
    pub laws: Vec<FittedLaw>,
    /// Laws of parameters and tokens, of a sweep with several lengths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<JointLaw>,
}

impl FitsFile {
    /// Fits all laws to the results of a sweep.
    pub fn new(results: &Results, options: &FitOptions) -> Self {
        let mut laws = Vec::new();
        for (metric, &mode) in Metric::ALL.iter().zip(&options.irreducible) {
            laws.push(by_parameters(results, *metric, mode, options.level));
        }
        for (metric, &mode) in Metric::ALL.iter().zip(&options.irreducible) {
            laws.push(by_compute(results, *metric, mode, options.level));
        }
        Self {
            version: VERSION,
            about: "value = irreducible + (beta * X) ^ alpha, beta = exp(ln_beta); X = N in billions of parameters, \
                    or C in 1e15 FLOPs, one point per size: its last point on the Pareto frontier"
                .into(),
            intervals: "profile likelihood, one mean per size; null: open end".into(),
            laws,
            joint: JointLaw::of(results, options),
        }
    }

    /// The law with this short name.
    pub fn law(&self, name: &str) -> Option<&FittedLaw> {
        self.laws.iter().find(|l| l.subject.name == name)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(path, e.to_string()))?;
        Ok(write_atomically(path, format!("{text}\n").as_bytes())?)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let again = "write the file again with `var-scaling fit FOLDER`";
        let value: serde_json::Value = serde_json::from_str(crate::json_text::without_mark(&text))
            .map_err(|e| Error::file(path, format!("does not contain fits ({e}); {again}")))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version != u64::from(VERSION) => {
                Err(Error::file(path, format!("has format {version}, expected format {VERSION}; {again}")))
            }
            _ => serde_json::from_value(value)
                .map_err(|e| Error::file(path, format!("does not contain fits ({e}); {again}"))),
        }
    }
}

fn by_parameters(results: &Results, metric: Metric, mode: Mode, level: f64) -> FittedLaw {
    let subject = Subject {
        name: format!("{}(N)", metric.symbol()),
        quantity: metric.words().into(),
        variable: "N".into(),
        unit: "billions of parameters".into(),
    };
    FittedLaw::fit(subject, results.points(metric), mode, level, Some(metric.published_by_parameters()))
}

fn by_compute(results: &Results, metric: Metric, mode: Mode, level: f64) -> FittedLaw {
    let scored = validations(results, metric);
    // Validations of one run are not independent: a size counts once, at its last point on the frontier.
    let ends = one_per_size(&contested(&mean_runs(&scored)));
    let points = ends
        .iter()
        .flat_map(|end| {
            let same = |p: &&Scored| (&p.size, p.length, p.flops) == (&end.size, end.length, end.flops);
            scored.iter().filter(same)
        })
        .map(|p| Point { run: p.run.clone(), size: p.size.clone(), x: p.flops / COMPUTE_UNIT, y: p.value })
        .collect();
    let subject = Subject {
        name: format!("{}(C)", metric.symbol()),
        quantity: format!("{} along the frontier", metric.words()),
        variable: "C".into(),
        unit: "1e15 FLOPs of training".into(),
    };
    let mut law = FittedLaw::fit(subject, points, mode, level, Some(metric.published_by_compute()));
    law.notes.push(
        "Validations of one run are not independent, so each size is one point of L(C): its lowest loss on the \
         frontier. The frontier starts where the cheapest run ends. Before the end of a run, the learning rate is still \
         above its final value"
            .into(),
    );
    law
}

/// All validations of all runs, as points of compute and `metric`.
pub(crate) fn validations(results: &Results, metric: Metric) -> Vec<Scored> {
    let mut points = Vec::new();
    for line in &results.lines {
        let curve = results.curve(&line.name);
        let scored = curve.iter().filter(|p| p.step < line.steps).filter_map(|p| {
            Some(Scored {
                run: line.name.clone(),
                size: line.size(),
                length: line.tokens,
                flops: line.flops * p.step as f64 / line.steps as f64,
                value: metric.of(p.validation.as_ref()?),
                last: false,
            })
        });
        points.extend(scored);
        points.push(Scored {
            run: line.name.clone(),
            size: line.size(),
            length: line.tokens,
            flops: line.flops,
            value: line.metric(metric),
            last: true,
        });
    }
    points
}
