//! Random draws: functions of seed, image, scale and position only.

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};
use var_tokenizer::random::Stream;

use crate::steps::Place;

/// Draws for a batch of images. Each image is given by its index in the run.
#[derive(Debug, Clone)]
pub struct Draws {
    seed: u64,
    pictures: Vec<u64>,
}

impl Draws {
    /// Draws of the images with these indices under `seed`.
    pub fn new(seed: u64, pictures: Vec<u64>) -> Self {
        Self { seed, pictures }
    }

    /// One uniform number per position of `places`, one place after the other: `[B, L]` in `f64`, inside (0, 1).
    pub(crate) fn uniforms(&self, places: &[Place], device: Device) -> Tensor {
        let of = |picture: &u64| {
            places
                .iter()
                .flat_map(|Place { scale, within }| {
                    let stream = Stream::new(&format!("draw.{picture}.{scale}"), self.seed);
                    within.clone().map(move |i| stream.draw(i as u64))
                })
                .collect::<Vec<f64>>()
        };
        let values: Vec<f64> = self.pictures.iter().flat_map(of).collect();
        let length = places.iter().map(|place| place.within.len()).sum::<usize>();
        Tensor::from_slice(&values).view([self.pictures.len() as i64, length as i64]).to_device(device)
    }

    /// One Gumbel number per position and code of scale `k`: `[B, length, vocabulary]` in `f32`, from draw
    /// `position · vocabulary + code`.
    pub(crate) fn gumbels(&self, k: usize, length: usize, vocabulary: usize, device: Device) -> Tensor {
        let count = length * vocabulary;
        let values: Vec<f32> = self
            .pictures
            .par_iter()
            .flat_map_iter(|b| {
                let stream = Stream::new(&format!("gumbel.{b}.{k}"), self.seed);
                (0..count as u64).map(move |i| -(-stream.draw(i).ln()).ln() as f32)
            })
            .collect();
        Tensor::from_slice(&values)
            .view([self.pictures.len() as i64, length as i64, vocabulary as i64])
            .to_device(device)
    }
}

/// Inverts the cumulative distribution of `probabilities` `[N, V]` at `uniforms` `[N]`: the first index
/// whose cumulative probability (`f64`, in index order, divided by its end) exceeds the uniform; ids `[N]`.
pub(crate) fn invert(probabilities: &Tensor, uniforms: &Tensor) -> Tensor {
    let cumulative = probabilities.to_kind(Kind::Double).cumsum(-1, Kind::Double);
    let last = cumulative.size().last().copied().unwrap_or(1) - 1;
    let normal = &cumulative / cumulative.narrow(-1, last, 1);
    let found =
        uniforms.unsqueeze(-1).searchsorted::<Tensor>(&normal, false, true, "right", None).squeeze_dim(-1);
    // Rounding may leave the last sum slightly below one.
    found.clamp_max(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_draws_the_same_whatever_its_batch() {
        let places = [Place { scale: 2, within: 0..9 }, Place { scale: 3, within: 0..16 }];
        let alone = Draws::new(5, vec![7]).uniforms(&places, Device::Cpu);
        let among = Draws::new(5, vec![2, 7, 9]).uniforms(&places, Device::Cpu).get(1).unsqueeze(0);
        assert_eq!(alone, among);
        let part = [Place { scale: 3, within: 4..6 }];
        assert_eq!(Draws::new(5, vec![7]).uniforms(&part, Device::Cpu), alone.narrow(1, 9 + 4, 2));
    }

    #[test]
    fn inversion_takes_the_first_index_beyond_the_draw() {
        let p = Tensor::from_slice(&[0.25_f32, 0.0, 0.5, 0.25]).view([1, 4]).repeat([4, 1]);
        let u = Tensor::from_slice(&[0.0_f64, 0.25, 0.7499, 0.9999]);
        assert_eq!(Vec::<i64>::try_from(invert(&p, &u)).unwrap(), [0, 2, 2, 3]);
    }
}
