//! AdamW with moments divided over the ranks (ZeRO, stage 1; Rajbhandari et al. 2020): each rank keeps 1/N of them.
//!
//! Each rank adds up its gradients over the whole step. Then the ranks sum them bucket by bucket, and each rank gets its
//! share (reduce-scatter). It updates that share of the parameters, and all ranks collect the rest (all-gather). This
//! moves as many bytes as averaging all gradients, but not during the backward pass. A checkpoint has the whole moments,
//! by name, for any number of ranks.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor, no_grad};
use var_tokenizer::torch::optimizer::{AdamW, Slot, adamw_update, clear_gradients};
use var_tokenizer::weights::Parameters;

use super::{Update, is_decayed, require_moments};
use crate::distributed::Ranks;
use crate::error::{Error, Result};

/// Most numbers of a bucket: 64 MB of f32.
const BUCKET: i64 = 16 << 20;

/// The moments of this rank's share of every parameter.
#[derive(Debug)]
pub(crate) struct Sharded {
    ranks: Ranks,
    buckets: Vec<Bucket>,
    settings: AdamW,
    clip: f64,
    /// The moments of a checkpoint, on rank 0, until they are divided.
    loaded: BTreeMap<String, Tensor>,
}

/// Consecutive parameters of one group, end to end, with zeros at the end for N equal shares.
#[derive(Debug)]
struct Bucket {
    decayed: bool,
    names: Vec<String>,
    parameters: Vec<Tensor>,
    /// Numbers per share.
    share: i64,
    first: Tensor,
    second: Tensor,
    step: Tensor,
}

impl Sharded {
    /// Zero moments for this rank's share of the trainable entries of `parameters`. Ignores the learning rate and weight
    /// decay of `settings`. `clip` is the largest gradient norm; 0 does not clip.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn new(parameters: &Parameters, settings: AdamW, clip: f64, ranks: Ranks) -> Result<Self> {
        let mut buckets: Vec<(bool, Vec<String>, Vec<Tensor>, i64)> = Vec::new();
        for decayed in [false, true] {
            let mut open = false;
            for p in parameters.trainable().filter(|p| is_decayed(&p.name, p.tensor.dim()) == decayed) {
                let count = p.tensor.numel() as i64;
                match buckets.last_mut().filter(|last| open && last.3 + count <= BUCKET) {
                    Some((_, names, tensors, total)) => {
                        names.push(p.name.clone());
                        tensors.push(p.tensor.shallow_clone());
                        *total += count;
                    }
                    None => {
                        buckets.push((decayed, vec![p.name.clone()], vec![p.tensor.shallow_clone()], count))
                    }
                }
                open = true;
            }
        }
        let buckets = buckets.into_iter().map(|(decayed, names, parameters, total)| {
            let share = (total + ranks.size() as i64 - 1) / ranks.size() as i64;
            let device = parameters.first().map_or(tch::Device::Cpu, Tensor::device);
            let zeros = |size: &[i64]| Tensor::f_zeros(size, (Kind::Float, device));
            let (first, second, step) = (zeros(&[share])?, zeros(&[share])?, zeros(&[])?);
            Ok(Bucket { decayed, names, parameters, share, first, second, step })
        });
        let buckets = buckets.collect::<Result<_>>()?;
        Ok(Self { ranks, buckets, settings, clip, loaded: BTreeMap::new() })
    }
}

impl Update for Sharded {
    fn parameters(&self) -> Vec<&Tensor> {
        self.buckets.iter().flat_map(|bucket| &bucket.parameters).collect()
    }

    fn averages_itself(&self) -> bool {
        true
    }

    fn step(&mut self, learning_rate: f64, weight_decay: f64) -> Result<f64> {
        no_grad(|| {
            let gradients: Vec<Tensor> =
                self.buckets.iter().map(|bucket| bucket.gradient(self.ranks)).collect::<Result<_>>()?;
            // Added on the device, and read once.
            let mut squares =
                Tensor::f_zeros([], (Kind::Double, gradients.first().map_or(Device::Cpu, Tensor::device)))?;
            for gradient in &gradients {
                let _ = squares.f_add_(&gradient.f_square()?.f_sum(Kind::Double)?)?;
            }
            let mut total = [squares.f_double_value(&[])?];
            self.ranks.sum(&mut total)?;
            let norm = total.map(f64::sqrt).into_iter().sum::<f64>();
            if !norm.is_finite() {
                return Err(Error::Diverged(format!("the gradient's norm is {norm}")));
            }
            let scale = if self.clip > 0.0 && norm > self.clip { self.clip / (norm + 1e-6) } else { 1.0 };
            for (bucket, mut gradient) in self.buckets.iter().zip(gradients) {
                let _ = gradient.f_mul_scalar_(scale)?;
                let weight_decay = if bucket.decayed { weight_decay } else { 0.0 };
                let settings = AdamW { lr: learning_rate, weight_decay, ..self.settings };
                bucket.update(gradient, &settings, self.ranks)?;
            }
            Ok(norm)
        })
    }

    fn load(&mut self, map: &BTreeMap<String, Tensor>, file: &str) -> Result<()> {
        let shapes = self.buckets.iter().flat_map(|bucket| bucket.names.iter().zip(&bucket.parameters));
        require_moments(map, shapes.map(|(name, p)| (name.as_str(), p.size())), file)?;
        self.loaded = map.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        Ok(())
    }

    fn share_out(&mut self, ranks: Ranks) -> Result<()> {
        let loaded = std::mem::take(&mut self.loaded);
        no_grad(|| {
            for bucket in &mut self.buckets {
                // A checkpoint is read into main memory: ranks whose tensors lie on different devices would use different
                // groups, and wait for each other without end.
                let device = bucket.first.device();
                let of = |moment: &str| -> Option<Vec<Tensor>> {
                    bucket
                        .names
                        .iter()
                        .map(|name| Some(loaded.get(&format!("{moment}.{name}"))?.to_device(device)))
                        .collect()
                };
                // Another rank's zeros are overwritten by rank 0's.
                let whole = |moment: &str| match of(moment) {
                    Some(tensors) => flat(&tensors, bucket.share * ranks.size() as i64),
                    None => Ok(bucket.first.f_new_zeros(
                        [bucket.share * ranks.size() as i64],
                        (Kind::Float, bucket.first.device()),
                    )?),
                };
                let (first, second) = (whole("first")?, whole("second")?);
                let step =
                    of("step").and_then(|mut steps| steps.pop()).unwrap_or_else(|| bucket.step.zeros_like());
                ranks.broadcast(&[&first, &second, &step])?;
                let own = |all: &Tensor| all.f_narrow(0, ranks.rank() as i64 * bucket.share, bucket.share);
                bucket.first.f_copy_(&own(&first)?)?;
                bucket.second.f_copy_(&own(&second)?)?;
                bucket.step.f_copy_(&step)?;
            }
            Ok(())
        })
    }

    fn gather(&self, ranks: Ranks) -> Result<BTreeMap<String, Tensor>> {
        let mut map = BTreeMap::new();
        for bucket in &self.buckets {
            for (moment, own) in [("first", &bucket.first), ("second", &bucket.second)] {
                let all = collect(own, ranks)?;
                if ranks.leads() {
                    for (name, part) in bucket.names.iter().zip(bucket.split(&all)?) {
                        // Copies: a part of a bucket would be stored as the whole bucket. In main memory: a device that
                        // needs divided moments has no room for all of them.
                        map.insert(format!("{moment}.{name}"), copied(&part, Device::Cpu)?);
                    }
                }
            }
            let steps = bucket.names.iter().filter(|_| ranks.leads());
            map.extend(steps.map(|name| (format!("step.{name}"), bucket.step.copy())));
        }
        Ok(map)
    }
}

impl Bucket {
    /// This rank's share of the mean gradient. Clears the gradients.
    fn gradient(&self, ranks: Ranks) -> Result<Tensor> {
        let gradients: Vec<Tensor> = self
            .parameters
            .iter()
            .map(|p| if p.grad().defined() { p.grad() } else { p.zeros_like() })
            .collect();
        let all = flat(&gradients, self.share * ranks.size() as i64)?;
        clear_gradients(&self.parameters)?;
        let own = self.first.zeros_like();
        ranks.reduce_scatter(&own, &all)?;
        Ok(own.f_div_scalar(ranks.size() as f64)?)
    }

    /// Updates this rank's share of the parameters, and collects the other shares.
    fn update(&self, gradient: Tensor, settings: &AdamW, ranks: Ranks) -> Result<()> {
        let all = flat(&self.parameters, self.share * ranks.size() as i64)?;
        let own = all.f_narrow(0, ranks.rank() as i64 * self.share, self.share)?;
        let parameter = copied(&own, own.device())?;
        let slot = Slot {
            parameter,
            first: self.first.shallow_clone(),
            second: self.second.shallow_clone(),
            step: self.step.shallow_clone(),
        };
        adamw_update(&[&slot], &[gradient], settings)?;
        ranks.all_gather(&all, &slot.parameter)?;
        for (parameter, new) in self.parameters.iter().zip(self.split(&all)?) {
            parameter.shallow_clone().f_copy_(&new)?;
        }
        Ok(())
    }

    /// Views of a whole bucket in the shapes of its parameters.
    fn split(&self, all: &Tensor) -> Result<Vec<Tensor>> {
        let mut start = 0;
        let view = |p: &Tensor| {
            let count = p.numel() as i64;
            let part = all.f_narrow(0, start, count)?.f_view(p.size().as_slice())?;
            start += count;
            Ok(part)
        };
        self.parameters.iter().map(view).collect()
    }
}

/// `tensors` end to end, with zeros up to `length`, in memory of its own.
fn flat(tensors: &[Tensor], length: i64) -> Result<Tensor> {
    let mut parts: Vec<Tensor> = Vec::with_capacity(tensors.len() + 1);
    for tensor in tensors {
        parts.push(tensor.f_detach()?.f_reshape([-1])?);
    }
    let filled: i64 = parts.iter().map(|part| part.numel() as i64).sum();
    if let Some(first) = parts.first().filter(|_| filled < length) {
        let rest = first.f_new_zeros([length - filled], (first.kind(), first.device()))?;
        parts.push(rest);
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}

/// The shares of all ranks, in order of rank.
fn collect(own: &Tensor, ranks: Ranks) -> Result<Tensor> {
    let count = own.numel() as i64 * ranks.size() as i64;
    let all = own.f_new_zeros([count], (own.kind(), own.device()))?;
    ranks.all_gather(&all, own)?;
    Ok(all)
}

/// A copy on `device`, in memory of its own.
fn copied(tensor: &Tensor, device: Device) -> Result<Tensor> {
    let mut copy = Tensor::f_empty(tensor.size(), (tensor.kind(), device))?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}
