//! Flags of the subcommands, a file each.

mod model;
mod ranks;
mod show;
mod tokenizer;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use var_tokenizer::h5::check::CheckH5;
use var_tokenizer::tokens::TokenFile;
use var_tokenizer::torch::DeviceChoice;
use var_train::settings::Layers;
use var_train::{Error, golden};

#[derive(Parser)]
#[command(name = "var-train", version, about = "Trains the tokenizer and the VAR transformer")]
#[command(after_help = "Examples:
  var-train tokenizer --data photos/ --out runs/tokenizer
  var-train model --tokens tokens.h5 --tokenizer runs/tokenizer/tokenizer.safetensors \\
      --preset nano --out runs/small
  var-train model … --out runs/small --resume            resume after a stop, with the same flags
  var-train model … --out runs/large --nproc 4           one run as four processes
Run `var-train COMMAND --help` for the options and more examples.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a transformer on a token file
    Model(Box<model::Model>),
    /// Train a tokenizer on images
    Tokenizer(Box<tokenizer::Tokenizer>),
    /// Check the connections between ranks, and sums over them
    CheckRanks(ranks::CheckRanks),
    /// Check a token file, in a process of its own
    #[command(name = "check-h5", hide = true)]
    CheckH5(CheckH5),
    /// Check golden cases; prints JSON lines
    #[command(hide = true)]
    Golden {
        #[arg(long)]
        json: bool,
        folders: Vec<PathBuf>,
    },
}

impl Cli {
    /// Does what the flags ask for; gives the exit status.
    pub fn run(self) -> Result<u8, Error> {
        match self.command {
            Command::Model(model) => return model.run(),
            Command::Tokenizer(tokenizer) => return tokenizer.run(),
            Command::CheckRanks(check) => return check.run(),
            Command::CheckH5(check) => check.run(TokenFile::check)?,
            Command::Golden { folders, .. } => var_tokenizer::golden::print_json(&folders, golden::check),
        }
        Ok(0)
    }
}

/// The run folder, the settings over the preset, and what to do.
#[derive(Args)]
struct RunArgs {
    /// Run folder
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    out: Option<PathBuf>,
    /// TOML file with settings over the preset, or the config.toml of another run
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting over preset and file, e.g. --set learning_rate=3e-4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Resume from the newest complete checkpoint in the run folder
    #[arg(long)]
    resume: bool,
    /// Print parameters, FLOPs, memory and time as JSON; train nothing
    #[arg(long)]
    dry_run: bool,
    /// Check settings, device and precision; needs neither data nor a run folder
    #[arg(long, hide = true)]
    check: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

impl RunArgs {
    /// The layers of settings, with `first` before those of `--set`.
    fn layers(&self, preset: &str, first: Vec<String>) -> Layers {
        let set = first.into_iter().chain(self.set.iter().cloned());
        Layers { file: self.config.clone(), ..Layers::new(preset, set) }
    }

    /// The run folder. Only `--check` needs none.
    fn out(&self) -> PathBuf {
        self.out.clone().unwrap_or_default()
    }
}

/// How much to show.
#[derive(Args)]
struct ShowArgs {
    /// Print progress and result as JSON lines on standard output
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

/// Prints `value` as one line of JSON on standard output.
fn say_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|e| Error::config(e.to_string()))?;
    Ok(var_tokenizer::progress::say(text)?)
}
