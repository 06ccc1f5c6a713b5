//! Flags of `var-model cost`.

use clap::Args;
use var_model::commands::cost;
use var_model::commands::sample::MOST_PICTURES;
use var_model::cost::TrainingStep;
use var_model::{Error, Order, ScaleSchedule, TransformerConfig};

use super::up_to;

/// An upper limit for the number of processes.
const MOST_RANKS: usize = 1 << 17;

#[derive(Args)]
#[command(after_help = "Examples:
  var-model cost --depth 16
  var-model cost --depth 30 --batch 8 --gpu
  var-model cost --depth 16 --order raster
  var-model cost --depth 3 --width 96 --heads 3 --schedule 1,2,3,4,6,8 --vocabulary 512 \\
      --latent-channels 16")]
pub struct Cost {
    /// Number of blocks
    #[arg(long)]
    depth: usize,
    /// Number of channels (default: 64 × depth)
    #[arg(long)]
    width: Option<usize>,
    /// Number of attention heads (default: depth)
    #[arg(long)]
    heads: Option<usize>,
    /// Order of generation
    #[arg(long, default_value_t = Order::NextScale)]
    order: Order,
    /// Sides of the token maps [default: 1,2,3,4,5,6,8,10,13,16; in raster order 16]
    #[arg(long, allow_hyphen_values = true)]
    schedule: Option<String>,
    /// Number of codes
    #[arg(long, default_value_t = 4096)]
    vocabulary: usize,
    /// Number of latent channels
    #[arg(long, default_value_t = 32)]
    latent_channels: usize,
    /// Number of classes
    #[arg(long, default_value_t = 1000)]
    classes: usize,
    /// Use one AdaLN projection for all blocks
    #[arg(long)]
    shared_adaln: bool,
    /// Images per step, for the memory of training
    #[arg(long, default_value_t = 1, value_parser = up_to(MOST_PICTURES))]
    batch: usize,
    /// Processes that share the optimizer state, for the memory of training
    #[arg(long, default_value_t = 1, value_parser = up_to(MOST_RANKS))]
    ranks: usize,
    /// Memory on a GPU, where operations of libtorch keep more than the kernels of a CPU
    #[arg(long)]
    gpu: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

impl Cost {
    pub fn run(self) -> Result<(), Error> {
        let schedule = match (self.schedule, self.order) {
            (Some(given), _) => given.parse()?,
            (None, Order::NextScale) => ScaleSchedule::published_256(),
            (None, Order::Raster) => ScaleSchedule::new(vec![ScaleSchedule::published_256().last_side()])?,
        };
        let config = TransformerConfig {
            depth: self.depth,
            // What does not fit is refused by the check of the whole configuration.
            width: self.width.unwrap_or(self.depth.saturating_mul(64)),
            heads: self.heads.unwrap_or(self.depth),
            classes: self.classes,
            vocabulary: self.vocabulary,
            latent_channels: self.latent_channels,
            schedule,
            order: self.order,
            adaln: true,
            shared_adaln: self.shared_adaln,
            qk_norm: true,
            input: None,
        };
        let step = TrainingStep { ranks: self.ranks, fused: !self.gpu, ..TrainingStep::plain(self.batch, 4) };
        cost::print(&config, step, self.json)
    }
}
