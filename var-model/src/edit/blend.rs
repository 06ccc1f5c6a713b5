//! Puts a generated image into the photo. Kept pixels do not change; the border is soft.

use image::{Rgb, RgbImage};
use rayon::prelude::*;

use super::region::Region;
use super::window::Window;

/// The share of the generated image at each pixel of a photo.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    width: usize,
    /// `[height, width]`: 0 where the photo is kept, above 0 and up to 1 where it is generated.
    values: Vec<f32>,
}

impl Weights {
    /// Weights that rise over `feather` pixels from the border of `region` into it: `d / (feather + 1)`, at most 1, at
    /// distance `d` (Euclidean, to the nearest kept pixel). With `feather` 0 the edge is hard.
    pub(crate) fn new(region: &Region, feather: u32) -> Self {
        let (width, height) = (region.width() as usize, region.height() as usize);
        let reach = u64::from(feather) + 1;
        // Two pixels are never as far apart as width plus height.
        let limit = reach.min(u64::from(region.width()) + u64::from(region.height()));
        let across: Vec<u32> = (0..region.height())
            .into_par_iter()
            .flat_map_iter(|y| row_distances(region.row(y), limit as u32))
            .collect();
        let mut values = vec![0.0; width * height];
        values.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| {
            for (x, value) in row.iter_mut().enumerate() {
                let at = |y: usize| across.get(y * width + x).copied().map_or(limit, u64::from);
                let own = at(y);
                if own == 0 {
                    continue;
                }
                // Rows farther away than the best distance cannot have a nearer pixel.
                let mut best = own * own;
                let mut rows = 1;
                while rows * rows < best {
                    for other in [y.checked_sub(rows as usize), Some(y + rows as usize)].into_iter().flatten()
                    {
                        best = best.min(at(other).pow(2) + rows * rows);
                    }
                    rows += 1;
                }
                // At the limit, no kept pixel is within reach.
                let beyond = best >= limit * limit;
                *value = if beyond { 1.0 } else { ((best as f64).sqrt() / reach as f64) as f32 };
            }
        });
        Self { width, values }
    }

    /// The weight at (`x`, `y`).
    pub(crate) fn at(&self, x: u32, y: u32) -> f32 {
        self.values.get(y as usize * self.width + x as usize).copied().unwrap_or(0.0)
    }
}

/// The distance of each pixel of a row to the nearest kept pixel of the row, at most `limit`.
fn row_distances(row: &[bool], limit: u32) -> Vec<u32> {
    let mut distances = vec![limit; row.len()];
    let mut walk = |order: &mut dyn Iterator<Item = usize>| {
        let mut last = limit;
        for x in order {
            if let (Some(&generated), Some(distance)) = (row.get(x), distances.get_mut(x)) {
                last = if generated { (last + 1).min(limit) } else { 0 };
                *distance = (*distance).min(last);
            }
        }
    };
    walk(&mut (0..row.len()));
    walk(&mut (0..row.len()).rev());
    distances
}

/// Mixes `generated`, which fills `window`, into `photo` by `weights`. The result equals the photo where the weight is 0,
/// and the generated image where it is 1.
pub(crate) fn blend(photo: &RgbImage, generated: &RgbImage, window: &Window, weights: &Weights) -> RgbImage {
    let mut result = photo.clone();
    for (x, y, pixel) in result.enumerate_pixels_mut() {
        let weight = weights.at(x, y);
        if weight > 0.0
            && let Some((u, v)) = window.place_of(x, y)
            && let Some(new) = generated.get_pixel_checked(u, v)
        {
            *pixel = mixed(*pixel, *new, weight);
        }
    }
    result
}

fn mixed(old: Rgb<u8>, new: Rgb<u8>, weight: f32) -> Rgb<u8> {
    let mix = |a: u8, b: u8| (f32::from(a) + weight * (f32::from(b) - f32::from(a))).round() as u8;
    let ([r, g, b], [s, h, c]) = (old.0, new.0);
    Rgb([mix(r, s), mix(g, h), mix(b, c)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, pixel by pixel.
    fn by_definition(region: &Region, feather: u32, x: u32, y: u32) -> f32 {
        if !region.generates(x, y) {
            return 0.0;
        }
        let mut nearest = f64::INFINITY;
        for v in 0..region.height() {
            for u in 0..region.width() {
                if !region.generates(u, v) {
                    nearest = nearest.min((f64::from(u) - f64::from(x)).hypot(f64::from(v) - f64::from(y)));
                }
            }
        }
        (nearest / (f64::from(feather) + 1.0)).min(1.0) as f32
    }

    fn scattered(width: u32, height: u32, seed: u32, kept_in: u32) -> Region {
        Region::new(width, height, |x, y| {
            (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ seed).wrapping_mul(2_654_435_769) >> 8 & 63
                >= kept_in
        })
    }

    proptest! {
        #[test]
        fn weights_follow_the_distance_to_the_nearest_kept_pixel(
            (width, height) in (1_u32..24, 1_u32..24), seed: u32, kept_in in 0_u32..6, feather in 0_u32..12,
        ) {
            let region = scattered(width, height, seed, kept_in);
            let weights = Weights::new(&region, feather);
            for y in 0..height {
                for x in 0..width {
                    let (found, wanted) = (weights.at(x, y), by_definition(&region, feather, x, y));
                    prop_assert!((found - wanted).abs() < 1e-6, "({x}, {y}): {found}, not {wanted}");
                }
            }
        }

        #[test]
        fn kept_pixels_are_those_of_the_photo_to_the_bit(seed: u32, feather in 0_u32..9) {
            let region = scattered(13, 9, seed, 20);
            let photo = RgbImage::from_fn(13, 9, |x, y| Rgb([x as u8 * 19, y as u8 * 25, seed as u8]));
            let window = Window::around(region.bounds(), 13, 9).unwrap();
            let generated = RgbImage::from_pixel(window.side, window.side, Rgb([0, 255, 90]));
            let result = blend(&photo, &generated, &window, &Weights::new(&region, feather));
            for (x, y, pixel) in result.enumerate_pixels() {
                if !region.generates(x, y) {
                    prop_assert_eq!(pixel, photo.get_pixel(x, y));
                } else if feather == 0 {
                    prop_assert_eq!(pixel, &Rgb([0, 255, 90]));
                }
            }
        }
    }

    #[test]
    fn weights_rise_from_the_border_and_reach_one_behind_the_feather() {
        let region = Region::new(12, 1, |x, _| x >= 3);
        let row = |feather: u32| -> Vec<f32> {
            let weights = Weights::new(&region, feather);
            (0..12).map(|x| weights.at(x, 0)).collect()
        };
        assert_eq!(row(3)[..8], [0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!(row(20).windows(2).all(|pair| pair[0] <= pair[1]) && row(20)[11] < 1.0);
        assert!(row(0).iter().all(|&w| w == 0.0 || w == 1.0) && row(0)[3] == 1.0);
        assert!(row(u32::MAX).iter().all(|&w| w < 1.0));
    }

    #[test]
    fn where_nothing_is_kept_the_generated_picture_shows_whole() {
        let region = Region::new(5, 4, |_, _| true);
        let weights = Weights::new(&region, 2);
        assert!((0..4).all(|y| (0..5).all(|x| weights.at(x, y) == 1.0)));
    }
}
