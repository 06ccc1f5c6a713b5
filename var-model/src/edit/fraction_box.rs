//! A rectangle in fractions of a photo.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A rectangle in fractions of height and width.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FractionBox {
    y0: f64,
    x0: f64,
    y1: f64,
    x1: f64,
}

impl FractionBox {
    /// The rectangle from (`y0`, `x0`) to (`y1`, `x1`).
    ///
    /// # Errors
    /// When a number is not from 0 to 1, or the rectangle has no area.
    pub fn new(y0: f64, x0: f64, y1: f64, x1: f64) -> Result<Self> {
        let found = Self { y0, x0, y1, x1 };
        if ![y0, x0, y1, x1].iter().all(|x| (0.0..=1.0).contains(x)) {
            return Err(Error::Config(format!(
                "box {found}: all four numbers must be fractions of the photo, from 0 to 1"
            )));
        }
        if y0 >= y1 || x0 >= x1 {
            return Err(Error::Config(format!("box {found} has no area: y0 must be below y1, x0 below x1")));
        }
        Ok(found)
    }

    /// The rows that it covers in a photo of `height` rows; both ends are rounded half to even.
    pub fn rows(&self, height: usize) -> Range<usize> {
        rounded(self.y0, self.y1, height)
    }

    /// The columns that it covers in a photo of `width` columns, rounded in the same way.
    pub fn columns(&self, width: usize) -> Range<usize> {
        rounded(self.x0, self.x1, width)
    }
}

fn rounded(from: f64, to: f64, length: usize) -> Range<usize> {
    let at = |x: f64| (x * length as f64).round_ties_even() as usize;
    at(from)..at(to)
}

impl fmt::Display for FractionBox {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{},{},{},{}", self.y0, self.x0, self.y1, self.x1)
    }
}

impl FromStr for FractionBox {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<f64> = text.split(',').map_while(|part| part.trim().parse().ok()).collect();
        match numbers[..] {
            [y0, x0, y1, x1] if text.split(',').count() == 4 => Self::new(y0, x0, y1, x1),
            _ => Err(Error::Config(format!(
                "box '{text}': expected four numbers y0,x0,y1,x1, e.g. 0.25,0.25,0.75,0.75"
            ))),
        }
    }
}
