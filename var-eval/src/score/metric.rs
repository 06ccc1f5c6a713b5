//! Metrics, and the numbers that they give, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::preprocess::unknown;

/// What a score can measure. A metric gives one or more [`Quantity`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Fréchet distance of the pooled features.
    Fd,
    /// Fréchet distance of the spatial features.
    Sfid,
    /// Inception Score by two conventions.
    InceptionScore,
    /// Improved precision and recall.
    PrecisionRecall,
    /// Density and coverage.
    DensityCoverage,
    /// Kernel distance.
    Kid,
    /// Fréchet distance, extrapolated to infinitely many samples.
    FdInfinity,
    /// Fréchet distance of each class.
    PerClass,
    /// Share of samples whose class has the largest logit, or one of the five largest.
    Accuracy,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 9] = [
        Self::Fd,
        Self::Sfid,
        Self::InceptionScore,
        Self::PrecisionRecall,
        Self::DensityCoverage,
        Self::Kid,
        Self::FdInfinity,
        Self::PerClass,
        Self::Accuracy,
    ];

    /// Whether it needs the features of each image of the reference.
    pub fn takes_reference_rows(self) -> bool {
        matches!(self, Self::PrecisionRecall | Self::DensityCoverage | Self::Kid | Self::PerClass)
    }

    /// Whether a bootstrap can give it an interval.
    pub fn has_interval(self) -> bool {
        matches!(self, Self::Fd | Self::PrecisionRecall | Self::DensityCoverage | Self::Accuracy)
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fd => "fd",
            Self::Sfid => "sfid",
            Self::InceptionScore => "is",
            Self::PrecisionRecall => "pr",
            Self::DensityCoverage => "dc",
            Self::Kid => "kid",
            Self::FdInfinity => "fd-inf",
            Self::PerClass => "per-class",
            Self::Accuracy => "accuracy",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name);
        Self::ALL
            .into_iter()
            .find(|metric| metric.name() == text)
            .ok_or_else(|| unknown("metric", text, &names))
    }
}

/// One kind of number in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Fréchet distance of the pooled features.
    Fd,
    /// Fréchet distance of the spatial features.
    Sfid,
    /// Inception Score as torch-fidelity computes it.
    Is,
    /// Inception Score as ADM's evaluator computes it.
    IsAdm,
    /// Share of samples inside the reference.
    Precision,
    /// Share of the reference inside the samples.
    Recall,
    /// How many balls of the reference a sample lies in, relative to their number of neighbours.
    Density,
    /// Share of the reference's balls that hold a sample.
    Coverage,
    /// Kernel distance.
    Kid,
    /// Fréchet distance, extrapolated to infinitely many samples.
    FdInf,
    /// Fréchet distance of one class.
    PerClass,
    /// Accuracy of the network on the samples: first top-1, then top-5.
    Accuracy,
}
