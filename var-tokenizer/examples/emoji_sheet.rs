//! Makes the built-in images out of an unpacked `emoji-datasource-google` package.
//!
//! `cargo run --release -p var-tokenizer --example emoji_sheet -- PACKAGE OUT` reads
//! `PACKAGE/emoji.json` and `PACKAGE/img/google/64/`, and writes `OUT/sheet-32.png` and `OUT/emoji.tsv`.

use std::io::BufWriter;
use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use serde_json::Value;

type Anything = Box<dyn std::error::Error>;

const SIDE: u32 = 32;
const COLUMNS: u32 = 32;

fn main() -> Result<(), Anything> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [package, out] = arguments.as_slice() else { return Err("usage: emoji_sheet PACKAGE OUT".into()) };
    let table = std::fs::read(Path::new(package).join("emoji.json"))?;
    let mut emoji: Vec<Value> = serde_json::from_slice(&table)?;
    emoji.sort_by_key(|entry| entry["sort_order"].as_u64());
    let mut rows = vec!["class\temoji\ttone".to_owned()];
    let mut files = Vec::new();
    for entry in &emoji {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let class = text("category").to_lowercase().replace(" & ", "-");
        // The five bare skin tones are colour chips, not emoji.
        if class == "component" {
            continue;
        }
        rows.push(format!("{class}\t{}\t", text("short_name")));
        files.push(text("image").to_owned());
        for (tone, variant) in entry["skin_variations"].as_object().into_iter().flatten() {
            rows.push(format!("{class}\t{}\t{}", text("short_name"), tone.to_lowercase()));
            files.push(variant["image"].as_str().unwrap_or_default().to_owned());
        }
    }
    let height = (files.len() as u32).div_ceil(COLUMNS) * SIDE;
    let mut sheet = RgbImage::from_pixel(COLUMNS * SIDE, height, Rgb([255; 3]));
    for (file, place) in files.iter().zip(0..) {
        let image = var_tokenizer::images::read_image(&Path::new(package).join("img/google/64").join(file))?;
        if image.dimensions() != (2 * SIDE, 2 * SIDE) {
            return Err(format!("{file} is not 64 × 64").into());
        }
        let (left, top) = (place % COLUMNS * SIDE, place / COLUMNS * SIDE);
        for (x, y) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y))) {
            // The mean of 2 × 2 pixels, rounded.
            let mean = |c: usize| {
                let sum: u32 = [(0, 0), (1, 0), (0, 1), (1, 1)]
                    .iter()
                    .map(|(dx, dy)| u32::from(image.get_pixel(2 * x + dx, 2 * y + dy).0[c]))
                    .sum();
                ((sum + 2) / 4) as u8
            };
            sheet.put_pixel(left + x, top + y, Rgb([mean(0), mean(1), mean(2)]));
        }
    }
    std::fs::write(Path::new(out).join("emoji.tsv"), rows.join("\n") + "\n")?;
    let file = BufWriter::new(std::fs::File::create(Path::new(out).join("sheet-32.png"))?);
    PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::Adaptive).write_image(
        &sheet,
        sheet.width(),
        sheet.height(),
        ExtendedColorType::Rgb8,
    )?;
    println!("{} images", files.len());
    Ok(())
}
