//! A tiny tokenizer and token file, and the commands that train on them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use var_tokenizer::images::Split;
use var_tokenizer::random::Stream;
use var_tokenizer::tokens::{InputStatistics, Rows, TokenFile, TokenInfo, TokenWriter};
use var_tokenizer::weights::portable;
use var_tokenizer::{PhiSharing, TokenizerConfig, VqVae};

/// A folder with `tokenizer.safetensors` and `tokens.h5`.
pub struct Fixture {
    folder: TempDir,
}

fn config(schedule: &str) -> TokenizerConfig {
    TokenizerConfig {
        channels: 32,
        channel_multipliers: vec![1, 1],
        residual_blocks: 1,
        latent_channels: 4,
        vocabulary: 32,
        schedule: schedule.parse().unwrap(),
        phi: PhiSharing::Partial(4),
        phi_ratio: 0.5,
        z_norm: false,
        commitment: 0.25,
    }
}

/// Tokens that depend on the class and on the token before: something to learn.
fn rows(name: &str, count: usize, length: usize) -> Rows {
    let stream = Stream::new(name, 1);
    let mut rows = Rows::default();
    for i in 0..count {
        let class = stream.at(i as u64).below(0, 3) as u32;
        let mut token = class;
        for position in 0..length {
            token = (token * 5 + class + stream.at(i as u64).below(position as u64 + 1, 3) as u32) % 32;
            rows.tokens.push(token);
        }
        rows.labels.push(class);
        rows.sources.push(i as u32);
        rows.crops.push(0);
    }
    rows
}

impl Fixture {
    pub fn new() -> Self {
        Self::with_tokens("train")
    }

    /// The same with training tokens from the stream of this name.
    pub fn with_tokens(stream: &str) -> Self {
        Self::with(stream, "1,2,4")
    }

    /// With one token map of 4 × 4, for models in raster order.
    pub fn one_map() -> Self {
        Self::with("train", "4")
    }

    fn with(stream: &str, schedule: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(schedule);
        let mut vae = VqVae::new(&config, tch::Device::Cpu, None).unwrap();
        portable::fill(vae.parameters_mut(), 1);
        let sha256 = vae.save(&folder.path().join("tokenizer.safetensors")).unwrap();
        let info = TokenInfo {
            schedule: config.schedule.clone(),
            vocabulary: config.vocabulary,
            latent_channels: config.latent_channels,
            tokenizer_sha256: sha256,
            image_side: config.image_side(),
            crop_policy: "none".into(),
            source: "made".into(),
            pictures_sha256: String::new(),
            precision: String::new(),
            class_names: vec!["a".into(), "b".into(), "c".into()],
            input_statistics: None,
            shard: None,
        };
        let length = info.length();
        let mut writer = TokenWriter::create(&folder.path().join("tokens.h5"), info).unwrap();
        writer.append(Split::Train, &rows(stream, 200, length), 200).unwrap();
        writer.append(Split::Val, &rows("val", 40, length), 240).unwrap();
        writer.finish_with(InputStatistics { mean: vec![0.1; 4], deviation: vec![0.7; 4] }).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Damages the last held-out row of `tokens.h5`. Only a program that reads all rows finds this.
    pub fn flip_a_bit_of_the_last_row(&self) {
        let tokens = self.path("tokens.h5");
        let file = TokenFile::open(&tokens).unwrap();
        let last = file.rows(Split::Val) - 1;
        let ids = file.read_rows(Split::Val, last..last + 1).unwrap().tokens;
        let row: Vec<u8> = ids.iter().flat_map(|&id| (id as u16).to_le_bytes()).collect();
        drop(file);
        let mut bytes = std::fs::read(&tokens).unwrap();
        let at = bytes.windows(row.len()).rposition(|window| window == row).expect("the row is in the file");
        bytes[at] ^= 1;
        std::fs::write(&tokens, bytes).unwrap();
    }

    /// `var-train model` on the tiny tokens into the run folder `out`.
    pub fn model(&self, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_var-train"));
        command
            // Several of these run at once; one thread each keeps them out of each other's way.
            .env("OMP_NUM_THREADS", "1")
            .args(["model", "--preset", "nano", "--depth", "2", "--width", "32", "--heads", "2", "--quiet"])
            .args(["--precision", "f32", "--set", "batch=16", "--set", "log_every=1", "--device", "cpu"])
            .args(["--set", "drop_path=0.1", "--set", "learning_rate=0.003"])
            .arg("--tokens")
            .arg(self.path("tokens.h5"))
            .arg("--tokenizer")
            .arg(self.path("tokenizer.safetensors"))
            .arg("--out")
            .arg(self.path(out));
        command
    }
}

/// Losses of the training lines of a run, by step.
pub fn losses(run: &Path) -> Vec<(u64, f64)> {
    values(run, "train", "loss")
}

/// Losses of the validations of a run, by step.
pub fn validation(run: &Path) -> Vec<(u64, f64)> {
    values(run, "val", "loss_all")
}

/// The numbers `key` of the lines of a `kind` in the log of a run, by step.
pub fn values(run: &Path, kind: &str, key: &str) -> Vec<(u64, f64)> {
    std::fs::read_to_string(run.join("metrics.jsonl"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|v| v["kind"] == kind)
        .map(|v| (v["step"].as_u64().unwrap(), v[key].as_f64().unwrap()))
        .collect()
}

/// What a program said on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Holds `output` to exit status 2 and a message of one line that has these parts.
pub fn refused(output: &Output, parts: &[&str]) {
    let message = said(output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "one line: {message}");
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}
