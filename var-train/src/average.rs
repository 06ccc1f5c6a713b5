//! An exponential moving average of the weights. It gives better samples than the weights themselves.

use std::collections::BTreeMap;

use tch::Tensor;
use var_tokenizer::torch::optimizer::approach;
use var_tokenizer::weights::{Parameters, safetensors};

use crate::error::{Error, Result};

/// Name of the average's file in a checkpoint.
pub(crate) const AVERAGE_FILE: &str = "ema.safetensors";
/// Name of the finished average in a run folder.
pub(crate) const PUBLISHED_FILE: &str = "model-ema.safetensors";

/// The average of every trained parameter: after each step `average += (1 − decay) · (value − average)`. It starts as a
/// copy, so its bias needs no correction.
#[derive(Debug)]
pub struct Average {
    decay: f64,
    names: Vec<String>,
    /// Share their data with the model.
    values: Vec<Tensor>,
    averages: Vec<Tensor>,
}

impl Average {
    /// A copy of `parameters`, on their device; `decay` lies between 0 and 1.
    pub fn new(parameters: &Parameters, decay: f64) -> Self {
        let (names, values): (Vec<_>, Vec<_>) =
            parameters.trainable().map(|p| (p.name.clone(), p.tensor.detach())).unzip();
        let averages = values.iter().map(Tensor::copy).collect();
        Self { decay, names, values, averages }
    }

    /// Adds the parameters after a step to the average.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn update(&mut self) -> Result<()> {
        Ok(approach(&self.averages, &self.values, 1.0 - self.decay)?)
    }

    /// The averages by the names of the parameters; they share their memory with `self`.
    pub fn to_map(&self) -> BTreeMap<String, Tensor> {
        self.names.iter().cloned().zip(self.averages.iter().map(Tensor::shallow_clone)).collect()
    }

    /// Loads the averages from the file `path` of a checkpoint.
    ///
    /// # Errors
    /// Lists missing tensors and tensors of another shape, and changes nothing.
    pub(crate) fn load(&mut self, path: &std::path::Path) -> Result<()> {
        let tensors = safetensors::open(path)?.read_finite()?;
        let problems: Vec<String> = self
            .names
            .iter()
            .zip(&self.averages)
            .filter_map(|(name, average)| match tensors.get(name) {
                Some(found) if found.size() == average.size() => None,
                Some(_) => Some(format!("{name} has another shape")),
                None => Some(format!("missing {name}")),
            })
            .collect();
        if !problems.is_empty() {
            return Err(Error::Core(var_tokenizer::Error::Weights {
                file: path.display().to_string(),
                problems,
            }));
        }
        for (name, average) in self.names.iter().zip(&mut self.averages) {
            if let Some(found) = tensors.get(name) {
                average.f_copy_(found)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};
    use var_tokenizer::weights::{Init, Storage};

    #[test]
    fn it_starts_as_a_copy_and_follows_by_the_share_that_the_decay_leaves() {
        let mut parameters = Parameters::new(Device::Cpu, Some(1), Storage::PLAIN);
        let mut weight = parameters.builder().parameter("a.weight", &[2], Init::Constant(1.0));
        parameters.set_requires_grad(true);
        let mut average = Average::new(&parameters, 0.75);
        let value = |average: &Average| average.to_map()["a.weight"].double_value(&[0]);
        assert_eq!(value(&average), 1.0);
        average.update().unwrap();
        assert_eq!(value(&average), 1.0);
        let _ = tch::no_grad(|| weight.fill_(5.0));
        assert_eq!(value(&average), 1.0);
        average.update().unwrap();
        assert_eq!(value(&average), 2.0);
        average.update().unwrap();
        assert_eq!(value(&average), 2.75);
        assert!(!average.to_map()["a.weight"].requires_grad());
        assert_eq!(weight.sum(Kind::Float).double_value(&[]), 10.0);
    }
}
