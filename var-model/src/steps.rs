//! The steps that generate an image: which tokens are predicted together, and where they stand.
//!
//! A token sees the tokens of its own step and of all earlier steps, in both orders. What the next step gets as its input
//! is in [`TransformerConfig::model_input`] for training, and in the sampler for sampling.

use std::ops::Range;

use tch::Tensor;
use var_tokenizer::quantizer::Quantizer;

use crate::config::TransformerConfig;
use crate::error::{Error, Result};
use crate::order::Order;

/// Where a step stands in the token maps, for its random draws and its names in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the token map.
    pub scale: usize,
    /// Positions in this map.
    pub within: Range<usize>,
}

impl TransformerConfig {
    /// Number of steps that generate an image: one per scale, or one per token.
    pub fn steps(&self) -> usize {
        match self.order {
            Order::NextScale => self.schedule.scales(),
            Order::Raster => self.schedule.tokens(),
        }
    }

    /// Positions of step `k` in the token sequence.
    pub fn step(&self, k: usize) -> Range<usize> {
        match self.order {
            Order::NextScale => self.schedule.range(k),
            Order::Raster => k..k + 1,
        }
    }

    /// Number of tokens of the largest step.
    pub(crate) fn largest_step(&self) -> usize {
        match self.order {
            Order::NextScale => self.schedule.last_side().pow(2),
            Order::Raster => 1,
        }
    }

    /// Where each of the first `steps` steps ends, which is also the number of tokens that it sees.
    pub(crate) fn ends(&self, steps: usize) -> Vec<i64> {
        (0..steps).map(|k| self.step(k).end as i64).collect()
    }

    /// Where step `k` stands in the token maps.
    pub(crate) fn place(&self, k: usize) -> Place {
        match self.order {
            Order::NextScale => Place { scale: k, within: 0..self.schedule.range(k).len() },
            Order::Raster => Place { scale: 0, within: self.step(k) },
        }
    }

    /// The token map of each position, `[L]`.
    pub(crate) fn scale_of_positions(&self) -> Tensor {
        let lengths = self.schedule.lengths();
        let scales: Vec<i64> =
            (0..).zip(&lengths).flat_map(|(k, &length)| std::iter::repeat_n(k, length)).collect();
        Tensor::from_slice(&scales)
    }

    /// How far step `k` is between the first (0) and the last (1); 0 for a single step. Guidance rises with it.
    pub(crate) fn progress(&self, k: usize) -> f64 {
        match self.steps() {
            0 | 1 => 0.0,
            steps => k as f64 / (steps - 1) as f64,
        }
    }

    /// Input vectors for the tokens after the first step, `[B, L − l_1, z]`, from all ids `[B, L]`: teacher forcing.
    ///
    /// # Errors
    /// When the ids do not cover the token maps.
    pub fn model_input(&self, quantizer: &Quantizer, ids: &Tensor) -> Result<Tensor> {
        match self.order {
            Order::NextScale => Ok(quantizer.to_model_input(ids, self.schedule.scales())?),
            Order::Raster => {
                let (_, found) = ids.size2()?;
                let tokens = self.schedule.tokens() as i64;
                if found != tokens {
                    return Err(Error::Config(format!("{found} ids for {tokens} tokens")));
                }
                Ok(tch::no_grad(|| quantizer.codebook().vectors(&ids.narrow(1, 0, tokens - 1))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use var_tokenizer::ScaleSchedule;

    #[test]
    fn steps_of_both_orders_tile_the_tokens() {
        let mut config = TransformerConfig::published(2);
        for (order, schedule, steps) in [(Order::NextScale, "1,2,4", 3), (Order::Raster, "4", 16)] {
            config.order = order;
            config.schedule = schedule.parse().unwrap();
            config.validate().unwrap();
            assert_eq!(config.steps(), steps);
            let mut end = 0;
            for k in 0..steps {
                assert_eq!(config.step(k).start, end);
                end = config.step(k).end;
                let place = config.place(k);
                assert_eq!(
                    config.schedule.range(place.scale).start + place.within.start,
                    config.step(k).start
                );
                assert_eq!(place.within.len(), config.step(k).len());
            }
            assert_eq!(end, config.schedule.tokens());
            assert_eq!((config.progress(0), config.progress(steps - 1)), (0.0, 1.0));
        }
    }

    #[test]
    fn raster_with_several_maps_is_refused_with_what_to_do() {
        let mut config = TransformerConfig::published(2);
        config.order = Order::Raster;
        let told = config.validate().unwrap_err().to_string();
        assert!(told.contains("one token map") && told.contains("schedule=16"), "{told}");
        config.schedule = ScaleSchedule::new(vec![16]).unwrap();
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""order":"raster""#));
        assert_eq!(serde_json::from_str::<TransformerConfig>(&text).unwrap(), config);
        assert!("diagonal".parse::<Order>().unwrap_err().to_string().contains("next-scale or raster"));
    }
}
