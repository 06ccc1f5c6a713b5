//! One power law for users of this library: fit, read, forecast, plot.

use std::fmt;
use std::path::Path;

use super::law::{Coefficient, Coefficients, FittedLaw, Status, Subject};
use super::point::Point;
use super::power::{Curve, Mode};
use crate::error::{Error, Result};
use crate::plot::law_chart;

/// Level of the intervals.
const LEVEL: f64 = 0.95;

/// A law `y = c + (β·x)^α` with `α < 0`, fitted to points. The intervals have a level of 95 %.
///
/// ```
/// use var_scaling::{Point, PowerLaw};
///
/// let points: Vec<Point> = [1.0, 3.0, 10.0, 30.0, 100.0_f64]
///     .into_iter()
///     .map(|x| Point::new(x, 2.0 + 3.0 * x.powf(-0.25)))
///     .collect();
/// let law = PowerLaw::fit(&points)?;
/// assert!((law.alpha().value + 0.25).abs() < 1e-4);
/// assert!((law.forecast(1000.0) - 2.533).abs() < 1e-3);
/// println!("{law}");
/// # Ok::<(), var_scaling::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PowerLaw {
    law: FittedLaw,
    coefficients: Coefficients,
    curve: Curve,
}

impl PowerLaw {
    /// Fits `α`, `β` and the irreducible part `c`.
    ///
    /// Points of the same size are repetitions (seeds) of one measurement. The fit uses their means.
    ///
    /// # Errors
    /// [`Error::NoLaw`] when the points do not give an exponent: fewer than four sizes, numbers that are not positive, values
    /// that do not fall, or a fit that ends at a bound.
    pub fn fit(points: &[Point]) -> Result<Self> {
        Self::with(points, Mode::Fitted)
    }

    /// Fits `α` and `β`; the irreducible part is given, for example 0.
    ///
    /// # Errors
    /// As [`PowerLaw::fit`]; when `irreducible` is negative, not finite, or not below all values.
    pub fn fit_above(irreducible: f64, points: &[Point]) -> Result<Self> {
        if !irreducible.is_finite() || irreducible < 0.0 {
            return Err(Error::config(format!("irreducible part {irreducible}: expected 0 or more")));
        }
        Self::with(points, Mode::Given(irreducible))
    }

    fn with(points: &[Point], mode: Mode) -> Result<Self> {
        let subject =
            Subject { name: "y(x)".into(), quantity: "y".into(), variable: "x".into(), unit: "1".into() };
        Self::of(FittedLaw::fit(subject, points.to_vec(), mode, LEVEL, None))
    }

    /// The law of an entry of `fits.json`, or of a [`FittedLaw`] from elsewhere.
    ///
    /// # Errors
    /// [`Error::NoLaw`] when it has no coefficients.
    pub fn of(law: FittedLaw) -> Result<Self> {
        match (law.coefficients, law.curve()) {
            (Some(coefficients), Some(curve)) => Ok(Self { law, coefficients, curve }),
            _ => Err(Error::NoLaw { reason: law.verdict }),
        }
    }

    /// The exponent `α`, below 0, with its interval.
    pub fn alpha(&self) -> Coefficient {
        self.coefficients.alpha
    }

    /// The natural logarithm of `β` (per unit of `x`), with its interval.
    pub fn ln_beta(&self) -> Coefficient {
        self.coefficients.ln_beta
    }

    /// The irreducible part `c`, in the unit of `y`, with its interval. The interval of a given part has no width.
    pub fn irreducible(&self) -> Coefficient {
        self.coefficients.irreducible
    }

    /// Pearson's correlation of `ln x` and `ln(y − c)`; near −1 for points on the law. `None` without spread.
    pub fn correlation(&self) -> Option<f64> {
        self.law.pearson
    }

    /// Whether the points determine the law: all intervals have both ends, and the sizes scatter no more than their
    /// seeds.
    pub fn is_determined(&self) -> bool {
        self.law.status == Status::Determined
    }

    /// The value of the law at `x > 0`. Outside the range of the points it is an extrapolation.
    pub fn forecast(&self, x: f64) -> f64 {
        self.curve.at(x)
    }

    /// The law with its points, tests and notes, as in `fits.json`.
    pub fn details(&self) -> &FittedLaw {
        &self.law
    }

    /// Draws points and law. Writes a PNG image if `path` ends in `.png`, else an SVG image.
    ///
    /// # Errors
    /// When the drawing fails or the file cannot be written.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        law_chart::chart(&self.law, &self.curve).write_file(path.as_ref())
    }
}

impl fmt::Display for PowerLaw {
    /// Form, coefficients with intervals, and verdict, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law.form, self.law.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(c: f64) -> Vec<Point> {
        (0..6).map(|i| 4_f64.powi(i)).map(|x| Point::new(x, c + 3.0 * x.powf(-0.3))).collect()
    }

    #[test]
    fn exact_points_give_coefficients_correlation_forecast_and_plots() {
        let law = PowerLaw::fit(&points(2.0)).unwrap();
        assert!((law.alpha().value + 0.3).abs() < 1e-6 && law.alpha().closed());
        assert!((law.irreducible().value - 2.0).abs() < 1e-5);
        assert!(law.correlation().unwrap() < -0.999_999 && law.is_determined());
        assert!((law.forecast(1e4) - (2.0 + 3.0 * 1e4_f64.powf(-0.3))).abs() < 1e-4);
        assert!(law.to_string().starts_with("L = L∞ + (β·x)^α: exponent −0.300"), "{law}");
        let folder = tempfile::tempdir().unwrap();
        for name in ["law.svg", "law.png"] {
            law.plot(folder.path().join(name)).unwrap();
        }
        assert!(std::fs::read_to_string(folder.path().join("law.svg")).unwrap().contains("<circle"));
        assert_eq!(image::open(folder.path().join("law.png")).unwrap().width(), 1160);
    }

    #[test]
    fn a_given_irreducible_part_is_kept_and_a_bad_one_refused() {
        let law = PowerLaw::fit_above(0.0, &points(0.0)).unwrap();
        assert_eq!((law.irreducible().low, law.irreducible().high), (Some(0.0), Some(0.0)));
        for bad in [-1.0, f64::NAN, 7.0] {
            assert_eq!(PowerLaw::fit_above(bad, &points(0.0)).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn points_without_an_exponent_are_an_error_with_the_reason() {
        let repeated: Vec<Point> = points(2.0).into_iter().take(3).flat_map(|p| [p.clone(), p]).collect();
        let error = PowerLaw::fit(&repeated).unwrap_err();
        assert!(matches!(error, Error::NoLaw { .. }));
        assert!(error.to_string().contains("not enough sizes (found 3, at least 4"), "{error}");
        assert!(PowerLaw::fit(&[]).is_err());
        let bad: Vec<Point> = [-1.0, 0.0, f64::NAN, 2.0, 3.0].map(|x| Point::new(x, 1.0)).into();
        assert!(PowerLaw::fit(&bad).is_err());
    }
}
