//! Mean and deviation of the transformer's input vectors, from an even sample of the training images.

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use crate::data::images::Split;
use crate::data::tokens::{InputStatistics, TokenWriter};
use crate::runtime::error::Result;
use crate::runtime::random::Stream;
use crate::runtime::torch::check_finite;
use crate::vqvae::VqVae;

/// Maximum number of images in the sample.
const IMAGES: usize = 4096;
/// Number of rows that are summed together: fixed, so that no sum depends on the batch.
const ROWS: usize = 64;
/// The stream that draws the sample.
const STREAM: &str = "input-statistics";

/// Returns at most `count` indices of `list`: one from each of `count` equal stretches, drawn by `seed`.
///
/// The sample of a list that is sorted by class has all classes.
fn even_sample(list: &[usize], count: usize, seed: u64) -> Vec<usize> {
    if list.len() <= count {
        return list.to_vec();
    }
    let stream = Stream::new(STREAM, seed);
    let begin = |stretch: usize| (stretch as u128 * list.len() as u128 / count as u128) as usize;
    (0..count)
        .filter_map(|stretch| {
            let length = begin(stretch + 1) - begin(stretch);
            let place = stream.below(stretch as u64, length as u64) as usize;
            list.get(begin(stretch) + place).copied()
        })
        .collect()
}

/// Returns the images whose first views are measured: an even sample of `train`, the indices of all training images.
pub(super) fn chosen(train: &[usize], seed: u64) -> BTreeSet<u32> {
    even_sample(train, IMAGES, seed).into_iter().map(|index| index as u32).collect()
}

/// Hands the ids of the first views of the images `chosen` to `see`, each with its row of `/train`. The ids come from
/// `writer`, so a resumed call gives the same ones.
pub(super) fn visit(
    writer: &TokenWriter,
    chosen: &BTreeSet<u32>,
    mut see: impl FnMut(u32, &[u32]) -> Result<()>,
) -> Result<()> {
    let length = writer.info().length();
    let mut row = 0;
    writer.visit(|split, rows| {
        if split != Split::Train {
            return Ok(());
        }
        let places = rows.sources.iter().zip(&rows.crops).zip(rows.tokens.chunks_exact(length));
        for ((source, crop), ids) in places {
            if *crop == 0 && chosen.contains(source) {
                see(row, ids)?;
            }
            row += 1;
        }
        Ok(())
    })
}

/// Measures mean and deviation per latent channel of the input vectors of images.
///
/// With one scale, the input vectors are those of a raster scan: the code vectors.
pub(crate) struct Measure<'a> {
    sums: Sums<'a>,
    /// Tokens of an image.
    length: usize,
    waiting: Vec<i64>,
}

impl<'a> Measure<'a> {
    /// Starts without images.
    pub(crate) fn new(vae: &'a VqVae) -> Self {
        Self { sums: Sums::new(vae), length: vae.config().schedule.tokens(), waiting: Vec::new() }
    }

    /// Adds the ids of an image.
    ///
    /// # Errors
    /// When a vector is not finite.
    pub(crate) fn add(&mut self, ids: &[u32]) -> Result<()> {
        self.waiting.extend(ids.iter().map(|&id| i64::from(id)));
        if self.waiting.len() == ROWS * self.length {
            self.sums.add(&self.waiting, self.length)?;
            self.waiting.clear();
        }
        Ok(())
    }

    /// Returns the statistics; `None` without images.
    ///
    /// # Errors
    /// When a vector is not finite.
    pub(crate) fn finish(mut self) -> Result<Option<InputStatistics>> {
        if !self.waiting.is_empty() {
            self.sums.add(&self.waiting, self.length)?;
        }
        self.sums.statistics()
    }
}

/// Sums over input vectors, in f64.
struct Sums<'a> {
    vae: &'a VqVae,
    count: i64,
    sum: Tensor,
    squares: Tensor,
}

impl<'a> Sums<'a> {
    fn new(vae: &'a VqVae) -> Self {
        let zeros = || Tensor::zeros([vae.config().latent_channels as i64], (Kind::Double, vae.device()));
        Self { vae, count: 0, sum: zeros(), squares: zeros() }
    }

    /// Adds rows of `length` ids each.
    fn add(&mut self, ids: &[i64], length: usize) -> Result<()> {
        let ids = Tensor::from_slice(ids).view([-1, length as i64]).to_device(self.vae.device());
        let vectors = match self.vae.config().schedule.scales() {
            1 => self.vae.quantizer().codebook().vectors(&ids),
            _ => self.vae.to_model_input(&ids)?,
        };
        let vectors = vectors.to_kind(Kind::Double).flatten(0, 1);
        check_finite(&vectors, || "input vectors of the transformer".into())?;
        self.count += vectors.size().first().copied().unwrap_or(0);
        self.sum = &self.sum + vectors.sum_dim_intlist([0_i64].as_slice(), false, Kind::Double);
        self.squares =
            &self.squares + vectors.square().sum_dim_intlist([0_i64].as_slice(), false, Kind::Double);
        Ok(())
    }

    fn statistics(&self) -> Result<Option<InputStatistics>> {
        if self.count == 0 {
            return Ok(None);
        }
        let mean = &self.sum / self.count as f64;
        let deviation = (&self.squares / self.count as f64 - mean.square()).clamp_min(1e-12).sqrt();
        let list = |t: &Tensor| Vec::<f32>::try_from(t.to_kind(Kind::Float).to_device(Device::Cpu));
        Ok(Some(InputStatistics { mean: list(&mean)?, deviation: list(&deviation)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::even_sample;

    #[test]
    fn an_even_sample_takes_one_of_every_stretch_of_the_list() {
        let list: Vec<usize> = (0..10_007).map(|i| 3 * i).collect();
        let sample = even_sample(&list, 1000, 1);
        assert_eq!(sample.len(), 1000);
        for (stretch, &index) in sample.iter().enumerate() {
            let place = (index / 3) as f64 / 10_007.0 * 1000.0;
            assert!((place - stretch as f64 - 0.5).abs() <= 0.61, "{place} in stretch {stretch}");
        }
        // Drawn, not spaced: the places within their stretches differ, and so do seeds.
        let gaps: std::collections::BTreeSet<usize> =
            sample.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.len() > 10, "{gaps:?}");
        assert_ne!(even_sample(&list, 1000, 2), sample);
        assert_eq!(even_sample(&list, 10_007, 1), list);
        assert_eq!(even_sample(&list, 0, 1), Vec::<usize>::new());
    }
}
