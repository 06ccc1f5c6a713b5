//! What a fit is given, and the level of its intervals.

use super::power::Mode;
use crate::error::{Error, Result};
use crate::result_line::Metric;

/// What is given, what is fitted, and the level of the intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// Irreducible part of each metric, in the order of [`Metric::ALL`].
    pub irreducible: [Mode; 4],
    /// Level of the intervals, for example 0.95.
    pub level: f64,
}

impl Default for FitOptions {
    /// Losses: fitted. Error rates: none (given as 0), as in the published form.
    fn default() -> Self {
        let irreducible = [Mode::Fitted, Mode::Fitted, Mode::Given(0.0), Mode::Given(0.0)];
        Self { irreducible, level: 0.95 }
    }
}

impl FitOptions {
    /// The irreducible part of `metric`.
    pub(crate) fn irreducible_of(&self, metric: Metric) -> Mode {
        let place = Metric::ALL.iter().position(|other| *other == metric);
        place.and_then(|i| self.irreducible.get(i)).copied().unwrap_or(Mode::Fitted)
    }

    /// Sets the irreducible part from `metric=value` or `metric=fitted`.
    ///
    /// # Errors
    /// When the metric is unknown, or the value is neither a number from 0 on nor `fitted`.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let bad = || {
            Error::config(format!(
                "irreducible part {assignment}: expected METRIC=NUMBER (0 or more) or METRIC=fitted; the metrics are {}",
                Metric::keys()
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
