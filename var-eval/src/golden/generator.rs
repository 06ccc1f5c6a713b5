//! The inputs of the golden cases, made from their recipes.
//!
//! The tokenizer crate has the same generator; it is repeated here because that crate brings libtorch
//! along, and scoring pictures should build and run without it.

use crate::error::Result;
use crate::inputs::Picture;

/// A named stream of words: FNV-1a over the name, xor the seed, then SplitMix64.
struct Stream(u64);

impl Stream {
    fn new(name: &str, seed: u64) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash ^ seed)
    }

    fn word(&self, index: u64) -> u64 {
        let mut x = self.0.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Uniform in [0, 1) on a grid of 2⁻²⁴.
    fn uniform(&self, index: u64) -> f64 {
        (self.word(index) >> 40) as f64 / 16_777_216.0
    }
}

/// Recipe `image_u8`: a triangle wave, blocks of 8 × 8 and noise. All coefficients are dyadic, so that every
/// machine gives the same bytes.
///
/// # Errors
/// When a side is 0.
pub fn picture(name: &str, seed: u64, width: usize, height: usize, channels: usize) -> Result<Picture> {
    let coarse = Stream::new(&format!("{name}/coarse"), seed);
    let fine = Stream::new(&format!("{name}/fine"), seed);
    let blocks = width.div_ceil(8);
    let mut bytes = Vec::with_capacity(width * height * channels);
    for i in 0..height {
        for j in 0..width {
            for k in 0..channels {
                let phase = ((3 + k) * i + (5 + 2 * k) * j + 11 * k) % 64;
                let wave = 1.0 - (2.0 * phase as f64 / 64.0 - 1.0).abs();
                let block = coarse.uniform((((i / 8) * blocks + j / 8) * channels + k) as u64);
                let noise = fine.uniform(bytes.len() as u64);
                let value = 0.4375 * wave + 0.375 * block + 0.1875 * noise;
                bytes.push((255.0 * value + 0.5).floor() as u8);
            }
        }
    }
    Picture::new(width, height, channels, bytes)
}

/// Recipe `jitter`: each byte moved by at most `reach`, and clipped.
///
/// # Errors
/// None: the shape is that of a picture.
pub fn jitter(picture: &Picture, name: &str, seed: u64, reach: u8) -> Result<Picture> {
    let stream = Stream::new(name, seed);
    let moved = picture.bytes().iter().zip(0..).map(|(&byte, index)| {
        let step = stream.word(index) % (2 * u64::from(reach) + 1);
        (u64::from(byte) + step).saturating_sub(u64::from(reach)).min(255) as u8
    });
    let (width, height, channels) = picture.shape();
    Picture::new(width, height, channels, moved.collect())
}

/// Recipe `box3`: means of 3 × 3 rounded down, edges repeated.
///
/// # Errors
/// None: the shape is that of a picture.
pub fn box3(picture: &Picture) -> Result<Picture> {
    let (width, height, channels) = picture.shape();
    let around = |at: usize, limit: usize| [at.saturating_sub(1), at, (at + 1).min(limit - 1)];
    let mut bytes = Vec::with_capacity(picture.bytes().len());
    for i in 0..height {
        for j in 0..width {
            for k in 0..channels {
                let rows = around(i, height).into_iter();
                let cells = rows.flat_map(|r| around(j, width).map(|c| (r * width + c) * channels + k));
                let sum: u32 = cells.map(|cell| u32::from(picture.bytes()[cell])).sum();
                bytes.push((sum / 9) as u8);
            }
        }
    }
    Picture::new(width, height, channels, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_equal_the_published_check_values() {
        assert_eq!(Stream::new("a", 0).word(1), 0xff84_f1bd_b6d3_884f);
        assert_eq!(Stream::new("inception/fc.bias", 1).word(0), 0x1a20_4847_cb45_2f54);
        assert_eq!(Stream::new("é/λ", u64::MAX).word(1), 0x8103_ceac_9009_25e2);
        assert_eq!(Stream::new("é/λ", u64::MAX).uniform(0), 0.847_562_909_126_281_7);
    }
}
