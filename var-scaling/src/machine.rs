//! This machine, and its assumed speed.

use serde::{Deserialize, Serialize};

/// The machine of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SweepMachine {
    /// Model of the processor.
    pub processor: String,
    /// Number of cores that the process may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Operating system and architecture.
    pub system: String,
}

impl SweepMachine {
    /// The machine of this process; unknown parts are empty or 0.
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            text.lines()
                .find(|l| l.starts_with(key))
                .and_then(|l| l.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| "unknown processor".into()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_mib: memory / 1024,
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// FLOPs per second of wide models on two cores with bf16 products.
const WIDE_RATE: f64 = 3e11;
/// Width at which the rate is half of that.
const HALF_WIDTH: f64 = 150.0;

/// Assumed FLOPs per second in training at this width: `given`, or measured on two cores with AVX-512 (36, 81, 127 and
/// 173 GFLOP/s at widths 32, 64, 128 and 192).
pub(crate) fn rate(width: usize, given: Option<f64>) -> f64 {
    let width = width as f64;
    given.unwrap_or(WIDE_RATE * width / (width + HALF_WIDTH)).max(1.0)
}

/// The assumed speed in words.
pub(crate) fn assumption(given: Option<f64>) -> String {
    match given {
        Some(rate) => format!("{}/s (given)", crate::quantity::flops(rate)),
        None => "two CPU cores with bf16".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_with_the_width_and_a_given_one_wins() {
        assert!(rate(64, None) > rate(32, None));
        assert_eq!(rate(64, Some(1e15)), 1e15);
        assert!(SweepMachine::here().cores >= 1);
    }
}
