//! The flag for the pixel rule.

use clap::Args;
use var_eval::Result;
use var_eval::inputs::pixels::PixelRule;

/// How pixels are read.
#[derive(Args)]
pub struct PixelArgs {
    /// How to read image files: stored (as pytorch-fid, torch-fidelity and clean-fid: no EXIF orientation, alpha
    /// dropped, 16-bit grey cut at 255) or shown (upright, on white) [default: stored]
    #[arg(long, value_name = "RULE")]
    pixels: Option<String>,
}

impl PixelArgs {
    /// The requested rule, if there is one.
    pub fn asked(&self) -> Result<Option<PixelRule>> {
        self.pixels.as_deref().map(str::parse).transpose()
    }

    /// The requested rule, or the default.
    pub fn rule(&self) -> Result<PixelRule> {
        Ok(self.asked()?.unwrap_or_default())
    }
}
