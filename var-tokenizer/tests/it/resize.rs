//! Resizing and cropping against Pillow's bytes, and what must hold for any image.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use image::{Rgb, RgbImage};
use proptest::prelude::*;
use var_tokenizer::golden::preprocess::check_preprocess;
use var_tokenizer::images::resize::{Filter, Window, resize, resize_window};
use var_tokenizer::images::{Framing, View, from_tensor, from_unit, to_unit};
use var_tokenizer::random::Stream;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/eval/preprocess");
const FILTERS: [&str; 6] = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"];

fn noise(width: u32, height: u32, seed: u64) -> RgbImage {
    let stream = Stream::new("noise", seed);
    RgbImage::from_fn(width, height, |x, y| {
        let word = stream.word(u64::from(y * width + x));
        Rgb([word as u8, (word >> 8) as u8, (word >> 16) as u8])
    })
}

#[test]
fn every_byte_equals_pillows() {
    let outcomes = check_preprocess(Path::new(GOLDEN)).unwrap();
    assert!(outcomes.len() >= 100, "only {} quantities were checked", outcomes.len());
    let wrong: Vec<_> = outcomes.iter().filter(|(_, _, _, pass)| !pass).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_changed_byte_of_a_golden_array_is_found() {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(GOLDEN).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let array = copy.path().join("var_16_37x53.npy");
    let mut bytes = std::fs::read(&array).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&array, bytes).unwrap();
    let outcomes = check_preprocess(copy.path()).unwrap();
    let wrong: Vec<_> =
        outcomes.iter().filter(|(_, _, _, pass)| !pass).map(|o| (o.0.as_str(), o.1)).collect();
    assert_eq!(wrong, [("var_16_37x53 pixels", 1.0)]);
}

#[test]
fn an_image_of_the_asked_size_is_left_alone() {
    let image = noise(32, 32, 1);
    let framing = Framing::new(32).unwrap();
    assert_eq!(framing.frame(&image, View::CENTRE).unwrap(), image);
    let mirrored = framing.frame(&image, View { mirrored: true, ..View::CENTRE }).unwrap();
    assert_ne!(mirrored, image);
    assert_eq!(image::imageops::flip_horizontal(&mirrored), image);
}

#[test]
fn a_very_long_image_is_framed_without_making_the_whole() {
    // The whole result would be 36 × 7,200,000 pixels.
    let image = noise(1, 200_000, 2);
    assert_eq!(Framing::new(32).unwrap().frame(&image, View::CENTRE).unwrap().dimensions(), (32, 32));
}

#[test]
fn impossible_sizes_are_errors() {
    let image = noise(4, 4, 3);
    assert!(resize(&image, 0, 5, Filter::Lanczos).is_err());
    assert!(resize(&RgbImage::new(0, 4), 4, 4, Filter::Lanczos).is_err());
    assert!(resize(&image, u32::MAX, 1, Filter::Box).is_err());
    let outside = Window { left: 5, top: 0, width: 4, height: 8 };
    assert!(resize_window(&image, (8, 8), outside, Filter::Lanczos).is_err());
    assert!(Framing::new(0).is_err());
    assert!(Framing::new(1 << 20).is_err());
    assert!(Framing::with_zoom(32, f64::NAN).is_err());
    assert!("lanczos3".parse::<Filter>().unwrap_err().to_string().contains("known: nearest"));
}

#[test]
fn all_bytes_survive_the_way_to_the_unit_interval_and_back() {
    let image = RgbImage::from_fn(16, 16, |x, y| {
        let byte = (y * 16 + x) as u8;
        Rgb([byte, 255 - byte, byte ^ 0x55])
    });
    let unit = to_unit(&image);
    assert_eq!((unit[0], unit[255]), (-1.0, 1.0));
    assert_eq!(from_unit(&unit, 16).unwrap(), image);
    assert!(from_unit(&unit, 15).is_err());
    let wild = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    assert_eq!(from_unit(&wild, 1).unwrap().get_pixel(0, 0).0, [0, 255, 0]);
}

#[test]
fn views_are_a_function_of_seed_image_and_number() {
    let view = |seed, index, number| View::numbered(seed, index, number, true);
    assert_eq!(view(0, 5, 0), View::CENTRE);
    assert_eq!(view(9, 5, 1), View { mirrored: true, ..View::CENTRE });
    assert_eq!(view(0, 5, 7), view(0, 5, 7));
    assert_ne!(view(0, 5, 2), view(0, 6, 2));
    assert_ne!(view(0, 5, 2), view(1, 5, 2));
    assert!(!View::numbered(0, 5, 3, false).mirrored);
    let mirrored = (0..1000).filter(|&i| View::random(3, 1, i, true).mirrored).count();
    assert!((400..600).contains(&mirrored), "{mirrored} of 1000 are mirrored");
    assert!((0..1000).all(|i| !View::random(3, 1, i, false).mirrored));
}

#[test]
fn random_crops_reach_every_corner() {
    let image = noise(9, 9, 4);
    // zoom 1.125 · 8 = 9: no resizing, crops at two places each way.
    let framing = Framing::new(8).unwrap();
    let mut corners = std::collections::BTreeSet::new();
    for index in 0..64 {
        let crop = framing.frame(&image, View::random(0, 0, index, false)).unwrap();
        let place = (0..2)
            .flat_map(|y| (0..2).map(move |x| (x, y)))
            .find(|&(x, y)| image::imageops::crop_imm(&image, x, y, 8, 8).to_image() == crop);
        corners.insert(place.expect("a crop of the image itself"));
    }
    assert_eq!(corners.len(), 4);
}

proptest! {
    #[test]
    fn a_window_has_the_bytes_of_the_whole(
        size in (1..40_u32, 1..40_u32),
        full in (1..60_u32, 1..60_u32),
        corners in (0.0..1.0, 0.0..1.0, 0.0..1.0, 0.0..1.0),
        filter in 0..6_usize,
        seed: u64,
    ) {
        let image = noise(size.0, size.1, seed);
        let filter: Filter = FILTERS[filter].parse().unwrap();
        let span = |a: f64, b: f64, length: u32| {
            let (a, b) = ((a.min(b) * f64::from(length)) as u32, (a.max(b) * f64::from(length)) as u32);
            (a, (b - a).max(1).min(length - a))
        };
        let (left, width) = span(corners.0, corners.1, full.0);
        let (top, height) = span(corners.2, corners.3, full.1);
        let whole = resize(&image, full.0, full.1, filter).unwrap();
        let part = resize_window(&image, full, Window { left, top, width, height }, filter).unwrap();
        prop_assert_eq!(part, image::imageops::crop_imm(&whole, left, top, width, height).to_image());
    }

    #[test]
    fn a_flat_image_stays_flat(
        size in (1..50_u32, 1..50_u32),
        full in (1..50_u32, 1..50_u32),
        colour: [u8; 3],
        filter in 0..6_usize,
    ) {
        let flat = RgbImage::from_pixel(size.0, size.1, Rgb(colour));
        let result = resize(&flat, full.0, full.1, FILTERS[filter].parse().unwrap()).unwrap();
        prop_assert!(result.pixels().all(|pixel| pixel.0 == colour));
    }

    #[test]
    fn mirroring_and_resizing_can_change_places(width in 1..40_u32, side in 1..40_u32, seed: u64) {
        let image = noise(width, 8, seed);
        let mirror = image::imageops::flip_horizontal::<RgbImage>;
        let one = resize(&mirror(&image), side, 8, Filter::Lanczos).unwrap();
        let other = mirror(&resize(&image, side, 8, Filter::Lanczos).unwrap());
        // Weights of mirrored taps may round apart by a unit in 2^22, a byte by one.
        prop_assert!(one.as_raw().iter().zip(other.as_raw()).all(|(a, b)| a.abs_diff(*b) <= 1));
    }

    #[test]
    fn framing_gives_the_side_for_any_size(width in 1..400_u32, height in 1..400_u32, side in 1..40_usize, seed: u64) {
        let framing = Framing::new(side).unwrap();
        let square = framing.frame(&noise(width, height, 0), View::random(seed, 0, 0, true)).unwrap();
        prop_assert_eq!(square.dimensions(), (side as u32, side as u32));
    }
}

#[test]
fn a_tensor_becomes_the_bytes_that_its_values_become_one_by_one() {
    // Around every byte: the values that round to it, the halves between two, and what lies beside a half.
    let half = |i: u16| (f32::from(i) / 2.0) / 127.5 - 1.0;
    let mut values: Vec<f32> =
        (0..=510).flat_map(|i| [half(i), half(i).next_down(), half(i).next_up()]).collect();
    values.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -7.0, 7.0]);
    let side = 24;
    values.resize(3 * side * side, 0.25);
    let tensor = tch::Tensor::from_slice(&values).view([1, 3, side as i64, side as i64]);
    assert_eq!(from_tensor(&tensor).unwrap(), [from_unit(&values, side).unwrap()]);
    for shape in [[1, 1, 24, 72], [1, 4, 12, 36], [1, 3, 12, 48]] {
        let error = from_tensor(&tensor.view(shape)).unwrap_err().to_string();
        assert!(error.contains("expected 3 × side × side"), "{error}");
    }
}
