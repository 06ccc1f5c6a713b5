//! The image after each scale, from coarse to fine, side by side:
//! `cargo run --release --example scales -- MODEL CLASS strip.png`. MODEL is `builtin`, a run folder or a model file.

use image::{GenericImage, RgbImage};
use var_model::{Sampling, Var};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, class, out] = arguments.as_slice() else {
        return Err("give a model, a class, and a file to write".into());
    };
    let images = Var::open(model)?.sample_scales(class.as_str(), &Sampling::default())?;
    let side = images.first().map_or(0, RgbImage::width);
    let mut strip = RgbImage::new(side * images.len() as u32, side);
    for (i, image) in (0..).zip(&images) {
        strip.copy_from(image, i * side, 0)?;
    }
    strip.save(out)?;
    Ok(())
}
