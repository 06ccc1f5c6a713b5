//! Training of a tokenizer, through the command line on real files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use var_tokenizer::weights::safetensors;

use super::fixture::losses;
use super::wait::while_alive;

/// Two classes of pictures of 16 pixels, as PPM files.
pub fn pictures(folder: &Path) -> PathBuf {
    let pictures = folder.join("pictures");
    for class in 0..2_u8 {
        let class_folder = pictures.join(format!("class-{class}"));
        std::fs::create_dir_all(&class_folder).unwrap();
        for i in 0..20_u8 {
            let mut bytes = b"P6 16 16 255\n".to_vec();
            for pixel in 0..=255_u8 {
                bytes.extend([pixel.wrapping_mul(i + 1), i * 12, 200 * class]);
            }
            std::fs::write(class_folder.join(format!("{i:02}.ppm")), bytes).unwrap();
        }
    }
    pictures
}

/// `var-train tokenizer` of a tiny one on `data` into `out`.
pub fn command(data: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_var-train"));
    command
        .env("OMP_NUM_THREADS", "1")
        .args(["tokenizer", "--quiet", "--precision", "f32", "--device", "cpu", "--data"])
        .arg(data)
        .arg("--out")
        .arg(out)
        .args(["--set", "image_side=16", "--set", "channel_multipliers=[1,1]", "--set", "schedule=1,2,4,8"])
        .args(["--set", "latent_channels=4", "--set", "vocabulary=32", "--set", "batch=8"])
        .args(["--set", "log_every=1", "--set", "kmeans_pictures=32", "--set", "replace_every=5"]);
    command
}

/// Starts or resumes the run of `command`, and kills it once the checkpoint of `step` is there.
pub fn kill_at(command: &mut Command, run: &Path, step: u64, resume: bool) {
    command.args(resume.then_some("--resume")).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let state = run.join(format!("checkpoints/step-{step:08}/state.json"));
    while_alive(std::slice::from_mut(&mut child), "a checkpoint", || state.exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

fn error_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(2), "{message}");
    message
}

#[test]
fn losses_after_a_kill_and_a_resume_are_bit_equal_to_an_uninterrupted_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    // No process can come to the end before it is killed; the codebook starts at step 10.
    let settings = ["steps=100000", "quantize_from=0.0001", "checkpoint_every=3", "keep_checkpoints=100000"];
    let killed_at = |run: &Path, step: u64, resume: bool| {
        let mut command = command(&data, run);
        command.args(settings.iter().flat_map(|s| ["--set", s])).args(["--set", "accumulation=2"]);
        kill_at(&mut command, run, step, resume);
    };
    killed_at(&whole, 39, false);
    // Before and after the codebook starts.
    for (step, resume) in [(3, false), (15, true), (39, true)] {
        killed_at(&killed, step, resume);
    }
    assert_eq!(losses(&killed)[..39], losses(&whole)[..39]);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let file = format!("checkpoints/step-00000039/{file}");
        let [a, b] = [&whole, &killed].map(|run| std::fs::read(run.join(&file)).unwrap());
        assert!(a == b, "{file}");
    }
}

#[test]
fn bad_pictures_among_good_ones_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    std::fs::write(data.join("class-0/broken.jpg"), b"\xff\xd8\xff\xe0 not a picture").unwrap();
    // With pictures of the exact side, and with larger ones, which are read at every step.
    for side in ["16", "8"] {
        let schedule = if side == "16" { "schedule=1,2,4,8" } else { "schedule=1,2,4" };
        let out = folder.path().join(side);
        let mut command = command(&data, &out);
        command.args(["--set", "steps=12", "--set", schedule, "--set", &format!("image_side={side}")]);
        let arguments: Vec<_> =
            command.get_args().filter(|a| *a != "--quiet").map(ToOwned::to_owned).collect();
        let output =
            Command::new(command.get_program()).env("OMP_NUM_THREADS", "1").args(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(output.status.success(), "{message}");
        assert!(message.contains("1 bad ones left out") && message.contains("broken.jpg"), "{message}");
        let result: Value =
            serde_json::from_str(&std::fs::read_to_string(out.join("result.json")).unwrap()).unwrap();
        assert_eq!(result["bad"], 1, "{result}");
    }
}

#[test]
fn a_schedule_that_does_not_fit_the_latent_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let message = error_of(command(&data, &folder.path().join("run")).args(["--set", "schedule=1,2,3,5"]));
    for part in ["ends with side 5", "16 pixels", "recipe.image_side = 16; 0 takes what fits"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_collapsed_scale_raises_an_alarm_while_training_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("white/class");
    std::fs::create_dir_all(&data).unwrap();
    for i in 0..20 {
        let mut bytes = b"P6 16 16 255\n".to_vec();
        bytes.extend([255; 768]);
        std::fs::write(data.join(format!("{i}.ppm")), bytes).unwrap();
    }
    let out = folder.path().join("run");
    let mut command = command(&folder.path().join("white"), &out);
    command.args(["--set", "steps=90", "--set", "replace_every=0", "--set", "quantize_from=0.1"]);
    assert!(command.status().unwrap().success());
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let alarmed = metrics.lines().any(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["kind"] == "train" && line["alarm"].as_str().is_some_and(|text| text.contains("collapsed"))
    });
    assert!(alarmed, "{metrics}");
}

#[test]
fn a_resume_on_other_pictures_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let out = folder.path().join("run");
    assert!(command(&data, &out).args(["--set", "steps=3"]).status().unwrap().success());
    std::fs::remove_file(data.join("class-0/00.ppm")).unwrap();
    let message = error_of(command(&data, &out).args(["--set", "steps=3", "--resume"]));
    assert!(message.contains("other data"), "{message}");
}

#[test]
fn numbers_out_of_all_bounds_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    for (setting, part) in [
        ("steps=9223372036854775807", "training.steps"),
        ("batch=9223372036854775807", "training.batch"),
        ("channel_multipliers=[4611686018427387904]", "multiplier"),
        ("quantize_from=2", "recipe.quantize_from"),
        ("clip=-3", "training.clip"),
        ("training.nonsense.steps=7", "training.nonsense.steps"),
    ] {
        let mut command = command(&data, &folder.path().join("run"));
        let message = error_of(command.args(["--set", setting, "--check"]));
        assert!(message.contains(part), "{setting}: {message}");
    }
}

/// The number of bad pictures in a run's result.
fn bad(out: &Path) -> Value {
    let text = std::fs::read_to_string(out.join("result.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["bad"].clone()
}

#[test]
fn pictures_left_out_are_said_though_quiet_and_count_the_same_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    for name in ["a.jpg", "b.jpg", "c.jpg", "d.jpg"] {
        std::fs::write(data.join("class-0").join(name), b"\xff\xd8\xff\xe0 not a picture").unwrap();
    }
    let out = folder.path().join("run");
    // Larger pictures than wanted are read at every step, and a finished run reads no more for training.
    let settings = ["--set", "schedule=1,2,4", "--set", "image_side=8", "--set", "steps=12"];
    for more in [&[][..], &["--resume"]] {
        let output = command(&data, &out).args(settings).args(more).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(output.status.success(), "{message}");
        assert!(message.contains("bad ones left out") && message.contains(".jpg"), "{message}");
        assert_eq!(bad(&out), 4, "{more:?}");
    }
}

#[test]
fn a_picture_that_became_unreadable_since_the_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let out = folder.path().join("run");
    assert!(command(&data, &out).args(["--set", "steps=3"]).status().unwrap().success());
    let (file, kept) = (data.join("class-0/07.ppm"), folder.path().join("kept"));
    std::fs::rename(&file, &kept).unwrap();
    std::fs::write(&file, "P6").unwrap();
    let message = error_of(command(&data, &out).args(["--set", "steps=3", "--resume"]));
    for part in
        ["0 images could not be read when the run started, and 1 cannot now", "07.ppm", "restore the files"]
    {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
    std::fs::rename(&kept, &file).unwrap();
    assert!(command(&data, &out).args(["--set", "steps=3", "--resume"]).status().unwrap().success());
}

#[test]
fn pictures_of_which_none_can_be_read_make_no_run_folder_and_the_same_command_works_later() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let good = folder.path().join("good");
    std::fs::rename(&data, &good).unwrap();
    let out = folder.path().join("run");
    let message = error_of(command(&data, &out).args(["--set", "steps=3"]));
    assert!(message.contains("pictures: no such file or folder"), "{message}");
    for class in ["class-0", "class-1"] {
        std::fs::create_dir_all(data.join(class)).unwrap();
        for i in 0..10 {
            std::fs::write(data.join(class).join(format!("{i}.png")), "none").unwrap();
        }
    }
    for more in [&["--dry-run"][..], &[]] {
        let message = error_of(command(&data, &out).args(["--set", "steps=3"]).args(more));
        assert!(message.contains("0 readable training and 0 readable held-out images"), "{message}");
        assert!(message.contains(".png") && !out.exists(), "{message}");
    }
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&good, &data).unwrap();
    assert!(command(&data, &out).args(["--set", "steps=3"]).status().unwrap().success());
}

#[test]
fn settings_of_a_tokenizer_without_effect_are_said_even_when_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let settings =
        ["--set", "steps=4", "--set", "random_crop=true", "--set", "validation_pictures=500", "--zero"];
    let output = command(&data, &folder.path().join("run")).args(settings).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success(), "{message}");
    for part in
        ["recipe.random_crop has no effect", "recipe.validation_pictures has no effect", "--zero is ignored"]
    {
        assert_eq!(message.matches(part).count(), 1, "'{part}' is not once in: {message}");
    }
}

#[test]
fn a_run_starts_from_the_weights_and_codes_of_another_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    assert!(command(&data, &first).args(["--set", "steps=6"]).status().unwrap().success());
    let from = first.join("tokenizer.safetensors");
    let mut next = command(&data, &second);
    next.args(["--set", &format!("start_from={}", from.display()), "--set", "ema=0.5"]);
    // A step too small to change a weight.
    next.args(["--set", "steps=2", "--set", "learning_rate=1e-12", "--set", "replace_every=0"]);
    next.args(["--set", "kmeans_rounds=3"]);
    let output = next.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success(), "{message}");
    assert!(message.contains("recipe.kmeans_rounds has no effect: the run starts from"), "{message}");
    let [a, b] = [from, second.join("tokenizer.safetensors")]
        .map(|file| safetensors::open(&file).unwrap().read_all().unwrap());
    for (name, tensor) in a.iter().filter(|(name, _)| !name.contains("ema_vocab_hit")) {
        let off = (tensor - &b[name]).abs().max().double_value(&[]);
        assert!(off < 1e-6, "{name}: {off}");
    }
    // A run that was cut before its first checkpoint starts from them again.
    for gone in ["checkpoints", "events", "reconstructions"] {
        std::fs::remove_dir_all(second.join(gone)).unwrap();
    }
    for gone in ["metrics.jsonl", "result.json", "tokenizer.safetensors"] {
        std::fs::remove_file(second.join(gone)).unwrap();
    }
    next.arg("--resume");
    assert!(next.status().unwrap().success());
    let again = safetensors::open(&second.join("tokenizer.safetensors")).unwrap().read_all().unwrap();
    assert!(again.iter().all(|(name, tensor)| tensor.equal(&b[name])));
    // A resume takes the weights of its checkpoint, also when the first tokenizer is gone.
    std::fs::remove_file(first.join("tokenizer.safetensors")).unwrap();
    assert!(next.status().unwrap().success());
}

#[test]
fn a_tokenizer_to_start_from_that_is_missing_or_has_another_shape_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    assert!(command(&data, &first).args(["--set", "steps=2"]).status().unwrap().success());
    let from = format!("start_from={}", first.join("tokenizer.safetensors").display());
    let message = error_of(command(&data, &second).args(["--set", &from, "--set", "latent_channels=8"]));
    assert!(
        message.contains("encoder.conv_out.weight has shape [4, 32, 3, 3], expected [8, 32, 3, 3]"),
        "{message}"
    );
    let message = error_of(command(&data, &second).args(["--set", "start_from=nothing.safetensors"]));
    assert!(message.contains("expected the tokenizer of recipe.start_from"), "{message}");
    assert!(!second.exists());
}
