//! Runs that are killed, interrupted, and gone on with.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::fixture::{Fixture, losses};
use super::wait::while_alive;

pub fn signal(child: &Child, signal: i32) {
    // SAFETY is not needed: the shell sends it.
    let status =
        std::process::Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    assert!(status.unwrap().success());
}

/// Steps and checkpoints that no test comes to the end of.
const ENDLESS: [&str; 4] = ["--set", "steps=100000", "--set", "keep_checkpoints=100000"];

fn checkpoint_exists(run: &Path, step: u64) -> bool {
    run.join(format!("checkpoints/step-{step:08}/state.json")).exists()
}

#[test]
fn losses_after_kills_and_resumes_are_bit_equal_to_an_uninterrupted_run() {
    let fixture = Fixture::new();
    // No process can come to the end before it is killed.
    let settings = [&ENDLESS[..], &["--set", "checkpoint_every=7", "--set", "validate_every=20"]].concat();
    // Starts or resumes a run, and kills it once the checkpoint of step `until` is there.
    let killed_at = |name: &str, until: u64, resume: bool| {
        let mut command = fixture.model(name);
        command.args(&settings).args(resume.then_some("--resume")).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let done = || checkpoint_exists(&fixture.path(name), until);
        while_alive(std::slice::from_mut(&mut child), "a checkpoint", done);
        // Not always at the same moment after it.
        std::thread::sleep(Duration::from_millis(until % 5 * 7));
        child.kill().unwrap();
        child.wait().unwrap();
    };
    killed_at("whole", 63, false);
    for (until, resume) in [(7, false), (28, true), (42, true), (63, true)] {
        killed_at("killed", until, resume);
    }
    let [expected, found] = ["whole", "killed"].map(|name| losses(&fixture.path(name))[..63].to_vec());
    assert_eq!(found, expected);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let file = format!("checkpoints/step-00000063/{file}");
        let [a, b] = ["whole", "killed"].map(|name| std::fs::read(fixture.path(name).join(&file)).unwrap());
        assert!(a == b, "{file}");
    }
}

#[test]
fn sigterm_saves_and_leaves_with_status_three() {
    let fixture = Fixture::new();
    let run = fixture.path("run");
    let settings = ["--set", "steps=100000"];
    let mut child = fixture.model("run").args(settings).stderr(Stdio::piped()).spawn().unwrap();
    while_alive(std::slice::from_mut(&mut child), "some steps", || losses(&run).len() > 5);
    signal(&child, 15);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("resume with --resume"), "{message}");
    let last = losses(&run).last().unwrap().0;
    assert!(checkpoint_exists(&run, last), "no checkpoint at step {last}");
}

#[test]
fn a_second_process_on_the_same_run_folder_is_refused() {
    let fixture = Fixture::new();
    let run = fixture.path("run");
    let mut first =
        fixture.model("run").args(["--set", "steps=100000"]).stderr(Stdio::piped()).spawn().unwrap();
    while_alive(std::slice::from_mut(&mut first), "some steps", || !losses(&run).is_empty());
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
