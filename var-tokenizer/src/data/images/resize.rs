//! Resizes images to the same bytes as Pillow.
//!
//! Published models are trained and scored on images that Pillow resized. Pillow works on bytes in two passes, across
//! and then down. Each pass rounds its weights to 22 binary places, and its result to bytes. The crate
//! fast_image_resize keeps 16-bit weights, and differs by one in up to a third of the bytes.
//!
//! [`resize_window`] computes only the part of the result that a crop keeps. Its bytes are those of the whole result.

use std::f64::consts::PI;
use std::ops::Range;
use std::str::FromStr;

use image::RgbImage;

use crate::runtime::error::{Error, Result};

/// Binary places of a weight. A byte times the sum of weights fits in 32 bits.
const PRECISION: u32 = 32 - 8 - 2;
/// Maximum side of a result: keeps the arithmetic far from overflow.
const MAX_SIDE: u32 = 1 << 24;

/// Weights of the input pixels around an output pixel, with the names of Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The pixel under the centre.
    Nearest,
    /// The mean of the pixels covered.
    Box,
    /// A triangle of radius 1.
    Bilinear,
    /// A Hamming window of radius 1.
    Hamming,
    /// The cubic with a = −1/2, radius 2.
    Bicubic,
    /// The windowed sinc of Lanczos, radius 3. The published code uses it.
    Lanczos,
}

impl Filter {
    /// Radius of the filter, in input pixels when enlarging.
    fn radius(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// Returns the weight at distance `x` from the centre.
    fn weight(self, x: f64) -> f64 {
        let distance = x.abs();
        match self {
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - distance).max(0.0),
            Self::Hamming => {
                if distance == 0.0 {
                    1.0
                } else if distance >= 1.0 {
                    0.0
                } else {
                    let angle = distance * PI;
                    angle.sin() / angle * (0.54 + 0.46 * angle.cos())
                }
            }
            Self::Bicubic => {
                let a = -0.5;
                if distance < 1.0 {
                    ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0
                } else if distance < 2.0 {
                    (((distance - 5.0) * distance + 8.0) * distance - 4.0) * a
                } else {
                    0.0
                }
            }
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "nearest" => Ok(Self::Nearest),
            "box" => Ok(Self::Box),
            "bilinear" => Ok(Self::Bilinear),
            "hamming" => Ok(Self::Hamming),
            "bicubic" => Ok(Self::Bicubic),
            "lanczos" => Ok(Self::Lanczos),
            _ => Err(Error::Config(format!(
                "resize filter '{name}' is unknown; known: nearest, box, bilinear, hamming, bicubic, lanczos"
            ))),
        }
    }
}

/// sin(πx) / πx.
fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// A rectangle of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Resizes `image` to `width` × `height` pixels.
///
/// # Errors
/// When a side of the image or of the result is 0, or a side of the result is larger than 2²⁴.
pub fn resize(image: &RgbImage, width: u32, height: u32, filter: Filter) -> Result<RgbImage> {
    resize_window(image, (width, height), Window { left: 0, top: 0, width, height }, filter)
}

/// Resizes `image` to `full` = (width, height), and returns the part `window` of the result.
///
/// # Errors
/// As for [`resize`], and when the window is not inside `full`.
pub fn resize_window(image: &RgbImage, full: (u32, u32), window: Window, filter: Filter) -> Result<RgbImage> {
    let bytes = resize_bytes::<3>(image.as_raw(), image.dimensions(), full, window, filter)?;
    RgbImage::from_raw(window.width, window.height, bytes)
        .ok_or_else(|| Error::Config("resize: the result has the wrong number of bytes".into()))
}

/// As [`resize_window`], on `C` interleaved channels `[height, width, C]` of any meaning.
///
/// # Errors
/// As for [`resize_window`], and when `bytes` does not hold `size` = (width, height) pixels.
pub(crate) fn resize_bytes<const C: usize>(
    bytes: &[u8],
    size: (u32, u32),
    full: (u32, u32),
    window: Window,
    filter: Filter,
) -> Result<Vec<u8>> {
    check(bytes.len(), C, size, full, window)?;
    let [width, height, full_width, full_height] = [size.0, size.1, full.0, full.1].map(|x| x as usize);
    let columns = window.left as usize..(window.left + window.width) as usize;
    let rows = window.top as usize..(window.top + window.height) as usize;
    if filter == Filter::Nearest {
        return Ok(nearest::<C>(bytes, (width, height), (full_width, full_height), columns, rows));
    }
    let across = Taps::new(width, full_width, columns.clone(), filter);
    let down = Taps::new(height, full_height, rows.clone(), filter);
    // The first pass computes only the rows that the second one reads.
    let needed = if height == full_height { rows } else { down.reach() };
    let stride = columns.len() * C;
    let mut between = vec![0_u8; needed.len() * stride];
    if stride == 0 {
        return Ok(between);
    }
    for (row, out) in needed.clone().zip(between.chunks_exact_mut(stride)) {
        let line = &bytes[row * width * C..(row + 1) * width * C];
        if width == full_width {
            out.copy_from_slice(&line[columns.start * C..columns.end * C]);
        } else {
            pass_across::<C>(line, &across, out);
        }
    }
    if height == full_height {
        return Ok(between);
    }
    Ok(pass_down(&between, stride, needed.start, &down))
}

fn check(bytes: usize, channels: usize, size: (u32, u32), full: (u32, u32), window: Window) -> Result<()> {
    let [w, h, fw, fh] = [size.0, size.1, full.0, full.1].map(u64::from);
    if w * h == 0 || fw * fh == 0 || full.0 > MAX_SIDE || full.1 > MAX_SIDE {
        return Err(Error::Config(format!(
            "resize: cannot go from {w}×{h} to {fw}×{fh} pixels; sides must be 1 to {MAX_SIDE}"
        )));
    }
    let right = u64::from(window.left) + u64::from(window.width);
    let bottom = u64::from(window.top) + u64::from(window.height);
    if right > fw || bottom > fh {
        return Err(Error::Config(format!(
            "resize: window {window:?} is not inside the result of {fw}×{fh} pixels"
        )));
    }
    let expected = u128::from(w) * u128::from(h) * channels as u128;
    if bytes as u128 != expected {
        return Err(Error::Config(format!("resize: {bytes} bytes given, {w}×{h} pixels need {expected}")));
    }
    Ok(())
}

/// The input pixels and weights of each output pixel of one pass.
struct Taps {
    /// First input pixel, and the place of its weights.
    spans: Vec<(usize, Range<usize>)>,
    /// Weights in units of 2⁻²².
    weights: Vec<i32>,
}

impl Taps {
    fn new(input: usize, output: usize, wanted: Range<usize>, filter: Filter) -> Self {
        let scale = input as f64 / output as f64;
        // When shrinking, the filter widens to cover the pixels that merge.
        let stretch = scale.max(1.0);
        let radius = filter.radius() * stretch;
        let mut spans = Vec::with_capacity(wanted.len());
        let mut weights = Vec::new();
        for position in wanted {
            let centre = (position as f64 + 0.5) * scale;
            // Truncation towards zero and then clamping, as in C.
            let first = ((centre - radius + 0.5) as i64).clamp(0, input as i64) as usize;
            let last = ((centre + radius + 0.5) as i64).clamp(0, input as i64) as usize;
            let exact: Vec<f64> =
                (first..last).map(|x| filter.weight((x as f64 - centre + 0.5) * (1.0 / stretch))).collect();
            let sum: f64 = exact.iter().sum();
            let begin = weights.len();
            weights.extend(exact.iter().map(|&w| {
                let share = if sum == 0.0 { w } else { w / sum };
                let units = share * f64::from(1_u32 << PRECISION);
                (if units < 0.0 { units - 0.5 } else { units + 0.5 }) as i32
            }));
            spans.push((first, begin..weights.len()));
        }
        Self { spans, weights }
    }

    /// Returns the range of input pixels that the output needs.
    fn reach(&self) -> Range<usize> {
        let first = self.spans.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let last = self.spans.iter().map(|(first, span)| first + span.len()).max().unwrap_or(0);
        first..last.max(first)
    }
}

/// Half a unit, so that the shift below rounds.
const HALF: i32 = 1 << (PRECISION - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn pass_across<const C: usize>(line: &[u8], taps: &Taps, out: &mut [u8]) {
    for ((first, span), pixel) in taps.spans.iter().zip(out.chunks_exact_mut(C)) {
        let weights = &taps.weights[span.clone()];
        let inputs = line[first * C..(first + weights.len()) * C].chunks_exact(C);
        let mut sums = [HALF; C];
        for (weight, input) in weights.iter().zip(inputs) {
            for c in 0..C {
                sums[c] = sums[c].wrapping_add(weight.wrapping_mul(i32::from(input[c])));
            }
        }
        for c in 0..C {
            pixel[c] = to_byte(sums[c]);
        }
    }
}

fn pass_down(between: &[u8], stride: usize, first_row: usize, taps: &Taps) -> Vec<u8> {
    let mut result = vec![0_u8; taps.spans.len() * stride];
    let mut sums = vec![0_i32; stride];
    for ((first, span), out) in taps.spans.iter().zip(result.chunks_exact_mut(stride)) {
        sums.fill(HALF);
        for (k, weight) in taps.weights[span.clone()].iter().enumerate() {
            let row = (first + k - first_row) * stride;
            for (sum, &byte) in sums.iter_mut().zip(&between[row..row + stride]) {
                *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(byte)));
            }
        }
        for (byte, &sum) in out.iter_mut().zip(&sums) {
            *byte = to_byte(sum);
        }
    }
    result
}

fn nearest<const C: usize>(
    bytes: &[u8],
    size: (usize, usize),
    full: (usize, usize),
    columns: Range<usize>,
    rows: Range<usize>,
) -> Vec<u8> {
    // Pillow adds the step again and again, so its rounding errors add up. Do the same.
    let walk = |input: usize, output: usize, wanted: Range<usize>| -> Vec<usize> {
        let step = input as f64 / output as f64;
        let mut at = step * 0.5;
        let mut found = Vec::with_capacity(wanted.len());
        for position in 0..wanted.end {
            if position >= wanted.start {
                found.push((at as usize).min(input - 1));
            }
            at += step;
        }
        found
    };
    let across = walk(size.0, full.0, columns);
    let mut result = Vec::new();
    for y in walk(size.1, full.1, rows) {
        for &x in &across {
            let at = (y * size.0 + x) * C;
            result.extend_from_slice(&bytes[at..at + C]);
        }
    }
    result
}
