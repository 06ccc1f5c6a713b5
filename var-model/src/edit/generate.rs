//! Pictures for a plan: encoded once, sampled around what is kept, in batches that fit into memory.

use image::RgbImage;
use tch::{Device, Kind, Tensor};
use var_tokenizer::VqVae;
use var_tokenizer::images::{from_unit, to_unit};

use super::mask::LatentMask;
use crate::error::Result;
use crate::sampling::{Draws, Sampler, SamplingOptions};

/// Most pictures that are sampled at once.
const MOST_AT_ONCE: usize = 64;
/// Most logits of one scale that are drawn from at once: 1 GiB.
const MOST_LOGITS: usize = 1 << 28;

/// What the sampler is told beside the picture.
#[derive(Debug, Clone, Copy)]
pub struct Generation {
    /// Class, or the number of classes for "no class".
    pub label: i64,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// Seed; variant `n` is picture number `n` under it.
    pub seed: u64,
    /// How many variants.
    pub variants: usize,
}

/// Samples variants of `square` (a picture of the tokenizer's side) where `mask` does not keep it, and
/// hands each to `each` with its number. The pictures are the decoder's: kept parts are reconstructions.
///
/// # Errors
/// When the picture, the mask or the label does not fit the model, libtorch fails, or `each` does.
pub fn generate(
    sampler: &Sampler,
    tokenizer: &VqVae,
    square: &RgbImage,
    mask: &LatentMask,
    generation: &Generation,
    mut each: impl FnMut(usize, RgbImage) -> Result<()>,
) -> Result<()> {
    let schedule = &tokenizer.config().schedule;
    let kept = mask.kept(encode(tokenizer, square)?, schedule)?;
    let logits = schedule.last_side().pow(2) * tokenizer.config().vocabulary;
    let at_once = (MOST_LOGITS / logits).clamp(1, MOST_AT_ONCE);
    let numbers: Vec<u64> = (0..generation.variants as u64).collect();
    for chunk in numbers.chunks(at_once) {
        let draws = Draws::new(generation.seed, chunk.to_vec());
        let labels = vec![generation.label; chunk.len()];
        let sample = sampler.sample_around(&labels, &draws, &generation.options, Some(&kept))?;
        for (&number, picture) in chunk.iter().zip(sample.images.unbind(0)) {
            each(number as usize, bytes(&picture)?)?;
        }
    }
    Ok(())
}

/// Ids `[1, L]` of a square picture.
fn encode(tokenizer: &VqVae, square: &RgbImage) -> Result<Tensor> {
    let (width, height) = square.dimensions();
    let shape = [1, 3, i64::from(height), i64::from(width)];
    Ok(tokenizer.encode(&Tensor::from_slice(&to_unit(square)).view(shape))?)
}

/// A picture `[3, S, S]` in [-1, 1] as bytes.
fn bytes(picture: &Tensor) -> Result<RgbImage> {
    let side = picture.size3()?.2 as usize;
    let flat = picture.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]);
    let pixels = Vec::<f32>::try_from(flat).map_err(var_tokenizer::Error::from)?;
    Ok(from_unit(&pixels, side)?)
}
