//! A network without weights: colours per region of an image. It is for trials and tests; its distances say nothing
//! about the content of images.

use image::RgbImage;
use ndarray::Array2;

use super::network::{Activations, FeatureNetwork, Identity};
use crate::error::{Error, Result};

/// Name of the network.
pub const NAME: &str = "colour-grid";
/// Regions per side of the image.
const GRID: u32 = 2;
/// Features: mean and deviation of three channels in each region.
const WIDTH: usize = (GRID * GRID * 6) as usize;
/// "Logits": the mean of each channel in the first region.
const CLASSES: usize = 3;
/// "Spatial features": the first features.
const SPATIAL: usize = 6;

/// Means and deviations of colours in a grid of regions.
#[derive(Debug)]
pub struct ColourGrid {
    identity: Identity,
}

impl Default for ColourGrid {
    fn default() -> Self {
        let identity = Identity {
            network: NAME.into(),
            weights_sha256: var_tokenizer::files::sha256(b""),
            preprocessing: "bytes".into(),
            width: WIDTH,
            classes: CLASSES,
            spatial: SPATIAL,
        };
        Self { identity }
    }
}

impl FeatureNetwork for ColourGrid {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn activations(&self, pictures: &[RgbImage]) -> Result<Activations> {
        let features: Vec<f32> = pictures.iter().flat_map(regions).collect();
        let rows = || features.chunks_exact(WIDTH);
        let logits: Vec<f32> = rows().flat_map(|row| row.iter().take(CLASSES).map(|x| x / 16.0)).collect();
        let spatial: Vec<f32> = rows().flat_map(|row| row.iter().take(SPATIAL).copied()).collect();
        let n = pictures.len();
        let matrix = |width, values| {
            Array2::from_shape_vec((n, width), values).map_err(|e| Error::measure(e.to_string()))
        };
        Ok(Activations {
            logits: Some(matrix(CLASSES, logits)?),
            spatial: Some(matrix(SPATIAL, spatial)?),
            features: matrix(WIDTH, features)?,
        })
    }
}

/// Mean and deviation of each channel of each region. Regions of small images may share pixels.
fn regions(picture: &RgbImage) -> Vec<f32> {
    let mut values = Vec::with_capacity(WIDTH);
    for region in 0..GRID * GRID {
        let span = |at: u32, side: u32| {
            let begin = u64::from(at) * u64::from(side) / u64::from(GRID);
            let end = (u64::from(at + 1) * u64::from(side)).div_ceil(u64::from(GRID));
            (begin as u32, (end.max(begin + 1) as u32).min(side))
        };
        let (left, right) = span(region % GRID, picture.width());
        let (top, bottom) = span(region / GRID, picture.height());
        let (mut sums, mut squares, mut count) = ([0.0; 3], [0.0; 3], 0.0);
        for pixel in (top..bottom).flat_map(|y| (left..right).map(move |x| picture.get_pixel(x, y))) {
            for ((sum, square), byte) in sums.iter_mut().zip(&mut squares).zip(pixel.0) {
                *sum += f64::from(byte);
                *square += f64::from(byte) * f64::from(byte);
            }
            count += 1.0;
        }
        let count = f64::max(count, 1.0);
        values.extend(sums.map(|sum| (sum / count) as f32));
        let deviations = sums.iter().zip(squares).map(|(sum, square): (&f64, f64)| {
            (square / count - (sum / count).powi(2)).max(0.0).sqrt() as f32
        });
        values.extend(deviations);
    }
    values
}
