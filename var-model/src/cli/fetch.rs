//! Flags of `var-model fetch`.

use clap::Args;
use serde_json::json;
use var_model::Error;
use var_model::commands::fetch;
use var_tokenizer::progress::say;
use var_tokenizer::signals;

#[derive(Args)]
#[command(
    after_help = "The cache is that of Python's huggingface_hub: $HF_HOME/hub, or ~/.cache/huggingface/hub. HF_ENDPOINT,
HF_TOKEN and HF_HUB_OFFLINE have their usual meaning. To resume after an interruption, run the same command again.

Examples:
  var-model fetch                                    list the names
  var-model fetch var-d16                            the model and its tokenizer
  var-model fetch hf:FoundationVision/var/var_d16.pth@main
  HF_HOME=/shared/hf var-model fetch var-d30         on a machine with network, for nodes without"
)]
pub struct Fetch {
    /// Published names, or hf:OWNER/REPO/FILE[@REVISION]. Without: list the names
    names: Vec<String>,
    /// Print JSON lines
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Fetch {
    pub fn run(self) -> Result<(), Error> {
        // A download looks for signals by itself once they are caught.
        signals::stop()?;
        if self.names.is_empty() {
            return fetch::list(self.json);
        }
        for name in &self.names {
            for (name, file) in fetch::fetch(name)? {
                match self.json {
                    true => say(json!({"name": name, "file": file}))?,
                    false => say(file.display())?,
                }
            }
        }
        Ok(())
    }
}
