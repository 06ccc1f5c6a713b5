//! `var-model portable`: writes files in the layout of the released ones, with portable weights. For golden cases, and for
//! timings of the program without the released weights.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};
use var_tokenizer::golden::{Case, tokenizer_config};
use var_tokenizer::weights::pickle::writer;
use var_tokenizer::weights::portable;
use var_tokenizer::{TokenizerConfig, VqVae};

use super::convert::{finished, published_buffers};
use crate::config::TransformerConfig;
use crate::error::{Error, Result};
use crate::golden::transformer_config;
use crate::transformer::{Initialisation, Transformer};

/// Writes `vae.pth` and `var.pth` into `folder`: the networks of the golden case at `case`, or those of the
/// published size of `depth` under seed 0, with values of type `kind`.
///
/// # Errors
/// When the case cannot be read or the files cannot be written.
pub fn write(case: Option<&Path>, depth: Option<usize>, kind: Kind, folder: &Path) -> Result<()> {
    let (tokenizer, model, seed) = match (case, depth) {
        (Some(case), _) => {
            let case = Case::open(case)?;
            (tokenizer_config(&case)?, transformer_config(&case)?, case.number("seed")?)
        }
        (None, Some(depth)) => (TokenizerConfig::published(), TransformerConfig::published(depth), 0),
        (None, None) => return Err(Error::Config("no network is named; give --case or --depth".into())),
    };
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let mut vae = VqVae::new(&tokenizer, Device::Cpu, None)?;
    portable::fill(vae.parameters_mut(), seed);
    put(&folder.join("vae.pth"), vae.parameters().to_map(), kind, Vec::new())?;
    drop(vae);
    let mut transformer = Transformer::new(&model, &Initialisation::default(), Device::Cpu, None)?;
    portable::fill(transformer.parameters_mut(), seed + 1);
    let tensors = transformer.parameters().to_map();
    drop(transformer);
    put(&folder.join("var.pth"), tensors, kind, published_buffers(&model, kind))
}

/// Writes `tensors` in `kind`, and `more` without conversion.
fn put(
    path: &Path,
    tensors: BTreeMap<String, Tensor>,
    kind: Kind,
    more: Vec<(String, Tensor)>,
) -> Result<()> {
    let mut tensors = finished(tensors, Some(kind), &path.display().to_string())?;
    tensors.extend(more);
    writer::write(path, &tensors.into_iter().collect::<Vec<_>>())
}
