//! The images of a sweep before they are encoded.

use std::path::Path;

use serde_json::{Value, json};
use var_tokenizer::encode::{HELD_OUT, SPLIT_SEED};
use var_tokenizer::images::Source;

use crate::error::{Error, Result};
use crate::preset::Preset;

/// The word for the built-in images.
const EMOJI: &str = var_tokenizer::images::EMOJI;

/// The images of a sweep: counted where they are named, else as the preset expects them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pictures {
    /// `emoji` or an absolute path; `None` without images.
    pub source: Option<String>,
    /// Classes.
    pub classes: usize,
    /// Images to train a tokenizer on.
    pub all: u64,
    /// Those of them that the preset's limit lets into the tokens.
    pub training: u64,
    /// Held-out images, up to the limit of the preset; `None` without images.
    pub held_out: Option<u64>,
    /// A sentence for each thing that was skipped or decided when they were listed.
    pub notes: Vec<String>,
}

impl Pictures {
    /// Counts the images of `source`; without one takes the preset's word.
    ///
    /// # Errors
    /// When there are no such images, or none to train on.
    pub(crate) fn find(source: Option<&str>, preset: &Preset) -> Result<Self> {
        let limited = |count: u64, limit: u64| if limit == 0 { count } else { count.min(limit) };
        let (data, tokens) = (&preset.data, &preset.tokens);
        let Some(source) = source.map(absolute) else {
            let (classes, all) = (tokens.classes, tokens.pictures);
            let training = limited(all, data.limit);
            return Ok(Self { source: None, classes, all, training, held_out: None, notes: Vec::new() });
        };
        // Names and labels alone; no image is decoded.
        let opened = Source::open(&source)?;
        let parts = opened.partition(HELD_OUT, SPLIT_SEED)?;
        let all = parts.train.len() as u64;
        if all == 0 {
            return Err(Error::file(source, "has held-out images only; expected training images, too"));
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

    /// What they are called: `emoji`, a path, or `your images`.
    pub(crate) fn name(&self) -> &str {
        self.source.as_deref().unwrap_or("your images")
    }

    /// Them in a sentence.
    pub fn describe(&self) -> String {
        let classes = if self.classes == 1 { "class" } else { "classes" };
        let counts = format!("{} for training, {} {classes}", self.training, self.classes);
        match self.held_out {
            Some(held_out) => format!("{}: {counts}, {held_out} held out", self.name()),
            None => format!("{} (--data PATH): {counts} (numbers of the preset)", self.name()),
        }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "source": self.source, "classes": self.classes, "train": self.training, "val": self.held_out,
        })
    }
}

/// A path that holds from any folder; the name of the built-in set and missing files stay as they are.
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
    fn the_built_in_pictures_are_as_many_as_their_preset_says() {
        let preset = Preset::load("emoji-nano").unwrap();
        let counted = Pictures::find(Some("emoji"), &preset).unwrap();
        assert_eq!((counted.classes, counted.all), (preset.tokens.classes, preset.tokens.pictures));
        let said = Pictures::find(None, &preset).unwrap();
        assert_eq!(said.training, counted.training);
        assert_eq!(said.name(), "your images");
    }

    #[test]
    fn limits_cap_what_is_encoded_but_not_what_a_tokenizer_trains_on() {
        let mut preset = Preset::load("emoji-nano").unwrap();
        (preset.data.limit, preset.data.limit_held_out) = (100, 7);
        let counted = Pictures::find(Some("emoji"), &preset).unwrap();
        assert_eq!((counted.training, counted.held_out), (100, Some(7)));
        assert_eq!(counted.all, preset.tokens.pictures);
    }
}
