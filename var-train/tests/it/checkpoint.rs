//! A checkpoint counts as a whole or not at all, and a resume says what it left aside.

use std::path::Path;
use std::process::{Command, Output};

use super::fixture::{Fixture, losses};

/// The command without `--quiet`.
fn aloud(command: &Command) -> Output {
    let arguments = command.get_args().filter(|a| *a != "--quiet");
    Command::new(command.get_program()).env("OMP_NUM_THREADS", "1").args(arguments).output().unwrap()
}

/// Resumes a run of 20 steps whose newest checkpoint of two `damage` has damaged; what it said.
fn resumed(damage: impl Fn(&Path)) -> String {
    let fixture = Fixture::new();
    let run = fixture.path("run");
    let settings = ["--set", "steps=20", "--set", "checkpoint_every=10", "--set", "ema=0.9"];
    assert!(fixture.model("run").args(settings).status().unwrap().success());
    let before = (losses(&run), std::fs::read(run.join("model-ema.safetensors")).unwrap());
    damage(&run.join("checkpoints/step-00000020"));
    let output = aloud(fixture.model("run").args(settings).arg("--resume"));
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success(), "{message}");
    assert!(message.contains("resumed from") && message.contains("step-00000010"), "{message}");
    assert_eq!((losses(&run), std::fs::read(run.join("model-ema.safetensors")).unwrap()), before);
    assert!(run.join("checkpoints/step-00000020/state.json").exists());
    message
}

#[test]
fn every_part_of_a_checkpoint_counts() {
    for file in ["model.safetensors", "optimizer.safetensors", "ema.safetensors"] {
        let message = resumed(|checkpoint| std::fs::remove_file(checkpoint.join(file)).unwrap());
        assert!(message.contains("skipped a damaged checkpoint") && message.contains(file), "{message}");
    }
    // One byte in the middle.
    let message = resumed(|checkpoint| {
        let path = checkpoint.join("ema.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(path, bytes).unwrap();
    });
    assert!(message.contains("ema.safetensors") && message.contains("checksum"), "{message}");
}

#[test]
fn a_state_that_is_torn_or_names_no_files_makes_no_checkpoint() {
    let message = resumed(|checkpoint| {
        let path = checkpoint.join("state.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, &text[..text.len() / 2]).unwrap();
    });
    assert!(message.contains("state.json") && message.contains("damaged"), "{message}");
    let message = resumed(|checkpoint| {
        std::fs::write(checkpoint.join("state.json"), r#"{"step": 20, "seconds": 1.0, "files": {}}"#)
            .unwrap();
    });
    assert!(message.contains("does not name"), "{message}");
}

#[test]
fn a_folder_without_a_state_is_passed_over_without_a_word() {
    let message = resumed(|checkpoint| std::fs::remove_file(checkpoint.join("state.json")).unwrap());
    assert!(!message.contains("skipped"), "{message}");
}
