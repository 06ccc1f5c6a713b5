//! Flags of `var-train tokenizer`.

use clap::Args;
use var_tokenizer::progress::say;
use var_tokenizer::torch::Precision;
use var_train::settings::TokenizerRun;
use var_train::{Error, Result, TrainTokenizer};

use super::ranks::place;
use super::show::Reporter;
use super::{RunArgs, ShowArgs};

#[derive(Args)]
#[command(override_usage = "var-train tokenizer --data <PATH> --out <DIR> [OPTIONS]")]
#[command(after_help = "Examples:
  var-train tokenizer --data emoji --out runs/tokenizer
  var-train tokenizer --data photos/ --preset nano --set steps=5000 --out runs/tokenizer
  var-train tokenizer --data cifar-10-binary.tar.gz --set vocabulary=1024 --out runs/cifar-tokenizer
  var-train tokenizer --data photos/ --set perceptual.weight=1 --set adversary.weight=0.5 --out runs/sharp
All settings with their defaults and meanings: docs/settings.md")]
pub struct Tokenizer {
    /// Images: a folder of class folders, a tar, an npz, CIFAR binaries, or `emoji`
    #[arg(long, value_name = "PATH", required_unless_present = "check")]
    data: Option<String>,
    /// Preset: nano or published
    #[arg(long, default_value = "nano")]
    preset: String,
    #[command(flatten)]
    run: RunArgs,
    /// auto (measures), f32 or bf16
    #[arg(long, default_value = "auto")]
    precision: Precision,
    #[command(flatten)]
    ranks: OneProcess,
    #[command(flatten)]
    show: ShowArgs,
}

/// Flags of several ranks. They are not for tokenizers, and get a sentence that says so.
#[derive(Args)]
struct OneProcess {
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..=1024))]
    nproc: Option<u32>,
    #[arg(long, hide = true)]
    timeout: Option<u64>,
    #[arg(long, hide = true)]
    zero: bool,
}

impl Tokenizer {
    /// Checks, plans or trains.
    pub fn run(&self) -> Result<()> {
        let found = TokenizerRun::resolve(&self.run.layers(&self.preset, Vec::new()))?;
        if let (_, ranks @ 2..) = place(self.ranks.nproc)? {
            return Err(Error::config(format!(
                "a tokenizer trains in one process, not in {ranks}; give --nproc 1"
            )));
        }
        let training = TrainTokenizer::new(self.data.as_deref().unwrap_or_default(), self.run.out())
            .settings(found.settings)
            .given(found.given)
            .resume(self.run.resume)
            .device(self.run.device)
            .precision(self.precision);
        if self.run.check {
            return training.check();
        }
        let mut reporter = Reporter::new(&self.show, true);
        if self.ranks.zero {
            reporter.warn("--zero is ignored: a tokenizer trains in one process");
        }
        if self.ranks.timeout.is_some() {
            reporter.warn("--timeout is ignored: a tokenizer trains in one process");
        }
        reporter.note_config(found.from_run, self.run.config.as_deref());
        if self.run.dry_run {
            let plan = training.plan(&mut |event| reporter.show(event))?;
            return Ok(say(serde_json::to_string(&plan).map_err(|e| Error::config(e.to_string()))?)?);
        }
        let result = training.watch(&mut |event| reporter.show(event));
        let result = reporter.finish(result)?;
        reporter.note(&format!("wrote {}", result.tokenizer));
        Ok(())
    }
}
