//! Flags of every command that computes features.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use var_eval::Result;
use var_eval::features::extract::{BATCH, Extraction};
use var_eval::features::network::FeatureNetwork;
use var_eval::features::store::FeatureFile;
use var_eval::inputs::pixels::PixelRule;
use var_eval::inputs::set::PictureSet;
use var_tokenizer::images::Split;
use var_tokenizer::progress::Progress;

use super::network::without_effect;

/// How images go through the network.
#[derive(Args)]
pub struct ExtractionArgs {
    /// Number of images that are computed at once [default: 64]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4096))]
    batch: Option<u64>,
    /// Delete finished and unfinished features, and start over
    #[arg(long)]
    pub restart: bool,
}

impl ExtractionArgs {
    /// The flags that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let flags = [("--batch", self.batch.is_some()), ("--restart", self.restart)];
        flags.into_iter().filter(|&(_, given)| given).map(|(flag, _)| flag).collect()
    }

    /// Images that are computed at once.
    pub fn batch(&self) -> usize {
        self.batch.map_or(BATCH, |batch| batch as usize)
    }

    /// Computes the features of `pictures` into the file `out`.
    pub fn run(
        &self,
        pictures: PictureSet,
        out: PathBuf,
        network: &dyn FeatureNetwork,
        stop: &Arc<AtomicBool>,
        progress: &mut Progress,
    ) -> Result<FeatureFile> {
        for note in pictures.notes() {
            progress.warn(&format!("{}: {note}", pictures.label()));
        }
        let extraction = Extraction {
            pictures: Arc::new(pictures),
            out,
            batch: self.batch(),
            restart: self.restart,
            temporary: false,
            stop: Arc::clone(stop),
        };
        extraction.run(network, progress)
    }
}

/// A part of a data set, as a flag names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The whole set
    All,
    /// What a training uses
    Train,
    /// What is held out
    Val,
}

impl Part {
    /// The part as sources of images name it; `None` for all.
    pub fn split(self) -> Option<Split> {
        match self {
            Self::All => None,
            Self::Train => Some(Split::Train),
            Self::Val => Some(Split::Val),
        }
    }
}

/// Says which of the two flags has no effect on `pictures`: the requested pixel rule, or the limit.
pub fn note_selection(
    pictures: &PictureSet,
    (rule, limit): (Option<PixelRule>, usize),
    [rule_flag, limit_flag]: [&str; 2],
    progress: &Progress,
) {
    let label = pictures.label();
    if rule.is_some() && pictures.rule() == PixelRule::Encoded {
        let why = format!("{label} stands for images as the tokenizer encoded them");
        without_effect(&[rule_flag], &why, progress);
    }
    if limit > pictures.len() {
        let flag = format!("{limit_flag} {limit}");
        without_effect(&[&flag], &format!("{label} has {} images", pictures.len()), progress);
    }
}
