//! Flags of `var-model inspect`.

use std::path::PathBuf;

use clap::Args;
use var_model::commands::inspect;
use var_model::{Error, ScaleSchedule};

#[derive(Args)]
#[command(after_help = "Examples:
  var-model inspect var_d16.pth
  var-model inspect ar-ckpt-last.pth | less
  var-model inspect runs/small/model.safetensors --json")]
pub struct Inspect {
    /// File of weights, of any layout
    file: PathBuf,
    /// Sides of the token maps, where the file leaves them open
    #[arg(long, value_name = "SIDES")]
    schedule: Option<ScaleSchedule>,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(self) -> Result<(), Error> {
        inspect::print(&self.file, self.schedule.as_ref(), self.json)
    }
}
