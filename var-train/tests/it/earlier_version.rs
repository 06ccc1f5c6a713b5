//! Files that an earlier version wrote (`tests/data/before`: made by the commit before the modules were moved).

use std::path::Path;
use std::process::Command;

use super::fixture::{losses, said};

/// Copies `from` with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_run_of_an_earlier_version_is_resumed_to_the_losses_that_it_had() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/before");
    let folder = tempfile::tempdir().unwrap();
    copy(&kept, folder.path());
    // The whole log is kept; the run itself stands at step 10 of 20.
    let before = losses(&kept.join("run"));
    assert_eq!(before.len(), 20);
    let output = Command::new(env!("CARGO_BIN_EXE_var-train"))
        .current_dir(folder.path())
        .env("OMP_NUM_THREADS", "1")
        .args(["model", "--tokens", "tokens.h5", "--tokenizer", "tokenizer.safetensors", "--preset", "nano"])
        .args(["--depth", "1", "--width", "16", "--heads", "1", "--precision", "f32", "--device", "cpu"])
        .args(["--set", "steps=20", "--set", "warmup=2", "--set", "batch=8", "--set", "checkpoint_every=10"])
        .args(["--set", "keep_checkpoints=2", "--set", "log_every=1", "--set", "validate_every=10"])
        .args(["--out", "run", "--resume", "--quiet"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let after = losses(&folder.path().join("run"));
    assert_eq!(after.len(), 20);
    for ((step, loss), (again, resumed)) in before.iter().zip(&after) {
        assert_eq!(step, again);
        // Another processor rounds differently.
        assert!((loss - resumed).abs() < 1e-3 * loss, "step {step}: {loss} and {resumed}");
    }
    // Up to the checkpoint the lines are the old ones, after it they are new.
    let lines = |run: &Path| std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let (old, new) = (lines(&kept.join("run")), lines(&folder.path().join("run")));
    assert_eq!(old.lines().take(10).collect::<Vec<_>>(), new.lines().take(10).collect::<Vec<_>>());
    assert_ne!(old, new, "the seconds differ");
}
