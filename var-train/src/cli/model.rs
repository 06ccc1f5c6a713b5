//! Flags of `var-train model`.

use std::path::PathBuf;

use clap::Args;
use var_model::Order;
use var_tokenizer::h5::check::check_in_child;
use var_tokenizer::torch::Precision;
use var_train::distributed::launch;
use var_train::settings::ModelRun;
use var_train::{Result, TrainModel};

use super::ranks::{RankArgs, ZERO_ALONE};
use super::show::Reporter;
use super::{RunArgs, ShowArgs, say_json};

#[derive(Args)]
#[command(override_usage = "var-train model --tokens <FILE> --out <DIR> [OPTIONS]")]
#[command(after_help = "Examples:
  var-train model --tokens tokens.h5 --tokenizer builtin --preset nano --depth 3 --width 96 \\
      --heads 3 --out runs/small
  var-train model --tokens tokens.h5 --tokenizer tokenizer.safetensors --depth 16 --set batch=768 \\
      --out runs/d16
  var-train model … --out runs/small --resume        resume after a stop, with the same flags
All settings with their defaults and meanings: docs/settings.md")]
pub struct Model {
    /// Token file of `var-tokenizer encode`
    #[arg(long, value_name = "FILE", required_unless_present = "check")]
    tokens: Option<PathBuf>,
    /// Tokenizer that made the tokens: a file, or `builtin`
    #[arg(long, default_value = "builtin", value_name = "FILE")]
    tokenizer: String,
    /// Number of blocks [default: the preset's]
    #[arg(long)]
    depth: Option<usize>,
    /// Number of channels [default: the preset's; 64 × depth with --depth]
    #[arg(long)]
    width: Option<usize>,
    /// Number of attention heads [default: the preset's; depth with --depth]
    #[arg(long)]
    heads: Option<usize>,
    /// Order of generation: next-scale, or raster (for a tokenizer with one token map) [default: the preset's]
    #[arg(long)]
    order: Option<Order>,
    /// Preset: published or nano
    #[arg(long, default_value = "published")]
    preset: String,
    #[command(flatten)]
    run: RunArgs,
    /// auto (measures), f32, bf16, or fp16 on CUDA
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

impl Model {
    /// Checks, plans, starts the ranks, or trains; gives the exit status.
    pub fn run(&self) -> Result<u8> {
        let (place, ranks) = self.ranks.place()?;
        let leads = place.as_ref().is_none_or(|place| place.rank == 0);
        // One check per machine. The launcher of `--nproc` checks before it starts the ranks.
        let checks = place.as_ref().is_none_or(|place| place.local_rank == 0) && !launch::is_launched()?;
        let launches = ranks > 1 && place.is_none();
        let found = ModelRun::resolve(&self.run.layers(&self.preset, self.network()))?;
        let training =
            TrainModel::new(self.tokens.clone().unwrap_or_default(), &self.tokenizer, self.run.out())
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
        if let Some(tokens) = self.tokens.as_deref().filter(|_| checks) {
            check_in_child(tokens)?;
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
        reporter.finish(result)?;
        Ok(0)
    }

    /// The flags of size and order as settings. A depth alone means the published width and heads.
    fn network(&self) -> Vec<String> {
        let width = self.width.or(self.depth.map(|_| 0));
        let heads = self.heads.or(self.depth.map(|_| 0));
        let size = [("depth", self.depth), ("width", width), ("heads", heads)];
        let size = size.iter().filter_map(|(key, value)| Some(format!("model.{key}={}", (*value)?)));
        size.chain(self.order.map(|order| format!("model.order={order}"))).collect()
    }
}
