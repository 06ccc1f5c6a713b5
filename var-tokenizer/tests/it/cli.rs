//! The command line on real files: what it writes, and what it says about bad input.

use std::path::Path;
use std::process::{Command, Output};

use var_tokenizer::images::Split;
use var_tokenizer::tokens::TokenFile;
use var_tokenizer::weights::portable;
use var_tokenizer::{PhiSharing, ScaleSchedule, TokenizerConfig, VqVae};

use super::wait::while_alive;

pub(crate) fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_var-tokenizer"));
    command.env("OMP_NUM_THREADS", "1").args(args).output().unwrap()
}

pub(crate) fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).to_string()
}

pub(crate) fn refused(output: &Output, parts: &[&str]) {
    let text = message(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.starts_with("error: "), "{text}");
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

/// A small tokenizer for 16-pixel images and two classes of coloured images.
pub(crate) fn prepare(folder: &Path) -> (String, String) {
    let config = TokenizerConfig {
        channels: 32,
        channel_multipliers: vec![1, 1],
        residual_blocks: 1,
        latent_channels: 4,
        vocabulary: 32,
        schedule: ScaleSchedule::new(vec![1, 2, 4, 8]).unwrap(),
        phi: PhiSharing::Partial(4),
        phi_ratio: 0.5,
        z_norm: false,
        commitment: 0.25,
    };
    let mut vae = VqVae::new(&config, tch::Device::Cpu, None).unwrap();
    portable::fill(vae.parameters_mut(), 4);
    let tokenizer = folder.join("tokenizer.safetensors");
    vae.save(&tokenizer).unwrap();
    for class in ["blue", "red"] {
        std::fs::create_dir_all(folder.join("images").join(class)).unwrap();
        for i in 0..12_u8 {
            let colour = if class == "red" { [200, 20 * i, 0] } else { [0, 20 * i, 200] };
            let image = image::RgbImage::from_pixel(20 + u32::from(i), 24, image::Rgb(colour));
            image.save(folder.join("images").join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    (tokenizer.display().to_string(), folder.join("images").display().to_string())
}

#[test]
fn encode_writes_the_ids_that_the_tokenizer_gives_and_skips_bad_images() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    std::fs::write(folder.path().join("images/red/broken.jpg"), b"\xff\xd8\xff\xe0 no image").unwrap();
    let out = folder.path().join("tokens.h5").display().to_string();
    let output = run(&[
        "encode",
        "--data",
        &images,
        "--tokenizer",
        &tokenizer,
        "--out",
        &out,
        "--crops",
        "2",
        "--flip",
    ]);
    assert!(output.status.success(), "{}", message(&output));
    let text = message(&output);
    assert!(text.contains("left out 1 images") && text.contains("broken.jpg"), "{text}");
    let list = std::fs::read_to_string(format!("{out}.bad.txt")).unwrap();
    assert!(list.lines().count() == 1 && list.contains("broken.jpg\t"), "{list}");
    let file = TokenFile::open(Path::new(&out)).unwrap();
    assert_eq!(file.info().class_names, ["blue", "red"]);
    let (train, held_out) = (file.rows(Split::Train), file.rows(Split::Val));
    // One of thirteen and one of twelve are held out; the broken one falls on one side or the other.
    assert!(held_out >= 1 && train >= 40 && train % 2 == 0, "{train} {held_out}");
    assert!(file.info().input_statistics.is_some());
    let text = String::from_utf8_lossy(&run(&["inspect", &out]).stdout).to_string();
    assert!(text.contains("blue, red") && text.contains("1,2,4,8"), "{text}");
}

#[test]
fn reconstruct_writes_a_grid_with_a_column_a_scale() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    let out = folder.path().join("grid.png");
    let target = out.display().to_string();
    let output =
        run(&["reconstruct", "--data", &images, "--tokenizer", &tokenizer, "--out", &target, "--count", "2"]);
    assert!(output.status.success(), "{}", message(&output));
    let grid = image::open(&out).unwrap();
    // The original and four scales of 16 pixels, with gaps.
    assert!(grid.width() >= 5 * 16 && grid.width() < 6 * 16 && grid.height() >= 2 * 16);
}

#[test]
fn missing_empty_and_truncated_sources_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, _) = prepare(folder.path());
    let out = folder.path().join("tokens.h5").display().to_string();
    let encode = |data: &str| run(&["encode", "--data", data, "--tokenizer", &tokenizer, "--out", &out]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    refused(&encode(&path("nowhere")), &["nowhere", "no such file or folder"]);
    std::fs::create_dir(path("empty")).unwrap();
    refused(&encode(&path("empty")), &["empty"]);
    let mut archive = tar::Builder::new(std::fs::File::create(path("cut.tar")).unwrap());
    archive.append_dir_all("images", folder.path().join("images")).unwrap();
    drop(archive.into_inner().unwrap());
    let bytes = std::fs::read(path("cut.tar")).unwrap();
    std::fs::write(path("cut.tar"), &bytes[..bytes.len() / 2]).unwrap();
    refused(&encode(&path("cut.tar")), &["cut.tar"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_tokenizer_file_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    let out = folder.path().join("tokens.h5").display().to_string();
    let with = |file: &str| run(&["encode", "--data", &images, "--tokenizer", file, "--out", &out]);
    refused(&with("nowhere.safetensors"), &["nowhere.safetensors"]);
    let bytes = std::fs::read(&tokenizer).unwrap();
    std::fs::write(&tokenizer, &bytes[..1000]).unwrap();
    refused(&with(&tokenizer), &["tokenizer.safetensors", "cut short"]);
}

#[test]
fn wrong_flags_and_values_exit_with_two() {
    for args in [
        &["encode", "--dat", "x"][..],
        &["encode", "--data", "emoji", "--out", "x.h5", "--device", "tpu"],
        &["encode", "--data", "emoji", "--out", "x.h5", "--precision", "f8"],
        &["encode", "--data", "emoji", "--out", "x.h5", "--crops", "0"],
        &["frobnicate"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", message(&output));
    }
}

#[test]
fn the_built_in_tokenizer_describes_itself() {
    let output = run(&["inspect", "builtin"]);
    let text = String::from_utf8_lossy(&output.stdout).to_string();
    assert!(output.status.success() && text.contains("32×32") && text.contains("512 codes"), "{text}");
}

/// Starts encoding emoji with `more` flags, and sends `signal` once some of it is done.
pub(crate) fn interrupt(out: &Path, more: &[&str], signal: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_var-tokenizer"))
        .env("OMP_NUM_THREADS", "1")
        .args(["encode", "--data", "emoji", "--batch", "8", "--device", "cpu", "--quiet"])
        .args(more)
        .arg("--out")
        .arg(out)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let journal = var_tokenizer::tokens::partial_path(out);
    while_alive(std::slice::from_mut(&mut child), "some rows", || {
        std::fs::metadata(&journal).is_ok_and(|m| m.len() >= 8192)
    });
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn an_interrupted_encode_goes_on_with_the_same_command_and_with_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (out, whole) = (folder.path().join("tokens.h5"), folder.path().join("whole.h5"));
    let output = interrupt(&out, &["--limit", "300", "--limit-held-out", "8"], "-TERM");
    assert_eq!(output.status.code(), Some(3), "{}", message(&output));
    assert!(message(&output).contains("the same command resumes"), "{}", message(&output));

    let encode = |to: &Path, limit: &str| {
        let to = to.display().to_string();
        run(&[
            "encode",
            "--data",
            "emoji",
            "--limit-held-out",
            "8",
            "--limit",
            limit,
            "--device",
            "cpu",
            "--out",
            &to,
        ])
    };
    refused(&encode(&out, "290"), &["tokens.h5.partial", "other images, views or limits"]);
    let output = encode(&out, "300");
    assert!(output.status.success() && message(&output).contains("resuming after"), "{}", message(&output));
    assert!(encode(&whole, "300").status.success());
    let rows = |path: &Path| {
        let split = TokenFile::open(path).unwrap().read_split(Split::Train).unwrap();
        (0..split.len())
            .map(|i| {
                let mut row = Vec::new();
                split.copy_row(i, &mut row);
                row
            })
            .collect::<Vec<Vec<i64>>>()
    };
    assert_eq!(rows(&out), rows(&whole));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_var-tokenizer"))
        .args(["inspect", "builtin"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_place_for_the_result_is_looked_for_before_anything_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none/grid.png").display().to_string();
    refused(
        &run(&["reconstruct", "--data", "emoji", "--out", &missing]),
        &["no such folder", "make it first"],
    );
    let taken = folder.path().display().to_string();
    refused(&run(&["encode", "--data", "emoji", "--out", &taken]), &["is a folder"]);
}

#[test]
fn an_npz_of_impossible_shape_is_refused_in_one_line() {
    let mut header = String::from(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 1099511627776, 2, 3), }",
    );
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((header.len() as u16).to_le_bytes());
    array.extend(header.as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images.npz");
    let mut archive = npyz::zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    archive.start_file("arr_0.npy", npyz::zip::write::FileOptions::default()).unwrap();
    std::io::Write::write_all(&mut archive, &array).unwrap();
    archive.finish().unwrap();
    let output = run(&["inspect", &path.display().to_string()]);
    refused(&output, &["images.npz", "impossible shape"]);
    assert_eq!(message(&output).trim_end().lines().count(), 1, "{}", message(&output));
}
