//! What a person may do wrong: a clear message and exit 2, and nothing lost.

use std::process::Command;

use super::fixture::{Fixture, refused};

#[test]
fn an_unknown_preset_lists_the_known_ones() {
    let fixture = Fixture::new();
    let output = fixture.model("run").args(["--preset", "nanno"]).output();
    // clap refuses the repeated flag itself, so the command is built anew.
    drop(output);
    let output = Command::new(env!("CARGO_BIN_EXE_var-train"))
        .args(["model", "--preset", "nanno", "--out", "x", "--tokens"])
        .arg(fixture.path("tokens.h5"))
        .output()
        .unwrap();
    refused(&output, &["unknown preset 'nanno'", "nano", "published"]);
}

#[test]
fn a_typo_in_a_toml_file_names_the_key_and_the_nearest() {
    let fixture = Fixture::new();
    let config = fixture.path("run.toml");
    std::fs::write(&config, "[training]\nlearnin_rate = 1e-3\n").unwrap();
    let output = fixture.model("run").arg("--config").arg(&config).output().unwrap();
    refused(&output, &["run.toml", "training.learnin_rate", "training.learning_rate"]);
    std::fs::write(&config, "[training\nsteps = 5\n").unwrap();
    refused(&fixture.model("run").arg("--config").arg(&config).output().unwrap(), &["run.toml", "line 1"]);
    std::fs::write(&config, "[training]\nsteps = \"many\"\n").unwrap();
    refused(&fixture.model("run").arg("--config").arg(&config).output().unwrap(), &["steps"]);
}

#[test]
fn a_setting_out_of_range_is_named() {
    let fixture = Fixture::new();
    refused(
        &fixture.model("run").args(["--set", "accumulation=3"]).output().unwrap(),
        &["training.batch 16"],
    );
    refused(
        &fixture.model("run").args(["--set", "nonsense=3"]).output().unwrap(),
        &["unknown key 'nonsense'"],
    );
    refused(&fixture.model("run").args(["--set", "shape=round"]).output().unwrap(), &["'round'", "cos"]);
    refused(
        &fixture.model("run").args(["--set", "final_rate=7"]).output().unwrap(),
        &["training.final_rate"],
    );
}

#[test]
fn tokens_of_another_tokenizer_are_refused() {
    let fixture = Fixture::new();
    let tokenizer = fixture.path("tokenizer.safetensors");
    let mut vae = var_tokenizer::VqVae::load(&tokenizer, tch::Device::Cpu).unwrap();
    var_tokenizer::weights::portable::fill(vae.parameters_mut(), 99);
    vae.save(&tokenizer).unwrap();
    refused(&fixture.model("run").output().unwrap(), &["tokens.h5", "another tokenizer"]);
}

#[test]
fn a_truncated_token_file_is_refused() {
    let fixture = Fixture::new();
    let tokens = fixture.path("tokens.h5");
    let bytes = std::fs::read(&tokens).unwrap();
    for length in [0, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&tokens, &bytes[..length]).unwrap();
        refused(&fixture.model("run").output().unwrap(), &["tokens.h5"]);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_before_the_run_folder_is_made() {
    let fixture = Fixture::new();
    fixture.flip_a_bit_of_the_last_row();
    refused(&fixture.model("run").output().unwrap(), &["tokens.h5: /val is damaged", "encode it again"]);
    assert!(!fixture.path("run").exists());
}

#[test]
fn missing_files_are_named() {
    let fixture = Fixture::new();
    std::fs::remove_file(fixture.path("tokenizer.safetensors")).unwrap();
    refused(&fixture.model("run").output().unwrap(), &["tokenizer.safetensors"]);
    std::fs::remove_file(fixture.path("tokens.h5")).unwrap();
    refused(&fixture.model("run").output().unwrap(), &["tokens.h5"]);
}

#[test]
fn a_new_run_never_overwrites_an_old_one_and_a_resume_keeps_its_settings() {
    let fixture = Fixture::new();
    assert!(fixture.model("run").args(["--set", "steps=3"]).status().unwrap().success());
    refused(
        &fixture.model("run").args(["--set", "steps=3"]).output().unwrap(),
        &["already holds a run", "resume it"],
    );
    let other = fixture.model("run").args(["--set", "steps=9", "--resume"]).output().unwrap();
    refused(&other, &["other settings", "training.steps: 3 → 9"]);
    refused(&fixture.model("none").arg("--resume").output().unwrap(), &["no run to resume"]);
}

#[test]
fn a_loss_that_is_no_number_stops_with_the_step_and_advice() {
    let fixture = Fixture::new();
    let output = fixture
        .model("run")
        .args(["--set", "steps=200", "--set", "learning_rate=10", "--set", "clip=0", "--set", "warmup=0"])
        .args(["--set", "epsilon=0", "--set", "beta2=0", "--set", "beta1=0", "--set", "weight_decay=500000"])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["step ", "checkpoint", "lower learning rate"] {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}

#[test]
fn a_full_disk_while_saving_is_said_and_loses_no_checkpoint() {
    let fixture = Fixture::new();
    let settings = ["--set", "steps=40", "--set", "checkpoint_every=10"];
    // Files may grow to 1 MiB: the metrics and the model fit, the optimizer does not. The signal is ignored,
    // so that the write fails as it does on a full disk.
    let inner = fixture.model("full");
    let settings = [&settings[..], &["--set", "width=96"]].concat();
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args()).args(&settings);
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("checkpoints") && message.contains("File too large"), "{message}");
    let left: Vec<_> = std::fs::read_dir(fixture.path("full/checkpoints")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // With room again, the same folder goes on from the start.
    assert!(fixture.model("full").args(&settings).arg("--resume").status().unwrap().success());
}

#[test]
fn a_resume_on_other_tokens_or_in_another_precision_is_refused() {
    let fixture = Fixture::new();
    assert!(fixture.model("run").args(["--set", "steps=3"]).status().unwrap().success());
    let tokens = fixture.path("tokens.h5");
    // The same file under another spelling of its path is the same data.
    let moved = fixture.path("moved.h5");
    std::fs::copy(&tokens, &moved).unwrap();
    let output = fixture.model("run").args(["--set", "steps=3", "--resume"]).output().unwrap();
    assert!(output.status.success());
    std::fs::copy(Fixture::with_tokens("other").path("tokens.h5"), &tokens).unwrap();
    let output = fixture.model("run").args(["--set", "steps=3", "--resume"]).output().unwrap();
    refused(&output, &["other data"]);
    std::fs::copy(&moved, &tokens).unwrap();
    let mut command = fixture.model("run");
    command.args(["--set", "steps=3", "--resume"]);
    let arguments: Vec<_> =
        command.get_args().map(|a| if a == "f32" { "bf16".into() } else { a.to_owned() }).collect();
    refused(
        &Command::new(command.get_program()).args(arguments).output().unwrap(),
        &["started in f32, not in bf16"],
    );
}

#[test]
fn settings_are_checked_without_data() {
    let check = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_var-train"))
            .args(["model", "--check", "--preset", "nano", "--depth", "2", "--width", "64", "--heads", "2"])
            .args(more)
            .output()
            .unwrap()
    };
    let output = check(&["--set", "steps=5"]);
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
    refused(&check(&["--set", "nonsense=3"]), &["unknown key 'nonsense'"]);
    refused(&check(&["--set", "label_smoothing=7"]), &["model.label_smoothing"]);
    assert_eq!(check(&["--device", "tpu"]).status.code(), Some(2));
}
