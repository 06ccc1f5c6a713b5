//! Presets: everything that a sweep needs, in one TOML file.

mod rules;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use var_model::ScaleSchedule;

use crate::error::{Error, Result};
use crate::json_text::without_mark;
use crate::ladder::{self, Size};
use var_tokenizer::nearest::{explain_unknown_key, nearest};

/// The presets that come with the program: name and text.
const EMBEDDED: [(&str, &str); 3] = [
    ("emoji-nano", include_str!("../../presets/emoji-nano.toml")),
    ("cifar-nano", include_str!("../../presets/cifar-nano.toml")),
    ("imagenet-256", include_str!("../../presets/imagenet-256.toml")),
];

/// The preset of a sweep that names neither a preset nor data.
pub(crate) const DEFAULT: &str = "emoji-nano";
/// The preset of a sweep that names data alone.
pub(crate) const DEFAULT_FOR_DATA: &str = "cifar-nano";

/// One preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its purpose, in a line.
    pub about: String,
    /// Where the images come from.
    pub data: Data,
    /// Where the tokenizer comes from.
    pub tokenizer: Tokenizer,
    /// What the tokens will look like.
    pub tokens: Tokens,
    /// Which sizes.
    pub ladder: Ladder,
    /// How every size is trained.
    pub train: Train,
    /// What single sizes change, by their name.
    #[serde(default, rename = "size")]
    pub sizes: BTreeMap<String, SizeChange>,
    /// The sample grid of every size.
    pub sample: Sample,
}

/// The images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `emoji` for the built-in set; none when a person must name images.
    pub source: Option<String>,
    /// Views of every training image.
    #[serde(default = "one")]
    pub crops: u32,
    /// Every other view is a mirror image.
    #[serde(default)]
    pub flip: bool,
    /// Most training images; 0: all.
    #[serde(default)]
    pub limit: u64,
    /// Most held-out images; 0: all.
    #[serde(default)]
    pub limit_held_out: u64,
}

fn one() -> u32 {
    1
}

/// The tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokenizer {
    /// `builtin`: the committed one; `train`: trained first; anything else is a path.
    pub weights: String,
    /// Preset of `var-train tokenizer`, for training it.
    pub preset: String,
    /// More settings of `var-train tokenizer`.
    #[serde(default)]
    pub set: toml::Table,
}

/// What the encoder makes of the images, as far as it is known before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Side of the images in pixels.
    pub image_side: usize,
    /// Sides of the token maps.
    pub schedule: ScaleSchedule,
    /// Codes.
    pub vocabulary: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Classes.
    pub classes: usize,
    /// Training images, before crops.
    pub pictures: u64,
}

/// The sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// Sizes and names of ladders.
    pub sizes: Vec<String>,
}

/// The training plan that all sizes share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Preset of `var-train model`.
    pub preset: String,
    /// Optimizer steps; this or `epochs`.
    pub steps: Option<u64>,
    /// Passes over the training images; this or `steps`.
    pub epochs: Option<f64>,
    /// Images per step.
    pub batch: u64,
    /// The learning rate by width.
    pub learning_rate: LearningRate,
    /// More settings of `var-train model`.
    #[serde(default)]
    pub set: toml::Table,
}

/// The peak learning rate as a function of the width.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningRate {
    /// Learning rate at the reference width.
    pub base: f64,
    /// The width at which `base` holds.
    #[serde(default = "reference_width")]
    pub reference_width: f64,
    /// Exponent of width over reference width; 0 for one rate at all widths.
    #[serde(default)]
    pub width_exponent: f64,
}

fn reference_width() -> f64 {
    64.0
}

impl LearningRate {
    /// The peak learning rate at `width`, to four significant digits.
    pub(crate) fn at(&self, width: usize) -> f64 {
        let rate = self.base * (width as f64 / self.reference_width).powf(self.width_exponent);
        format!("{rate:.3e}").parse().unwrap_or(rate)
    }
}

/// What one size does in its own way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeChange {
    /// Instead of the shared steps.
    pub steps: Option<u64>,
    /// Instead of the shared epochs.
    pub epochs: Option<f64>,
    /// Instead of the shared batch.
    pub batch: Option<u64>,
    /// Instead of the shared learning rate.
    pub learning_rate: Option<LearningRate>,
    /// Override the shared settings.
    #[serde(default)]
    pub set: toml::Table,
}

/// The sample grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// One row a class; none for the first ten.
    #[serde(default)]
    pub classes: Vec<usize>,
    /// Images of each class.
    pub each: u32,
    /// Guidance at the last scale.
    pub cfg: f64,
    /// Draw among this many codes; 0: all.
    pub top_k: u32,
    /// Draw among the codes that together reach this probability; 0: all.
    pub top_p: f64,
}

impl Preset {
    /// The preset called `name`, or the one in the file `name` when that looks like a path.
    ///
    /// # Errors
    /// When there is no such preset (the known ones are listed) or the file does not hold one (an
    /// unknown key is named with the nearest known one).
    pub(crate) fn load(name: &str) -> Result<Self> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(n, _)| *n == name) {
            return Self::parse(text, &format!("preset {name}"));
        }
        if name.ends_with(".toml") || name.contains('/') {
            let text = std::fs::read_to_string(name).map_err(|e| Error::io(Path::new(name), e))?;
            return Self::parse(&text, name);
        }
        let names: Vec<&str> = EMBEDDED.iter().map(|p| p.0).collect();
        let hint = nearest(name, names.iter().copied())
            .map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        Err(Error::config(format!(
            "unknown preset '{name}'; known: {}, or a .toml file{hint}",
            names.join(", ")
        )))
    }

    /// A preset out of the text of a TOML file that is called `origin` in messages.
    ///
    /// # Errors
    /// When the text is no TOML, a key is unknown or missing, or a value out of range.
    pub(crate) fn parse(text: &str, origin: &str) -> Result<Self> {
        let preset: Self = toml::from_str(without_mark(text)).map_err(|e| {
            let line = e.span().map_or_else(String::new, |span| {
                format!(" line {}", text.get(..span.start).unwrap_or("").matches('\n').count() + 1)
            });
            Error::config(format!("{origin}{line}: {}", explain_unknown_key(e.message())))
        })?;
        preset.validate().map_err(|message| Error::config(format!("{origin}: {message}")))?;
        Ok(preset)
    }

    /// The sizes of its ladder.
    ///
    /// # Errors
    /// When a size or ladder is not known.
    pub(crate) fn sizes(&self) -> Result<Vec<Size>> {
        ladder::parse(&self.ladder.sizes.join(","))
    }
}

/// Name and purpose of every preset that comes with the program.
pub fn list() -> Vec<(String, String)> {
    EMBEDDED
        .iter()
        .map(|(name, text)| {
            let about = Preset::parse(text, name).map_or_else(|e| e.to_string(), |p| p.about);
            ((*name).to_owned(), about)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_preset_parses() {
        for (name, text) in EMBEDDED {
            Preset::parse(text, name).unwrap();
        }
    }

    #[test]
    fn a_typo_names_the_key_its_line_and_the_nearest_known_key() {
        let text = EMBEDDED[0].1.replace("batch = 32", "bacth = 32");
        let message = Preset::parse(&text, "my.toml").unwrap_err().to_string();
        assert!(message.contains("my.toml line") && message.contains("`bacth`"), "{message}");
        assert!(message.contains("did you mean `batch`?"), "{message}");
    }

    #[test]
    fn a_typo_in_a_nested_table_is_found_too() {
        let text = EMBEDDED[0].1.replace("reference_width", "referenc_width");
        let message = Preset::parse(&text, "my.toml").unwrap_err().to_string();
        assert!(message.contains("did you mean `reference_width`?"), "{message}");
    }

    #[test]
    fn an_unknown_preset_lists_the_known_ones() {
        let message = Preset::load("emoji-nanoo").unwrap_err().to_string();
        for (name, _) in EMBEDDED {
            assert!(message.contains(name), "{message}");
        }
        assert!(message.contains("did you mean emoji-nano?"), "{message}");
    }

    #[test]
    fn the_learning_rate_falls_with_the_width_as_planned() {
        let rate = Preset::load("emoji-nano").unwrap().train.learning_rate;
        assert_eq!(rate.at(64), 0.01);
        assert_eq!(rate.at(192), 0.004387);
        assert_eq!(Preset::load("imagenet-256").unwrap().train.learning_rate.at(1024), 3e-4);
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        for (from, to, key) in [
            ("batch = 32", "batch = 0", "train.batch"),
            ("steps = 500", "steps = 500\nepochs = 2.0", "steps or epochs"),
            ("steps = 500", "steps = 0", "train.steps"),
            ("sizes = [\"nano\"]", "sizes = []", "no sizes"),
            ("sizes = [\"nano\"]", "sizes = [\"nani\"]", "did you mean nano"),
            ("schedule = [1, 2, 3, 4, 6, 8]", "schedule = [1, 3, 2]", "rise strictly"),
        ] {
            let text = EMBEDDED[0].1.replace(from, to);
            let message = Preset::parse(&text, "my.toml").unwrap_err().to_string();
            assert!(message.contains(key), "{key}: {message}");
        }
    }
}
