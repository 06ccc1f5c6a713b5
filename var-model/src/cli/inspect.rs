//! Flags of `var-model inspect`.

use std::path::PathBuf;

use super::convert::Dtype;
use clap::Args;
use var_model::commands::inspect;
use var_model::{Error, ScaleSchedule};

#[derive(Args)]
#[command(after_help = "Examples:
  var-model inspect var_d16.pth
  var-model inspect ar-ckpt-last.pth | less
  var-model inspect runs/small/model.safetensors --json
  var-model inspect var_d30.pth --load --dtype bf16      does it fit into memory?")]
pub struct Inspect {
    /// Weight file of any layout, the index of several files, a published name, or `builtin`
    file: PathBuf,
    /// Sides of the token maps, if the file does not contain them
    #[arg(long, value_name = "SIDES", allow_hyphen_values = true)]
    schedule: Option<ScaleSchedule>,
    /// Show only this part, if the file has several
    #[arg(long, value_name = "NAME")]
    part: Option<String>,
    /// Load the weights, and print the time and the memory that this took instead of the tables
    #[arg(long)]
    load: bool,
    /// Type in which to load the matrices
    #[arg(long, value_enum, default_value = "f32", requires = "load")]
    dtype: Dtype,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(self) -> Result<(), Error> {
        let (schedule, part) = (self.schedule.as_ref(), self.part.as_deref());
        if self.load {
            return inspect::load(&self.file, schedule, part, self.dtype.kind(), self.json);
        }
        inspect::print(&self.file, schedule, part, self.json)
    }
}
