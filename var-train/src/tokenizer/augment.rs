//! Differentiable augmentation (Zhao et al. 2020) of all images that the discriminator sees: shift, colours, cut-out, blur.
//!
//! Source: `utils/diffaug.py` of vaex. Each image has its own draws in 0..1, which the caller gives.

use tch::{Kind, Tensor};
use var_tokenizer::random::Stream;

use crate::error::Result;

/// Draws per image: shift (2), brightness, saturation, contrast, cut-out (2).
pub(crate) const DRAWS: i64 = 7;
/// The largest shift, as a share of the side.
const SHIFT: f64 = 0.125;
/// Side of the cut-out square, as a share of the side.
pub(crate) const CUTOUT: f64 = 0.2;
/// Side of the stronger cut-out, for the consistency loss.
pub(crate) const STRONG_CUTOUT: f64 = 0.5;

/// The draws of the images `examples`, by their place in the order of the run: `[7, B]`.
pub(crate) fn draws(stream: &Stream, examples: impl Iterator<Item = u64>) -> Tensor {
    let columns: Vec<Stream> = examples.map(|i| stream.at(i)).collect();
    let rows = (0..DRAWS as u64).flat_map(|row| columns.iter().map(move |column| column.uniform(row)));
    Tensor::from_slice(&rows.collect::<Vec<f32>>()).view([DRAWS, -1])
}

/// Images `[B, 3, H, W]` in [-1, 1], shifted, recoloured and with a square of zeros, by `draws` `[7, B]`.
/// Differentiable.
///
/// # Errors
/// When libtorch fails.
pub(crate) fn augment(images: &Tensor, draws: &Tensor, cutout: f64) -> Result<Tensor> {
    let draws = draws.f_to_device(images.device())?;
    let row = |i: i64| -> Result<Tensor> { Ok(draws.f_select(0, i)?) };
    let x = shift(images, &row(0)?, &row(1)?)?;
    let x = colours(&x, &row(2)?, &row(3)?, &row(4)?)?;
    let hole = hole(&x, &row(5)?, &row(6)?, cutout)?;
    Ok(x.f_mul(&hole)?)
}

/// 0, 1, … below `count`, as integers on the device of `like`.
fn range(count: i64, like: &Tensor) -> Tensor {
    Tensor::arange(count, (Kind::Int64, like.device()))
}

/// Where each pixel along an axis of `side` comes from after a shift by the draws `[B]`, counted from the border of zeros
/// of width `reach`: `[B, side]`.
fn sources(draws: &Tensor, side: i64, reach: i64) -> Result<Tensor> {
    let steps = draws.f_mul_scalar((2 * reach + 1) as f64)?.f_floor()?.f_to_kind(Kind::Int64)?;
    Ok(range(side, draws).f_view([1, -1])?.f_add(&steps.f_view([-1, 1])?)?)
}

/// Shifts each image by up to an eighth of its sides; zeros move in.
fn shift(images: &Tensor, down: &Tensor, right: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = images.size4()?;
    let reach = |side: i64| (SHIFT * side as f64).round_ties_even() as i64;
    let (dy, dx) = (reach(height), reach(width));
    let padded = images.f_constant_pad_nd([dx, dx, dy, dy])?;
    let rows = sources(down, height, dy)?.f_view([batch, 1, height, 1])?;
    let rows = rows.f_expand([batch, channels, height, width + 2 * dx], false)?;
    let columns = sources(right, width, dx)?.f_view([batch, 1, 1, width])?;
    let columns = columns.f_expand([batch, channels, height, width], false)?;
    Ok(padded.f_gather(2, &rows, false)?.f_gather(3, &columns, false)?)
}

/// Changes brightness by ±0.5, and multiplies saturation by 0..2 and contrast by 0.5..1.5.
fn colours(images: &Tensor, brightness: &Tensor, saturation: &Tensor, contrast: &Tensor) -> Result<Tensor> {
    let each = |draws: &Tensor| draws.f_view([-1, 1, 1, 1]);
    let x = images.f_add(&each(brightness)?.f_sub_scalar(0.5)?)?;
    let grey = x.f_mean_dim(&[1_i64][..], true, Kind::Float)?;
    let x = x.f_sub(&grey)?.f_mul(&each(saturation)?.f_mul_scalar(2.0)?)?.f_add(&grey)?;
    let mean = x.f_mean_dim(&[1_i64, 2, 3][..], true, Kind::Float)?;
    Ok(x.f_sub(&mean)?.f_mul(&each(contrast)?.f_add_scalar(0.5)?)?.f_add(&mean)?)
}

/// 0 inside a square with sides `ratio` of the image's, and 1 elsewhere: `[B, 1, H, W]`.
fn hole(images: &Tensor, y: &Tensor, x: &Tensor, ratio: f64) -> Result<Tensor> {
    let (batch, _, height, width) = images.size4()?;
    let inside = |draws: &Tensor, side: i64| -> Result<Tensor> {
        let square = (ratio * side as f64).round_ties_even() as i64;
        let centre = draws.f_mul_scalar((side + 1 - square % 2) as f64)?.f_floor()?.f_to_kind(Kind::Int64)?;
        let first = centre.f_sub_scalar(square / 2)?.f_view([batch, 1])?;
        let place = range(side, images).f_view([1, side])?.f_sub(&first)?;
        // The square is clamped to the image: its rows beyond a border fall onto the border.
        let last = first.f_add_scalar(square - 1)?;
        let within = place.f_ge(0)?.f_logical_and(&place.f_lt(square)?)?;
        let border = |index: i64, beyond: Tensor| -> Result<Tensor> {
            Ok(range(side, images).f_view([1, side])?.f_eq(index)?.f_logical_and(&beyond)?)
        };
        let within = within.f_logical_or(&border(0, first.f_lt(0)?)?)?;
        Ok(within.f_logical_or(&border(side - 1, last.f_ge(side)?)?)?)
    };
    let rows = inside(y, height)?.f_view([batch, 1, height, 1])?;
    let columns = inside(x, width)?.f_view([batch, 1, 1, width])?;
    Ok(rows.f_logical_and(&columns)?.f_logical_not()?.f_to_kind(Kind::Float)?)
}

/// Images `[B, 3, H, W]` under a low-pass filter whose width is `fade` times √(H / 2). Differentiable.
///
/// The taps are 2 to the power of −(i/σ)², as published; a narrow filter changes nothing.
///
/// # Errors
/// When the filter is wider than the image, or libtorch fails.
pub(crate) fn blur(images: &Tensor, fade: f64) -> Result<Tensor> {
    let (_, channels, height, _) = images.size4()?;
    let sigma = (height as f64 * 0.5).sqrt() * fade;
    let radius = (3.0 * sigma).floor() as i64;
    if radius < 1 {
        return Ok(images.shallow_clone());
    }
    let taps: Vec<f32> =
        (-radius..=radius).map(|i| 2.0_f64.powf(-(i as f64 / sigma).powi(2)) as f32).collect();
    let taps = Tensor::from_slice(&taps).to_device(images.device());
    let taps = taps.f_div(&taps.f_sum(Kind::Float)?)?;
    let filter = |shape: [i64; 4]| taps.f_view(shape)?.f_repeat([channels, 1, 1, 1]);
    let (length, none) = (2 * radius + 1, None::<Tensor>);
    let padded = images.f_reflection_pad2d([radius; 4])?;
    let rows =
        padded.f_conv2d(&filter([1, 1, 1, length])?, none.as_ref(), [1, 1], [0, 0], [1, 1], channels)?;
    Ok(rows.f_conv2d(&filter([1, 1, length, 1])?, none.as_ref(), [1, 1], [0, 0], [1, 1], channels)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use var_tokenizer::weights::portable;

    #[test]
    fn the_draws_of_an_image_depend_on_its_place_and_on_nothing_else() {
        let stream = Stream::new("augment", 7);
        let all = draws(&stream, 0..6);
        let part = draws(&stream, 4..6);
        assert!(all.narrow(1, 4, 2).equal(&part));
        assert!(!draws(&Stream::new("augment", 8), 4..6).equal(&part));
    }

    #[test]
    fn draws_in_the_middle_leave_the_colours_and_the_place() {
        let images = portable::uniform("images", 1, &[2, 3, 16, 16]) * 2.0 - 1.0;
        let middle = Tensor::full([DRAWS, 2], 0.5, (Kind::Float, tch::Device::Cpu));
        let changed = augment(&images, &middle, 0.0).unwrap();
        assert!((changed - images).abs().max().double_value(&[]) < 1e-6);
    }
}
