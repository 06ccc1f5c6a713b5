//! How tokens are chosen from the logits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::TransformerConfig;
use crate::error::{Error, Result};
use crate::order::Order;

/// How tokens are chosen from the logits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingOptions {
    /// Guidance at the last step; 0: no guidance.
    pub cfg: f64,
    /// Guidance over the steps.
    #[serde(default)]
    pub guidance: Guidance,
    /// The scales with guidance; `None`: all. Scales after them are computed without the unconditional half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guided_scales: Option<ScaleRange>,
    /// Divides the guided logits before filtering; 1 changes nothing.
    #[serde(default)]
    pub temperature: Temperature,
    /// Draw among this many codes (0: all).
    pub top_k: usize,
    /// Draw among the most likely codes that together reach this probability (0: all).
    pub top_p: f64,
    /// Mix code vectors by a Gumbel softmax instead of drawing one. For images only, never for scores.
    pub more_smooth: bool,
}

impl Default for SamplingOptions {
    /// The published settings of evaluation.
    fn default() -> Self {
        Self {
            cfg: 1.5,
            guidance: Guidance::Ramp,
            guided_scales: None,
            temperature: Temperature::default(),
            top_k: 900,
            top_p: 0.96,
            more_smooth: false,
        }
    }
}

impl SamplingOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        if !self.cfg.is_finite() || self.cfg < 0.0 {
            return Err(Error::Config(format!("cfg is {}; it must be a number from 0 on", self.cfg)));
        }
        if let Some(bad) = self.temperature.values().iter().find(|t| !t.is_finite() || **t <= 0.0) {
            return Err(Error::Config(format!("temperature is {bad}; it must be a number above 0")));
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            return Err(Error::Config(format!("top-p is {}; it must be from 0 to 1", self.top_p)));
        }
        Ok(())
    }

    /// Checks that a model of `config` can do it.
    ///
    /// # Errors
    /// When a scale or the number of temperatures does not fit the schedule, or in raster order.
    pub(crate) fn check_model(&self, config: &TransformerConfig) -> Result<()> {
        let scales = config.schedule.scales();
        let per_scale = self.temperature.values().len() > 1;
        if config.order == Order::Raster {
            for (asked, what) in [
                (self.more_smooth, "cannot mix codes; sample without more-smooth"),
                (self.guided_scales.is_some(), "has one scale; sample without guide-scales"),
                (per_scale, "has one scale; give one temperature"),
            ] {
                if asked {
                    return Err(Error::Config(format!("the model generates in raster order and {what}")));
                }
            }
        }
        if let Some(range) = self.guided_scales.filter(|range| range.last > scales) {
            return Err(Error::Config(format!(
                "guide-scales {range}: the model has {scales} scales; name scales from 1 to {scales}"
            )));
        }
        if per_scale && self.temperature.values().len() != scales {
            return Err(Error::Config(format!(
                "{} temperatures for {scales} scales; give one, or one per scale",
                self.temperature.values().len()
            )));
        }
        Ok(())
    }

    /// Guidance at step `k` of `config`.
    pub(super) fn guidance_at(&self, config: &TransformerConfig, k: usize) -> f64 {
        let scale = config.place(k).scale + 1;
        if self.guided_scales.is_some_and(|range| scale < range.first || scale > range.last) {
            return 0.0;
        }
        match self.guidance {
            Guidance::Ramp => self.cfg * config.progress(k),
            Guidance::Constant => self.cfg,
        }
    }

    /// Number of first steps that need the unconditional half.
    pub(crate) fn guided_steps(&self, config: &TransformerConfig) -> usize {
        match self.guided_scales {
            _ if self.cfg <= 0.0 => 0,
            Some(range) => range.last,
            None => config.steps(),
        }
    }
}

/// Guidance over the steps: over the scales, or in a raster scan over the tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guidance {
    /// Linearly from 0 at the first step, as published.
    #[default]
    Ramp,
    /// The same at every step.
    Constant,
}

/// One temperature for all scales, or one per scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Temperature {
    /// The same at every scale.
    Same(f64),
    /// One per scale.
    PerScale(Vec<f64>),
}

impl Temperature {
    fn values(&self) -> &[f64] {
        match self {
            Self::Same(value) => std::slice::from_ref(value),
            Self::PerScale(values) => values,
        }
    }

    /// That of scale `k`.
    pub(super) fn at(&self, k: usize) -> f64 {
        match self {
            Self::Same(value) => *value,
            Self::PerScale(values) => values.get(k).copied().unwrap_or(1.0),
        }
    }
}

impl Default for Temperature {
    fn default() -> Self {
        Self::Same(1.0)
    }
}

impl From<f64> for Temperature {
    fn from(value: f64) -> Self {
        Self::Same(value)
    }
}

impl fmt::Display for Temperature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values().iter().map(f64::to_string).collect();
        f.write_str(&values.join(","))
    }
}

impl FromStr for Temperature {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| {
            part.trim().parse::<f64>().map_err(|_| {
                Error::Config(format!(
                    "'{part}' is not a temperature; write a number, or one per scale: 1.1,1.1,1"
                ))
            })
        };
        let values = text.split(',').map(number).collect::<Result<Vec<f64>>>()?;
        Ok(match values.as_slice() {
            [only] => Self::Same(*only),
            _ => Self::PerScale(values),
        })
    }
}

/// Scales from `first` to `last`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScaleRange {
    first: usize,
    last: usize,
}

impl fmt::Display for ScaleRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for ScaleRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let range =
            text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match range {
            Some((first, last)) if (1..=last).contains(&first) => Ok(Self { first, last }),
            _ => Err(Error::Config(format!(
                "'{text}' is not a range of scales; write FROM-TO, counted from 1, e.g. 1-8"
            ))),
        }
    }
}

impl TryFrom<String> for ScaleRange {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ScaleRange> for String {
    fn from(range: ScaleRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_temperatures_are_read_as_they_are_written() {
        for text in ["1-8", "3-3"] {
            assert_eq!(text.parse::<ScaleRange>().unwrap().to_string(), text);
        }
        for bad in ["0-3", "4-3", "3", "a-b", "-1-2", ""] {
            assert!(bad.parse::<ScaleRange>().unwrap_err().to_string().contains("FROM-TO"), "{bad}");
        }
        for text in ["1.1", "1.1,1,0.5"] {
            assert_eq!(text.parse::<Temperature>().unwrap().to_string(), text);
        }
        assert!("warm".parse::<Temperature>().is_err() && "1,,2".parse::<Temperature>().is_err());
    }

    #[test]
    fn settings_of_earlier_versions_are_read() {
        let before =
            r#"{"cfg":1.5,"guidance":"ramp","temperature":0.9,"top_k":900,"top_p":0.96,"more_smooth":false}"#;
        let options: SamplingOptions = serde_json::from_str(before).unwrap();
        assert_eq!(options, SamplingOptions { temperature: 0.9.into(), ..SamplingOptions::default() });
        assert_eq!(serde_json::to_string(&options).unwrap(), before);
        let after = SamplingOptions {
            guided_scales: Some("1-3".parse().unwrap()),
            temperature: "1.1,1,1,1".parse().unwrap(),
            ..options
        };
        let text = serde_json::to_string(&after).unwrap();
        assert!(text.contains(r#""guided_scales":"1-3","temperature":[1.1,1.0,1.0,1.0]"#), "{text}");
        assert_eq!(serde_json::from_str::<SamplingOptions>(&text).unwrap(), after);
    }

    #[test]
    fn guidance_ends_with_its_last_scale() {
        let config = TransformerConfig::published(2);
        let options = SamplingOptions {
            guided_scales: Some("3-8".parse().unwrap()),
            guidance: Guidance::Constant,
            ..SamplingOptions::default()
        };
        let guided: Vec<bool> = (0..10).map(|k| options.guidance_at(&config, k) > 0.0).collect();
        assert_eq!(guided, [false, false, true, true, true, true, true, true, false, false]);
        assert_eq!(options.guided_steps(&config), 8);
        assert_eq!(SamplingOptions::default().guided_steps(&config), 10);
        assert_eq!(SamplingOptions { cfg: 0.0, ..options }.guided_steps(&config), 0);
    }

    #[test]
    fn what_does_not_fit_the_schedule_is_refused() {
        let config = TransformerConfig::published(2);
        let plain = SamplingOptions::default();
        let told = |options: SamplingOptions| options.check_model(&config).unwrap_err().to_string();
        let far = SamplingOptions { guided_scales: Some("1-11".parse().unwrap()), ..plain.clone() };
        assert!(told(far).contains("10 scales"));
        let three = SamplingOptions { temperature: "1,1,1".parse().unwrap(), ..plain };
        assert!(told(three).contains("3 temperatures for 10 scales"));
    }
}
