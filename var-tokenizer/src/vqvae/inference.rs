//! The configuration of a tokenizer whose file does not say it, out of names and shapes.

use super::CONFIG_KEY;
use super::config::{PhiSharing, TokenizerConfig};
use crate::data::schedule::ScaleSchedule;
use crate::runtime::error::{Error, Result};
use crate::runtime::weights::StateDict;

impl TokenizerConfig {
    /// The configuration of the tokenizer in `dict`: what its metadata says (our own files), or else what
    /// follows from names and shapes.
    ///
    /// Shapes do not tell the schedule: it is `schedule`, that of the transformer for example, or else the
    /// published one with as many scales.
    /// Neither do they tell the kind of lookup (Euclidean, as released), the weight of φ (0.5) and that of
    /// the commitment (0.25); set the fields where another is meant.
    ///
    /// # Errors
    /// When a tensor that tells a size is missing, or no published schedule has as many scales.
    pub fn of(dict: &StateDict, schedule: Option<&ScaleSchedule>) -> Result<Self> {
        if let Some(config) = dict.parsed::<Self>(CONFIG_KEY)? {
            config.validate()?;
            return Ok(config);
        }
        let [channels, _, _, _] = dict.shape("encoder.conv_in.weight")?;
        let levels = dict.count("encoder.down.", ".");
        let residual = "quantize.quant_resi.";
        if levels == 0 || !dict.tensors.keys().any(|name| name.starts_with(residual)) {
            return Err(Error::file(
                &dict.name,
                "holds a VQ-VAE of another kind, without encoder.down or quantize.quant_resi; expected the \
                 multi-scale tokenizer of VAR",
            ));
        }
        let multipliers = (0..levels)
            .map(|level| {
                let [width, _, _, _] = dict.shape(&format!("encoder.down.{level}.block.0.conv1.weight"))?;
                Ok(width / channels.max(1))
            })
            .collect::<Result<_>>()?;
        let [vocabulary, latent_channels] = dict.shape("quantize.embedding.weight")?;
        let phi = match dict.count("quantize.quant_resi.qresi_ls.", ".") {
            0 if dict.get("quantize.quant_resi.qresi.weight").is_some() => PhiSharing::Shared,
            0 => PhiSharing::PerScale,
            count => PhiSharing::Partial(count),
        };
        let config = Self {
            channels,
            channel_multipliers: multipliers,
            residual_blocks: dict.count("encoder.down.0.block.", "."),
            latent_channels,
            vocabulary,
            schedule: schedule.cloned().map_or_else(|| published_schedule(dict), Ok)?,
            phi,
            phi_ratio: 0.5,
            z_norm: false,
            commitment: 0.25,
        };
        config.validate()?;
        Ok(config)
    }
}

/// The published schedule with as many scales as the usage buffer of `dict` has rows, the one at 256
/// pixels first.
fn published_schedule(dict: &StateDict) -> Result<ScaleSchedule> {
    let scales = match dict.get("quantize.ema_vocab_hit_SV") {
        Some(usage) => usage.shape().first().map_or(0, |&rows| rows as usize),
        None => ScaleSchedule::published_256().scales(),
    };
    ScaleSchedule::published().into_iter().find(|schedule| schedule.scales() == scales).ok_or_else(|| {
        Error::file(
            &dict.name,
            format!(
                "does not say the sides of its {scales} token maps, and no published schedule has as many: \
                 give --schedule, e.g. --schedule 1,2,3,4,6,8"
            ),
        )
    })
}
