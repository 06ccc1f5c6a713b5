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

    /// Copies the rows `rows` (i64, `[N]`) of the parameter `name`: values that were replaced, not trained.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn copy_rows(&mut self, name: &str, rows: &Tensor) -> Result<()> {
        tch::no_grad(|| {
            for (_, (average, value)) in self.pairs().filter(|(own, _)| *own == name) {
                let _ = average.shallow_clone().f_index_copy_(0, rows, &value.f_index_select(0, rows)?)?;
            }
            Ok(())
        })
    }

    /// Copies the parameters whose names start with `prefix`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn copy_below(&mut self, prefix: &str) -> Result<()> {
        tch::no_grad(|| {
            for (_, (average, value)) in self.pairs().filter(|(own, _)| own.starts_with(prefix)) {
                average.shallow_clone().f_copy_(value)?;
            }
            Ok(())
        })
    }

    /// Exchanges the parameters with their averages; a second call undoes it.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn exchange(&mut self) -> Result<()> {
        tch::no_grad(|| {
            for (_, (average, value)) in self.pairs() {
                let kept = value.copy();
                value.shallow_clone().f_copy_(average)?;
                average.shallow_clone().f_copy_(&kept)?;
            }
            Ok(())
        })
    }

    /// Names, averages and parameters.
    fn pairs(&self) -> impl Iterator<Item = (&str, (&Tensor, &Tensor))> {
        self.names.iter().map(String::as_str).zip(self.averages.iter().zip(&self.values))
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
    fn replaced_rows_are_copied_and_an_exchange_can_be_undone() {
        let mut parameters = Parameters::new(Device::Cpu, Some(1), Storage::PLAIN);
        let mut codes = parameters.builder().parameter("codes", &[3, 1], Init::Constant(1.0));
        let mut average = Average::new(&parameters, 0.5);
        tch::no_grad(|| codes.copy_(&Tensor::from_slice(&[5.0_f32, 7.0, 9.0]).view([3, 1])));
        let values = |t: &Tensor| Vec::<f32>::try_from(&t.detach().view([-1])).unwrap();
        average.copy_rows("codes", &Tensor::from_slice(&[1_i64])).unwrap();
        assert_eq!(values(&average.to_map()["codes"]), [1.0, 7.0, 1.0]);
        average.exchange().unwrap();
        assert_eq!(values(&codes), [1.0, 7.0, 1.0]);
        assert_eq!(values(&average.to_map()["codes"]), [5.0, 7.0, 9.0]);
        average.exchange().unwrap();
        assert_eq!(values(&codes), [5.0, 7.0, 9.0]);
        average.copy_below("co").unwrap();
        assert_eq!(values(&average.to_map()["codes"]), [5.0, 7.0, 9.0]);
    }

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
