//! Pixels as stored: those of Pillow's `Image.open(file).convert("RGB")`, which evaluation tools read.
//!
//! `expected.safetensors` holds what Pillow 13.0.0 gives for every file next to it, `[H, W, 3]` by file name.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use var_tokenizer::images::{Pixels, Traits, read_image, read_pixels};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pixels")
}

/// Largest and mean difference from Pillow, by file name.
fn differences() -> Vec<(String, u8, f64)> {
    let bytes = std::fs::read(folder().join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<String> = expected.names().into_iter().map(str::to_owned).collect();
    names.sort();
    let of = |name: &String| {
        let expected = expected.tensor(name).unwrap();
        let found = read_pixels(&folder().join(name), Pixels::Stored).unwrap().image;
        let shape = [found.height() as usize, found.width() as usize, 3];
        assert_eq!(shape, expected.shape(), "{name}");
        let apart: Vec<u8> =
            found.as_raw().iter().zip(expected.data()).map(|(a, b)| a.abs_diff(*b)).collect();
        let mean = apart.iter().map(|&x| f64::from(x)).sum::<f64>() / apart.len() as f64;
        (name.clone(), apart.into_iter().max().unwrap(), mean)
    };
    names.iter().map(of).collect()
}

/// Decoders of formats with loss round differently.
fn is_lossy(name: &str) -> bool {
    name.ends_with(".jpg") || name == "lossy.webp"
}

#[test]
fn stored_pixels_of_formats_without_loss_are_those_of_pillow() {
    let exact: Vec<_> = differences().into_iter().filter(|(name, ..)| !is_lossy(name)).collect();
    assert_eq!(exact.len(), 26);
    let wrong: Vec<_> = exact.into_iter().filter(|(_, most, _)| *most > 0).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn stored_pixels_of_formats_with_loss_are_those_of_pillow_but_for_rounding() {
    let lossy: Vec<_> = differences().into_iter().filter(|(name, ..)| is_lossy(name)).collect();
    assert_eq!(lossy.len(), 10);
    // Colour at half the resolution is brought up by other arithmetic, which hard edges show most.
    let halved = ["420.jpg", "422.jpg", "progressive.jpg", "turned.jpg"];
    for (name, most, mean) in &lossy {
        println!("{name}: at most {most}, {mean:.3} on average");
    }
    let wrong: Vec<_> = lossy
        .into_iter()
        .filter(|(name, most, mean)| {
            let (bound, average) = if halved.contains(&name.as_str()) { (16, 1.0) } else { (2, 0.5) };
            *most > bound || *mean > average
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn what_stored_and_shown_read_differently_is_said() {
    let traits = |name: &str| read_pixels(&folder().join(name), Pixels::Stored).unwrap().traits;
    let none = Traits::default();
    let (turned, transparent, deep) = (
        Traits { turned: true, ..none },
        Traits { transparent: true, ..none },
        Traits { deep: true, ..none },
    );
    for (name, expected) in [
        ("rgb.png", none),
        ("turned.png", turned),
        ("turned.webp", turned),
        ("turned.jpg", Traits { jpeg: true, ..turned }),
        ("444.jpg", Traits { jpeg: true, ..none }),
        ("alpha.png", transparent),
        ("palette-key.png", transparent),
        ("key.gif", transparent),
        ("grey16.png", deep),
        ("grey16.tif", deep),
        ("grey16-key.png", Traits { transparent: true, ..deep }),
        ("rgb16.png", none),
        // Pillow turns a TIFF too.
        ("turned.tif", none),
    ] {
        assert_eq!(traits(name), expected, "{name}");
        let [stored, shown] = [Pixels::Stored, Pixels::Shown]
            .map(|pixels| read_pixels(&folder().join(name), pixels).unwrap().image);
        assert_eq!(shown, read_image(&folder().join(name)).unwrap());
        let differ = expected.turned || expected.transparent || expected.deep;
        // Rounding 16 bits to 8 is not dropping the low byte.
        assert_eq!(stored != shown, differ || name == "rgb16.png", "{name}");
    }
}
