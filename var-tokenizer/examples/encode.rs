//! An image as token ids, and back: `cargo run --release --example encode -- builtin image.png strip.png`.
//! The strip shows the image after each scale, from coarse to fine.

use image::{GenericImage, RgbImage};
use var_tokenizer::Tokenizer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tokenizer, image, out] = arguments.as_slice() else {
        return Err("give a tokenizer (or `builtin`), an image, and a file to write".into());
    };
    let tokenizer = Tokenizer::open(tokenizer)?;
    let maps = tokenizer.encode(&image::open(image)?.to_rgb8())?;
    for (side, ids) in maps.scales() {
        println!("{side} × {side}: {ids:?}");
    }
    let images = tokenizer.decode_scales(&maps)?;
    let side = images.first().map_or(0, RgbImage::width);
    let mut strip = RgbImage::new(side * images.len() as u32, side);
    for (i, image) in (0..).zip(&images) {
        strip.copy_from(image, i * side, 0)?;
    }
    strip.save(out)?;
    Ok(())
}
