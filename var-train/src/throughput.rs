//! Rates of training: images, tokens and FLOPs per second, the share of the machine's peak (MFU), and the share of the
//! time that steps wait for data.

use std::time::Duration;

use tch::{Device, Kind};
use var_tokenizer::torch::{peak_flops, product_peak};

use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::records::Rates;

/// Peak of one rank in FLOP/s, in place of a measurement.
const PEAK: &str = "VAR_PEAK_FLOPS";
/// The measurement may cost this share of a run's FLOPs. It takes a smaller share of the time, because it runs faster than
/// steps do.
const WORTH: f64 = 0.1;

/// The cost of an image.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// FLOPs of forward and backward over one image.
    pub flops: f64,
    /// The kind of the products.
    pub compute: Kind,
}

/// Sums over the steps since the last line of the log, without validations and checkpoints.
#[derive(Debug)]
pub(crate) struct Throughput {
    flops: f64,
    tokens: usize,
    /// FLOP/s of all ranks together; 0 where unknown.
    peak: f64,
    seconds: f64,
    pictures: u64,
    /// Seconds waited for data, as counted at the last line.
    waited: f64,
}

impl Throughput {
    /// Starts at zero, for images of `tokens` tokens; `pictures` of them are left in the run. Measures the peak of a matrix
    /// product on all ranks at once, if the run is long enough. `VAR_PEAK_FLOPS` (of one rank) replaces the measurement.
    ///
    /// # Errors
    /// When memory runs out, another rank is lost, or `VAR_PEAK_FLOPS` is not a number.
    pub(crate) fn start(
        cost: Cost,
        device: Device,
        tokens: usize,
        pictures: u64,
        ranks: Ranks,
    ) -> Result<Self> {
        let mut peak = [match std::env::var(PEAK) {
            Ok(text) => {
                text.trim().parse::<f64>().ok().filter(|p| p.is_finite() && *p >= 0.0).ok_or_else(|| {
                    Error::config(format!(
                        "{PEAK} is '{text}'; expected the FLOP/s of one rank, for example 9.9e14"
                    ))
                })?
            }
            Err(_) if peak_flops(device) * ranks.size() as f64 <= WORTH * cost.flops * pictures as f64 => {
                product_peak(device, cost.compute)?
            }
            Err(_) => 0.0,
        }];
        ranks.sum(&mut peak)?;
        let [peak] = peak;
        Ok(Self { flops: cost.flops, tokens, peak, seconds: 0.0, pictures: 0, waited: 0.0 })
    }

    /// Adds a step over `pictures` images (of all ranks) that took `time`.
    pub(crate) fn add(&mut self, pictures: usize, time: Duration) {
        self.pictures += pictures as u64;
        self.seconds += time.as_secs_f64();
    }

    /// The rates since the last call. `waited` are the seconds that this rank has waited for data since the start.
    pub(crate) fn report(&mut self, waited: f64) -> Rates {
        let seconds = self.seconds.max(1e-9);
        let images = self.pictures as f64 / seconds;
        let flops = images * self.flops;
        let rates = Rates {
            images_per_second: images,
            tokens_per_second: images * self.tokens as f64,
            flops_per_second: flops,
            mfu: (self.peak > 0.0).then(|| flops / self.peak),
            data_wait: (waited - self.waited).max(0.0) / seconds,
        };
        (self.seconds, self.pictures, self.waited) = (0.0, 0, waited);
        rates
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
            let rates = throughput.report(waited);
            assert_eq!(rates.images_per_second, 40.0);
            assert_eq!(rates.tokens_per_second, 840.0);
            assert_eq!(rates.flops_per_second, 4e7);
            assert_eq!(rates.mfu, Some(0.04));
            assert!((rates.data_wait - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn a_short_run_measures_no_peak() {
        let cost = Cost { flops: 1e6, compute: Kind::Float };
        let mut throughput = Throughput::start(cost, Device::Cpu, 21, 100, Ranks::ALONE).unwrap();
        assert_eq!(throughput.report(0.0).mfu, None);
    }
}
