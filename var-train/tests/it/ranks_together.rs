//! Ranks started by hand, as torchrun and scripts do: how they meet, and what keeps them from meeting.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use super::fixture::Fixture;

/// A port that is free, and that no other test gets: below those that the system hands out by itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    let mut ports = (0..100).map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed) % 100);
    ports.find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).expect("a free port")
}

/// `command` as rank `rank` of `world` that meet at `port`.
pub fn as_rank(mut command: Command, rank: usize, world: usize, port: u16) -> Command {
    command
        .env("RANK", rank.to_string())
        .env("LOCAL_RANK", rank.to_string())
        .env("WORLD_SIZE", world.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn check_ranks() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_var-train"));
    command.env("OMP_NUM_THREADS", "1").args(["check-ranks", "--json", "--timeout", "60"]);
    command
}

fn all(children: Vec<Child>) -> Vec<Output> {
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

fn refused(output: &Output, parts: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}

/// Every rank's findings; fails when a rank failed.
fn findings(text: &str, world: usize) -> Vec<Value> {
    let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ranks: BTreeSet<u64> = found.iter().map(|f| f["rank"].as_u64().unwrap()).collect();
    assert_eq!(ranks.len(), world, "{text}");
    found
}

#[test]
fn collectives_are_right_and_gradients_and_parameters_bit_equal() {
    for world in [2, 4] {
        let output = check_ranks().args(["--nproc", &world.to_string()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found = findings(&String::from_utf8_lossy(&output.stdout), world);
        for one in &found {
            assert_eq!(one["parameters"], found[0]["parameters"]);
            assert_eq!(one["gradients"], found[0]["gradients"]);
        }
        assert!(found[0]["gradients"].as_array().unwrap().len() == 8);
    }
}

#[test]
fn a_process_on_its_own_checks_a_group_of_one() {
    let output = check_ranks().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = findings(&String::from_utf8_lossy(&output.stdout), 1);
    assert_eq!(found[0]["size"], 1);
    let said = Command::new(env!("CARGO_BIN_EXE_var-train")).arg("check-ranks").output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).starts_with("one rank on the CPU (Gloo): collectives"));
}

#[test]
fn ranks_meet_by_the_variables_that_torchrun_sets() {
    let port = free_port();
    let ranks: Vec<Child> = (0..2)
        .map(|rank| {
            as_rank(check_ranks(), rank, 2, port)
                .envs([("LOCAL_WORLD_SIZE", "2"), ("GROUP_RANK", "0"), ("TORCHELASTIC_RESTART_COUNT", "1")])
                .envs([("TORCHELASTIC_USE_AGENT_STORE", "False"), ("TORCHELASTIC_RUN_ID", "none")])
                .spawn()
                .unwrap()
        })
        .collect();
    for output in all(ranks) {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn ranks_meet_by_the_variables_of_a_slurm_step() {
    let port = free_port();
    let ranks: Vec<Child> = (0..2)
        .map(|rank| {
            check_ranks()
                .envs([("SLURM_PROCID", rank.to_string()), ("SLURM_LOCALID", rank.to_string())])
                .envs([("SLURM_NTASKS", "2"), ("SLURM_JOB_ID", "77"), ("SLURM_STEP_NODELIST", "localhost")])
                // The job's number would give a port that another test may have.
                .env("MASTER_PORT", port.to_string())
                .stderr(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for output in all(ranks) {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_rank_number_given_twice_is_named_by_all() {
    let port = free_port();
    let ranks: Vec<Child> =
        [0, 1, 1].map(|rank| as_rank(check_ranks(), rank, 3, port).spawn().unwrap()).into_iter().collect();
    for output in all(ranks) {
        refused(&output, &["two processes have rank 1", "own RANK"]);
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = as_rank(check_ranks(), 0, 2, port).output().unwrap();
    refused(&output, &[&format!("port {port} is taken"), "MASTER_PORT"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end().lines().count(), 1);
}

#[test]
fn a_rank_that_finds_something_else_than_a_store_says_so() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_var-train"));
    command.args(["check-ranks", "--timeout", "2"]);
    let output = as_rank(command, 1, 2, silent.local_addr().unwrap().port()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("rank 1 finds no store") && message.contains("MASTER_PORT"), "{message}");
}

#[test]
fn worlds_and_settings_that_differ_are_refused() {
    let port = free_port();
    let ranks: Vec<Child> = [(0, 2), (1, 3)]
        .map(|(rank, world)| as_rank(check_ranks(), rank, world, port).spawn().unwrap())
        .into();
    for output in all(ranks) {
        refused(&output, &["ranks", "same WORLD_SIZE"]);
    }
    let (fixture, port) = (Fixture::new(), free_port());
    let ranks: Vec<Child> = (0..2)
        .map(|rank| {
            let mut command = fixture.model("run");
            command.args(["--set", &format!("steps={}", 5 + rank)]);
            as_rank(command, rank, 2, port).spawn().unwrap()
        })
        .collect();
    for output in all(ranks) {
        refused(&output, &["ranks", "other settings"]);
    }
    assert!(!fixture.path("run").exists());
}

#[test]
fn an_environment_that_is_incomplete_is_refused() {
    let alone = |name: &str, value: &str| check_ranks().env(name, value).output().unwrap();
    refused(&alone("RANK", "0"), &["RANK is set", "WORLD_SIZE and MASTER_ADDR and MASTER_PORT are not"]);
    refused(&alone("WORLD_SIZE", "2"), &["WORLD_SIZE is set", "RANK is not"]);
    refused(&as_rank(check_ranks(), 5, 2, 1).output().unwrap(), &["rank 5 of 2"]);
    let both = as_rank(check_ranks(), 0, 2, 1).args(["--nproc", "2"]).output().unwrap();
    refused(&both, &["--nproc 2", "RANK is set"]);
}

#[test]
fn ranks_that_do_not_come_are_named_after_the_timeout() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_var-train"));
    command.args(["check-ranks", "--timeout", "1"]);
    let output = as_rank(command, 0, 3, free_port()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("ranks 1, 2 of 3 did not come"), "{message}");
}

#[test]
fn a_rank_checks_all_rows_of_the_token_file_unless_its_launcher_is_this_program() {
    let fixture = Fixture::new();
    fixture.flip_a_bit_of_the_last_row();
    let rank = || {
        let mut command = fixture.model("run");
        command.args(["--timeout", "1"]);
        as_rank(command, 0, 2, free_port())
    };
    refused(&rank().output().unwrap(), &["tokens.h5: /val is damaged"]);
    // The launcher has checked them. This rank comes as far as waiting for the other.
    let output = rank().env("VAR_LAUNCHER", std::process::id().to_string()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("rank 1 of 2 did not come"), "{message}");
}

#[test]
fn what_ranks_cannot_share_is_refused_before_any_is_started() {
    let fixture = Fixture::new();
    let output = fixture.model("run").args(["--nproc", "3"]).output().unwrap();
    refused(&output, &["training.batch 16", "3 ranks", "batch of 15 or 18", "1, 2, 4, 8, 16"]);
}
