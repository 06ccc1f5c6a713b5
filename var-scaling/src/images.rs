//! The images of a sweep: where they are, and how many there are.

use std::path::Path;

use serde_json::{Value, json};
use var_tokenizer::encode::{HELD_OUT, SPLIT_SEED};
use var_tokenizer::images::Source;

use crate::error::{Error, Result};
use crate::preset::SweepPreset;

/// The name of the built-in images.
const EMOJI: &str = var_tokenizer::images::EMOJI;

/// The images of a sweep: counted if they are named, else with the numbers of the preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepImages {
    /// `emoji` or an absolute path; `None` without images.
    pub source: Option<String>,
    /// Number of classes.
    pub classes: usize,
    /// Number of training images; a tokenizer trains on all of them.
    pub all: u64,
    /// Number of training images that are encoded: `all`, up to the limit of the preset.
    pub training: u64,
    /// Number of held-out images that are encoded, up to the limit of the preset; `None` without images.
    pub held_out: Option<u64>,
    /// What was skipped or decided when they were listed, one sentence each.
    pub notes: Vec<String>,
}

impl SweepImages {
    /// Counts the images of `source`. Without a source, takes the numbers of the preset.
    ///
    /// # Errors
    /// When the source cannot be opened, or has no training images.
    pub(crate) fn find(source: Option<&str>, preset: &SweepPreset) -> Result<Self> {
        let limited = |count: u64, limit: u64| if limit == 0 { count } else { count.min(limit) };
        let (data, tokens) = (&preset.data, &preset.tokens);
        let Some(source) = source.map(absolute) else {
            let (classes, all) = (tokens.classes, tokens.images);
            let training = limited(all, data.limit);
            return Ok(Self { source: None, classes, all, training, held_out: None, notes: Vec::new() });
        };
        // Reads names and labels only, no pixels.
        let opened = Source::open(&source)?;
        let parts = opened.partition(HELD_OUT, SPLIT_SEED)?;
        let all = parts.train.len() as u64;
        if all == 0 {
            return Err(Error::file(source, "has only held-out images; add training images"));
        }
        Ok(Self {
            source: Some(source),
            classes: opened.classes().len(),
            all,
            training: limited(all, data.limit),
            held_out: Some(limited(parts.val.len() as u64, data.limit_held_out)),
            notes: opened.notes().to_vec(),
        })
    }

    /// `emoji`, a path, or `your images`.
    pub(crate) fn name(&self) -> &str {
        self.source.as_deref().unwrap_or("your images")
    }

    /// Source and numbers, in one line.
    pub fn describe(&self) -> String {
        let classes = if self.classes == 1 { "class" } else { "classes" };
        let counts = format!("{} for training, {} {classes}", self.training, self.classes);
        match self.held_out {
            Some(held_out) => format!("{}: {counts}, {held_out} held out", self.name()),
            None => format!("{}: {counts} (numbers of the preset)", self.name()),
        }
    }

    /// The images as JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "source": self.source, "classes": self.classes, "train": self.training, "val": self.held_out,
        })
    }
}

/// An absolute path. `emoji` and missing files stay as they are.
pub(crate) fn absolute(text: &str) -> String {
    if text == EMOJI {
        return text.into();
    }
    std::fs::canonicalize(Path::new(text)).map_or_else(|_| text.into(), |p| p.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_images_are_as_many_as_their_preset_says() {
        let preset = SweepPreset::load("emoji-nano").unwrap();
        let counted = SweepImages::find(Some("emoji"), &preset).unwrap();
        assert_eq!((counted.classes, counted.all), (preset.tokens.classes, preset.tokens.images));
        let said = SweepImages::find(None, &preset).unwrap();
        assert_eq!(said.training, counted.training);
        assert_eq!(said.name(), "your images");
    }

    #[test]
    fn limits_cap_what_is_encoded_but_not_what_a_tokenizer_trains_on() {
        let mut preset = SweepPreset::load("emoji-nano").unwrap();
        (preset.data.limit, preset.data.limit_held_out) = (100, 7);
        let counted = SweepImages::find(Some("emoji"), &preset).unwrap();
        assert_eq!((counted.training, counted.held_out), (100, Some(7)));
        assert_eq!(counted.all, preset.tokens.images);
    }
}
