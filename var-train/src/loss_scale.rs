//! The factor of the loss in fp16 training. It keeps small gradients above the smallest fp16 number.
//!
//! Source: `utils/amp_sc.py` of the published code (there the factor may be 2¹⁶ for one step
//! before it returns to 2¹⁵; here it does not exceed 2¹⁵).

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// The factor at the start.
const START: f64 = 2048.0;
/// The largest factor: beyond it the loss itself overflows.
const MOST: f64 = 32768.0;
/// The smallest factor: gradients that overflow below it overflow without a factor.
const LEAST: f64 = 1.0 / 1024.0;
/// Steps without overflow after which the factor doubles.
const PATIENCE: u32 = 1000;

/// The factor, and the steps since its last change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScale {
    factor: f64,
    clean: u32,
}

impl Default for LossScale {
    /// The start of a run: 2¹¹.
    fn default() -> Self {
        Self { factor: START, clean: 0 }
    }
}

impl LossScale {
    /// Multiplies the loss and divides the gradients: a power of two.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Notes whether the gradients of a step were finite. 1000 finite steps in a row double the factor, up to 2¹⁵; an
    /// overflow halves it.
    ///
    /// # Errors
    /// When gradients overflow at the smallest factor.
    pub(crate) fn update(&mut self, finite: bool) -> Result<()> {
        if finite {
            self.clean += 1;
            if self.clean >= PATIENCE {
                *self = Self { factor: (2.0 * self.factor).min(MOST), clean: 0 };
            }
            return Ok(());
        }
        *self = Self { factor: 0.5 * self.factor, clean: 0 };
        if self.factor < LEAST {
            return Err(Error::Diverged(format!(
                "the gradient is not finite in fp16, even with the loss times {}",
                2.0 * self.factor
            )));
        }
        Ok(())
    }

    /// The numbers for a checkpoint.
    pub(crate) fn to_map(self) -> BTreeMap<String, f64> {
        BTreeMap::from([
            ("loss_scale".into(), self.factor),
            ("loss_scale_steps".into(), f64::from(self.clean)),
        ])
    }

    /// Reads the numbers of a checkpoint.
    ///
    /// # Errors
    /// When a number is missing or out of range.
    pub(crate) fn from_map(numbers: &BTreeMap<String, f64>) -> Result<Self> {
        let found = (numbers.get("loss_scale"), numbers.get("loss_scale_steps"));
        match found {
            (Some(&factor), Some(&clean))
                if (LEAST..=MOST).contains(&factor) && (0.0..f64::from(PATIENCE)).contains(&clean) =>
            {
                Ok(Self { factor, clean: clean as u32 })
            }
            _ => {
                Err(Error::config(format!("the checkpoint's loss_scale and loss_scale_steps are {found:?}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_finite_steps_double_it_up_to_the_cap() {
        let mut scale = LossScale::default();
        let mut after = |steps: u32| {
            for _ in 0..steps {
                scale.update(true).unwrap();
            }
            scale.factor()
        };
        assert_eq!([after(999), after(1), after(999), after(1)], [2048.0, 4096.0, 4096.0, 8192.0]);
        assert_eq!(
            [after(1000), after(1000), after(1000), after(5000)],
            [16384.0, 32768.0, 32768.0, 32768.0]
        );
    }

    #[test]
    fn an_overflow_halves_it_and_begins_the_count_anew() {
        let mut scale = LossScale::default();
        for _ in 0..999 {
            scale.update(true).unwrap();
        }
        scale.update(false).unwrap();
        assert_eq!(scale.factor(), 1024.0);
        for _ in 0..999 {
            scale.update(true).unwrap();
        }
        assert_eq!(scale.factor(), 1024.0);
        scale.update(true).unwrap();
        assert_eq!(scale.factor(), 2048.0);
    }

    #[test]
    fn overflow_at_every_factor_is_divergence() {
        let mut scale = LossScale::default();
        let halvings = (0..100).take_while(|_| scale.update(false).is_ok()).count();
        assert_eq!(halvings, 21);
        assert!(scale.update(false).unwrap_err().to_string().contains("not finite in fp16"));
    }

    #[test]
    fn a_checkpoint_gives_it_back() {
        let mut scale = LossScale::default();
        scale.update(false).unwrap();
        scale.update(true).unwrap();
        assert_eq!(LossScale::from_map(&scale.to_map()).unwrap(), scale);
        assert!(LossScale::from_map(&BTreeMap::new()).is_err());
    }
}
