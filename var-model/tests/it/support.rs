//! What the tests of the command line share.

use std::io::PipeWriter;
use std::path::Path;
use std::process::{Command, Output};

use tch::Device;
use var_model::transformer::Initialisation;
use var_model::{Order, ScaleSchedule, Transformer, TransformerConfig};
use var_tokenizer::weights::portable;
use var_tokenizer::{PhiSharing, TokenizerConfig, VqVae};

pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_var-model"));
    command.env("OMP_NUM_THREADS", "1").args(args);
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    program(args).output().unwrap()
}

/// The end of a pipe that nobody reads.
pub(crate) fn closed_pipe() -> PipeWriter {
    std::io::pipe().unwrap().1
}

pub(crate) fn refused(output: &Output, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

/// A small tokenizer with portable weights.
pub fn tokenizer(schedule: &ScaleSchedule) -> VqVae {
    let config = TokenizerConfig {
        channels: 32,
        channel_multipliers: vec![1, 1],
        residual_blocks: 1,
        latent_channels: 4,
        vocabulary: 24,
        schedule: schedule.clone(),
        phi: PhiSharing::Partial(4),
        phi_ratio: 0.5,
        z_norm: false,
        commitment: 0.25,
    };
    let mut vae = VqVae::new(&config, Device::Cpu, None).unwrap();
    portable::fill(vae.parameters_mut(), 1);
    vae
}

/// A run folder as `var-train model` leaves it.
pub(crate) fn run_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fill_run_folder(folder.path(), 3, &["ant", "bee", "cat"]);
    folder
}

/// Fills `folder` with a tiny model of `classes` classes, its tokenizer, and the names of the classes if any.
pub(crate) fn fill_run_folder(folder: &Path, classes: usize, names: &[&str]) {
    fill_run(folder, classes, names, "1,2,4", Order::NextScale);
}

/// The same in any order, with token maps of these sides.
pub(crate) fn fill_run(folder: &Path, classes: usize, names: &[&str], schedule: &str, order: Order) {
    var_tokenizer::torch::start();
    let schedule: ScaleSchedule = schedule.parse().unwrap();
    let vae = tokenizer(&schedule);
    vae.save(&folder.join("tokenizer.safetensors")).unwrap();
    let config = TransformerConfig {
        depth: 1,
        width: 32,
        heads: 2,
        classes,
        vocabulary: 24,
        latent_channels: 4,
        schedule,
        order,
        adaln: true,
        shared_adaln: false,
        qk_norm: true,
        input: None,
    };
    let mut model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, None).unwrap();
    portable::fill(model.parameters_mut(), 2);
    model.save(&folder.join("model.safetensors")).unwrap();
    if !names.is_empty() {
        std::fs::write(folder.join("classes.json"), serde_json::to_string(names).unwrap()).unwrap();
    }
}
