//! Flags of every command that takes features out of pictures.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use var_eval::Result;
use var_eval::features::extract::Extraction;
use var_eval::features::network::FeatureNetwork;
use var_eval::features::store::FeatureFile;
use var_eval::inputs::set::PictureSet;
use var_tokenizer::images::Split;
use var_tokenizer::progress::Progress;

/// How pictures go through the network.
#[derive(Args)]
pub struct ExtractionArgs {
    /// Pictures that are computed at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    batch: u64,
    /// Throw finished and unfinished features away and start again
    #[arg(long)]
    restart: bool,
}

impl ExtractionArgs {
    /// The features of `pictures`, in the file `out`.
    pub fn run(
        &self,
        pictures: PictureSet,
        out: PathBuf,
        network: &dyn FeatureNetwork,
        stop: &Arc<AtomicBool>,
        progress: &mut Progress,
    ) -> Result<FeatureFile> {
        let extraction = Extraction {
            pictures: Arc::new(pictures),
            out,
            batch: self.batch as usize,
            restart: self.restart,
            stop: Arc::clone(stop),
        };
        extraction.run(network, progress)
    }
}

/// A part of a data set as a flag names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The whole set
    All,
    /// What is trained on
    Train,
    /// What is held out
    Val,
}

impl Part {
    /// As sources of pictures have it.
    pub fn split(self) -> Option<Split> {
        match self {
            Self::All => None,
            Self::Train => Some(Split::Train),
            Self::Val => Some(Split::Val),
        }
    }
}
