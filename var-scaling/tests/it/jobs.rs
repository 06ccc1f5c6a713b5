//! Several trainings at a time.

use predicates::str::contains;
use rustix::process::Signal;

use crate::fake::{Fake, end, names, stop};

#[test]
fn two_jobs_train_at_the_same_time_and_leave_what_one_leaves() {
    let fake = Fake::new();
    fake.mark("slow-1x32");
    fake.mark("slow-2x64");
    let mut child = fake.spawn(&["--sizes", "1x32,2x64", "--jobs", "2"]);
    fake.wait_for("started-1x32", &mut child);
    fake.wait_for("started-2x64", &mut child);
    fake.unmark("slow-1x32");
    fake.unmark("slow-2x64");
    assert_eq!(end(child).0, 0);
    let results = fake.results();
    let cores = std::thread::available_parallelism().unwrap().get();
    for name in ["1x32", "2x64"] {
        assert!(names(&results).contains(&name));
        assert!(fake.out().join(format!("samples/{name}.png")).is_file());
        let threads = std::fs::read_to_string(fake.path(&format!("threads-{name}"))).unwrap();
        assert_eq!(threads.trim(), (cores / 2).max(1).to_string());
    }
    let alone = Fake::new();
    alone.sweep(&["--sizes", "1x32,2x64"]).assert().success();
    let sorted = |mut lines: Vec<serde_json::Value>| {
        lines.sort_by_key(|line| line["params"].as_u64());
        lines
    };
    assert_eq!(sorted(results), sorted(alone.results()));
}

#[test]
fn a_signal_stops_all_jobs_after_they_save_and_the_same_command_resumes_them() {
    let fake = Fake::new();
    fake.mark("slow-1x32");
    fake.mark("slow-2x64");
    let sizes = ["--sizes", "1x32,2x64,3x96", "--jobs", "2"];
    // The longest sizes start first.
    fake.mark("slow-3x96");
    let mut child = fake.spawn(&sizes);
    fake.wait_for("started-3x96", &mut child);
    fake.wait_for("started-2x64", &mut child);
    stop(&child, Signal::INT);
    assert_eq!(end(child).0, 3);
    for name in ["2x64", "3x96"] {
        assert!(fake.out().join(format!("runs/{name}/checkpoints/saved")).is_file());
    }
    assert!(fake.trained("1x32").is_empty());
    for name in ["1x32", "2x64", "3x96"] {
        fake.unmark(&format!("slow-{name}"));
    }
    fake.sweep(&sizes).assert().success();
    assert!(fake.trained("3x96")[1].contains("--resume"));
    assert!(!fake.trained("1x32")[0].contains("--resume"));
    assert_eq!(fake.results().len(), 3);
}

#[test]
fn a_job_that_fails_leaves_the_others_alone() {
    let fake = Fake::new();
    fake.mark("fail-2x64");
    fake.sweep(&["--sizes", "1x32,2x64,3x96", "--jobs", "3"])
        .assert()
        .code(1)
        .stdout(contains("2x64 failed: step 3: the loss is NaN"));
    assert_eq!(fake.results().len(), 2);
}
