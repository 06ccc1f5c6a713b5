//! The request for a sweep, and its planned runs.

use std::collections::BTreeMap;
use std::fmt;

use var_model::TransformerConfig;

use crate::devices::{Devices, Placement};
use crate::ladder::Size;

/// A request for a sweep.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SweepRequest {
    /// Name of a preset, or a TOML file.
    pub preset: Option<String>,
    /// Images: a path, or `emoji`.
    pub data: Option<String>,
    /// Sizes and ladders, separated by commas.
    pub sizes: Option<String>,
    /// Sizes and ladders that no law is fitted to, instead of those of the preset: they are forecast, then trained.
    pub held_out: Option<String>,
    /// Tokenizer file, or `builtin`.
    pub tokenizer: Option<String>,
    /// Trains a tokenizer first, even if the preset names one.
    pub train_tokenizer: bool,
    /// First seed.
    pub seed: u64,
    /// Number of runs of each size, with consecutive seeds.
    pub seeds: u64,
    /// Settings of all trainings, `key=value`, as for `var-train model`.
    pub set: Vec<String>,
    /// FLOPs per second that the estimated times assume; `None`: two CPU cores.
    pub flops_rate: Option<f64>,
    /// Devices that the plan is for, in place of a speed.
    pub devices: Option<Devices>,
}

impl SweepRequest {
    /// FLOPs per second that the estimated times assume; `None`: two CPU cores.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.devices.map(|devices| devices.rate()).or(self.flops_rate)
    }
}

/// The tokenizer of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerSource {
    /// `builtin` or a file.
    Given(String),
    /// The one that the sweep in the folder of this name, next to this sweep's folder, trains.
    Beside(String),
    /// Trained first, with these settings of `var-train tokenizer`.
    Trained {
        /// Its preset.
        preset: String,
        /// More settings.
        set: BTreeMap<String, String>,
    },
}

impl fmt::Display for TokenizerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(file) => f.write_str(file),
            Self::Beside(other) => write!(f, "that of {other}"),
            Self::Trained { preset, set } => write!(f, "trained with {preset} {set:?}"),
        }
    }
}

/// One planned run of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Name; also the name of its folder.
    pub name: String,
    /// Size.
    pub size: Size,
    /// Preset of `var-train model`.
    pub preset: String,
    /// Settings of `var-train model`, including steps, batch, learning_rate and seed.
    pub set: BTreeMap<String, String>,
    /// Shape of the model.
    pub config: TransformerConfig,
    /// Optimizer steps.
    pub steps: u64,
    /// Images per step.
    pub batch: u64,
    /// Seed.
    pub seed: u64,
    /// Whether no law is fitted to it: it is forecast, then trained.
    pub held_out: bool,
    /// Number of trainable parameters.
    pub parameters: u64,
    /// Number of training tokens, repeats included.
    pub tokens: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Bytes of memory during training, with activations of two bytes.
    pub memory: f64,
    /// Estimated seconds.
    pub seconds: f64,
    /// How a step is divided over the devices of the request; `None` without devices, or if it does not fit.
    pub placement: Option<Placement>,
}
