//! Locks on file systems that have none. `flock` is replaced by a library that is loaded before others.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use var_tokenizer::files::{lock, open_locked};

const WITHOUT: &str = "#include <errno.h>\n#include <stdlib.h>\n\
    int flock(int fd, int op) { (void)fd; (void)op; errno = atoi(getenv(\"FLOCK_ERRNO\")); return -1; }\n";
/// Where the tests below, which run again in another process, put their files.
const PLACE: &str = "LOCKS_TEST_PLACE";

/// A library that makes `flock` fail with the number in FLOCK_ERRNO.
fn library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("without.c"), folder.join("without.so"));
    std::fs::write(&source, WITHOUT).unwrap();
    let mut compiler = Command::new("cc");
    let status = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(status.success());
    library
}

/// Runs the ignored test `name` of this file where `flock` fails with `number`.
fn run(name: &str, number: i32, library: &Path, place: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("locks::{name}"), "--ignored", "--nocapture"])
        .env("LD_PRELOAD", library)
        .env("FLOCK_ERRNO", number.to_string())
        .env(PLACE, place)
        .output()
        .unwrap()
}

#[test]
fn a_file_system_without_flock_gets_a_marker_file() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    for number in [38, 37, 95, 524] {
        let place = folder.path().join(number.to_string());
        let output = run("alone", number, &library, &place);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{number}: {text}");
        assert!(place.exists() && !marker(&place).exists());
        // Killed while it held the lock: the marker stays, and the next process sees that nobody has it.
        assert!(!run("killed", number, &library, &place).status.success());
        assert!(marker(&place).exists());
        assert!(run("alone", number, &library, &place).status.success());
        assert!(!marker(&place).exists());
    }
    // Any other failure is one.
    let output = run("alone", 5, &library, &folder.path().join("5"));
    assert!(!output.status.success());
}

fn marker(place: &Path) -> PathBuf {
    PathBuf::from(format!("{}.held", place.display()))
}

fn place() -> PathBuf {
    std::env::var_os(PLACE).unwrap().into()
}

#[test]
#[ignore = "part of a_file_system_without_flock_gets_a_marker_file"]
fn alone() {
    let place = place();
    let (file, held) = open_locked(&place).unwrap();
    assert!(marker(&place).exists());
    let message = lock(&file, &place, "busy").unwrap_err().to_string();
    for part in ["busy", "has no locks", &std::process::id().to_string(), ".held"] {
        assert!(message.contains(part), "'{part}' is not in {message}");
    }
    drop(held);
    assert!(!marker(&place).exists());
}

#[test]
#[ignore = "part of a_file_system_without_flock_gets_a_marker_file"]
fn killed() {
    let _held = open_locked(&place()).unwrap();
    std::process::abort();
}

#[test]
fn a_second_holder_is_told_and_the_lock_ends_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let (_, held) = open_locked(&path).unwrap();
    let message = open_locked(&path).unwrap_err().to_string();
    assert!(message.contains("another process is writing it"), "{message}");
    assert!(!marker(&path).exists());
    drop(held);
    open_locked(&path).unwrap();
}
