//! What the machine can do at most: the rates of a large matrix product and of reading memory, for shares of the peak.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::kernels::linear;
use crate::runtime::error::Result;

/// Side of the product that is timed, and number of products that are timed together. A CUDA device needs large ones, and
/// several in its queue: their start takes longer than a small product.
fn timed(device: Device) -> (i64, usize) {
    if device == Device::Cpu { (2048, 1) } else { (8192, 10) }
}

/// Products timed; the fastest counts.
const ROUNDS: usize = 5;

/// FLOP/s of a large product in `kind` on `device`, the best of five, through the quickest library that libtorch has linked
/// in (see [`linear`]): 2048³ on a CPU, ten of 8192³ in a row on a CUDA device.
///
/// # Errors
/// When memory runs out.
pub fn product_peak(device: Device, kind: Kind) -> Result<f64> {
    let (side, products) = timed(device);
    let a = Tensor::f_ones([side, side], (kind, device))?;
    let b = Tensor::f_ones([side, side], (kind, device))?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut product = linear(&a, &b, None)?;
        for _ in 1..products {
            product = linear(&a, &b, None)?;
        }
        // Reading a number waits for the device.
        let _ = product.f_get(0)?.f_get(0)?.f_double_value(&[])?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(2.0 * (side as f64).powi(3) * products as f64 / best)
}

/// FLOPs that [`product_peak`] computes.
pub fn peak_flops(device: Device) -> f64 {
    let (side, products) = timed(device);
    2.0 * (side as f64).powi(3) * (products * ROUNDS) as f64
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
