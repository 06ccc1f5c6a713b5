//! Damaged files in a process of their own: a crash of a C library ends that process, and is counted.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::Reader;
use super::mutate::{Seed, damage};

/// Reader, first and last case, and the file that says which case is being read.
const TASK: &str = "VAR_TOKENIZER_TEST_HOSTILE";
/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a number of cases.
#[derive(Debug, Default)]
pub struct Tally {
    /// Case and what happened: a signal, a status, or a hang.
    pub failures: Vec<(u32, String)>,
}

/// Case `number` of a reader: the same file every time.
fn case(seeds: &[Seed], number: u32) -> (String, Vec<u8>) {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &key));
    let (which, changes, sealed) = damage().new_tree(&mut runner).unwrap().current();
    let seed = which.get(seeds);
    let right = if sealed && !seed.seals.is_empty() { ", its sums right" } else { "" };
    (format!("{}{right}", seed.name), seed.damaged(&changes, sealed, seeds))
}

/// Reads `cases` damaged files, in a new process after every crash.
pub fn tally(reader: &str, cases: u32) -> Tally {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("case");
    let at = || std::fs::read_to_string(&place).unwrap_or_default();
    let mut tally = Tally::default();
    let mut begin = 0;
    while begin < cases {
        let _ = std::fs::remove_file(&place);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "hostile::child::the_process_that_may_crash",
                "--ignored",
                "--quiet",
                "--nocapture",
            ])
            .env(TASK, format!("{reader} {begin} {cases} {}", place.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut last, mut since) = (at(), Instant::now());
        let outcome = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.to_string();
            }
            if at() != last {
                (last, since) = (at(), Instant::now());
            }
            if since.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                break "hangs".to_owned();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let reached = at();
        if reached == "done" {
            break;
        }
        let number: u32 =
            reached.split_whitespace().next().and_then(|word| word.parse().ok()).expect("the child began");
        tally.failures.push((number, format!("{outcome}: {reached}")));
        begin = number + 1;
    }
    tally
}

/// Not a test: the process that reads the damaged files.
#[test]
#[ignore = "run by the tests of readers that may crash"]
fn the_process_that_may_crash() {
    let Ok(task) = std::env::var(TASK) else { return };
    let words: Vec<&str> = task.splitn(4, ' ').collect();
    let (reader, place) = (Reader::named(words[0]), Path::new(words[3]));
    let (begin, end): (u32, u32) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    let seeds = (reader.seeds)();
    for seed in &seeds {
        std::fs::write(place, format!("{begin} {} as it was", seed.name)).unwrap();
        assert_eq!(reader.check(&seed.whole()), Ok(true), "{}", seed.name);
    }
    for number in begin..end {
        let (name, bytes) = case(&seeds, number);
        std::fs::write(place, format!("{number} {name}")).unwrap();
        // C libraries take memory that this process's allocator does not see.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let before = kilobytes("VmRSS:");
        let outcome = reader.check(&bytes);
        let taken = kilobytes("VmHWM:").saturating_sub(before) << 10;
        let outcome = outcome.and_then(|_| {
            let bound = reader.memory + 16 * bytes.len();
            if taken > bound {
                Err(format!("the process grew by {taken} bytes, {bound} are allowed"))
            } else {
                Ok(())
            }
        });
        if let Err(reason) = outcome {
            std::fs::write(place, format!("{number} {name}: {reason}")).unwrap();
            std::process::exit(1);
        }
    }
    std::fs::write(place, "done").unwrap();
}

/// A line of the kernel's account of this process.
fn kilobytes(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    found.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Not a test: writes case `VAR_HOSTILE_CASE` of `VAR_HOSTILE_READER` to `VAR_HOSTILE_OUT`.
#[test]
#[ignore = "shows a case that failed"]
fn a_case_is_written_out() {
    let read = |name: &str| std::env::var(name).ok();
    let (Some(reader), Some(number), Some(out)) =
        (read("VAR_HOSTILE_READER"), read("VAR_HOSTILE_CASE"), read("VAR_HOSTILE_OUT"))
    else {
        return;
    };
    let (name, bytes) = case(&(Reader::named(&reader).seeds)(), number.parse().unwrap());
    std::fs::write(&out, bytes).unwrap();
    println!("{name}: {out}");
}
