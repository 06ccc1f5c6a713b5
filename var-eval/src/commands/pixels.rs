//! The flag that says how pixels are read.

use clap::Args;
use var_eval::Result;
use var_eval::inputs::pixels::PixelRule;

/// How pixels are read.
#[derive(Args)]
pub struct PixelArgs {
    /// How image files are read: stored (as pytorch-fid, torch-fidelity and clean-fid do: no EXIF orientation, alpha
    /// dropped, 16-bit grey cut at 255) or shown (upright, on white) [default: stored]
    #[arg(long, value_name = "RULE")]
    pixels: Option<String>,
}

impl PixelArgs {
    /// The rule, where a person asked for one.
    pub fn asked(&self) -> Result<Option<PixelRule>> {
        self.pixels.as_deref().map(str::parse).transpose()
    }

    /// The rule for images.
    pub fn rule(&self) -> Result<PixelRule> {
        Ok(self.asked()?.unwrap_or(PixelRule::Stored))
    }
}
