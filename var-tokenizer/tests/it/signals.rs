//! Signals that ask to stop. Each case runs in a process of its own.

use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::raise;
use var_tokenizer::signals::{asking_to_stop, stop};

/// Runs the ignored test `name` of this file, after the words `before` of a shell.
fn run(name: &str, before: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    let script =
        format!("{before}; exec '{}' --exact signals::{name} --ignored --nocapture", program.display());
    Command::new("sh").args(["-c", &script]).output().unwrap()
}

#[test]
fn a_hangup_asks_to_stop_as_term_does_and_may_come_twice() {
    let output = run("hung_up", ":");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("still here"), "{text}");
    // The second SIGTERM ended it.
    assert_eq!(output.status.code(), Some(1));
}

#[test]
#[ignore = "part of a_hangup_asks_to_stop_as_term_does_and_may_come_twice"]
fn hung_up() {
    let flag = stop().unwrap();
    for signal in [SIGHUP, SIGHUP, SIGTERM] {
        flag.store(false, Ordering::Relaxed);
        raise(signal).unwrap();
        assert!(flag.load(Ordering::Relaxed));
    }
    println!("still here");
    raise(SIGTERM).unwrap();
}

#[test]
fn a_program_under_nohup_outlives_its_terminal() {
    let output = run("ignoring", "trap '' HUP");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(asking_to_stop().contains(&SIGHUP));
}

#[test]
#[ignore = "part of a_program_under_nohup_outlives_its_terminal"]
fn ignoring() {
    assert_eq!(asking_to_stop(), [SIGINT, SIGTERM]);
    let flag = stop().unwrap();
    raise(SIGHUP).unwrap();
    assert!(!flag.load(Ordering::Relaxed));
}
