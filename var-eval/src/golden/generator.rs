//! Makes the images of the golden cases from their recipes.

use var_tokenizer::random::Stream;

use crate::error::Result;
use crate::inputs::Picture;

/// Recipe `image_u8`: a triangle wave, blocks of 8 × 8 and noise. All coefficients are dyadic, so all
/// machines give the same bytes.
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
                let block = f64::from(coarse.uniform((((i / 8) * blocks + j / 8) * channels + k) as u64));
                let noise = f64::from(fine.uniform(bytes.len() as u64));
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
/// None: the shape is that of an image.
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
/// None: the shape is that of an image.
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
    }
}
