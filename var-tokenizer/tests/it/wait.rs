//! Waiting for what other processes do: bounded by their life, never by a clock's verdict. The other crates' tests
//! include this file by its path.
// Not every crate waits in both ways.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::io::Read;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);
/// No work of a test takes so long. Who lives on without doing it hangs, and is killed.
const HUNG: Duration = Duration::from_secs(900);

/// Waits until `done`. Panics when one of `children` ends before, with what it said.
pub fn while_alive(children: &mut [Child], what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    loop {
        // Asked first: what a child did before its end counts.
        let ended = children.iter_mut().position(|child| child.try_wait().unwrap().is_some());
        if done() {
            return;
        }
        if let Some(place) = ended {
            kill(children);
            let said = said(&mut children[place]);
            panic!("process {place} ended before {what}: {said}");
        }
        if began.elapsed() > HUNG {
            kill(children);
            panic!("waited in vain for {what}; the processes live, and were killed");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until `child` ends, or `due` says that it is to be killed; whether it was, and how it ended.
pub fn ends_or_is_killed(child: &mut Child, mut due: impl FnMut() -> bool) -> (bool, ExitStatus) {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (false, status);
        }
        if due() {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            return (!status.success(), status);
        }
        if began.elapsed() > HUNG {
            kill(std::slice::from_mut(child));
            panic!("the process lives without an end, and was killed");
        }
        std::thread::sleep(PAUSE / 20);
    }
}

fn kill(children: &mut [Child]) {
    for child in children {
        // One that has ended already is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// What a process that has ended wrote to its standard error, where that is a pipe.
fn said(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        let _ = pipe.read_to_string(&mut text);
    }
    text
}

#[test]
#[should_panic(expected = "ended before a file that never comes: no reason")]
fn a_wait_ends_with_the_child_that_dies() {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo no reason >&2; exit 3"]).stderr(std::process::Stdio::piped());
    while_alive(&mut [command.spawn().unwrap()], "a file that never comes", || false);
}

#[test]
fn what_a_child_did_before_its_end_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("done");
    let child = std::process::Command::new("touch").arg(&file).spawn().unwrap();
    while_alive(&mut [child], "its file", || file.exists());
}
