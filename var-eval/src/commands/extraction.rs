//! Flags of every command that takes features out of pictures.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use var_eval::features::extract::Extraction;
use var_eval::features::network::FeatureNetwork;
use var_eval::features::store::{FeatureFile, begun, partial_path};
use var_eval::inputs::pixels::PixelRule;
use var_eval::inputs::set::{PictureSet, Selection};
use var_eval::{Error, Result};
use var_tokenizer::images::Split;
use var_tokenizer::progress::Progress;

use super::choice::without_effect;

/// Pictures that are computed at once.
pub const BATCH: u64 = 64;

/// How pictures go through the network.
#[derive(Args)]
pub struct ExtractionArgs {
    /// Pictures that are computed at once [default: 64]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4096))]
    batch: Option<u64>,
    /// Throw finished and unfinished features away and start again
    #[arg(long)]
    restart: bool,
}

impl ExtractionArgs {
    /// The flags that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let flags = [("--batch", self.batch.is_some()), ("--restart", self.restart)];
        flags.into_iter().filter(|&(_, given)| given).map(|(flag, _)| flag).collect()
    }

    /// The features of `pictures`, in the file `out`, which is `temporary` or stays.
    pub fn run(
        &self,
        pictures: PictureSet,
        out: PathBuf,
        temporary: bool,
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
            batch: self.batch.unwrap_or(BATCH) as usize,
            restart: self.restart,
            temporary,
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

/// The pictures of `spec`. `files` are features of earlier runs: where one was begun or made of `spec`, which is
/// missing or empty now, the error says what is kept and how to go on.
pub fn open_pictures(
    spec: &Path,
    selection: &Selection,
    rule: PixelRule,
    files: &[PathBuf],
) -> Result<PictureSet> {
    PictureSet::open(spec, selection, rule).map_err(|e| {
        let source = spec.display().to_string();
        for file in files {
            let (what, info, rows) = match (begun(file), FeatureFile::open(file)) {
                (Some((info, progress)), _) => (partial_path(file), info, progress.rows),
                (None, Ok(done)) => (file.clone(), done.info().clone(), done.len()),
                (None, Err(_)) => continue,
            };
            if info.source == source {
                let message = format!(
                    "{e}. Features of {rows} of its {} images are in {}: restore it and run the same command, or remove \
                     that file to start over",
                    info.asked,
                    what.display()
                );
                return Error::config(message);
            }
        }
        e
    })
}

/// Says which of the two flags, the rule and the limit that were asked for, have no effect on `pictures`.
pub fn note_selection(
    pictures: &PictureSet,
    (rule, limit): (Option<PixelRule>, usize),
    [rule_flag, limit_flag]: [&str; 2],
    progress: &Progress,
) {
    let label = pictures.label();
    if rule.is_some() && pictures.rule() == PixelRule::Encoded {
        let why = format!("{label} stands for images as they were encoded");
        without_effect(&[rule_flag], &why, progress);
    }
    if limit > pictures.len() {
        let flag = format!("{limit_flag} {limit}");
        without_effect(&[&flag], &format!("{label} has {} images", pictures.len()), progress);
    }
}
