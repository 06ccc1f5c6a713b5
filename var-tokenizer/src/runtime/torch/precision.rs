//! Which precision products are computed in.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use super::kernels::linear;
use crate::runtime::error::{Error, Result};
use crate::runtime::progress::tell;

/// What a person asks for with `--precision`. Parameters, optimizer, normalisation and losses stay in
/// `f32` whatever is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// On a CPU, measure both at the model's shapes and take the faster; on CUDA bf16.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// bfloat16 products with f32 accumulation.
    Bf16,
    /// 16-bit floats of IEEE 754, on CUDA devices; training needs a scaled loss with them.
    Fp16,
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "fp16" => Ok(Self::Fp16),
            _ => Err(Error::Config(format!("precision '{text}': expected auto, f32, bf16 or fp16"))),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        })
    }
}

impl Precision {
    /// `bf16`, `fp16` or `f32`: the precision that computes in `kind`.
    pub fn name_of(kind: Kind) -> &'static str {
        match kind {
            Kind::BFloat16 => "bf16",
            Kind::Half => "fp16",
            _ => "f32",
        }
    }

    /// The kind that this precision computes in; `None` while it is still to be measured. The inverse of
    /// [`Precision::name_of`].
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(Kind::Float),
            Self::Bf16 => Some(Kind::BFloat16),
            Self::Fp16 => Some(Kind::Half),
        }
    }

    /// The kind to compute in: [`Kind::Float`], [`Kind::BFloat16`] or [`Kind::Half`]. `product` is a typical matrix
    /// product of the model, `[rows, inner, columns]`, for example `[batch·tokens, width, 4·width]`;
    /// with `auto` both precisions are timed on it on a CPU, a few milliseconds each. On CUDA, `auto` is bf16.
    ///
    /// # Errors
    /// When the product does not fit into memory, and for fp16 on a processor.
    pub fn resolve(self, device: Device, product: [i64; 3]) -> Result<Kind> {
        match self {
            Self::F32 => Ok(Kind::Float),
            Self::Bf16 => {
                if device == Device::Cpu && emulates_bf16() {
                    tell(
                        "warning: this processor has no bf16 instructions and emulates them, many times slower than \
                         f32; precision auto chooses the faster of the two",
                    );
                }
                Ok(Kind::BFloat16)
            }
            Self::Fp16 if device == Device::Cpu => Err(Error::Config(
                "precision fp16 needs a CUDA device; on a processor use auto, f32 or bf16".into(),
            )),
            Self::Fp16 => Ok(Kind::Half),
            // From Ampere on, bf16 is faster at every size; on a GPU, a short product would time its start.
            Self::Auto if device != Device::Cpu => Ok(Kind::BFloat16),
            Self::Auto => {
                // A processor without bf16 instructions emulates them, a hundred times slower: a glance at
                // a small product spares it the large one.
                let [plain, brief] = time_products(device, GLANCE, 5)?;
                if brief > 8 * plain {
                    return Ok(Kind::Float);
                }
                let [plain, brief] = time_products(device, product, 9)?;
                // A tie goes to f32: bf16 must pay for its rounding.
                Ok(if brief.as_secs_f64() < 0.8 * plain.as_secs_f64() { Kind::BFloat16 } else { Kind::Float })
            }
        }
    }
}

/// Whether bf16 products are made of other instructions here.
fn emulates_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    let emulates = !std::is_x86_feature_detected!("avx512bf16");
    // Which other processors have them is not known here: nothing is said.
    #[cfg(not(target_arch = "x86_64"))]
    let emulates = false;
    emulates
}

/// A product of some ten microseconds, or some ten milliseconds where it is emulated.
const GLANCE: [i64; 3] = [192, 192, 192];

/// The quickest of `rounds` runs of one matrix product, in f32 and in bf16. Both in turn, so that what else the
/// machine does in these milliseconds falls on both.
fn time_products(device: Device, [rows, inner, columns]: [i64; 3], rounds: usize) -> Result<[Duration; 2]> {
    let _no_grad = tch::no_grad_guard();
    // Enough rows to keep all cores busy, few enough to stay within milliseconds.
    let flops_per_row = 2 * inner.max(1) * columns.max(1);
    let rows = rows.clamp(1, (1_000_000_000 / flops_per_row).max(16));
    let factors = |kind| -> Result<[Tensor; 2]> {
        Ok([
            Tensor::f_ones([rows, inner.max(1)], (kind, device))?,
            Tensor::f_ones([columns.max(1), inner.max(1)], (kind, device))?,
        ])
    };
    let factors = [factors(Kind::Float)?, factors(Kind::BFloat16)?];
    let once = |[a, b]: &[Tensor; 2]| -> Result<Duration> {
        let start = Instant::now();
        let _product = linear(a, b, None)?;
        Ok(start.elapsed())
    };
    let mut best = [Duration::MAX; 2];
    for round in 0..rounds {
        for (best, factors) in best.iter_mut().zip(&factors) {
            let duration = once(factors)?;
            // The first run builds the kernel; the quickest of the others is the least disturbed one.
            if round > 0 {
                *best = duration.min(*best);
            }
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_again_by_its_name() {
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            assert_eq!(Precision::name_of(kind).parse::<Precision>().unwrap().kind(), Some(kind));
        }
        assert_eq!(Precision::Auto.kind(), None);
    }

    #[test]
    fn precisions_are_read_as_they_are_written() {
        for text in ["auto", "f32", "bf16", "fp16"] {
            assert_eq!(text.parse::<Precision>().unwrap().to_string(), text);
        }
        assert!("fp8".parse::<Precision>().unwrap_err().to_string().contains("auto, f32, bf16 or fp16"));
    }

    #[test]
    fn a_named_precision_is_taken_and_auto_picks_one_of_the_two() {
        let shape = [64, 32, 64];
        assert_eq!(Precision::F32.resolve(Device::Cpu, shape).unwrap(), Kind::Float);
        assert_eq!(Precision::Bf16.resolve(Device::Cpu, shape).unwrap(), Kind::BFloat16);
        let refusal = Precision::Fp16.resolve(Device::Cpu, shape).unwrap_err().to_string();
        assert!(refusal.contains("needs a CUDA device"), "{refusal}");
        assert_eq!(Precision::Fp16.resolve(Device::Cuda(0), shape).unwrap(), Kind::Half);
        assert_eq!(Precision::Auto.resolve(Device::Cuda(0), shape).unwrap(), Kind::BFloat16);
        let auto = Precision::Auto.resolve(Device::Cpu, shape).unwrap();
        assert!([Kind::Float, Kind::BFloat16].contains(&auto));
    }
}
