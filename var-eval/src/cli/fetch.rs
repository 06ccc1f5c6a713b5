//! Flags of `var-eval fetch`.

use clap::Args;
use serde_json::json;
use var_eval::{Error, Result, published};
use var_tokenizer::nearest::did_you_mean;
use var_tokenizer::progress::say;
use var_tokenizer::signals;

#[derive(Args)]
#[command(
    after_help = "`score` fetches these files by itself when it needs them. Use this command on a machine with network, for others
without. The folder is $XDG_CACHE_HOME/var-rs/published, or below ~/.cache. With VAR_MIRROR=ADDRESS,
https://host/path is fetched from ADDRESS/host/path.

Examples:
  var-eval fetch                            list the names
  var-eval fetch inception imagenet-256     for FID as published"
)]
pub struct FetchArgs {
    /// What to fetch. Without: list the names
    names: Vec<String>,
    /// Print JSON lines
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl FetchArgs {
    pub fn run(self) -> Result<()> {
        // A download looks for signals by itself once they are caught.
        signals::stop()?;
        if self.names.is_empty() {
            for file in published::all() {
                match self.json {
                    true => say(json!({"name": file.name, "about": file.what, "address": file.address}))?,
                    false => {
                        say(format_args!("{:<14} {}\n{:<14} {}", file.name, file.what, "", file.address))?
                    }
                }
            }
            return Ok(());
        }
        for name in &self.names {
            let file = published::all().find(|file| file.name == name).ok_or_else(|| {
                let hint = did_you_mean(name, published::all().map(|file| file.name));
                Error::config(format!(
                    "'{name}' is not a published file{hint}; without names, this command lists them"
                ))
            })?;
            let path = file.fetch()?;
            match self.json {
                true => say(json!({"name": name, "file": path}))?,
                false => say(path.display())?,
            }
        }
        Ok(())
    }
}
