//! `check-ranks`: runs every collective and an averaged backward pass on numbers with a known outcome. It tests ranks,
//! network and environment before a long run depends on them.

use std::time::Instant;

use serde::Serialize;
use tch::{Device, Kind, Tensor};
use var_tokenizer::weights::{Init, Parameters, Storage};

use super::ranks::{Ranks, fingerprints};
use crate::error::{Error, Result};

/// Numbers of the timed sum: 16 MB.
const TIMED: i64 = 4 << 20;
/// Rounds of the timed sum; the fastest counts.
const ROUNDS: usize = 5;
/// Steps of the averaged descent.
const STEPS: usize = 4;
/// Micro-batches per step.
const MICRO: usize = 3;

/// What a rank found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Number of the rank.
    pub rank: i64,
    /// Number of ranks.
    pub size: i64,
    /// Seconds of a sum over 16 MB, the best of five.
    pub all_reduce_seconds: f64,
    /// Fingerprints of the parameters, the same on all ranks.
    pub parameters: Vec<i64>,
    /// Fingerprints of the gradients, the same on all ranks.
    pub gradients: Vec<i64>,
}

/// Runs all checks on tensors of `device`.
///
/// # Errors
/// Names the first check whose outcome is wrong; or another rank is lost.
pub fn check(ranks: Ranks, device: Device) -> Result<Found> {
    let (rank, size) = (ranks.rank() as i64, ranks.size() as i64);
    collectives(ranks, rank, size, device)?;
    let mut best = f64::INFINITY;
    let large = Tensor::f_ones([TIMED], (Kind::Float, device))?;
    for _ in 0..ROUNDS {
        ranks.collective(|group| group.barrier())?;
        let began = Instant::now();
        ranks.collective(|group| group.all_reduce(&large))?;
        // Reading a number waits for the device.
        let _ = large.f_get(0)?.f_double_value(&[])?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    let (parameters, gradients) = descend(ranks, rank, device)?;
    Ok(Found { rank, size, all_reduce_seconds: best, parameters, gradients })
}

fn require(what: &str, found: &Tensor, expected: &[f64]) -> Result<()> {
    let found: Vec<f64> = Vec::try_from(found.to_kind(Kind::Double).to_device(Device::Cpu))?;
    if found == expected {
        return Ok(());
    }
    Err(Error::Distributed(format!("{what} gives {found:?}; expected {expected:?}")))
}

/// Rank r holds r + 1; all outcomes are small whole numbers.
fn collectives(ranks: Ranks, rank: i64, size: i64, device: Device) -> Result<()> {
    let sum = (size * (size + 1) / 2) as f64;
    let own = |n: i64| Tensor::f_full([n], rank + 1, (Kind::Float, device));
    let tensor = own(3)?;
    ranks.collective(|group| group.all_reduce(&tensor))?;
    require("all_reduce", &tensor, &[sum; 3])?;
    let tensors = [own(2)?, own(1)?.to_kind(Kind::Int64)];
    ranks.broadcast(&tensors)?;
    require("broadcast", &tensors[0], &[1.0; 2])?;
    require("broadcast of whole numbers", &tensors[1], &[1.0])?;
    let all = Tensor::f_zeros([size], (Kind::Float, device))?;
    let one = own(1)?;
    ranks.collective(|group| group.all_gather(&all, &one))?;
    let expected: Vec<f64> = (1..=size).map(|n| n as f64).collect();
    require("all_gather", &all, &expected)?;
    // Place p holds (p + 1) · (r + 1); rank r gets the sum over place r.
    let products = Tensor::f_arange_start(1, size + 1, (Kind::Float, device))? * (rank + 1);
    ranks.collective(|group| group.reduce_scatter(&one, &products))?;
    require("reduce_scatter", &one, &[sum * (rank + 1) as f64])?;
    ranks.collective(|group| group.barrier())
}

/// Trains a small network on different data on every rank: averaged gradients keep the parameters the same.
fn descend(ranks: Ranks, rank: i64, device: Device) -> Result<(Vec<i64>, Vec<i64>)> {
    let mut parameters = Parameters::new(device, Some(rank as u64), Storage::PLAIN);
    let first = parameters.builder().parameter("first", &[16, 8], Init::Uniform(0.5));
    let second = parameters.builder().parameter("second", &[1, 16], Init::Uniform(0.5));
    parameters.set_requires_grad(true);
    let tensors: Vec<Tensor> = parameters.entries().iter().map(|p| p.tensor.shallow_clone()).collect();
    ranks.broadcast(&tensors)?;
    ranks.average_gradients_of(&parameters)?;
    let mut gradients = Vec::new();
    for step in 0..STEPS {
        for micro in 0..MICRO {
            let count = (rank * 7 + (step * MICRO + micro) as i64 + 1) as f64;
            let input = (Tensor::f_arange(32, (Kind::Float, device))? * count).sin().view([4, 8]);
            let output = input.f_matmul(&first.tr())?.tanh().f_matmul(&second.tr())?;
            let loss = (output - count.cos()).square().mean(Kind::Float);
            ranks.backward(&(loss / MICRO as f64), micro + 1 == MICRO)?;
        }
        let mut found = Parameters::new(device, None, Storage::PLAIN);
        tch::no_grad(|| -> Result<()> {
            for (place, tensor) in tensors.iter().enumerate() {
                let gradient = tensor.grad();
                let copy =
                    found.builder().parameter(&place.to_string(), &gradient.size(), Init::Constant(0.0));
                copy.detach().f_copy_(&gradient)?;
                let _ = tensor.detach().f_sub_(&(gradient * 0.1))?;
            }
            Ok(())
        })?;
        ranks.require_equal(&found)?;
        gradients.extend(Vec::<i64>::try_from(fingerprints(&found)?)?);
        parameters.zero_grad();
    }
    ranks.require_equal(&parameters)?;
    Ok((Vec::try_from(fingerprints(&parameters)?)?, gradients))
}
