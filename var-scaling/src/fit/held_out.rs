//! Forecasts of held-out sizes: written before their training, compared with its outcome.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use var_tokenizer::files::write_atomically;

use super::forecast::{Forecast, ForecastRequest, forecast};
use super::joint::JointLaw;
use super::options::FitOptions;
use crate::error::{Error, Result};
use crate::json_text::without_mark;
use crate::result_line::{Metric, ResultLine};
use crate::results::Results;

/// Its file in a sweep folder.
const FILE: &str = "forecasts.json";

/// `forecasts.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ForecastsFile {
    /// Seconds since 1970 when the file was written.
    pub written: u64,
    /// The held-out trainings.
    pub sizes: Vec<HeldOut>,
}

/// The forecast of a held-out training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Name of the run.
    pub name: String,
    /// Its parameters.
    pub parameters: u64,
    /// Its training tokens, repeats included.
    pub tokens: u64,
    /// One for each loss, by the law of parameters and tokens, and by the law of parameters if it has the common length.
    pub forecasts: Vec<Forecast>,
}

/// A forecast next to what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<'a> {
    /// The held-out training.
    pub size: &'a HeldOut,
    /// The forecast.
    pub forecast: &'a Forecast,
    /// The measured value; `None` before the training.
    pub measured: Option<f64>,
}

impl Outcome<'_> {
    /// Forecast and measured value in one line.
    pub fn words(&self) -> String {
        let measured = match (self.measured, self.inside()) {
            (Some(value), Some(true)) => format!("measured {value:.4}, inside"),
            (Some(value), Some(false)) => format!("measured {value:.4}, outside"),
            (Some(value), None) => format!("measured {value:.4}"),
            (None, _) => "not trained yet".into(),
        };
        format!("{}: forecast {}; {measured}", self.size.name, self.forecast.words())
    }

    /// Whether the measured value is inside the interval of one training; `None` if there is no such interval or value.
    pub fn inside(&self) -> Option<bool> {
        let [low, high] = self.forecast.of_training;
        let measured = self.measured?;
        Some(low? <= measured && measured <= high?)
    }
}

impl ForecastsFile {
    /// Forecasts the two losses of held-out runs: name, parameters, tokens.
    ///
    /// # Errors
    /// When a number is out of range.
    pub(crate) fn new(
        results: &Results,
        options: &FitOptions,
        held_out: impl IntoIterator<Item = (String, u64, u64)>,
    ) -> Result<Self> {
        let joint = JointLaw::possible(results);
        let common = results.equal_lengths().first().map(|line| line.tokens);
        let one = |(name, parameters, tokens): (String, u64, u64)| {
            let by = |one_length: bool| ForecastRequest {
                parameters: Some(parameters as f64),
                tokens: (!one_length).then_some(tokens as f64),
                one_length,
                ..ForecastRequest::default()
            };
            // With several lengths, both laws say something about a training of the common length, and none about
            // another length if there are too few of them.
            let mut requests = Vec::new();
            if joint {
                requests.push(by(false));
            }
            if !results.has_several_lengths() || common == Some(tokens) {
                requests.push(by(true));
            }
            let each = requests.iter().flat_map(|request| {
                [Metric::LossAll, Metric::LossLast].map(|metric| forecast(results, metric, options, request))
            });
            Ok(HeldOut { name, parameters, tokens, forecasts: each.collect::<Result<_>>()? })
        };
        let written = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Ok(Self { written, sizes: held_out.into_iter().map(one).collect::<Result<_>>()? })
    }

    /// Whether it has this run with these numbers of parameters and tokens.
    pub(crate) fn has(&self, name: &str, parameters: u64, tokens: u64) -> bool {
        self.sizes
            .iter()
            .any(|size| (size.name.as_str(), size.parameters, size.tokens) == (name, parameters, tokens))
    }

    /// Takes the forecasts of `new`, in place of older ones of the same names.
    pub(crate) fn add(&mut self, new: Self) {
        self.written = new.written;
        self.sizes.retain(|size| !new.sizes.iter().any(|other| other.name == size.name));
        self.sizes.extend(new.sizes);
    }

    /// Writes the file into a sweep folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(&path, e.to_string()))?;
        Ok(write_atomically(&path, format!("{text}\n").as_bytes())?)
    }

    /// Reads the file of a sweep folder; `None` if there is none.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, e)),
        };
        serde_json::from_str(without_mark(&text)).map(Some).map_err(|e| {
            Error::file(
                &path,
                format!(
                    "does not contain forecasts ({e}); restore it, or remove it to go on without: after its training, a size \
                     cannot be forecast"
                ),
            )
        })
    }

    /// The forecasts with what `held_out` measured.
    pub fn outcomes<'a>(&'a self, held_out: &[ResultLine]) -> Vec<Outcome<'a>> {
        let mut all = Vec::new();
        for size in &self.sizes {
            let line = held_out.iter().find(|line| line.name == size.name);
            for forecast in &size.forecasts {
                let measured = line.zip(Metric::from_key(&forecast.metric)).map(|(line, m)| line.metric(m));
                all.push(Outcome { size, forecast, measured });
            }
        }
        all
    }
}
