//! What is done with a file of unknown origin: opened and read to its end through the public API.
//!
//! One function a kind of file. The tests beside this file call it, and so do the fuzz targets, which take
//! this file in by its path. Each says whether the file was read without an error.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;

use tch::{Device, Kind};
use var_tokenizer::h5::check::check_in_child_of;
use var_tokenizer::images::{Source, Split, decode};
use var_tokenizer::tokens::{Rows, TokenFile, TokenInfo, TokenWriter, partial_path};
use var_tokenizer::weights::Checkpoint;
use var_tokenizer::{Result, ScaleSchedule, TokenizerConfig, VqVae};

/// Images of a source that are decoded; the rest is left alone, to save time.
const IMAGES: usize = 24;

/// numpy archives of images.
pub fn npz(bytes: &[u8]) -> bool {
    at_path("x.npz", bytes, |path| source(path).is_ok())
}

/// Parquet files of images.
pub fn parquet(bytes: &[u8]) -> bool {
    at_path("x.parquet", bytes, |path| source(path).is_ok())
}

/// Lists of images: files next to the list are there under the names of the seeds.
pub fn list(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("cat")).unwrap();
    for name in ["cat/a.png", "b.png"] {
        std::fs::write(folder.path().join(name), b"").unwrap();
    }
    let path = folder.path().join("x.tsv");
    std::fs::write(&path, bytes).unwrap();
    Source::open(&path).is_ok()
}

/// Tars of images and of CIFAR's batches, packed or not.
pub fn tar(bytes: &[u8]) -> bool {
    at_path("x.tar", bytes, |path| source(path).is_ok())
}

/// The first batch of CIFAR's binary version; the others are whole, and small.
pub fn cifar(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data_batch_1.bin"), bytes).unwrap();
    for name in
        ["data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"]
    {
        std::fs::write(folder.path().join(name), [1; 3073]).unwrap();
    }
    source(folder.path()).is_ok()
}

/// An image of any kind.
pub fn image(bytes: &[u8]) -> bool {
    decode::decode(bytes).is_ok()
}

/// A finished file of tokens.
pub fn tokens_h5(bytes: &[u8]) -> bool {
    at_path("tokens.h5", bytes, |path| tokens(path).is_ok())
}

/// The journal of a token file with [`info`]: gone on with, and made into the finished file.
pub fn journal(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    std::fs::write(partial_path(&path), bytes).unwrap();
    let finished = TokenWriter::resume(&path, info()).and_then(|mut writer| {
        let position = writer.progress().position;
        writer.append(Split::Train, &rows(&info(), 1), position.wrapping_add(1))?;
        writer.finish()
    });
    finished.and_then(|()| tokens(&path)).is_ok()
}

/// Weights of any layout: opened, every tensor read, both networks looked for.
pub fn weights(bytes: &[u8]) -> bool {
    let Ok(checkpoint) = Checkpoint::in_memory(bytes.to_vec(), Path::new("x")) else { return false };
    let mut read = true;
    for dict in checkpoint.parts.values() {
        let _ = TokenizerConfig::of(dict, ScaleSchedule::stated_in(&checkpoint).as_ref())
            .and_then(|config| VqVae::for_inference(dict, &config, Device::Cpu, Kind::Float));
        for stored in dict.tensors.values() {
            read &= stored.tensor().is_ok();
        }
    }
    read
}

/// What the journals and token files of the seeds hold.
pub fn info() -> TokenInfo {
    TokenInfo {
        schedule: ScaleSchedule::new(vec![1, 2]).unwrap(),
        vocabulary: 50,
        latent_channels: 4,
        tokenizer_sha256: "ab".repeat(32),
        image_side: 32,
        crop_policy: "centre".into(),
        source: "emoji".into(),
        pictures_sha256: "cd".repeat(32),
        precision: "f32".into(),
        class_names: vec!["cat".into(), "Käuzchen".into()],
        input_statistics: None,
        shard: None,
    }
}

/// `count` rows that fit `info`.
pub fn rows(info: &TokenInfo, count: usize) -> Rows {
    Rows {
        tokens: (0..count * info.length()).map(|i| (i % info.vocabulary) as u32).collect(),
        labels: (0..count).map(|i| (i % info.classes()) as u32).collect(),
        sources: (0..count as u32).collect(),
        crops: vec![0; count],
    }
}

/// Everything that a source of images can be asked.
pub fn source(path: &Path) -> Result<()> {
    let source = Source::open(path)?;
    source.fingerprint();
    source.partition(0.2, 0)?;
    assert!(source.load(source.len()).is_err());
    let step = source.len().div_ceil(IMAGES).max(1);
    // Not the first error: what lies behind it is to be read as well.
    let read: Vec<Result<_>> = (0..source.len()).step_by(step).map(|index| source.load(index)).collect();
    for image in read {
        image?;
    }
    Ok(())
}

/// Everything that a token file can be asked.
pub fn tokens(path: &Path) -> Result<()> {
    // A fuzz target has no program to start: there HDF5's own faults end it.
    if let Some(program) = option_env!("CARGO_BIN_EXE_var-tokenizer") {
        check_in_child_of(Path::new(program), path)?;
    }
    let file = TokenFile::open(path)?;
    file.require_tokenizer(&file.info().tokenizer_sha256)?;
    let read = Split::ALL.map(|split| {
        let whole = file.read_split(split).map(|_| ());
        let rows = file.read_rows(split, 0..file.rows(split).min(10_000)).map(|_| ());
        whole.and(rows)
    });
    read.into_iter().collect()
}

/// Writes `bytes` to a file of that name for as long as `f` runs.
fn at_path(name: &str, bytes: &[u8], f: impl FnOnce(&Path) -> bool) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    f(&path)
}
