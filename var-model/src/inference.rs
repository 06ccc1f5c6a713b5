//! The configuration of a transformer from names and shapes, if its file does not contain it.

use var_tokenizer::ScaleSchedule;
use var_tokenizer::weights::StateDict;

use crate::config::TransformerConfig;
use crate::error::{Error, Result};
use crate::order::Order;
use crate::transformer::CONFIG_KEY;

/// Channels per head in every published model. Gives the number of heads if no tensor does.
const HEAD_WIDTH: usize = 64;
/// Maximum number of schedules in a message.
const MOST_LISTED: usize = 4;

impl TransformerConfig {
    /// The configuration of the transformer in `dict`: from its metadata (our own files), otherwise from names and shapes.
    /// `schedule` and `heads` override both.
    ///
    /// Shapes give the order and the numbers of scales and tokens. The schedule is the published one with these numbers, or the only
    /// possible one. The temperatures of QK-norm give the number of heads; without QK-norm, a head has 64 channels.
    ///
    /// # Errors
    /// When a tensor that gives a size is missing, several schedules are possible, or the parts do not fit together.
    pub(crate) fn of(
        dict: &StateDict,
        schedule: Option<&ScaleSchedule>,
        heads: Option<usize>,
    ) -> Result<Self> {
        if let Some(mut config) = dict.parsed::<Self>(CONFIG_KEY)? {
            config.schedule = schedule.cloned().unwrap_or(config.schedule);
            config.heads = heads.unwrap_or(config.heads);
            config.validate()?;
            return Ok(config);
        }
        let [width, latent_channels] = dict.shape("word_embed.weight")?;
        let [rows, _] = dict.shape("class_emb.weight")?;
        let [vocabulary, _] = dict.shape("head.weight")?;
        let temperatures = "blocks.0.attn.scale_mul_1H11";
        let qk_norm = dict.get(temperatures).is_some();
        let found = if qk_norm {
            let [_, heads, _, _] = dict.shape(temperatures)?;
            heads
        } else {
            width / HEAD_WIDTH
        };
        let (order, known) = order(dict)?;
        let schedule = match schedule.cloned().or(known) {
            Some(schedule) => schedule,
            None => only_schedule(dict)?,
        };
        let shared_adaln = dict.get("shared_ada_lin.1.weight").is_some();
        let config = Self {
            depth: dict.count("blocks.", "."),
            width,
            heads: heads.unwrap_or(found),
            classes: rows.saturating_sub(1),
            vocabulary,
            latent_channels,
            schedule,
            order,
            adaln: shared_adaln || dict.get("blocks.0.ada_lin.1.weight").is_some(),
            shared_adaln,
            qk_norm,
            input: None,
        };
        config.validate()?;
        Ok(config)
    }
}

/// The order of the transformer in `dict`, with the schedule of a raster scan: that has one level, one start position,
/// and one position per token of a square.
fn order(dict: &StateDict) -> Result<(Order, Option<ScaleSchedule>)> {
    let [levels, _] = dict.shape("lvl_embed.weight")?;
    let [_, tokens, _] = dict.shape("pos_1LC")?;
    let [_, first, _] = dict.shape("pos_start")?;
    if levels != 1 || first != 1 || tokens < 2 || tokens.isqrt().pow(2) != tokens {
        return Ok((Order::NextScale, None));
    }
    Ok((Order::Raster, Some(ScaleSchedule::new(vec![tokens.isqrt()])?)))
}

/// The only schedule with the numbers of scales and tokens of `dict`.
fn only_schedule(dict: &StateDict) -> Result<ScaleSchedule> {
    let [scales, _] = dict.shape("lvl_embed.weight")?;
    let [_, tokens, _] = dict.shape("pos_1LC")?;
    let [_, first, _] = dict.shape("pos_start")?;
    let found = ScaleSchedule::matching(scales, first.isqrt(), tokens, MOST_LISTED);
    if let [only] = found.as_slice() {
        return Ok(only.clone());
    }
    let listed: Vec<String> = found.iter().map(ToString::to_string).collect();
    let several = match listed.as_slice() {
        [] => "no rising sides have them".to_owned(),
        all => format!("{} have them, perhaps others too", all.join(" and ")),
    };
    Err(Error::Config(format!(
        "{}: has {scales} scales and {tokens} tokens, but does not say the sides of its token maps, and \
         {several}; name the sides",
        dict.name
    )))
}
