//! Ranks that are killed, stopped, told to stop, or fail: the others end and say which, and no checkpoint is
//! lost.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::fixture::{Fixture, losses};
use super::ranks_together::{as_rank, free_port};
use super::resume::signal;
use super::wait::while_alive;

/// Steps that no test waits for.
const ENDLESS: [&str; 4] = ["--set", "steps=100000", "--set", "checkpoint_every=5"];

/// Seconds until the others give a stopped rank up: long enough for a busy machine to start them.
const STOPPED: &str = "15";

/// Names of whole checkpoints, oldest first.
fn checkpoints(run: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("step-")).collect();
    names.sort();
    names
}

fn spawn(fixture: &Fixture, rank: usize, world: usize, port: u16, more: &[&str]) -> Child {
    let mut command = fixture.model("run");
    command.args(ENDLESS).args(more);
    as_rank(command, rank, world, port).spawn().unwrap()
}

/// `world` ranks that have come past a checkpoint.
fn ranks(fixture: &Fixture, world: usize, more: &[&str]) -> Vec<Child> {
    let port = free_port();
    let mut ranks: Vec<Child> = (0..world).map(|rank| spawn(fixture, rank, world, port, more)).collect();
    while_alive(&mut ranks, "a checkpoint", || !checkpoints(&fixture.path("run")).is_empty());
    ranks
}

/// The rank ended because of another one, and names it.
fn blames(output: &Output, who: &str) {
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(4), "{message}");
    assert!(message.contains(who), "'{who}' is not in: {message}");
}

/// The run goes on from its newest checkpoint with fewer ranks.
fn goes_on(fixture: &Fixture, world: usize) {
    let before = checkpoints(&fixture.path("run"));
    let port = free_port();
    let mut others: Vec<Child> =
        (0..world).map(|rank| spawn(fixture, rank, world, port, &["--resume"])).collect();
    let newest = before.last().expect("a checkpoint is left").clone();
    let later = || checkpoints(&fixture.path("run")).last().is_some_and(|name| *name > newest);
    while_alive(&mut others, "a later checkpoint", later);
    signal(&others[world - 1], 15);
    // A process on its own tells that it is not finished; ranks must not look failed to who manages them.
    let status = if world > 1 { 0 } else { 3 };
    for rank in others.drain(..) {
        assert_eq!(rank.wait_with_output().unwrap().status.code(), Some(status));
    }
}

#[test]
fn a_killed_rank_is_named_and_the_run_goes_on_with_fewer() {
    let fixture = Fixture::new();
    let mut all = ranks(&fixture, 4, &["--timeout", "60"]);
    let mut victim = all.remove(2);
    victim.kill().unwrap();
    victim.wait().unwrap();
    for rank in all {
        blames(&rank.wait_with_output().unwrap(), "rank 2 does not answer");
    }
    goes_on(&fixture, 2);
}

#[test]
fn a_stopped_rank_is_named_after_the_timeout() {
    let fixture = Fixture::new();
    let mut all = ranks(&fixture, 2, &["--timeout", STOPPED]);
    let mut victim = all.remove(1);
    signal(&victim, 19);
    blames(&all.remove(0).wait_with_output().unwrap(), "rank 1 does not answer");
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn rank_zero_is_named_when_it_is_killed_or_stopped() {
    for (stop, timeout) in [(9, "60"), (19, STOPPED)] {
        let fixture = Fixture::new();
        let mut all = ranks(&fixture, 2, &["--timeout", timeout]);
        signal(&all[0], stop);
        blames(&all.remove(1).wait_with_output().unwrap(), "rank 0 does not answer");
        let mut victim = all.remove(0);
        victim.kill().unwrap();
        victim.wait().unwrap();
        goes_on(&fixture, 1);
    }
}

#[test]
fn the_launcher_tells_of_a_killed_rank_and_ends_with_status_one() {
    let fixture = Fixture::new();
    let mut command = fixture.model("run");
    command.args(ENDLESS).args(["--nproc", "2"]).stderr(Stdio::piped());
    let mut launcher = command.spawn().unwrap();
    while_alive(std::slice::from_mut(&mut launcher), "a checkpoint", || {
        !checkpoints(&fixture.path("run")).is_empty()
    });
    signal_rank(&launcher, 1, 9);
    let output = launcher.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("error: rank 1 was ended by signal 9"), "{message}");
    assert!(message.contains("[0] error: rank 1 does not answer"), "{message}");
}

/// Sends a signal to rank `rank` of a launcher.
fn signal_rank(launcher: &Child, rank: usize, number: i32) {
    let children = Command::new("pgrep").args(["-P", &launcher.id().to_string()]).output().unwrap();
    let wanted = format!("RANK={rank}");
    let found = String::from_utf8_lossy(&children.stdout)
        .split_whitespace()
        .find(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|b| *b == 0).any(|entry| entry == wanted.as_bytes())
        })
        .map(str::to_owned);
    let status = Command::new("kill").arg(format!("-{number}")).arg(found.unwrap()).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_signal_to_any_rank_saves_once_and_ends_all_with_status_0() {
    // SIGTERM, and SIGUSR1 as SLURM may send it.
    for (number, victim) in [(15, 1), (10, 0)] {
        let fixture = Fixture::new();
        let mut all: Vec<Child> = ranks(&fixture, 2, &["--set", "keep_checkpoints=1000000"]);
        signal(&all[victim], number);
        let second = all.remove(1).wait_with_output().unwrap();
        let first = all.remove(0).wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&first.stderr).to_string();
        assert_eq!(first.status.code(), Some(0), "{message}");
        assert_eq!(message.matches("resume with --resume").count(), 1, "{message}");
        assert_eq!(second.status.code(), Some(0));
        assert!(second.stderr.is_empty(), "{}", String::from_utf8_lossy(&second.stderr));
        // One checkpoint beside those that were due.
        let run = fixture.path("run");
        let last = losses(&run).last().unwrap().0;
        let extra: Vec<String> = checkpoints(&run)
            .into_iter()
            .filter(|name| !name.trim_start_matches("step-").parse::<u64>().unwrap().is_multiple_of(5))
            .collect();
        let expected = format!("step-{last:08}");
        assert!(extra.is_empty() && last.is_multiple_of(5) || extra == [expected], "{extra:?} {last}");
    }
}

#[test]
fn the_launcher_hands_signals_on() {
    let fixture = Fixture::new();
    let mut command = fixture.model("run");
    command.args(ENDLESS).args(["--nproc", "2"]).stderr(Stdio::piped());
    let mut launcher = command.spawn().unwrap();
    while_alive(std::slice::from_mut(&mut launcher), "a checkpoint", || {
        !checkpoints(&fixture.path("run")).is_empty()
    });
    signal(&launcher, 15);
    let output = launcher.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert_eq!(message.matches("[0] interrupted").count(), 1, "{message}");
    assert!(!message.contains("[1]"), "{message}");
}

/// A signal that comes to a thread in a product of oneDNN overwrites memory (var_tokenizer::signals).
#[cfg(target_os = "linux")]
#[test]
fn signals_come_to_one_thread_only_which_does_not_compute() {
    let fixture = Fixture::new();
    let all = ranks(&fixture, 2, &[]);
    for rank in &all {
        let mut open = Vec::new();
        let threads: Vec<_> =
            std::fs::read_dir(format!("/proc/{}/task", rank.id())).unwrap().flatten().collect();
        assert!(threads.len() > 4, "{threads:?}");
        for thread in threads {
            // One that has ended meanwhile is no thread.
            let Ok(status) = std::fs::read_to_string(thread.path().join("status")) else { continue };
            let field =
                |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            let blocked = u64::from_str_radix(&field("SigBlk:"), 16).unwrap();
            if [1, 2, 10, 15].iter().any(|signal| blocked >> (signal - 1) & 1 == 0) {
                open.push(field("Name:"));
            }
        }
        assert_eq!(open, ["signals"]);
    }
    signal(&all[0], 15);
    for rank in all {
        assert_eq!(rank.wait_with_output().unwrap().status.code(), Some(0));
    }
}

#[test]
fn a_full_disk_of_rank_zero_is_told_by_the_others() {
    let fixture = Fixture::new();
    let wide = ["--set", "width=96"];
    let port = free_port();
    let inner = fixture.model("run");
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""]);
    limited
        .env("OMP_NUM_THREADS", "1")
        .arg(inner.get_program())
        .args(inner.get_args())
        .args(ENDLESS)
        .args(wide);
    let first = as_rank(limited, 0, 2, port).spawn().unwrap();
    let second = spawn(&fixture, 1, 2, port, &wide);
    let (first, second) = (first.wait_with_output().unwrap(), second.wait_with_output().unwrap());
    let message = String::from_utf8_lossy(&first.stderr).to_string();
    assert_eq!(first.status.code(), Some(1), "{message}");
    assert!(message.contains("File too large"), "{message}");
    blames(&second, "rank 0 failed: ");
    blames(&second, "File too large");
}
