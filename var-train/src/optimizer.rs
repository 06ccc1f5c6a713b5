//! AdamW with the published parameter groups: whole on every rank, or with moments divided over the ranks ([`Sharded`]).
//!
//! Source: `filter_params` in `utils/lr_control.py` of the published code.

use std::collections::BTreeMap;

use tch::Tensor;
use var_tokenizer::torch::optimizer::{
    AdamW, Slot, adamw_step, clear_gradients, clip_grad_norm, scale_gradients,
};
use var_tokenizer::weights::Parameters;

use crate::distributed::Ranks;
use crate::error::{Error, Result};

mod sharded;

pub(crate) use sharded::Sharded;

/// The optimizer of the training loop. All ranks make the same calls in the same order.
pub(crate) trait Update: std::fmt::Debug {
    /// Whether it averages gradients over the ranks itself. Otherwise the backward pass does.
    fn averages_itself(&self) -> bool {
        false
    }

    /// Clips the gradients, updates the parameters, and clears the gradients. Gives the norm before clipping.
    ///
    /// # Errors
    /// When the norm is not finite (it changes no parameter then), or another rank is lost.
    fn step(&mut self, learning_rate: f64, weight_decay: f64) -> Result<f64>;

    /// The parameters that it trains.
    fn parameters(&self) -> Vec<&Tensor>;

    /// Divides all gradients by `factor`, the factor of the loss.
    ///
    /// # Errors
    /// When libtorch fails.
    fn unscale(&self, factor: f64) -> Result<()> {
        Ok(scale_gradients(&self.parameters(), 1.0 / factor)?)
    }

    /// Clears all gradients.
    ///
    /// # Errors
    /// When libtorch fails.
    fn clear(&self) -> Result<()> {
        Ok(clear_gradients(&self.parameters())?)
    }

    /// Loads moments and step counts from a checkpoint, on rank 0. [`Update::share_out`] follows on all ranks.
    ///
    /// # Errors
    /// Lists missing tensors and tensors of another shape, and changes nothing.
    fn load(&mut self, map: &BTreeMap<String, Tensor>, file: &str) -> Result<()>;

    /// Brings all ranks to the state of rank 0.
    ///
    /// # Errors
    /// When another rank is lost.
    fn share_out(&mut self, ranks: Ranks) -> Result<()>;

    /// Moments and step counts for a checkpoint, by name (`first.NAME`, `second.NAME`, `step.NAME`): all of them on
    /// rank 0.
    ///
    /// # Errors
    /// When another rank is lost.
    fn gather(&self, ranks: Ranks) -> Result<BTreeMap<String, Tensor>>;
}

/// Checks that `map` has moments for all of `shapes`: names with sizes.
fn require_moments<'a>(
    map: &BTreeMap<String, Tensor>,
    shapes: impl Iterator<Item = (&'a str, Vec<i64>)>,
    file: &str,
) -> Result<()> {
    let mut problems = Vec::new();
    for (name, size) in shapes {
        for (moment, size) in [("first", size.as_slice()), ("second", size.as_slice()), ("step", &[])] {
            match map.get(&format!("{moment}.{name}")) {
                Some(tensor) if tensor.size() == size => {}
                Some(_) => problems.push(format!("{moment}.{name} has another shape")),
                None => problems.push(format!("missing {moment}.{name}")),
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(var_tokenizer::Error::Weights { file: file.to_owned(), problems }.into())
}

/// Parts of the names of parameters without weight decay.
const NOT_DECAYED: [&str; 6] = ["pos_1LC", "pos_start", "lvl_embed", "ada_gss", "scale_mul", "bias"];

/// Whether the published recipe decays the parameter `name` with `dimensions` dimensions: not vectors,
/// biases, positions, levels, temperatures and AdaLN's offsets.
pub(crate) fn is_decayed(name: &str, dimensions: usize) -> bool {
    dimensions != 1 && !NOT_DECAYED.iter().any(|part| name.contains(part))
}

/// Fused AdamW over two groups, with and without weight decay.
#[derive(Debug)]
pub(crate) struct Optimizer {
    names: [Vec<String>; 2],
    slots: [Vec<Slot>; 2],
    settings: AdamW,
    clip: f64,
}

/// Group index of parameters without weight decay; the other index is 1.
const PLAIN: usize = 0;

impl Optimizer {
    /// Zero moments for every trainable entry of `parameters`. `clip` is the largest gradient norm; 0 does not clip.
    pub(crate) fn new(parameters: &Parameters, beta1: f64, beta2: f64, eps: f64, clip: f64) -> Self {
        let mut names = [Vec::new(), Vec::new()];
        let mut slots = [Vec::new(), Vec::new()];
        for p in parameters.trainable() {
            let group = usize::from(is_decayed(&p.name, p.tensor.dim()));
            if let (Some(n), Some(s)) = (names.get_mut(group), slots.get_mut(group)) {
                n.push(p.name.clone());
                s.push(Slot::new(&p.tensor));
            }
        }
        Self { names, slots, settings: AdamW { beta1, beta2, eps, ..AdamW::default() }, clip }
    }

    /// Moments and step counts by name; they share their memory with the optimizer.
    pub(crate) fn state(&self) -> BTreeMap<String, Tensor> {
        let mut map = BTreeMap::new();
        for (names, slots) in self.names.iter().zip(&self.slots) {
            for (name, slot) in names.iter().zip(slots) {
                map.insert(format!("first.{name}"), slot.first.shallow_clone());
                map.insert(format!("second.{name}"), slot.second.shallow_clone());
                map.insert(format!("step.{name}"), slot.step.shallow_clone());
            }
        }
        map
    }

    /// Names of the group without (`false`) or with (`true`) weight decay.
    pub(crate) fn group(&self, decayed: bool) -> &[String] {
        let [plain, with_decay] = &self.names;
        if decayed { with_decay } else { plain }
    }
}

impl Update for Optimizer {
    fn parameters(&self) -> Vec<&Tensor> {
        self.slots.iter().flatten().map(|s| &s.parameter).collect()
    }

    fn step(&mut self, learning_rate: f64, weight_decay: f64) -> Result<f64> {
        let max = if self.clip > 0.0 { self.clip } else { f64::MAX };
        let norm = clip_grad_norm(&self.parameters(), max)?;
        if !norm.is_finite() {
            return Err(Error::Diverged(format!("the gradient's norm is {norm}")));
        }
        for (group, slots) in self.slots.iter_mut().enumerate() {
            let weight_decay = if group == PLAIN { 0.0 } else { weight_decay };
            adamw_step(slots, &AdamW { lr: learning_rate, weight_decay, ..self.settings })?;
        }
        self.clear()?;
        Ok(norm)
    }

    fn load(&mut self, map: &BTreeMap<String, Tensor>, file: &str) -> Result<()> {
        let slots = self.names.iter().flatten().zip(self.slots.iter().flatten());
        require_moments(map, slots.map(|(name, slot)| (name.as_str(), slot.first.size())), file)?;
        tch::no_grad(|| {
            for (names, slots) in self.names.iter().zip(&mut self.slots) {
                for (name, slot) in names.iter().zip(slots) {
                    for (prefix, target) in
                        [("first", &mut slot.first), ("second", &mut slot.second), ("step", &mut slot.step)]
                    {
                        if let Some(t) = map.get(&format!("{prefix}.{name}")) {
                            target.f_copy_(t)?;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    fn share_out(&mut self, ranks: Ranks) -> Result<()> {
        let moments: Vec<Tensor> = self.gather(ranks)?.into_values().collect();
        ranks.broadcast(&moments)
    }

    fn gather(&self, _ranks: Ranks) -> Result<BTreeMap<String, Tensor>> {
        Ok(self.state())
    }
}
