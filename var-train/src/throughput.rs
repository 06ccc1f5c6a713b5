//! How fast training goes: pictures, tokens and FLOPs a second, the share of the machine's peak (MFU), and the
//! share of the time that went into waiting for data.

use std::time::Duration;

use serde_json::{Map, Value};
use tch::{Device, Kind};
use var_tokenizer::torch::product_peak;

use crate::distributed::Ranks;
use crate::error::{Error, Result};

/// Peak of one rank in FLOP/s, in place of a measurement.
const PEAK: &str = "VAR_PEAK_FLOPS";
/// FLOPs of a measurement: five products of 2048³.
const MEASUREMENT: f64 = 5.0 * 2.0 * 2048.0 * 2048.0 * 2048.0;
/// The measurement may cost this share of a run's FLOPs. It does them at full speed and steps do not, so that
/// it takes a smaller share of the time.
const WORTH: f64 = 0.1;

/// What a step costs.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// FLOPs of forward and backward over one picture.
    pub flops: f64,
    /// The kind that products are computed in.
    pub compute: Kind,
}

/// Sums since the last line of the log. They cover steps alone: neither validations nor checkpoints.
#[derive(Debug)]
pub struct Throughput {
    flops: f64,
    tokens: usize,
    /// FLOP/s of all ranks together; 0 where it is not known.
    peak: f64,
    seconds: f64,
    pictures: u64,
    /// Seconds waited for data, as counted at the last line.
    waited: f64,
}

impl Throughput {
    /// Counts for pictures of `tokens` tokens each, of which the run has still to see `pictures`. Measures the
    /// peak of a matrix product on all ranks at once, if that is little beside the run;
    /// `VAR_PEAK_FLOPS` (of one rank) takes its place.
    ///
    /// # Errors
    /// When memory runs out, another rank is lost, or `VAR_PEAK_FLOPS` is no number.
    pub fn start(cost: Cost, device: Device, tokens: usize, pictures: u64, ranks: Ranks) -> Result<Self> {
        let mut peak = [match std::env::var(PEAK) {
            Ok(text) => {
                text.trim().parse::<f64>().ok().filter(|p| p.is_finite() && *p >= 0.0).ok_or_else(|| {
                    Error::config(format!(
                        "{PEAK} is '{text}'; expected the FLOP/s of one rank, as in 9.9e14"
                    ))
                })?
            }
            Err(_) if MEASUREMENT * ranks.size() as f64 <= WORTH * cost.flops * pictures as f64 => {
                product_peak(device, cost.compute)?
            }
            Err(_) => 0.0,
        }];
        ranks.sum(&mut peak)?;
        let [peak] = peak;
        Ok(Self { flops: cost.flops, tokens, peak, seconds: 0.0, pictures: 0, waited: 0.0 })
    }

    /// Adds a step over `pictures` pictures (of all ranks) that took `time`.
    pub fn add(&mut self, pictures: usize, time: Duration) {
        self.pictures += pictures as u64;
        self.seconds += time.as_secs_f64();
    }

    /// Writes the figures since the last call into `values` and begins anew. `waited` are the seconds that
    /// this rank has waited for data since the start.
    pub fn report(&mut self, waited: f64, values: &mut Map<String, Value>) {
        let seconds = self.seconds.max(1e-9);
        let images = self.pictures as f64 / seconds;
        let flops = images * self.flops;
        let mut put = |key: &str, value: f64| values.insert(key.into(), value.into());
        put("images_per_second", images);
        put("tokens_per_second", images * self.tokens as f64);
        put("flops_per_second", flops);
        if self.peak > 0.0 {
            put("mfu", flops / self.peak);
        }
        put("data_wait", (waited - self.waited).max(0.0) / seconds);
        (self.seconds, self.pictures, self.waited) = (0.0, 0, waited);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_cover_the_steps_since_the_last_line() {
        let mut throughput =
            Throughput { flops: 1e6, tokens: 21, peak: 1e9, seconds: 0.0, pictures: 0, waited: 0.0 };
        for (waited, expected) in [(0.5, 0.25), (0.7, 0.1)] {
            throughput.add(60, Duration::from_millis(1500));
            throughput.add(20, Duration::from_millis(500));
            let mut values = Map::new();
            throughput.report(waited, &mut values);
            let value = |key: &str| values[key].as_f64().unwrap();
            assert_eq!(value("images_per_second"), 40.0);
            assert_eq!(value("tokens_per_second"), 840.0);
            assert_eq!(value("flops_per_second"), 4e7);
            assert_eq!(value("mfu"), 0.04);
            assert!((value("data_wait") - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn a_short_run_measures_no_peak() {
        let cost = Cost { flops: 1e6, compute: Kind::Float };
        let mut throughput = Throughput::start(cost, Device::Cpu, 21, 100, Ranks::ALONE).unwrap();
        let mut values = Map::new();
        throughput.report(0.0, &mut values);
        assert!(values.contains_key("flops_per_second") && !values.contains_key("mfu"));
    }
}
