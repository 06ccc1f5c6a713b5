//! Small valid files of every kind, from which damaged ones are made.

use std::io::{Cursor, Write};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use npyz::WriterBuilder;
use npyz::zip::write::{FileOptions, ZipWriter};
use npyz::zip::{CompressionMethod, ZipArchive};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};
use var_tokenizer::images::Split;
use var_tokenizer::tokens::{TokenWriter, partial_path};
use var_tokenizer::weights;
use var_tokenizer::{PhiSharing, ScaleSchedule, TokenizerConfig, VqVae};

use crate::images::formats;

use super::mutate::{Seal, Seed};
use super::{h5, readers};

pub fn npz() -> Vec<Seed> {
    let stored = CompressionMethod::Stored;
    let labels = [0_i64, 1, 2];
    let narrow = [2_u8, 1, 0];
    let archive = |method, labels: Option<Vec<u8>>| {
        let mut arrays = vec![("arr_0.npy", npy(&[0_u8; 216], &[3, 4, 6, 3]))];
        arrays.extend(labels.map(|labels| ("arr_1.npy", labels)));
        zip(&arrays, method)
    };
    let lone = |bytes: Vec<u8>| zip(&[("arr_0.npy", bytes)], CompressionMethod::Deflated);
    let labelled = |bytes: Vec<u8>| {
        zip(
            &[("arr_0.npy", npy(&[9_u8; 72], &[2, 6, 6, 1])), ("labels.npy", bytes)],
            CompressionMethod::Stored,
        )
    };
    vec![
        Seed::plain("npz, stored", archive(stored, Some(npy(&labels, &[3])))),
        Seed::plain("npz, compressed", archive(CompressionMethod::Deflated, Some(npy(&narrow, &[3])))),
        Seed::plain("npz without labels", archive(stored, None)),
        Seed { pack: lone, ..Seed::plain("array in an npz", npy(&[5_u8; 216], &[3, 4, 6, 3])) },
        Seed { pack: labelled, ..Seed::plain("labels in an npz", npy(&[0_i32, 1], &[2])) },
    ]
}

pub fn parquet() -> Vec<Seed> {
    let names: Vec<String> = ["cat", "dog"].map(str::to_owned).to_vec();
    let rows: Vec<formats::Row> =
        (0..9).map(|i| (Some(encoded(ImageFormat::Png)), Some(i64::from(i % 2)))).collect();
    let plain = "message m { optional binary img; optional int64 cls; }";
    vec![
        Seed::plain(
            "Parquet with names",
            formats::parquet_of(&rows, formats::SCHEMA, Some(formats::features("label", &names)), 4, 200),
        ),
        Seed::plain("Parquet of one group", formats::parquet_of(&rows, plain, None, 100, 1 << 20)),
    ]
}

pub fn list() -> Vec<Seed> {
    vec![
        Seed::plain("list with names", b"cat/a.png\tcat\r\nb.png\tdog\n".to_vec()),
        Seed::plain("list with numbers", b"\xef\xbb\xbfcat/a.png\t7\n\nb.png\t0".to_vec()),
        Seed::plain("list without classes", b"b.png\ncat/a.png\n".to_vec()),
    ]
}

pub fn tar() -> Vec<Seed> {
    let image = encoded(ImageFormat::Png);
    let plain = tar_of(
        tar::Header::new_ustar(),
        &[("cat/a.png", image.clone()), ("dog/b.bmp", encoded(ImageFormat::Bmp))],
    );
    let long = format!("cat/{}.png", "x".repeat(120));
    let gnu = tar_of(tar::Header::new_gnu(), &[(&long, image.clone()), ("dog/b.png", image.clone())]);
    let mut pax = tar::Builder::new(Vec::new());
    let size = image.len().to_string();
    pax.append_pax_extensions([("path", b"cat/pax.png".as_slice()), ("size", size.as_bytes())]).unwrap();
    let mut header = header_of(tar::Header::new_ustar(), &image);
    pax.append_data(&mut header, "cat/short.png", &image[..]).unwrap();
    let pax = pax.into_inner().unwrap();
    let batch = [1; 3073].to_vec();
    let names = [
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
        "test_batch.bin",
    ];
    let cifar: Vec<(&str, Vec<u8>)> = names.map(|name| (name, batch.clone())).to_vec();
    let cifar = tar_of(tar::Header::new_ustar(), &cifar);
    let seed = |name, bytes: Vec<u8>| Seed { seals: tar_seals(&bytes), ..Seed::plain(name, bytes) };
    vec![
        seed("tar", plain.clone()),
        seed("tar with a long name", gnu),
        seed("tar with extended headers", pax),
        seed("tar of CIFAR", cifar),
        Seed { pack: |bytes| gzip(&bytes), ..seed("tar in a gzip", plain.clone()) },
        Seed::plain("gzip", gzip(&plain)),
    ]
}

pub fn cifar() -> Vec<Seed> {
    vec![Seed::plain("CIFAR", [[3; 3073], [0; 3073]].concat())]
}

pub fn image() -> Vec<Seed> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
    let mut seeds: Vec<Seed> =
        [("JPEG", Jpeg), ("WebP", WebP), ("BMP", Bmp), ("GIF", Gif), ("TIFF", Tiff), ("PNM", Pnm)]
            .into_iter()
            .map(|(name, format)| Seed::plain(name, encoded(format)))
            .collect();
    let png = encoded(Png);
    seeds.push(Seed { seals: png_seals(&png), ..Seed::plain("PNG", png) });
    seeds
}

pub fn tokens_h5() -> Vec<Seed> {
    let ours = token_file(300);
    let sealed = Seed { seals: h5::seals(&ours), ..Seed::plain("tokens.h5", ours) };
    vec![sealed, Seed::plain("tokens.h5 in the oldest layout", h5::oldest_layout())]
}

pub fn journal() -> Vec<Seed> {
    let bytes = in_folder(|path| {
        let mut writer = TokenWriter::create(path, readers::info()).unwrap();
        for (position, split) in [(1, Split::Train), (2, Split::Val)] {
            writer.append(split, &readers::rows(&readers::info(), 5), position).unwrap();
        }
        drop(writer);
        std::fs::read(partial_path(path)).unwrap()
    });
    vec![Seed { seals: journal_seals(&bytes), ..Seed::plain("journal", bytes) }]
}

pub fn safetensors() -> Vec<Seed> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let metadata = [("tokenizer_config".to_owned(), "{\"channels\": 32}".to_owned())];
    weights::safetensors::write(&path, &tensors().into(), &metadata.into()).unwrap();
    let plain = Seed::plain("safetensors", std::fs::read(&path).unwrap());
    tokenizer().save(&path).unwrap();
    vec![plain, Seed::plain("a tokenizer", std::fs::read(&path).unwrap())]
}

/// What `torch.save` writes, in both containers. Most changes go to the pickle: the rest is values.
pub fn pickle() -> Vec<Seed> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pth");
    weights::pickle::writer::write(&path, &tensors()).unwrap();
    let mut trainer = Vec::new();
    let archive = published("ar-ckpt-last.pth");
    let mut archive = ZipArchive::new(Cursor::new(&archive)).unwrap();
    std::io::copy(&mut archive.by_name(TRAINER).unwrap(), &mut trainer).unwrap();
    vec![
        Seed::plain("a small .pth", std::fs::read(&path).unwrap()),
        Seed::plain("a legacy .pth", published("var_legacy.pth")),
        Seed::plain("a .pth of a tokenizer", published("vae.pth")),
        Seed { pack: trainers, ..Seed::plain("pickle of a trainer", trainer) },
    ]
}

/// The pickle in the checkpoint of the published trainer.
const TRAINER: &str = "ar-ckpt-last/data.pkl";

fn published(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/golden/checkpoints/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The trainer's checkpoint with another pickle.
fn trainers(pickle: Vec<u8>) -> Vec<u8> {
    let archive = published("ar-ckpt-last.pth");
    let mut archive = ZipArchive::new(Cursor::new(&archive)).unwrap();
    let mut files = vec![(TRAINER.to_owned(), pickle)];
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        if file.name() != TRAINER {
            let mut bytes = Vec::new();
            std::io::copy(&mut file, &mut bytes).unwrap();
            files.push((file.name().to_owned(), bytes));
        }
    }
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    zip(&files, CompressionMethod::Stored)
}

fn tensors() -> [(String, Tensor); 3] {
    [("a", Kind::Float), ("b.c", Kind::Int64), ("half", Kind::BFloat16)]
        .map(|(name, kind)| (name.to_owned(), Tensor::ones([2, 3], (kind, tch::Device::Cpu))))
}

fn tokenizer() -> VqVae {
    let config = TokenizerConfig {
        channels: 32,
        channel_multipliers: vec![1],
        residual_blocks: 1,
        latent_channels: 2,
        vocabulary: 4,
        schedule: ScaleSchedule::new(vec![1, 2]).unwrap(),
        phi: PhiSharing::Shared,
        phi_ratio: 0.5,
        z_norm: false,
        commitment: 0.25,
    };
    VqVae::new(&config, tch::Device::Cpu, Some(0)).unwrap()
}

/// A finished token file of so many rows in either part.
pub fn token_file(rows: usize) -> Vec<u8> {
    in_folder(|path| {
        let mut writer = TokenWriter::create(path, readers::info()).unwrap();
        for split in Split::ALL {
            writer.append(split, &readers::rows(&readers::info(), rows), 1).unwrap();
        }
        writer.finish().unwrap();
        std::fs::read(path).unwrap()
    })
}

fn in_folder<T>(f: impl FnOnce(&std::path::Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    f(&folder.path().join("tokens.h5"))
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(12, 9, |x, y| Rgb([(x * 20) as u8, (y * 28) as u8, (x * y) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// An array as numpy saves it.
pub fn npy<T: npyz::AutoSerialize + Copy>(values: &[T], shape: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        npyz::WriteOptions::<T>::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    bytes
}

pub fn zip(members: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, FileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn header_of(mut header: tar::Header, bytes: &[u8]) -> tar::Header {
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header
}

pub fn tar_of(header: tar::Header, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        builder.append_data(&mut header_of(header.clone(), bytes), name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The sum of every header.
fn tar_seals(bytes: &[u8]) -> Vec<Seal> {
    fn sum(block: &[u8]) -> Vec<u8> {
        format!("{:06o}\0 ", block.iter().map(|&byte| u32::from(byte)).sum::<u32>()).into_bytes()
    }
    let headers =
        (0..bytes.len() / 512).map(|block| block * 512).filter(|&at| &bytes[at + 257..at + 262] == b"ustar");
    headers.map(|at| Seal { over: at..at + 512, at: at + 148, sum, blank: b' ' }).collect()
}

/// The sum of every chunk.
fn png_seals(bytes: &[u8]) -> Vec<Seal> {
    fn sum(chunk: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(chunk);
        crc.sum().to_be_bytes().to_vec()
    }
    let (mut seals, mut at) = (Vec::new(), 8);
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        seals.push(Seal { over: at + 4..at + 8 + length, at: at + 8 + length, sum, blank: 0 });
        at += 12 + length;
    }
    seals
}

/// The sums of head and blocks.
fn journal_seals(bytes: &[u8]) -> Vec<Seal> {
    fn sum(part: &[u8]) -> Vec<u8> {
        Sha256::digest(part)[..8].to_vec()
    }
    let length = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 12 + length(8);
    let mut seals = vec![Seal { over: 0..at, at, sum, blank: 0 }];
    at += 8;
    while at < bytes.len() {
        let end = at + 17 + length(at);
        seals.push(Seal { over: at..end, at: end, sum, blank: 0 });
        at = end + 8;
    }
    seals
}
