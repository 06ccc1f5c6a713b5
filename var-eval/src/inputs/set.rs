//! A set of images to score: its source, the selected images, and their labels.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use var_model::classes::ClassNames;
use var_tokenizer::encode::{HELD_OUT, SPLIT_SEED};
use var_tokenizer::files::hexadecimal;
use var_tokenizer::images::{Bad, Decoded, EMOJI, Framing, Source, Split, View};
use var_tokenizer::random::Stream;
use var_tokenizer::tokens::TokenFile;

use super::h5::{H5, is_h5, open_h5};
use super::labels;
use super::pixels::PixelRule;
use super::sampler::Sampler;
use crate::error::{Error, Result};

/// A part of the images of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Classes as [`ClassNames`] takes them: name, number or range of numbers (`0-9`); empty: all.
    pub classes: Vec<String>,
    /// The part of the data set; `None`: all of it.
    pub split: Option<Split>,
    /// Maximum number of images, selected at random but always the same; 0: all.
    pub limit: usize,
}

/// Images in a fixed order, as they are or as a token file framed them.
#[derive(Debug)]
pub struct PictureSet {
    label: String,
    source: Source,
    /// How images are resized and cropped; `None`: they are not.
    framing: Option<Framing>,
    rule: PixelRule,
    /// Indices into the source, ascending.
    chosen: Vec<usize>,
    /// Class of each image of the source.
    labels: Vec<u32>,
    class_names: Vec<String>,
    sampler: Option<Sampler>,
}

/// An image, or why it could not be read.
pub(crate) type Read = std::result::Result<Decoded, Bad>;

impl PictureSet {
    /// A sentence for each thing that was skipped or decided when the source was opened.
    pub fn notes(&self) -> &[String] {
        self.source.notes()
    }

    /// Opens `spec`: what [`Source::open`] takes, the output of `var-model sample`, a run folder with `samples.npz` or
    /// `samples/`, or a token file, which stands for the images that were encoded, resized and cropped to its side.
    /// `rule` says how pixels are read; those of a token file are always [`PixelRule::Encoded`].
    ///
    /// # Errors
    /// When the source is missing or holds no images, or the selection is empty.
    pub fn open(spec: &Path, selection: &Selection, rule: PixelRule) -> Result<Self> {
        let place = samples_of_run(spec)?;
        if is_h5(&place) {
            return match open_h5(&place)? {
                H5::Tokens(tokens) => Self::of_tokens(&tokens, selection),
                H5::Features(_) => {
                    let message = "is a file of features; name the images that it was made from";
                    Err(Error::file(&place, message))
                }
            };
        }
        Self::of_source(spec, &place, None, selection, rule)
    }

    /// The images of a token file, resized and cropped to its side as they were encoded.
    ///
    /// # Errors
    /// When the source is missing, or the selection is empty.
    pub(crate) fn of_tokens(tokens: &TokenFile, selection: &Selection) -> Result<Self> {
        let source = Path::new(&tokens.info().source);
        if !source.exists() && source != Path::new(EMOJI) {
            let message = format!(
                "was made from {}, which is missing; restore it, or name the images",
                source.display()
            );
            return Err(Error::file(tokens.path(), message));
        }
        let framing = Framing::new(tokens.info().image_side)?;
        Self::of_source(tokens.path(), source, Some(framing), selection, PixelRule::Encoded)
    }

    /// The images at `place`, which were requested as `spec`.
    fn of_source(
        spec: &Path,
        place: &Path,
        framing: Option<Framing>,
        selection: &Selection,
        rule: PixelRule,
    ) -> Result<Self> {
        let source = Source::open(place)?;
        let sampler = Sampler::beside(place)?;
        let mut labels: Vec<u32> = source.entries().iter().map(|entry| entry.class).collect();
        let mut class_names = source.classes().to_vec();
        if let Some(table) = if place.is_dir() { labels::read(place)? } else { None } {
            for (index, label) in labels.iter_mut().enumerate() {
                let name = source.name(index);
                *label = *table.get(name.as_ref()).ok_or_else(|| {
                    let message =
                        format!("labels.csv has no line for {name}; remove the image, or add a line");
                    Error::file(place, message)
                })?;
            }
            let most = labels.iter().copied().max().unwrap_or(0);
            class_names = (0..=most).map(|label| label.to_string()).collect();
        }
        let mut set = Self {
            label: spec.display().to_string(),
            source,
            framing,
            rule,
            chosen: Vec::new(),
            labels,
            class_names,
            sampler,
        };
        set.chosen = set.select(selection)?;
        if set.chosen.is_empty() {
            return Err(Error::file(
                spec,
                "has no image of the selected classes, split and limit; select more",
            ));
        }
        Ok(set)
    }

    fn select(&self, selection: &Selection) -> Result<Vec<usize>> {
        let mut chosen: Vec<usize> = match selection.split {
            None => (0..self.source.len()).collect(),
            Some(split) => self.source.partition(HELD_OUT, SPLIT_SEED)?.part(split).to_vec(),
        };
        if !selection.classes.is_empty() {
            let names = ClassNames::new(self.class_names.clone(), self.class_names.len())?;
            let wanted: BTreeSet<i64> = names.labels(&selection.classes)?.into_iter().collect();
            chosen.retain(|&index| {
                self.labels.get(index).is_some_and(|&label| wanted.contains(&i64::from(label)))
            });
        }
        if selection.limit > 0 && chosen.len() > selection.limit {
            let order = Stream::new("limit.eval", 0).permutation(chosen.len());
            let kept: BTreeSet<usize> = order.into_iter().take(selection.limit).collect();
            chosen =
                chosen.into_iter().enumerate().filter(|(i, _)| kept.contains(i)).map(|(_, c)| c).collect();
        }
        Ok(chosen)
    }

    /// The source, as it was requested.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Number of selected images, including unreadable ones.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Whether it is empty; an opened set never is.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Names of the classes; a label is an index into them.
    pub(crate) fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// How the images were sampled, if it is known.
    pub(crate) fn sampler(&self) -> Option<&Sampler> {
        self.sampler.as_ref()
    }

    /// Index in the source and class of image `position`; zeros if there is no such image.
    pub(crate) fn place(&self, position: usize) -> (u32, u32) {
        let index = self.chosen.get(position).copied().unwrap_or(0);
        (index as u32, self.labels.get(index).copied().unwrap_or(0))
    }

    /// How pixels are read.
    pub fn rule(&self) -> PixelRule {
        self.rule
    }

    /// Number of images of each class.
    pub(crate) fn class_counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.class_names.len()];
        for position in 0..self.len() {
            if let Some(count) = counts.get_mut(self.place(position).1 as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// SHA-256, in hexadecimal, over names and classes of the images and the selection. It does not depend on the place of
    /// the source, nor on the content of the files.
    pub(crate) fn fingerprint(&self) -> String {
        let mut sum = Sha256::new();
        sum.update(self.source.fingerprint());
        sum.update((self.framing.as_ref().map_or(0, Framing::side) as u64).to_le_bytes());
        for &index in &self.chosen {
            sum.update((index as u64).to_le_bytes());
            sum.update(self.labels.get(index).copied().unwrap_or(0).to_le_bytes());
        }
        hexadecimal(&sum.finalize())
    }

    /// Decodes the images `range`, clipped to the set, on all cores.
    pub(crate) fn read(&self, range: std::ops::Range<usize>) -> Vec<Read> {
        let end = range.end.min(self.chosen.len());
        let indices = self.chosen.get(range.start.min(end)..end).unwrap_or_default();
        indices
            .par_iter()
            .map(|&index| {
                let read = self.source.load_pixels(index, self.rule.pixels());
                let picture = read.and_then(|read| match &self.framing {
                    Some(framing) => Ok(Decoded { image: framing.frame(&read.image, View::CENTRE)?, ..read }),
                    None => Ok(read),
                });
                picture.map_err(|e| Bad {
                    index,
                    name: self.source.name(index).into_owned(),
                    reason: e.to_string(),
                })
            })
            .collect()
    }
}

/// The samples in a run folder; any other path is returned unchanged.
fn samples_of_run(spec: &Path) -> Result<PathBuf> {
    if !spec.join("config.toml").is_file() || !spec.join("checkpoints").is_dir() {
        return Ok(spec.to_owned());
    }
    let places = [spec.join("samples.npz"), spec.join("samples")];
    places.into_iter().find(|place| place.exists()).ok_or_else(|| {
        let message = format!(
            "is a run folder without samples; make them: var-model sample --run {0} --classes all --per-class 50 \
             --out {0}/samples.npz",
            spec.display()
        );
        Error::file(spec, message)
    })
}
