//! What is wrong is refused before tokens are read and ranks are started, by a dry run too; and what has no effect is said.

use std::process::Command;
use std::time::Duration;

use var_train::distributed::store::Store;

use super::fixture::{Fixture, refused, said};
use super::ranks_together::{as_rank, free_port};

#[test]
fn a_dry_run_refuses_what_the_run_refuses() {
    let fixture = Fixture::new();
    assert!(fixture.model("run").args(["--set", "steps=2"]).status().unwrap().success());
    std::fs::write(fixture.path("file"), "").unwrap();
    for (out, more, part) in [
        ("new", &["--set", "nonsense=3"][..], "unknown key 'nonsense'"),
        ("new", &["--set", "depth=two"], "two"),
        ("new", &["--set", "progressive=0.5", "--set", "progressive_first=9"], "progressive_first = 9"),
        ("file", &[], "is a file, not a run folder"),
        ("file/below", &[], "file"),
        ("run", &["--set", "steps=2"], "already holds a run"),
        ("run", &["--set", "steps=3", "--resume"], "training.steps: 2 → 3"),
        ("new", &["--resume"], "no run to resume"),
        ("new", &["--set", "heads=5"], "heads"),
    ] {
        for dry in [&["--dry-run"][..], &[]] {
            let output = fixture.model(out).args(more).args(dry).output().unwrap();
            refused(&output, &[part]);
            assert!(output.stdout.is_empty() && !fixture.path("new").exists(), "{out} {more:?}");
        }
    }
    let output = fixture.model("new").arg("--dry-run").output().unwrap();
    assert!(output.status.success() && !fixture.path("new").exists(), "{}", said(&output));
}

#[test]
fn the_launcher_refuses_once_what_every_rank_would_refuse() {
    let fixture = Fixture::new();
    assert!(fixture.model("run").args(["--set", "steps=2"]).status().unwrap().success());
    let several =
        |out: &str, more: &[&str]| fixture.model(out).args(["--nproc", "2"]).args(more).output().unwrap();
    refused(&several("run", &[]), &["error: ", "already holds a run"]);
    std::fs::remove_file(fixture.path("tokens.h5")).unwrap();
    refused(&several("new", &[]), &["error: ", "tokens.h5: no such file"]);
    assert!(!fixture.path("new").exists());
}

#[test]
fn ranks_refuse_what_each_of_them_sees_without_waiting_for_each_other() {
    let fixture = Fixture::new();
    std::fs::remove_file(fixture.path("tokens.h5")).unwrap();
    // Nobody serves a store: rank 1 would wait for it as long as it may.
    let output =
        as_rank(fixture.model("new"), 1, 2, free_port()).args(["--timeout", "86400"]).output().unwrap();
    refused(&output, &["tokens.h5: no such file"]);
}

#[test]
fn the_refusal_of_one_rank_reaches_the_others_with_its_reason() {
    let fixture = Fixture::new();
    assert!(fixture.model("run").args(["--set", "steps=2"]).status().unwrap().success());
    // Served here, so that it is there whenever a rank comes.
    let store = Store::serve("127.0.0.1", 0, Duration::from_secs(60)).unwrap();
    let ranks = [0, 1].map(|rank| {
        let mut command = as_rank(fixture.model("run"), rank, 2, store.port());
        command.args(["--set", "steps=2", "--timeout", "600"]).env("TORCHELASTIC_USE_AGENT_STORE", "True");
        command.spawn().unwrap()
    });
    let [first, second] = ranks.map(|rank| rank.wait_with_output().unwrap());
    refused(&first, &["already holds a run"]);
    refused(&second, &["rank 0: ", "already holds a run"]);
}

#[test]
fn a_master_address_that_is_no_machine_is_named_by_every_rank() {
    for rank in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_var-train"));
        command.args(["check-ranks", "--timeout", "86400"]);
        let mut command = as_rank(command, rank, 2, free_port());
        let output = command.env("MASTER_ADDR", "no-such-machine.invalid").output().unwrap();
        refused(
            &output,
            &[&format!("rank {rank}: "), "MASTER_ADDR is 'no-such-machine.invalid'", "IP address"],
        );
    }
}

#[test]
fn the_configuration_of_a_run_serves_as_settings_of_another() {
    let fixture = Fixture::new();
    assert!(fixture.model("run").args(["--set", "steps=3", "--set", "clip=0.7"]).status().unwrap().success());
    let config = fixture.path("run/config.toml");
    let output = fixture.model("other").arg("--config").arg(&config).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let settings = |run: &str| {
        let text = std::fs::read_to_string(fixture.path(run).join("config.toml")).unwrap();
        text[text.find("[settings").unwrap()..].to_owned()
    };
    assert_eq!(settings("other"), settings("run"));
    assert!(settings("run").contains("clip = 0.7"));
    let mut tokenizer = Command::new(env!("CARGO_BIN_EXE_var-train"));
    tokenizer
        .args(["tokenizer", "--data", "emoji", "--out"])
        .arg(fixture.path("t"))
        .arg("--config")
        .arg(&config);
    refused(
        &tokenizer.output().unwrap(),
        &["config.toml", "`var-train model`", "not for `var-train tokenizer`"],
    );
    std::fs::write(&config, "kind = \"model\"\nsettings = 3\n").unwrap();
    refused(
        &fixture.model("more").arg("--config").arg(&config).output().unwrap(),
        &["its settings are not a table"],
    );
}

#[test]
fn a_byte_order_mark_before_toml_is_no_key_and_other_encodings_are_named() {
    let fixture = Fixture::new();
    let config = fixture.path("run.toml");
    std::fs::write(&config, "\u{feff}[training]\nsteps = 2\n").unwrap();
    let run = |out: &str| fixture.model(out).arg("--config").arg(&config).output().unwrap();
    assert!(run("run").status.success());
    let path = fixture.path("run/config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
    let output = fixture.model("run").arg("--config").arg(&config).arg("--resume").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let wide: Vec<u8> = "\u{feff}[training]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&config, wide).unwrap();
    refused(&run("other"), &["run.toml", "is not text in UTF-8"]);
}

#[test]
fn settings_without_effect_are_said_even_when_quiet() {
    let fixture = Fixture::new();
    let settings =
        ["--set", "steps=4", "--set", "epochs=7", "--set", "warmup=50", "--set", "progressive_warmup=3"];
    for (out, more) in [("dry", &["--dry-run"][..]), ("run", &["--zero"])] {
        let output = fixture.model(out).args(settings).args(more).output().unwrap();
        let message = said(&output);
        assert!(output.status.success(), "{message}");
        for part in
            ["training.epochs has no effect", "50 steps are cut to 2", "model.progressive_warmup has no"]
        {
            assert_eq!(message.matches(part).count(), 1, "'{part}' is not once in: {message}");
        }
        assert_eq!(message.contains("--zero is ignored"), out == "run", "{message}");
    }
}
