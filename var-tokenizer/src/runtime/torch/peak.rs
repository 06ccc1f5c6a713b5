//! What the machine can do at most: the rates of a large matrix product and of reading memory, for shares of the peak.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::kernels::linear;
use crate::runtime::error::Result;

/// Side of the product that is timed.
const SIDE: i64 = 2048;
/// Products timed; the fastest counts.
const ROUNDS: usize = 5;

/// FLOP/s of a 2048³ product in `kind` on `device`, the best of five, through the quickest library that
/// libtorch has linked in (see [`linear`]).
///
/// # Errors
/// When memory runs out.
pub fn product_peak(device: Device, kind: Kind) -> Result<f64> {
    let a = Tensor::f_ones([SIDE, SIDE], (kind, device))?;
    let b = Tensor::f_ones([SIDE, SIDE], (kind, device))?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let product = linear(&a, &b, None)?;
        // Reading a number waits for the device.
        let _ = product.f_get(0)?.f_get(0)?.f_double_value(&[])?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(2.0 * (SIDE as f64).powi(3) / best)
}

/// Values that are read to time memory: 1 GiB in `f32`, far more than any cache.
const VALUES: i64 = 1 << 28;

/// Bytes per second that a sum over 1 GiB reads on `device`, the best of five.
///
/// # Errors
/// When memory runs out.
pub fn read_peak(device: Device) -> Result<f64> {
    let values = Tensor::f_ones([VALUES], (Kind::Float, device))?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let _ = values.f_sum(Kind::Float)?.f_double_value(&[])?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(4.0 * VALUES as f64 / best)
}
