//! Runs that are killed, interrupted, and gone on with.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::fixture::{Fixture, losses};

const STEPS: u64 = 60;

pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn signal(child: &Child, signal: i32) {
    // SAFETY is not needed: the shell sends it.
    let status =
        std::process::Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    assert!(status.unwrap().success());
}

fn checkpoint_exists(run: &Path, step: u64) -> bool {
    run.join(format!("checkpoints/step-{step:08}/state.json")).exists()
}

#[test]
fn losses_after_kills_and_resumes_are_bit_equal_to_an_uninterrupted_run() {
    let fixture = Fixture::new();
    let steps = format!("steps={STEPS}");
    let settings = ["--set", &steps, "--set", "checkpoint_every=7", "--set", "validate_every=20"];
    assert!(fixture.model("whole").args(settings).status().unwrap().success());
    let expected = losses(&fixture.path("whole"));
    assert_eq!(expected.len() as u64, STEPS);

    let run = fixture.path("killed");
    // Killed at three different moments: soon after a checkpoint, in the middle, whenever it happens.
    for (round, until) in [7_u64, 28, 42].into_iter().enumerate() {
        let mut command = fixture.model("killed");
        command.args(settings).stderr(Stdio::null());
        if round > 0 {
            command.arg("--resume");
        }
        let mut child = command.spawn().unwrap();
        wait_for("a checkpoint", || checkpoint_exists(&run, until) || child.try_wait().unwrap().is_some());
        std::thread::sleep(Duration::from_millis(13 * round as u64));
        let _ = child.kill();
        assert!(!child.wait().unwrap().success(), "the run ended before it could be killed");
    }
    assert!(fixture.model("killed").args(settings).arg("--resume").status().unwrap().success());
    assert_eq!(losses(&run), expected);
    let model = |name: &str| std::fs::read(fixture.path(name).join("model.safetensors")).unwrap();
    assert_eq!(model("killed"), model("whole"));
}

#[test]
fn sigterm_saves_and_leaves_with_status_three() {
    let fixture = Fixture::new();
    let run = fixture.path("run");
    let settings = ["--set", "steps=100000"];
    let child = fixture.model("run").args(settings).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("some steps", || losses(&run).len() > 5);
    signal(&child, 15);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("go on with --resume"), "{message}");
    let last = losses(&run).last().unwrap().0;
    assert!(checkpoint_exists(&run, last), "no checkpoint at step {last}");
}

#[test]
fn a_second_process_on_the_same_run_folder_is_refused() {
    let fixture = Fixture::new();
    let run = fixture.path("run");
    let mut first =
        fixture.model("run").args(["--set", "steps=100000"]).stderr(Stdio::null()).spawn().unwrap();
    wait_for("some steps", || !losses(&run).is_empty());
    let second = fixture.model("run").args(["--set", "steps=100000", "--resume"]).output().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let message = String::from_utf8_lossy(&second.stderr).to_string();
    assert_eq!(second.status.code(), Some(2), "{message}");
    assert!(message.contains("another process"), "{message}");
}

#[test]
fn a_damaged_checkpoint_is_skipped_for_the_one_before() {
    let fixture = Fixture::new();
    let run = fixture.path("run");
    let settings = ["--set", "steps=20", "--set", "checkpoint_every=10"];
    assert!(fixture.model("run").args(settings).status().unwrap().success());
    let newest = run.join("checkpoints/step-00000020/model.safetensors");
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let before = losses(&run);
    let mut command = fixture.model("run");
    let output = command.args(settings).args(["--resume"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(losses(&run), before);
}

#[test]
fn a_damaged_newer_checkpoint_never_costs_a_good_one() {
    let fixture = Fixture::new();
    let run = fixture.path("run");
    let settings = ["--set", "steps=20", "--set", "checkpoint_every=10", "--set", "keep_checkpoints=1"];
    assert!(fixture.model("run").args(settings).status().unwrap().success());
    let good = run.join("checkpoints/step-00000020");
    let strange = run.join("checkpoints/step-00050000");
    std::fs::create_dir_all(&strange).unwrap();
    std::fs::write(strange.join("state.json"), "{}").unwrap();
    assert!(fixture.model("run").args(settings).arg("--resume").status().unwrap().success());
    assert!(good.join("state.json").exists());
    assert!(!strange.exists() && run.join("checkpoints/damaged-step-00050000").exists());
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is() {
    let fixture = Fixture::new();
    let run = fixture.path("run");
    let settings = ["--set", "steps=20", "--set", "checkpoint_every=10"];
    assert!(fixture.model("run").args(settings).status().unwrap().success());
    for step in ["00000010", "00000020"] {
        std::fs::write(run.join(format!("checkpoints/step-{step}/model.safetensors")), "no model").unwrap();
    }
    let metrics = std::fs::read(run.join("metrics.jsonl")).unwrap();
    let output = fixture.model("run").args(settings).arg("--resume").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("every other checkpoint"), "{message}");
    assert_eq!(std::fs::read(run.join("metrics.jsonl")).unwrap(), metrics);
}

#[test]
fn gradient_accumulation_gives_the_losses_of_the_whole_batch() {
    let fixture = Fixture::new();
    let settings = ["--set", "steps=12"];
    assert!(fixture.model("one").args(settings).status().unwrap().success());
    assert!(
        fixture.model("four").args(settings).args(["--set", "accumulation=4"]).status().unwrap().success()
    );
    for ((_, a), (_, b)) in losses(&fixture.path("one")).iter().zip(losses(&fixture.path("four"))) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}
