//! Generates the images of a plan: encodes the photo once, and samples around the kept parts, in batches that fit into
//! memory.

use image::RgbImage;
use tch::Tensor;
use var_tokenizer::VqVae;
use var_tokenizer::images::{from_tensor, to_unit};

use super::mask::LatentMask;
use crate::error::Result;
use crate::sampling::{Draws, Sampler, SamplingOptions, Watch, at_once};

/// Maximum number of images to sample at once.
const MOST_AT_ONCE: usize = 64;

/// Settings of the sampler.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    /// Class, or the number of classes for "no class".
    pub label: i64,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// Seed; variant `n` is image number `n` of this seed.
    pub seed: u64,
    /// Number of variants.
    pub variants: usize,
}

/// Samples variants of `square`, an image of the tokenizer's side, where `mask` does not keep it. Calls `each` with the
/// number and image of each variant; `watch` sees the steps before. The images come from the decoder: kept parts are
/// reconstructions.
///
/// # Errors
/// When the image, the mask or the label does not fit the model, a computed value is not finite, libtorch fails, or
/// `each` fails; [`Error::Interrupted`](crate::Error::Interrupted) when `watch` ended the sampling.
pub(crate) fn generate(
    sampler: &Sampler,
    tokenizer: &VqVae,
    square: &RgbImage,
    mask: &LatentMask,
    generation: &Generation,
    watch: &mut Watch<'_>,
    mut each: impl FnMut(usize, RgbImage) -> Result<()>,
) -> Result<()> {
    let schedule = &tokenizer.config().schedule;
    let kept = mask.kept(encode(sampler, square)?, schedule)?;
    let at_once = at_once(sampler.config(), MOST_AT_ONCE);
    let numbers: Vec<u64> = (0..generation.variants as u64).collect();
    for chunk in numbers.chunks(at_once) {
        let draws = Draws::new(generation.seed, chunk.to_vec());
        let labels = vec![generation.label; chunk.len()];
        let sample = sampler.sample_watched(&labels, &draws, &generation.options, Some(&kept), watch)?;
        for (&number, picture) in chunk.iter().zip(from_tensor(&sample.images)?) {
            each(number as usize, picture)?;
        }
    }
    Ok(())
}

/// Ids `[1, L]` of a square image.
fn encode(sampler: &Sampler, square: &RgbImage) -> Result<Tensor> {
    let (width, height) = square.dimensions();
    let shape = [1, 3, i64::from(height), i64::from(width)];
    sampler.encode(&Tensor::from_slice(&to_unit(square)).view(shape))
}
