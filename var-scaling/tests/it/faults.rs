//! What can happen to a sweep, caused for real: failures, signals, kills, a full disk. Nothing is lost.

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use rustix::process::Signal;

use crate::fake::{Fake, SIZES, end, names, stop};

#[test]
fn a_size_that_fails_is_reported_the_others_go_on_and_a_second_call_completes_it() {
    let fake = Fake::new();
    fake.mark("fail-2x64");
    fake.sweep(&[])
        .assert()
        .code(1)
        .stdout(contains("2x64 failed: step 3: the loss is NaN").and(contains("report.html")))
        .stderr(contains("error: 1 of 6 sizes did not finish"));
    assert_eq!(names(&fake.results()), ["1x32", "3x96", "4x128", "5x160", "6x192"]);
    let page = std::fs::read_to_string(fake.out().join("report.html")).unwrap();
    assert!(page.contains("Started but not finished: 2x64"));
    fake.unmark("fail-2x64");
    fake.sweep(&[]).assert().success();
    assert_eq!(fake.results().len(), 6);
    assert_eq!(fake.trained("3x96").len(), 1);
}

#[test]
fn a_size_that_is_killed_half_way_is_reported_and_resumed_by_a_second_call() {
    let fake = Fake::new();
    fake.mark("die-3x96");
    fake.sweep(&[]).assert().code(1).stdout(contains("3x96 failed: killed (signal 9"));
    assert_eq!(fake.results().len(), 5);
    fake.sweep(&[]).assert().success();
    let trained = fake.trained("3x96");
    assert_eq!(trained.len(), 2);
    assert!(!trained[0].contains("--resume") && trained[1].ends_with("--resume"), "{trained:?}");
}

#[test]
fn a_result_without_a_number_is_a_failure_of_that_size() {
    let fake = Fake::new();
    fake.mark("nan-2x64");
    fake.sweep(&[]).assert().code(1).stdout(contains("2x64 failed: its result has no usable val_loss_all"));
    assert_eq!(fake.results().len(), 5);
}

#[test]
fn when_every_size_fails_the_reason_is_told() {
    let fake = Fake::new();
    fake.mark("fail-1x32");
    fake.sweep(&["--sizes", "1x32"])
        .assert()
        .code(1)
        .stderr(contains("error: every size failed: 1x32: step 3"));
}

#[test]
fn an_interrupt_lets_the_size_save_and_the_same_command_goes_on() {
    for signal in [Signal::INT, Signal::TERM] {
        let fake = Fake::new();
        fake.mark("slow-2x64");
        let mut child = fake.spawn(&[]);
        fake.wait_for("started-2x64", &mut child);
        stop(&child, signal);
        let (code, text) = end(child);
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("error: interrupted; to resume, run the same command again"), "{text}");
        assert!(fake.out().join("runs/2x64/checkpoints/saved").is_file(), "the child had time to save");
        assert_eq!(names(&fake.results()), ["1x32"]);
        fake.unmark("slow-2x64");
        fake.sweep(&[]).assert().success();
        assert_eq!(fake.results().len(), 6);
        assert_eq!(fake.trained("1x32").len(), 1);
        assert!(fake.trained("2x64")[1].ends_with("--resume"));
    }
}

#[test]
fn a_killed_sweep_takes_its_child_along_and_the_same_command_goes_on() {
    let fake = Fake::new();
    fake.mark("slow-2x64");
    let mut child = fake.spawn(&[]);
    fake.wait_for("started-2x64", &mut child);
    let trainer = std::fs::read_to_string(fake.path("started-2x64")).unwrap();
    // Lives as long as the trainer, which is no child of this process.
    let mut watch = std::process::Command::new("sh");
    watch.args(["-c", "while kill -0 $0 2>/dev/null; do sleep 0.05; done", trainer.trim()]);
    let mut watch = watch.spawn().unwrap();
    stop(&child, Signal::KILL);
    fake.wait_for("out/runs/2x64/checkpoints/saved", &mut watch);
    end(child);
    assert!(watch.wait().unwrap().success());
    fake.unmark("slow-2x64");
    fake.sweep(&[]).assert().success();
    assert_eq!(fake.results().len(), 6);
}

#[test]
fn a_second_sweep_in_the_same_folder_is_refused_while_the_first_runs() {
    let fake = Fake::new();
    fake.mark("slow-1x32");
    let mut child = fake.spawn(&[]);
    fake.wait_for("started-1x32", &mut child);
    fake.sweep(&[]).assert().code(2).stderr(contains("another sweep is running in this folder"));
    stop(&child, Signal::TERM);
    assert_eq!(end(child).0, 3);
}

#[test]
fn a_torn_last_result_is_dropped_and_that_size_is_taken_from_its_run_folder() {
    let fake = Fake::new();
    fake.sweep(&[]).assert().success();
    let path = fake.out().join("results.jsonl");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
    fake.sweep(&[]).assert().success();
    assert_eq!(names(&fake.results()), SIZES);
    assert_eq!(fake.trained("6x192").len(), 1, "it was trained to the end already");
}

#[test]
fn five_kills_leave_the_results_of_an_undisturbed_sweep() {
    let fake = Fake::new();
    for name in SIZES {
        fake.mark(&format!("slow-{name}"));
        let mut child = fake.spawn(&[]);
        fake.wait_for(&format!("started-{name}"), &mut child);
        stop(&child, Signal::KILL);
        end(child);
        fake.unmark(&format!("slow-{name}"));
    }
    fake.sweep(&[]).assert().success();
    let undisturbed = Fake::new();
    undisturbed.sweep(&[]).assert().success();
    assert_eq!(fake.results(), undisturbed.results());
    assert_eq!(fake.fits(), undisturbed.fits());
}

#[test]
fn a_full_disk_is_told_and_the_same_command_completes_the_sweep() {
    let fake = Fake::new();
    fake.sweep(&["--sizes", "1x32"]).assert().success();
    let before = fake.results();
    // Files may grow to 2 KiB: results and runs fit, plots do not. The signal is ignored, so that the write fails as on a
    // full disk.
    let program = fake.program();
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\""]).arg(program.get_program());
    command.env("VAR_BIN_DIR", fake.path("bin")).env("FAKE", fake.path("")).current_dir(fake.path(""));
    command.args(["sweep", "--out"]).arg(fake.out()).args(["--set", "steps=10"]);
    command.assert().code(1).stderr(contains("File too large"));
    assert_eq!(fake.results()[0], before[0]);
    fake.sweep(&[]).assert().success();
    assert_eq!(names(&fake.results()), SIZES);
    assert_eq!(fake.trained("1x32").len(), 1);
}
