//! Weights of the scales in the loss of the transformer.

use serde::{Deserialize, Serialize};
use var_tokenizer::ScaleSchedule;

use crate::error::{Error, Result};

/// How much each scale counts in the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected uniform, normal, or a list with one number per scale")]
pub enum ScaleWeights {
    /// A rule.
    Rule(Rule),
    /// One weight per scale, of which only the proportions count.
    List(Vec<f64>),
}

/// A rule that gives weights to the scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Every token counts the same, so a scale counts as its tokens (published).
    Uniform,
    /// A bell over the scales: the middle ones count most, the first and the last least (Kumbong et al., HMAR, 2025).
    Normal,
}

impl Default for ScaleWeights {
    fn default() -> Self {
        Self::Rule(Rule::Uniform)
    }
}

impl ScaleWeights {
    /// The weight of each token of an image, `L` numbers that sum to 1; `None` if all are the same.
    ///
    /// # Errors
    /// When a list does not fit the schedule, or its weights are not above 0.
    pub(crate) fn per_token(&self, schedule: &ScaleSchedule) -> Result<Option<Vec<f64>>> {
        let scales = match self {
            Self::Rule(Rule::Uniform) => return Ok(None),
            Self::Rule(Rule::Normal) => normal(schedule),
            Self::List(weights) => {
                if weights.len() != schedule.scales() {
                    return Err(Error::config(format!(
                        "model.scale_loss_weights has {} weights, but the tokens have {} scales; give one per scale",
                        weights.len(),
                        schedule.scales()
                    )));
                }
                if weights.iter().any(|w| !w.is_finite() || *w < 0.0) || weights.iter().sum::<f64>() <= 0.0 {
                    return Err(Error::config(
                        "model.scale_loss_weights must be numbers from 0 on, and not all 0",
                    ));
                }
                weights.clone()
            }
        };
        let total: f64 = scales.iter().sum();
        let lengths = schedule.lengths();
        let tokens = scales.iter().zip(&lengths);
        Ok(Some(
            tokens
                .flat_map(|(weight, &length)| std::iter::repeat_n(weight / total / length as f64, length))
                .collect(),
        ))
    }
}

/// `w_k = exp(−z²/2)`, where `z` is the standardised side of the scale as far from the end as `k` is from the start.
fn normal(schedule: &ScaleSchedule) -> Vec<f64> {
    let scales = schedule.scales() as f64;
    if schedule.scales() < 2 {
        return vec![1.0; schedule.scales()];
    }
    let sides: Vec<f64> = schedule.sides().iter().map(|&s| s as f64 / schedule.last_side() as f64).collect();
    let mean = sides.iter().sum::<f64>() / scales;
    let variance = sides.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (scales - 1.0);
    sides.iter().rev().map(|s| (-(s - mean).powi(2) / variance / 2.0).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights of whole scales.
    fn scales(weights: &ScaleWeights, schedule: &str) -> Vec<f64> {
        let schedule: ScaleSchedule = schedule.parse().unwrap();
        let tokens = weights.per_token(&schedule).unwrap().unwrap();
        (0..schedule.scales()).map(|k| tokens[schedule.range(k)].iter().sum()).collect()
    }

    #[test]
    fn the_bell_has_the_published_values() {
        let bell = ScaleWeights::Rule(Rule::Normal);
        for (schedule, expected) in [
            (
                "1,2,3,4,5,6,8,10,13,16",
                &[0.0247, 0.0642, 0.1150, 0.1379, 0.1402, 0.1329, 0.1208, 0.1054, 0.0882, 0.0709][..],
            ),
            ("1,2,3,4,6,8", &[0.0727, 0.1756, 0.2356, 0.2189, 0.1756, 0.1216]),
        ] {
            let found = scales(&bell, schedule);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 5.1e-5, "{found} {expected}");
            }
        }
        assert_eq!(scales(&bell, "8"), [1.0]);
    }

    #[test]
    fn of_a_list_only_the_proportions_count_and_it_must_fit() {
        let list = ScaleWeights::List(vec![1.0, 3.0]);
        assert_eq!(scales(&list, "1,2"), scales(&ScaleWeights::List(vec![2.0, 6.0]), "1,2"));
        assert_eq!(scales(&list, "1,2"), [0.25, 0.75]);
        let told = |weights: Vec<f64>| {
            let schedule = "1,2".parse().unwrap();
            ScaleWeights::List(weights).per_token(&schedule).unwrap_err().to_string()
        };
        assert!(told(vec![1.0]).contains("1 weights, but the tokens have 2 scales"));
        assert!(told(vec![1.0, -1.0]).contains("from 0 on") && told(vec![0.0, 0.0]).contains("not all 0"));
        assert_eq!(ScaleWeights::default().per_token(&"1,2".parse().unwrap()).unwrap(), None);
    }
}
