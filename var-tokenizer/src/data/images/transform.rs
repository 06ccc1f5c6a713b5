//! Turns an image of any size into a square one, and into numbers in [−1, 1].

use image::RgbImage;
use tch::{Device, Kind, Tensor};

use super::resize::{Filter, Window, resize_window};
use crate::runtime::error::{Error, Result};
use crate::runtime::random::Stream;

/// The published code resizes the shorter side to this times the side before it crops.
pub(crate) const PUBLISHED_ZOOM: f64 = 1.125;

/// How an image becomes a square of `side` pixels: the shorter side is resized to `zoom · side` (Lanczos), then a
/// square is cropped. An image of `side` × `side` stays as it is, so that it keeps its borders.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Framing {
    side: u32,
    zoom: f64,
}

/// Position of the crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placement {
    /// In the middle. Half pixels round to even, as in Python.
    Centre,
    /// At a place that two random words decide.
    Random {
        /// Decides the column.
        across: u64,
        /// Decides the row.
        down: u64,
    },
}

/// A crop of an image, perhaps mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// Position of the crop.
    pub placement: Placement,
    /// Whether left and right are exchanged.
    pub mirrored: bool,
}

impl View {
    /// The middle of the image, not mirrored.
    pub const CENTRE: Self = Self { placement: Placement::Centre, mirrored: false };

    /// View `number` of a fixed set of views of image `index`.
    ///
    /// View 0 is the centre. With `mirror`, view 1 is the mirrored centre, and all odd views are mirrored. All other
    /// views are random crops that depend on (`seed`, `index`, `number`) only.
    pub fn numbered(seed: u64, index: usize, number: usize, mirror: bool) -> Self {
        let (place, mirrored) = if mirror { (number / 2, number % 2 == 1) } else { (number, false) };
        let placement = if place == 0 {
            Placement::Centre
        } else {
            let words = Stream::new("view", seed).at(index as u64).at(number as u64);
            Placement::Random { across: words.word(0), down: words.word(1) }
        };
        Self { placement, mirrored }
    }

    /// A random crop, with `mirror` mirrored half of the time. It depends on (`seed`, `epoch`, `index`) only.
    pub fn random(seed: u64, epoch: u64, index: usize, mirror: bool) -> Self {
        let words = Stream::new("augment", seed).at(epoch).at(index as u64);
        let placement = Placement::Random { across: words.word(0), down: words.word(1) };
        Self { placement, mirrored: mirror && words.below(2, 2) == 1 }
    }
}

impl Framing {
    /// Maximum side of the squares.
    pub const MAX_SIDE: usize = 8192;

    /// Squares of `side` pixels by the published procedure, zoom 1.125.
    ///
    /// # Errors
    /// When the side is 0 or above [`Self::MAX_SIDE`].
    pub fn new(side: usize) -> Result<Self> {
        Self::with_zoom(side, PUBLISHED_ZOOM)
    }

    /// As [`Self::new`], with another zoom. Zoom 1 keeps as much of the image as possible.
    ///
    /// # Errors
    /// When the side is 0 or above [`Self::MAX_SIDE`], or the zoom is not from 1 to 8.
    pub fn with_zoom(side: usize, zoom: f64) -> Result<Self> {
        if side == 0 || side > Self::MAX_SIDE {
            return Err(Error::Config(format!("image side {side} is not from 1 to {}", Self::MAX_SIDE)));
        }
        if !(1.0..=8.0).contains(&zoom) {
            return Err(Error::Config(format!("zoom {zoom} is not from 1 to 8")));
        }
        Ok(Self { side: side as u32, zoom })
    }

    /// Side of the squares, in pixels.
    pub fn side(&self) -> usize {
        self.side as usize
    }

    /// Shorter side before the crop: `zoom · side`, half to even.
    pub(crate) fn zoomed(&self) -> u32 {
        ((self.zoom * f64::from(self.side)).round_ties_even() as u32).max(self.side)
    }

    /// Size (width, height) of the whole image after resizing. The longer side is rounded down.
    pub(crate) fn resized(&self, width: u32, height: u32) -> (u32, u32) {
        let short = self.zoomed();
        let long = |this: u32, other: u32| {
            let length = u64::from(short) * u64::from(this) / u64::from(other.max(1));
            u32::try_from(length).unwrap_or(u32::MAX).max(short)
        };
        if width <= height { (short, long(height, width)) } else { (long(width, height), short) }
    }

    /// Crops `image` as `view` says.
    ///
    /// # Errors
    /// When the image has no pixels, or one side is more than a million times longer than the other.
    pub fn frame(&self, image: &RgbImage, view: View) -> Result<RgbImage> {
        let (width, height) = image.dimensions();
        let mut square = if (width, height) == (self.side, self.side) {
            image.clone()
        } else {
            let full = self.resized(width, height);
            let place = |length: u32, word: Option<u64>| {
                let room = length - self.side;
                match word {
                    None => (f64::from(room) / 2.0).round_ties_even() as u32,
                    Some(word) => (word % (u64::from(room) + 1)) as u32,
                }
            };
            let (across, down) = match view.placement {
                Placement::Centre => (None, None),
                Placement::Random { across, down } => (Some(across), Some(down)),
            };
            let (left, top) = (place(full.0, across), place(full.1, down));
            let window = Window { left, top, width: self.side, height: self.side };
            resize_window(image, full, window, Filter::Lanczos)?
        };
        if view.mirrored {
            image::imageops::flip_horizontal_in_place(&mut square);
        }
        Ok(square)
    }
}

/// Appends `image` to `out` as `[3, height, width]` in [−1, 1]: 2 · byte / 255 − 1, with the `f32` steps of the
/// published code.
pub(crate) fn append_unit(image: &RgbImage, out: &mut Vec<f32>) {
    let bytes = image.as_raw();
    for channel in 0..3 {
        out.extend(bytes.iter().skip(channel).step_by(3).map(|&byte| {
            let x = f32::from(byte) / 255.0;
            (x + x) - 1.0
        }));
    }
}

/// Returns `image` as `[3, height, width]` in [−1, 1].
pub fn to_unit(image: &RgbImage) -> Vec<f32> {
    let mut out = Vec::with_capacity(image.as_raw().len());
    append_unit(image, &mut out);
    out
}

/// Turns a tensor `[B, 3, side, side]` in [−1, 1] into images, as [`from_unit`] does. Bytes are made on its device.
///
/// # Errors
/// When the shape is different, or libtorch fails.
pub fn from_tensor(images: &Tensor) -> Result<Vec<RgbImage>> {
    let (_, channels, height, side) = images.size4()?;
    if channels != 3 || height != side {
        let found = format!("{channels} × {height} × {side} values per image");
        return Err(Error::Config(format!("{found}; expected 3 × side × side")));
    }
    let scaled = (images.to_kind(Kind::Float) + 1.0) * 127.5;
    let whole = scaled.f_nan_to_num(0.0, None, None)?.floor();
    // Halves are rounded up; libtorch would round them to even numbers.
    let rounded = &whole + (&scaled - &whole).ge(0.5).to_kind(Kind::Float);
    let bytes = rounded
        .clamp(0.0, 255.0)
        .to_kind(Kind::Uint8)
        .permute([0, 2, 3, 1])
        .to_device(Device::Cpu)
        .contiguous();
    let too_large = || Error::Config(format!("side {side} is too large for an image"));
    let image = |t: &Tensor| {
        let bytes = Vec::<u8>::try_from(t.view([-1]))?;
        RgbImage::from_raw(side as u32, side as u32, bytes).ok_or_else(too_large)
    };
    bytes.unbind(0).iter().map(image).collect()
}

/// Turns `pixels` `[3, side, side]` in [−1, 1] into an image. Values are clamped (NaN becomes 0) and rounded to the
/// nearest byte.
///
/// # Errors
/// When there are not 3 · side² values.
pub fn from_unit(pixels: &[f32], side: usize) -> Result<RgbImage> {
    let area = side * side;
    if pixels.len() != 3 * area || side > u32::MAX as usize {
        return Err(Error::Config(format!("{} values do not make 3 × {side} × {side} pixels", pixels.len())));
    }
    let mut bytes = Vec::with_capacity(3 * area);
    for i in 0..area {
        for channel in 0..3 {
            bytes.push(((pixels[channel * area + i] + 1.0) * 127.5).round() as u8);
        }
    }
    RgbImage::from_raw(side as u32, side as u32, bytes)
        .ok_or_else(|| Error::Config(format!("side {side} is too large for an image")))
}
