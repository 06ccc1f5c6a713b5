//! How the FID tools resize an image to 299 × 299: three ways, which give different numbers.
//!
//! All are separable, so one resampler serves, with the weights of each way. They differ in the position of pixel centres,
//! in averaging when they shrink, and in the scale of bytes. Nothing is rounded in between.

use std::fmt;
use std::str::FromStr;

use image::RgbImage;
use rayon::prelude::*;
use tch::{Device, Tensor};
use var_tokenizer::nearest::did_you_mean;

use crate::error::{Error, Result};

/// Side of the network's input.
pub const SIDE: usize = 299;
/// Channels of an image.
const CHANNELS: usize = 3;

/// The tool whose preprocessing is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum InceptionInput {
    /// pytorch-fid: byte / 255, bilinear with half-pixel centres and without antialiasing, then 2x − 1.
    #[default]
    PytorchFid,
    /// torch-fidelity, and the TensorFlow graph that ADM's evaluator runs: bilinear as in TensorFlow 1, whose
    /// source position is output · input / 299 without half-pixel shift; then (x − 128) / 128.
    TorchFidelity,
    /// clean-fid: Pillow's bicubic, which averages when shrinking, on each channel in floats, clipped to
    /// 0..255 and not rounded; then (x − 128) / 128.
    CleanFid,
}

/// All of them.
const ALL: [InceptionInput; 3] =
    [InceptionInput::PytorchFid, InceptionInput::TorchFidelity, InceptionInput::CleanFid];

impl InceptionInput {
    /// The name of the tool.
    pub fn name(self) -> &'static str {
        match self {
            Self::PytorchFid => "pytorch-fid",
            Self::TorchFidelity => "torch-fidelity",
            Self::CleanFid => "clean-fid",
        }
    }

    /// `pictures` resized and normalised: `[B, 3, 299, 299]` on `device`, channels adjacent in memory.
    ///
    /// # Errors
    /// When an image has no pixels, or memory runs out.
    pub fn prepare(self, pictures: &[RgbImage], device: Device) -> Result<Tensor> {
        let size = SIDE * SIDE * CHANNELS;
        let mut values = vec![0_f32; pictures.len() * size];
        values.par_chunks_mut(size).zip(pictures).try_for_each(|(out, picture)| self.fill(picture, out))?;
        channels_last(&values, [pictures.len(), SIDE, SIDE], device)
    }

    /// Writes one prepared image, in the order row, column, channel.
    fn fill(self, picture: &RgbImage, out: &mut [f32]) -> Result<()> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if width == 0 || height == 0 {
            return Err(Error::Bytes { width, height, channels: CHANNELS, expected: 1, found: 0 });
        }
        let (across, down) = (self.taps(width), self.taps(height));
        resample(picture.as_raw(), width, &across, &down, out);
        let (factor, shift) = match self {
            Self::PytorchFid => (2.0 / 255.0, -1.0),
            Self::TorchFidelity | Self::CleanFid => (1.0 / 128.0, -1.0),
        };
        // Interpolation between bytes stays within them; only the cubic overshoots.
        out.iter_mut().for_each(|value| *value = value.clamp(0.0, 255.0) * factor + shift);
        Ok(())
    }

    fn taps(self, input: usize) -> Vec<Taps> {
        let scale = input as f64 / SIDE as f64;
        (0..SIDE)
            .map(|position| {
                let position = position as f64;
                match self {
                    Self::PytorchFid => linear(((position + 0.5) * scale - 0.5).max(0.0), input),
                    Self::TorchFidelity => linear(position * scale, input),
                    Self::CleanFid => cubic((position + 0.5) * scale, scale.max(1.0), input),
                }
            })
            .collect()
    }
}

impl fmt::Display for InceptionInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for InceptionInput {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = ALL.map(Self::name);
        ALL.into_iter().find(|way| way.name() == text).ok_or_else(|| unknown("preprocessing", text, &names))
    }
}

/// The error about a word that is not among `known`.
pub(crate) fn unknown(what: &str, word: &str, known: &[&str]) -> Error {
    let hint = did_you_mean(word, known.iter().copied());
    let message = format!("{what} '{word}' is unknown; known: {}{hint}", known.join(", "));
    var_tokenizer::Error::Config(message).into()
}

/// `values` in the order image, row, column, channel as the tensor `[B, 3, H, W]`, channels adjacent in memory; `lengths`
/// are B, H and W.
pub(crate) fn channels_last(values: &[f32], lengths: [usize; 3], device: Device) -> Result<Tensor> {
    let [count, height, width] = lengths;
    let shape = [count, height, width, CHANNELS].map(|length| length as i64);
    Ok(Tensor::f_from_slice(values)?.f_view(shape)?.f_to_device(device)?.f_permute([0, 3, 1, 2])?)
}

/// The input pixels of an output pixel: the first, and the weights from there on.
#[derive(Debug)]
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// The two neighbours of position `at`, the upper one clamped.
fn linear(at: f64, input: usize) -> Taps {
    let first = (at.floor() as usize).min(input - 1);
    let share = at - first as f64;
    if first + 1 < input {
        Taps { first, weights: vec![(1.0 - share) as f32, share as f32] }
    } else {
        Taps { first, weights: vec![1.0] }
    }
}

/// Pillow's cubic (a = −1/2) around `centre`, stretched when shrinking; weights sum to one at the edges too.
fn cubic(centre: f64, stretch: f64, input: usize) -> Taps {
    let reach = 2.0 * stretch;
    let first = ((centre - reach + 0.5).max(0.0)) as usize;
    let last = (((centre + reach + 0.5).max(0.0)) as usize).min(input);
    let weight = |x: f64| {
        let d = x.abs();
        if d < 1.0 {
            (1.5 * d - 2.5) * d * d + 1.0
        } else if d < 2.0 {
            ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
        } else {
            0.0
        }
    };
    let exact: Vec<f64> = (first..last).map(|x| weight((x as f64 - centre + 0.5) / stretch)).collect();
    let sum: f64 = exact.iter().sum();
    Taps { first, weights: exact.iter().map(|w| (w / sum) as f32).collect() }
}

/// Resamples bytes `[height, width, 3]` across, then down, into `out` `[down, across, 3]`. Rows that no output needs are
/// skipped. Each other row passes the first step once, because outputs and their inputs both run downwards.
fn resample(bytes: &[u8], width: usize, across: &[Taps], down: &[Taps], out: &mut [f32]) {
    let stride = across.len() * CHANNELS;
    let most = down.iter().map(|taps| taps.weights.len()).max().unwrap_or(0).max(1);
    // A ring of rows after the first step; `made` counts them.
    let mut ring = vec![0_f32; most * stride];
    let mut made = 0;
    for (taps, line) in down.iter().zip(out.chunks_exact_mut(stride)) {
        let end = taps.first + taps.weights.len();
        for row in made.max(taps.first)..end {
            let begin = row * width * CHANNELS;
            let source = bytes.get(begin..begin + width * CHANNELS).unwrap_or_default();
            let slot = (row % most) * stride;
            pass_across(source, across, ring.get_mut(slot..slot + stride).unwrap_or_default());
        }
        made = made.max(end);
        line.fill(0.0);
        for (row, &weight) in (taps.first..end).zip(&taps.weights) {
            let slot = (row % most) * stride;
            let source = ring.get(slot..slot + stride).unwrap_or_default();
            line.iter_mut().zip(source).for_each(|(sum, &value)| *sum += weight * value);
        }
    }
}

fn pass_across(source: &[u8], across: &[Taps], out: &mut [f32]) {
    for (taps, pixel) in across.iter().zip(out.chunks_exact_mut(CHANNELS)) {
        let inputs = source.get(taps.first * CHANNELS..).unwrap_or_default().chunks_exact(CHANNELS);
        let mut sums = [0_f32; CHANNELS];
        for (&weight, input) in taps.weights.iter().zip(inputs) {
            sums.iter_mut().zip(input).for_each(|(sum, &byte)| *sum += weight * f32::from(byte));
        }
        pixel.copy_from_slice(&sums);
    }
}
