//! Flags of `var-train tokenizer`.

use clap::Args;
use var_tokenizer::torch::Precision;
use var_train::distributed::launch;
use var_train::settings::TokenizerRun;
use var_train::{Result, TrainTokenizer};

use super::ranks::{RankArgs, ZERO_ALONE};
use super::show::Reporter;
use super::{RunArgs, ShowArgs, say_json};

#[derive(Args)]
#[command(override_usage = "var-train tokenizer --data <PATH> --out <DIR> [OPTIONS]")]
#[command(after_help = "Examples:
  var-train tokenizer --data emoji --out runs/tokenizer
  var-train tokenizer --data photos/ --preset nano --set steps=5000 --out runs/tokenizer
  var-train tokenizer --data cifar-10-binary.tar.gz --set vocabulary=1024 --out runs/cifar-tokenizer
  var-train tokenizer --data photos/ --preset f4-cpu --out runs/sharp
  var-train tokenizer --data photos/ --set start_from=runs/tokenizer/tokenizer.safetensors \\
      --out runs/tuned
All settings with their defaults and meanings: docs/settings.md")]
pub struct Tokenizer {
    /// Images: class folders, a tar, WebDataset or Parquet shards, a text list, an npz, CIFAR binaries, or `emoji`
    #[arg(long, value_name = "PATH", required_unless_present = "check")]
    data: Option<String>,
    /// Preset: nano, f4-cpu, f8-64, f16-256 (with a perceptual loss and a discriminator) or published
    #[arg(long, default_value = "nano")]
    preset: String,
    #[command(flatten)]
    run: RunArgs,
    /// auto (measures), f32 or bf16
    #[arg(long, default_value = "auto")]
    precision: Precision,
    #[command(flatten)]
    ranks: RankArgs,
    /// Divide the optimizer's moments over the ranks (ZeRO, stage 1): saves up to 8 bytes per parameter
    #[arg(long)]
    zero: bool,
    #[command(flatten)]
    show: ShowArgs,
}

impl Tokenizer {
    /// Checks, plans, starts the ranks, or trains; gives the exit status.
    pub fn run(&self) -> Result<u8> {
        let (place, ranks) = self.ranks.place()?;
        let leads = place.as_ref().is_none_or(|place| place.rank == 0);
        let launches = ranks > 1 && place.is_none();
        let found = TokenizerRun::resolve(&self.run.layers(&self.preset, Vec::new()))?;
        let training = TrainTokenizer::new(self.data.as_deref().unwrap_or_default(), self.run.out())
            .settings(found.settings)
            .given(found.given)
            .resume(self.run.resume)
            .device(self.run.device)
            .precision(self.precision)
            .among(place, ranks, self.ranks.timeout())
            .zero(self.zero);
        if self.run.check {
            training.check()?;
            return Ok(0);
        }
        if launches && !self.run.dry_run {
            // The launcher tells errors once; otherwise every rank would tell them.
            training.check_inputs()?;
            return launch::launch(ranks);
        }
        let mut reporter = Reporter::new(&self.show, leads || self.run.dry_run);
        if leads && self.zero && ranks == 1 {
            reporter.warn(ZERO_ALONE);
        }
        reporter.note_config(found.from_run, self.run.config.as_deref());
        if self.run.dry_run {
            let plan = training.plan(&mut |event| reporter.show(event))?;
            say_json(&plan)?;
            return Ok(0);
        }
        let result = training.watch(&mut |event| reporter.show(event));
        let result = reporter.finish(result)?;
        reporter.note(&format!("wrote {}", result.tokenizer));
        Ok(0)
    }
}
