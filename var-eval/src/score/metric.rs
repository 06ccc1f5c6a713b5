//! The metrics by name.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::features::preprocess::unknown;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Fréchet distance of the pooled features.
    Fd,
    /// Fréchet distance of the spatial features.
    Sfid,
    /// Inception Score, both conventions.
    InceptionScore,
    /// Improved precision and recall.
    PrecisionRecall,
    /// Density and coverage.
    DensityCoverage,
    /// Kernel distance.
    Kid,
    /// Fréchet distance extrapolated to infinitely many samples.
    FdInfinity,
    /// Fréchet distance of each class.
    PerClass,
    /// Share of samples whose class has the largest logit, and one of the five largest.
    Accuracy,
}

impl Metric {
    /// All that there are.
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

    /// Whether it needs the reference picture by picture.
    pub fn takes_reference_rows(self) -> bool {
        matches!(self, Self::PrecisionRecall | Self::DensityCoverage | Self::Kid | Self::PerClass)
    }

    /// Whether a bootstrap gives it an interval.
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
