//! Images in and out on real files: decoding, batches, grids; sources are in a module of their own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub(crate) mod formats;
mod layouts;
mod pixels;
mod sources;

use std::io::{Cursor, Write};

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba};
use proptest::prelude::*;
use tempfile::TempDir;
use var_tokenizer::images::decode::decode;
use var_tokenizer::images::{Framing, Grid, Report, Source, View, from_unit, read_image, to_unit, write_png};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn flat(colour: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(8, 8, Rgb(colour))
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(colour: [u8; 3]) -> Vec<u8> {
    encoded(flat(colour), ImageFormat::Png)
}

/// Writes files below a fresh folder.
fn tree(files: &[(&str, Vec<u8>)]) -> TempDir {
    let root = folder();
    for (name, bytes) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    root
}

/// Inserts an EXIF segment with an orientation into a JPEG.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend((exif.len() as u16 + 2).to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&jpeg[2..]);
    bytes
}

#[test]
fn a_corrupt_jpeg_among_good_ones_is_counted_and_named() {
    let jpeg = encoded(flat([200, 30, 40]), ImageFormat::Jpeg);
    let root = tree(&[
        ("a/1.jpg", jpeg.clone()),
        ("a/2.jpg", b"\xff\xd8\xff\xe0 nothing more".to_vec()),
        ("b/3.jpg", jpeg[..jpeg.len() / 2].to_vec()),
        ("b/4.jpg", Vec::new()),
        ("b/5.jpg", jpeg),
    ]);
    let source = Source::open(root.path()).unwrap();
    let items: Vec<_> = (0..5).map(|i| (i, View::CENTRE)).collect();
    let batch = source.load_batch(&items, &Framing::new(8).unwrap());
    assert_eq!((batch.items.as_slice(), batch.labels.as_slice()), ([0, 4].as_slice(), [0, 1].as_slice()));
    assert_eq!(batch.pixels.len(), 2 * 3 * 64);
    let mut report = Report::default();
    report.add(&batch);
    report.add(&source.load_batch(&items, &Framing::new(8).unwrap()));
    assert_eq!((report.read, report.bad.len()), (4, 3));
    let text = report.to_string();
    assert!(text.contains("3 bad") && text.contains("2.jpg") && text.contains("truncated JPEG"), "{text}");
    assert!(text.contains("4.jpg: the file is empty"), "{text}");
}

#[test]
fn a_cut_jpeg_is_bad_even_if_its_thumbnail_is_whole() {
    let jpeg = encoded(flat([9, 9, 9]), ImageFormat::Jpeg);
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xff, 0xe5]);
    bytes.extend((jpeg.len() as u16 + 2).to_be_bytes());
    bytes.extend(&jpeg);
    bytes.extend(&jpeg[2..]);
    assert!(decode(&bytes).is_ok());
    assert!(decode(&bytes[..bytes.len() - 2]).unwrap_err().contains("truncated"));
}

#[test]
fn images_that_a_camera_turned_stand_upright() {
    // Left half red, right half blue, wider than high.
    let image = RgbImage::from_fn(32, 16, |x, _| Rgb(if x < 16 { [250, 0, 0] } else { [0, 0, 250] }));
    let jpeg = encoded(image, ImageFormat::Jpeg);
    // Where the red half is when all is upright: by orientation 1 to 8.
    let red = ["left", "right", "right", "left", "top", "top", "bottom", "bottom"];
    for (orientation, side) in (1..=8).zip(red) {
        let upright = decode(&turned(&jpeg, orientation)).unwrap();
        let (w, h) = upright.dimensions();
        assert_eq!((w, h), if orientation < 5 { (32, 16) } else { (16, 32) }, "orientation {orientation}");
        let (x, y) = match side {
            "left" => (2, h / 2),
            "right" => (w - 3, h / 2),
            "top" => (w / 2, 2),
            _ => (w / 2, h - 3),
        };
        let pixel = upright.get_pixel(x, y).0;
        assert!(pixel[0] > 200 && pixel[2] < 50, "orientation {orientation}: {side} is {pixel:?}");
    }
}

#[test]
fn grey_deep_transparent_palette_and_cmyk_images_become_rgb() {
    let close = |bytes: &[u8], at: (u32, u32), expected: [u8; 3], slack: u8| {
        let found = decode(bytes).unwrap().get_pixel(at.0, at.1).0;
        let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= slack);
        assert!(near, "found {found:?}, expected {expected:?}");
    };
    let grey = ImageBuffer::from_pixel(4, 4, Luma([77_u8]));
    close(&encoded(grey.clone(), ImageFormat::Png), (0, 0), [77; 3], 0);
    close(&encoded(grey, ImageFormat::Jpeg), (0, 0), [77; 3], 1);
    let deep = ImageBuffer::from_pixel(4, 4, Rgb([0x1234_u16, 0x8000, 0xffff]));
    close(&encoded(deep, ImageFormat::Png), (0, 0), [0x12, 0x80, 0xff], 0);
    close(
        &encoded(ImageBuffer::from_pixel(4, 4, Luma([0xabcd_u16])), ImageFormat::Png),
        (0, 0),
        [0xab; 3],
        0,
    );
    let clear = ImageBuffer::from_pixel(4, 4, Rgba([255_u8, 0, 100, 0]));
    close(&encoded(clear, ImageFormat::Png), (0, 0), [255; 3], 0);
    let half = ImageBuffer::from_pixel(4, 4, Rgba([255_u8, 0, 100, 128]));
    close(&encoded(half.clone(), ImageFormat::Png), (0, 0), [255, 127, 177], 0);
    close(&encoded(half, ImageFormat::WebP), (0, 0), [255, 127, 177], 0);
    let grey_clear = ImageBuffer::from_pixel(4, 4, LumaA([10_u8, 51]));
    close(&encoded(grey_clear, ImageFormat::Png), (0, 0), [206; 3], 0);
    close(&encoded(flat([9, 200, 30]), ImageFormat::Gif), (0, 0), [9, 200, 30], 4);
    // Made by Pillow: quarters of red, green, blue and white; in the palette file red is transparent.
    let cmyk = include_bytes!("../data/cmyk.jpg");
    let palette = include_bytes!("../data/palette.png");
    for (at, colour) in [((24, 8), [20, 200, 60]), ((8, 24), [30, 60, 210]), ((24, 24), [255; 3])] {
        close(cmyk, at, colour, 2);
        close(palette, at, colour, 0);
    }
    close(cmyk, (8, 8), [220, 30, 40], 2);
    close(palette, (8, 8), [255; 3], 0);
}

#[test]
fn a_decompression_bomb_is_an_error() {
    let chunk = |kind: &[u8; 4], body: &[u8]| {
        let mut sum = flate2::Crc::new();
        sum.update(kind);
        sum.update(body);
        [&(body.len() as u32).to_be_bytes()[..], kind, body, &sum.sum().to_be_bytes()].concat()
    };
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![0; 1 << 20]).unwrap();
    let packed = packer.finish().unwrap();
    for side in [30_000_u32, 60_000, 1 << 30] {
        let head = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        let bomb = [
            b"\x89PNG\r\n\x1a\n".as_slice(),
            &chunk(b"IHDR", &head),
            &chunk(b"IDAT", &packed),
            &chunk(b"IEND", b""),
        ];
        assert!(decode(&bomb.concat()).is_err(), "{side}");
    }
}

#[test]
fn the_memory_limit_counts_pixels_in_rgb_and_not_packed_bits() {
    // The header alone decides. One bit a pixel: 50 MB packed, 400 MB as grey, 1.2 GB as RGB.
    let header = |side: u32| {
        let body = [b"IHDR".as_slice(), &side.to_be_bytes(), &side.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
        let mut sum = flate2::Crc::new();
        sum.update(&body);
        let end = [&sum.sum().to_be_bytes()[..], &[0; 4], b"IDAT"].concat();
        [b"\x89PNG\r\n\x1a\n".as_slice(), &13_u32.to_be_bytes(), &body, &end].concat()
    };
    let refusal = decode(&header(20_000)).unwrap_err();
    assert!(refusal.contains("20000 × 20000") && refusal.contains("1144 MB in memory"), "{refusal}");
    assert!(decode(&header(60_000)).unwrap_err().contains("too large"));
    let small = decode(&header(2_000)).unwrap_err();
    assert!(!small.contains("too large"), "{small}");
}

#[test]
fn batches_are_channels_first_in_the_asked_order() {
    let root = tree(&[("a/1.png", png([255, 0, 0])), ("b/2.png", png([0, 255, 51]))]);
    let source = Source::open(root.path()).unwrap();
    let batch = source.load_batch(&[(1, View::CENTRE), (0, View::CENTRE)], &Framing::new(8).unwrap());
    assert_eq!(batch.labels, [1, 0]);
    let planes: Vec<f32> = batch.pixels.chunks_exact(64).map(|plane| plane[0]).collect();
    let expected = [-1.0, 1.0, -0.6, 1.0, -1.0, -1.0];
    assert!(planes.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{planes:?}");
}

#[test]
fn a_grid_is_written_whole_or_not_at_all() {
    let place = folder();
    let path = place.path().join("grid.png");
    let images =
        [to_unit(&flat([10, 20, 30])), to_unit(&flat([200, 0, 0])), to_unit(&flat([0, 0, 99]))].concat();
    let grid = Grid::of_pixels(&images, 8, 2).unwrap();
    grid.write(&path).unwrap();
    let back = read_image(&path).unwrap();
    assert_eq!(back.dimensions(), (18, 18));
    assert_eq!(back.get_pixel(0, 0).0, [10, 20, 30]);
    assert_eq!((back.get_pixel(17, 0).0, back.get_pixel(0, 17).0), ([200, 0, 0], [0, 0, 99]));
    assert_eq!((back.get_pixel(8, 0).0, back.get_pixel(17, 17).0), ([255; 3], [255; 3]));
    assert!(Grid::new(0, 3, 8).is_err());
    assert!(Grid::new(1 << 40, 1 << 40, 8).is_err());
    assert!(Grid::new(2, 2, 8).unwrap().put(2, 0, &images[..192]).is_err());
    assert!(Grid::new(2, 2, 8).unwrap().put(0, 0, &images[..100]).is_err());
    // A folder in the way: the write fails and leaves nothing beside it.
    let blocked = place.path().join("blocked.png");
    std::fs::create_dir(&blocked).unwrap();
    assert!(write_png(&flat([1; 3]), &blocked).is_err());
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
    assert!(from_unit(&[], 0).is_ok_and(|empty| empty.is_empty()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_images_never_panic(
        which in 0..6_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let image = RgbImage::from_fn(24, 16, |x, y| Rgb([(x * 9) as u8, (y * 15) as u8, (x * y) as u8]));
        let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::Tiff];
        let mut bytes = encoded(image, formats[which]);
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode(&bytes);
    }
}
