//! `encode`: what its numbers are taken over, and what it says of work that was begun before.

use std::path::Path;
use std::process::{Command, Output};

use npyz::WriterBuilder;
use npyz::zip::CompressionMethod;
use npyz::zip::write::FileOptions;
use tch::{Kind, Tensor};
use var_tokenizer::VqVae;
use var_tokenizer::images::Split;
use var_tokenizer::tokens::{InputStatistics, TokenFile, partial_path};

use crate::cli::{message, prepare, run};

/// Side of the pictures.
const SIDE: u64 = 16;

/// An npz of `count` pictures in five classes, sorted by class; those of later classes are brighter.
fn sorted_by_class(path: &Path, count: u64) {
    let mut writer = npyz::npz::NpzWriter::new(std::fs::File::create(path).unwrap());
    // Stored: nothing is unpacked to a temporary file.
    let options = FileOptions::default().compression_method(CompressionMethod::Stored);
    let array = writer.array::<u8>("arr_0", options).unwrap();
    let mut array = array.default_dtype().shape(&[count, SIDE, SIDE, 3]).begin_nd().unwrap();
    let size = SIDE * SIDE * 3;
    array.extend((0..count * size).map(|i| (i / size * 200 / count + i % 7 * 9) as u8)).unwrap();
    array.finish().unwrap();
    let array = writer.array::<u8>("arr_1", options).unwrap();
    let mut array = array.default_dtype().shape(&[count]).begin_nd().unwrap();
    array.extend((0..count).map(|i| (i * 5 / count) as u8)).unwrap();
    array.finish().unwrap();
    writer.zip_writer().finish().unwrap();
}

/// Statistics over the training rows `range` of a token file, in one go.
fn over(path: &Path, tokenizer: &str, range: std::ops::Range<usize>) -> InputStatistics {
    let vae = VqVae::load(Path::new(tokenizer), tch::Device::Cpu).unwrap();
    let rows = TokenFile::open(path).unwrap().read_rows(Split::Train, range).unwrap();
    let ids: Vec<i64> = rows.tokens.iter().map(|&id| i64::from(id)).collect();
    let ids = Tensor::from_slice(&ids).view([rows.len() as i64, -1]);
    let vectors = vae.to_model_input(&ids).unwrap().to_kind(Kind::Double).flatten(0, 1);
    let list = |t: Tensor| Vec::<f32>::try_from(t.to_kind(Kind::Float)).unwrap();
    InputStatistics {
        mean: list(vectors.mean_dim([0_i64].as_slice(), false, Kind::Double)),
        deviation: list(vectors.std_dim([0_i64].as_slice(), false, false)),
    }
}

/// The largest difference of means, in deviations of `right`.
fn apart(found: &InputStatistics, right: &InputStatistics) -> f32 {
    let means = found.mean.iter().zip(&right.mean).zip(&right.deviation);
    let means = means.map(|((a, b), deviation)| (a - b).abs() / deviation);
    let deviations = found.deviation.iter().zip(&right.deviation).map(|(a, b)| (a / b - 1.0).abs());
    means.chain(deviations).fold(0.0, f32::max)
}

/// `encode` in a shell that lets no file grow above `kilobytes`: the system ends it there, as a kill would.
/// With `survives` the write fails instead, as on a full disk.
fn cut_short(kilobytes: u32, survives: bool, args: &[&str]) -> Output {
    let trap = if survives { "trap '' XFSZ; " } else { "" };
    let script = format!("{trap}ulimit -c 0; ulimit -f {kilobytes}; exec \"$0\" encode \"$@\"");
    Command::new("bash")
        .env("OMP_NUM_THREADS", "1")
        .args(["-c", &script, env!("CARGO_BIN_EXE_var-tokenizer")])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn input_statistics_cover_all_classes_and_a_killed_encode_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, _) = prepare(folder.path());
    let pictures = folder.path().join("sorted.npz");
    // The first 4096 of the 5400 training pictures lack the last class.
    sorted_by_class(&pictures, 6000);
    let pictures = pictures.display().to_string();
    let arguments = |out: &Path, batch: &str| {
        let out = out.display().to_string();
        ["--data", &pictures, "--tokenizer", &tokenizer, "--device", "cpu", "--out", &out, "--batch", batch]
            .map(str::to_owned)
    };
    let (whole, killed) = (folder.path().join("whole.h5"), folder.path().join("killed.h5"));
    let encode = |out: &Path, batch: &str| {
        let arguments = arguments(out, batch);
        let output = run(&[&["encode"], &arguments.each_ref().map(String::as_str)[..]].concat());
        assert!(output.status.success(), "{}", message(&output));
    };
    encode(&whole, "256");
    let found = TokenFile::open(&whole).unwrap().info().input_statistics.clone().unwrap();
    let rows = TokenFile::open(&whole).unwrap().rows(Split::Train);
    let right = over(&whole, &tokenizer, 0..rows);
    let first = over(&whole, &tokenizer, 0..4096);
    assert!(apart(&found, &right) < 0.01, "{found:?} instead of {right:?}");
    assert!(apart(&first, &right) > 0.05, "the pictures do not tell an even sample from the first ones");

    let arguments = arguments(&killed, "100");
    let output = cut_short(256, false, &arguments.each_ref().map(String::as_str));
    assert_eq!(output.status.code(), None, "{}", message(&output));
    assert!(partial_path(&killed).exists() && !killed.exists());
    encode(&killed, "64");
    assert_eq!(TokenFile::open(&killed).unwrap().info().input_statistics.as_ref(), Some(&found));
}
