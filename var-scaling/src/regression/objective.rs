//! What a fit makes small.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The sum that a fit makes small.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// `Σ (L̂ − L)² / 2`
    Squares,
    /// `Σ (ln L̂ − ln L)² / 2`
    LogSquares,
    /// `Σ (ln(L̂ − E) − ln(L − E))² / 2` for a given E: a line in log-log. Its rows hold L − E.
    LogLog,
    /// `Σ Huber_δ(ln L̂ − ln L)`
    Huber(f64),
}

impl FromStr for Objective {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let huber = || {
            let delta: f64 = text.strip_prefix("huber=")?.parse().ok()?;
            (delta > 0.0 && delta.is_finite()).then_some(Self::Huber(delta))
        };
        match text {
            "squares" => Ok(Self::Squares),
            "log-squares" => Ok(Self::LogSquares),
            "loglog" => Ok(Self::LogLog),
            _ => huber().ok_or_else(|| {
                Error::config("expected squares, log-squares, loglog or huber=DELTA, for example huber=1e-3")
            }),
        }
    }
}

impl fmt::Display for Objective {
    /// As in fits.json.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Squares => f.write_str("squares"),
            Self::LogSquares => f.write_str("log_squares"),
            Self::LogLog => f.write_str("loglog_squares"),
            Self::Huber(delta) => write!(f, "huber={delta}"),
        }
    }
}

impl Objective {
    /// Whether it is a sum of squares.
    pub(super) fn is_least_squares(self) -> bool {
        !matches!(self, Self::Huber(_))
    }

    /// The residual of a value of the law.
    pub(super) fn residual(self, law: f64, loss: f64) -> f64 {
        match self {
            Self::Squares => law - loss,
            _ => (law / loss).ln(),
        }
    }

    /// First and second derivative of the residual by the value of the law.
    pub(super) fn slopes(self, law: f64) -> (f64, f64) {
        match self {
            Self::Squares => (1.0, 0.0),
            _ => (1.0 / law, -1.0 / (law * law)),
        }
    }

    /// The penalty of a residual, with two derivatives.
    pub(super) fn penalty(self, r: f64) -> (f64, f64, f64) {
        match self {
            Self::Huber(delta) if r.abs() > delta => {
                (delta * (r.abs() - delta / 2.0), delta * r.signum(), 0.0)
            }
            _ => (r * r / 2.0, r, 1.0),
        }
    }
}
