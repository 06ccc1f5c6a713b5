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

use crate::cli::{message, prepare, refused, run};

/// Side of the images.
const SIDE: u64 = 16;

/// An npz of `count` images in five classes, sorted by class; those of later classes are brighter.
pub(crate) fn sorted_by_class(path: &Path, count: u64) {
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

/// The largest difference of means, in deviations of `right`. Panics at NaN, which no maximum shows.
fn apart(found: &InputStatistics, right: &InputStatistics) -> f32 {
    let means = found.mean.iter().zip(&right.mean).zip(&right.deviation);
    let means = means.map(|((a, b), deviation)| (a - b).abs() / deviation);
    let deviations = found.deviation.iter().zip(&right.deviation).map(|(a, b)| (a / b - 1.0).abs());
    means.chain(deviations).inspect(|d| assert!(d.is_finite())).fold(0.0, f32::max)
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
    let images = folder.path().join("sorted.npz");
    // The first 4096 of the 5400 training images lack the last class.
    sorted_by_class(&images, 6000);
    let images = images.display().to_string();
    let arguments = |out: &Path, batch: &str| {
        let out = out.display().to_string();
        ["--data", &images, "--tokenizer", &tokenizer, "--device", "cpu", "--out", &out, "--batch", batch]
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
    assert!(apart(&first, &right) > 0.05, "the images do not tell an even sample from the first ones");

    let arguments = arguments(&killed, "100");
    let output = cut_short(256, false, &arguments.each_ref().map(String::as_str));
    assert_eq!(output.status.code(), None, "{}", message(&output));
    assert!(partial_path(&killed).exists() && !killed.exists());
    encode(&killed, "64");
    assert_eq!(TokenFile::open(&killed).unwrap().info().input_statistics.as_ref(), Some(&found));
}

/// An image in the two class folders that [`prepare`] makes.
fn spoil(images: &str, class: &str) {
    for i in 0..12 {
        std::fs::write(Path::new(images).join(class).join(format!("{i}.png")), b"").unwrap();
    }
}

fn encode(images: &str, tokenizer: &str, out: &str, more: &[&str]) -> Output {
    let fixed = ["encode", "--data", images, "--tokenizer", tokenizer, "--out", out, "--device", "cpu"];
    run(&[&fixed, more].concat())
}

/// `encode --json`'s last line.
fn result(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout).to_string();
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap()
}

#[test]
fn quiet_still_names_bad_images_and_a_class_that_loses_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    spoil(&images, "red");
    let out = folder.path().join("t.h5").display().to_string();
    let output = encode(&images, &tokenizer, &out, &["--quiet"]);
    let text = message(&output);
    assert!(output.status.success() && output.stdout.is_empty(), "{text}");
    assert!(text.contains("left out 12 images") && text.contains("t.h5.bad.txt"), "{text}");
    assert!(text.contains("no image can be read of these classes") && text.contains("'red' (12)"), "{text}");
    let grid = folder.path().join("grid.png").display().to_string();
    let output =
        run(&["reconstruct", "--data", &images, "--tokenizer", &tokenizer, "--out", &grid, "--quiet"]);
    assert!(
        output.status.success() && message(&output).contains("1 bad ones left out"),
        "{}",
        message(&output)
    );
}

#[test]
fn after_a_resume_bad_images_are_counted_over_the_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, _) = prepare(folder.path());
    let images = folder.path().join("many");
    let image = image::RgbImage::from_pixel(16, 16, image::Rgb([9; 3]));
    std::fs::create_dir_all(images.join("one")).unwrap();
    for i in 0..1500 {
        let path = images.join(format!("one/{i:04}.png"));
        if i % 100 == 50 { std::fs::write(path, b"").unwrap() } else { image.save(path).unwrap() }
    }
    let (images, out) = (images.display().to_string(), folder.path().join("t.h5").display().to_string());
    let arguments =
        ["--data", &images, "--tokenizer", &tokenizer, "--out", &out, "--device", "cpu", "--batch", "16"];
    let output = cut_short(128, false, &arguments);
    assert_eq!(output.status.code(), None, "{}", message(&output));
    let list = format!("{out}.bad.txt");
    let before = std::fs::read_to_string(&list).unwrap().lines().count();
    assert!((2..15).contains(&before), "{before} of 15 bad ones before the end");
    // A kill while a line is written.
    std::fs::write(&list, [std::fs::read(&list).unwrap(), b"one/14".to_vec()].concat()).unwrap();
    let output = encode(&images, &tokenizer, &out, &["--json"]);
    assert!(output.status.success(), "{}", message(&output));
    assert_eq!(result(&output)["bad"], 15);
    assert!(message(&output).contains("left out 15 images"), "{}", message(&output));
    let lines = std::fs::read_to_string(&list).unwrap();
    assert_eq!(lines.lines().count(), 15, "{lines}");
    assert!(lines.lines().all(|line| line.contains(".png\t")), "{lines}");
}

#[test]
fn a_lost_journal_is_not_a_fresh_start() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    let out = folder.path().join("t.h5").display().to_string();
    std::fs::write(format!("{out}.bad.txt"), "red/1.png\tis bad\n").unwrap();
    let output = encode(&images, &tokenizer, &out, &[]);
    refused(&output, &["t.h5.bad.txt", "t.h5.partial are missing", "or start over with --restart"]);
    assert!(Path::new(&format!("{out}.bad.txt")).exists());
    assert!(encode(&images, &tokenizer, &out, &["--restart"]).status.success());
    assert!(!Path::new(&format!("{out}.bad.txt")).exists());
}

#[test]
fn after_the_images_are_repaired_the_same_command_works() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    spoil(&images, "red");
    spoil(&images, "blue");
    let out = folder.path().join("t.h5").display().to_string();
    for _ in 0..2 {
        let output = encode(&images, &tokenizer, &out, &["--quiet"]);
        assert_eq!(output.status.code(), Some(2), "{}", message(&output));
        assert!(message(&output).contains("no training image can be read"), "{}", message(&output));
    }
    prepare(folder.path());
    let output = encode(&images, &tokenizer, &out, &[]);
    assert!(output.status.success() && message(&output).contains("starts over"), "{}", message(&output));
    assert!(!Path::new(&format!("{out}.bad.txt")).exists());
}

#[test]
fn after_a_full_disk_the_same_command_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, _) = prepare(folder.path());
    let images = folder.path().join("sorted.npz");
    sorted_by_class(&images, 1000);
    let (images, out) = (images.display().to_string(), folder.path().join("t.h5").display().to_string());
    let arguments = ["--data", &images, "--tokenizer", &tokenizer, "--out", &out, "--device", "cpu"];
    let output = cut_short(64, true, &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", message(&output));
    let output = encode(&images, &tokenizer, &out, &[]);
    assert!(output.status.success() && message(&output).contains("resuming after"), "{}", message(&output));
}

#[test]
fn a_file_that_is_no_token_file_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    refused(&encode(&images, &tokenizer, &tokenizer, &["--restart"]), &["is not a token file"]);
    assert!(VqVae::load(Path::new(&tokenizer), tch::Device::Cpu).is_ok());
}

#[test]
fn numbers_that_are_not_finite_give_neither_ids_nor_scores() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    // Finite weights, of which products overflow.
    let vae = VqVae::load(Path::new(&tokenizer), tch::Device::Cpu).unwrap();
    let weight = vae.parameters().get("encoder.conv_in.weight").unwrap();
    let _ = tch::no_grad(|| weight.shallow_clone().fill_(3e38));
    vae.save(Path::new(&tokenizer)).unwrap();
    let out = folder.path().join("t.h5").display().to_string();
    let output = encode(&images, &tokenizer, &out, &["--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{}", message(&output));
    for part in ["tokenizer.safetensors", "latent", "values are"] {
        assert!(message(&output).contains(part), "{}", message(&output));
    }
    assert!(!Path::new(&out).exists());
    let grid = folder.path().join("grid.png").display().to_string();
    let output = run(&["reconstruct", "--data", &images, "--tokenizer", &tokenizer, "--out", &grid]);
    assert_eq!(output.status.code(), Some(1), "{}", message(&output));
    assert!(!Path::new(&grid).exists());
}
