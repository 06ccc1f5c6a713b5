//! Flags of `var-model convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tch::Kind;
use var_model::commands::convert::{ConvertRequest, convert};
use var_model::{Error, ScaleSchedule};
use var_tokenizer::progress::{say, tell};

#[derive(Args)]
#[command(after_help = "Examples:
  var-model convert var_d16.pth var_d16.safetensors
  var-model convert vae_ch160v4096z32.pth vae.safetensors
  var-model convert ar-ckpt-last.pth model.safetensors --part model   from a checkpoint
  var-model convert last.ckpt ema.safetensors --part ema              one of several models
  var-model convert runs/small/model.safetensors model.pth            for torch.load
  var-model convert var_d30.pth var_d30_bf16.safetensors --dtype bf16   half the size")]
pub struct Convert {
    /// File to read: a released .pth, a trainer's checkpoint, a .safetensors, or the index of several files; or a published
    /// name
    from: PathBuf,
    /// File to write: .pth or .safetensors
    to: PathBuf,
    /// Part to convert, if the file has several: `model`, `tokenizer`, or a name that `inspect` lists
    #[arg(long, value_name = "NAME")]
    part: Option<String>,
    /// Type of the written values (default: the type in the file)
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Sides of the token maps, if the file does not contain them
    #[arg(long, value_name = "SIDES", allow_hyphen_values = true)]
    schedule: Option<ScaleSchedule>,
    /// Number of heads, if the file does not contain it (default: 64 channels per head)
    #[arg(long)]
    heads: Option<usize>,
    /// Set this if the tokenizer looks up codes by cosine similarity: a .pth does not contain this fact
    #[arg(long)]
    z_norm: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Dtype {
    pub fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float,
            Self::F16 => Kind::Half,
            Self::Bf16 => Kind::BFloat16,
        }
    }
}

impl Convert {
    pub fn run(self) -> Result<(), Error> {
        let request = ConvertRequest {
            from: self.from,
            to: self.to,
            part: self.part,
            kind: self.dtype.map(Dtype::kind),
            schedule: self.schedule,
            heads: self.heads,
            z_norm: self.z_norm,
        };
        let (summary, notes) = convert(&request)?;
        for note in notes {
            tell(format_args!("note: {note}"));
        }
        if self.json {
            return say(summary);
        }
        tell(format_args!(
            "wrote {}: {} of {} values",
            request.to.display(),
            summary["role"].as_str().unwrap_or(""),
            summary["values"]
        ));
        Ok(())
    }
}
