//! Presets: the settings of a sweep, in one TOML file.

mod rules;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use var_model::ScaleSchedule;

use crate::error::{Error, Result};
use crate::json_text::without_mark;
use crate::ladder::{self, Size};
use var_tokenizer::nearest::{explain_unknown_key, nearest};

/// The presets of the program: name and text.
const EMBEDDED: [(&str, &str); 7] = [
    ("emoji-nano", include_str!("../../presets/emoji-nano.toml")),
    ("cifar-nano", include_str!("../../presets/cifar-nano.toml")),
    ("cifar-laws", include_str!("../../presets/cifar-laws.toml")),
    ("gpu-32", include_str!("../../presets/gpu-32.toml")),
    ("gpu-64", include_str!("../../presets/gpu-64.toml")),
    ("paper-256", include_str!("../../presets/paper-256.toml")),
    ("paper-512", include_str!("../../presets/paper-512.toml")),
];

/// The preset if a request names none. `own`: whether it names images.
pub(crate) fn default_for(own: bool) -> &'static str {
    if own { "cifar-nano" } else { "emoji-nano" }
}

/// The preset of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepPreset {
    /// Its purpose, in one line.
    pub about: String,
    /// The images.
    pub data: PresetData,
    /// The tokenizer.
    pub tokenizer: PresetTokenizer,
    /// The shape of the tokens.
    pub tokens: PresetTokens,
    /// The sizes.
    pub ladder: PresetLadder,
    /// The training of all sizes.
    pub train: PresetTrain,
    /// Changes for single sizes, by name.
    #[serde(default, rename = "size")]
    pub sizes: BTreeMap<String, SizeChange>,
    /// The sample grid of each size.
    pub sample: PresetSample,
}

/// The images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetData {
    /// `emoji` for the built-in images; none if the request must name images.
    pub source: Option<String>,
    /// Number of views of each training image.
    #[serde(default = "one")]
    pub crops: u32,
    /// Mirrors every second view.
    #[serde(default)]
    pub flip: bool,
    /// Maximum number of training images; 0: all.
    #[serde(default)]
    pub limit: u64,
    /// Maximum number of held-out images; 0: all.
    #[serde(default)]
    pub limit_held_out: u64,
}

fn one() -> u32 {
    1
}

/// The tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetTokenizer {
    /// `builtin`, a file, or `train` to train one first.
    pub weights: String,
    /// Preset of `var-train tokenizer`, to train it.
    pub preset: String,
    /// More settings of `var-train tokenizer`.
    #[serde(default)]
    pub set: toml::Table,
}

/// The shape of the tokens, which a plan needs before the images are encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetTokens {
    /// Side of the images in pixels.
    pub image_side: usize,
    /// Sides of the scales, in tokens.
    pub schedule: ScaleSchedule,
    /// Number of codes.
    pub vocabulary: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Number of classes.
    pub classes: usize,
    /// Number of training images; each has `crops` views.
    #[serde(rename = "pictures")]
    pub images: u64,
}

/// The sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetLadder {
    /// Sizes and ladders, by name.
    pub sizes: Vec<String>,
    /// More trainings of some sizes, of other lengths, for a law of parameters and tokens.
    #[serde(default)]
    pub lengths: Vec<PresetLengths>,
    /// Sizes and ladders that no law is fitted to. They train last, after a forecast of their losses.
    #[serde(default)]
    pub held_out: Vec<String>,
}

/// Trainings of other lengths: each of the sizes with each number of steps, or with each budget of compute (a grid of equal
/// FLOPs). They validate only at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetLengths {
    /// Sizes and ladders, by name.
    pub sizes: Vec<String>,
    /// Optimizer steps.
    #[serde(default)]
    pub steps: Vec<u64>,
    /// Training FLOPs.
    #[serde(default)]
    pub flops: Vec<f64>,
}

/// The length of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Length {
    Steps(u64),
    Flops(f64),
}

impl PresetLengths {
    /// Each size with each length.
    ///
    /// # Errors
    /// When a size or ladder is unknown.
    pub(crate) fn pairs(&self) -> Result<Vec<(Size, Length)>> {
        let sizes = ladder::parse(&self.sizes.join(","))?;
        let lengths = || {
            let steps = self.steps.iter().map(|&steps| Length::Steps(steps));
            steps.chain(self.flops.iter().map(|&flops| Length::Flops(flops)))
        };
        Ok(sizes.iter().flat_map(|size| lengths().map(|length| (size.clone(), length))).collect())
    }
}

/// The training of all sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetTrain {
    /// Preset of `var-train model`.
    pub preset: String,
    /// Optimizer steps; either these or `epochs`.
    pub steps: Option<u64>,
    /// Passes over the training images; either these or `steps`.
    pub epochs: Option<f64>,
    /// Images per step.
    pub batch: u64,
    /// Learning rate, by width.
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
    /// The width with the learning rate `base`.
    #[serde(default = "reference_width")]
    pub reference_width: f64,
    /// Exponent of width / reference width; 0: one learning rate for all widths.
    #[serde(default)]
    pub width_exponent: f64,
}

fn reference_width() -> f64 {
    64.0
}

impl LearningRate {
    /// The peak learning rate at `width`, rounded to four significant digits.
    pub(crate) fn at(&self, width: usize) -> f64 {
        let rate = self.base * (width as f64 / self.reference_width).powf(self.width_exponent);
        format!("{rate:.3e}").parse().unwrap_or(rate)
    }
}

/// Changes for one size.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeChange {
    /// Steps of this size.
    pub steps: Option<u64>,
    /// Epochs of this size.
    pub epochs: Option<f64>,
    /// Images per step of this size.
    pub batch: Option<u64>,
    /// Learning rate of this size.
    pub learning_rate: Option<LearningRate>,
    /// More settings of this size.
    #[serde(default)]
    pub set: toml::Table,
}

/// The sample grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetSample {
    /// Classes, one per row; empty: the first ten.
    #[serde(default)]
    pub classes: Vec<usize>,
    /// Images per class.
    pub each: u32,
    /// Guidance at the last scale.
    pub cfg: f64,
    /// Number of codes to draw from; 0: all.
    pub top_k: u32,
    /// Total probability of the codes to draw from; 0: all.
    pub top_p: f64,
}

impl SweepPreset {
    /// The preset `name`, or the preset in the file `name` if it ends in `.toml` or has a `/`.
    ///
    /// # Errors
    /// When there is no such preset (the message lists the presets), or the file is not a preset (the message names an
    /// unknown key with the nearest known key).
    pub(crate) fn load(name: &str) -> Result<Self> {
        let (text, origin) = text_of(name)?;
        Self::parse(&text, &origin)
    }

    /// The preset `name`, as for [`SweepPreset::load`], with the values of `change` instead of its own.
    ///
    /// # Errors
    /// As for [`SweepPreset::load`]; also when `change` has an unknown key, or the result does not fit together.
    pub(crate) fn changed(name: &str, change: &toml::Table) -> Result<Self> {
        let (text, origin) = text_of(name)?;
        Self::parse(&text, &origin)?;
        let mut table: toml::Table = toml::from_str(without_mark(&text))
            .map_err(|e| Error::config(format!("{origin}: {}", e.message())))?;
        merge(&mut table, change);
        let preset: Self = toml::Value::Table(table)
            .try_into()
            .map_err(|e: toml::de::Error| Error::config(explain_unknown_key(e.message())))?;
        preset.validate().map_err(Error::config)?;
        Ok(preset)
    }

    /// The preset in the text of a TOML file. Messages call the file `origin`.
    ///
    /// # Errors
    /// When the text is not TOML, a key is unknown or missing, or a value is out of range.
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
    /// When a size or ladder is unknown.
    pub(crate) fn sizes(&self) -> Result<Vec<Size>> {
        ladder::parse(&self.ladder.sizes.join(","))
    }

    /// The held-out sizes of its ladder.
    ///
    /// # Errors
    /// When a size or ladder is unknown.
    pub(crate) fn held_out(&self) -> Result<Vec<Size>> {
        match self.ladder.held_out.as_slice() {
            [] => Ok(Vec::new()),
            names => ladder::parse(&names.join(",")),
        }
    }
}

/// The text of the preset `name` (see [`SweepPreset::load`]), and how messages call it.
fn text_of(name: &str) -> Result<(String, String)> {
    if let Some((name, text)) = EMBEDDED.iter().find(|(n, _)| *n == name) {
        return Ok(((*text).to_owned(), format!("preset {name}")));
    }
    if name.ends_with(".toml") || name.contains('/') {
        let text = std::fs::read_to_string(name).map_err(|e| Error::io(Path::new(name), e))?;
        return Ok((text, name.to_owned()));
    }
    let names: Vec<&str> = EMBEDDED.iter().map(|p| p.0).collect();
    let hint = nearest(name, names.iter().copied())
        .map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    Err(Error::config(format!("unknown preset '{name}'; known: {}, or a .toml file{hint}", names.join(", "))))
}

/// Puts the values of `change` into `table`, table by table.
fn merge(table: &mut toml::Table, change: &toml::Table) {
    for (key, value) in change {
        match (table.get_mut(key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Name and purpose of each preset of the program.
pub fn list() -> Vec<(String, String)> {
    EMBEDDED
        .iter()
        .map(|(name, text)| {
            let about = SweepPreset::parse(text, name).map_or_else(|e| e.to_string(), |p| p.about);
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
            SweepPreset::parse(text, name).unwrap();
        }
    }

    #[test]
    fn a_typo_names_the_key_its_line_and_the_nearest_known_key() {
        let text = EMBEDDED[0].1.replace("batch = 32", "bacth = 32");
        let message = SweepPreset::parse(&text, "my.toml").unwrap_err().to_string();
        assert!(message.contains("my.toml line") && message.contains("`bacth`"), "{message}");
        assert!(message.contains("did you mean `batch`?"), "{message}");
    }

    #[test]
    fn a_typo_in_a_nested_table_is_found_too() {
        let text = EMBEDDED[0].1.replace("reference_width", "referenc_width");
        let message = SweepPreset::parse(&text, "my.toml").unwrap_err().to_string();
        assert!(message.contains("did you mean `reference_width`?"), "{message}");
    }

    #[test]
    fn an_unknown_preset_lists_the_known_ones() {
        let message = SweepPreset::load("emoji-nanoo").unwrap_err().to_string();
        for (name, _) in EMBEDDED {
            assert!(message.contains(name), "{message}");
        }
        assert!(message.contains("did you mean emoji-nano?"), "{message}");
    }

    #[test]
    fn the_learning_rate_falls_with_the_width_as_planned() {
        let rate = SweepPreset::load("emoji-nano").unwrap().train.learning_rate;
        assert_eq!(rate.at(64), 0.005);
        assert_eq!(rate.at(192), 0.002193);
        assert_eq!(SweepPreset::load("paper-256").unwrap().train.learning_rate.at(1024), 3e-4);
    }

    #[test]
    fn a_change_replaces_single_values_and_keeps_the_others() {
        let base = SweepPreset::load("emoji-nano").unwrap();
        let change: toml::Table =
            toml::from_str("[train.set]\norder = \"raster\"\n[tokens]\nschedule = [8]").unwrap();
        let changed = SweepPreset::changed("emoji-nano", &change).unwrap();
        assert_eq!(changed.tokens.schedule.tokens(), 64);
        assert_eq!(changed.tokens.vocabulary, base.tokens.vocabulary);
        assert_eq!(changed.train.set.len(), base.train.set.len() + 1);
        for (text, fault) in
            [("[train]\nbacth = 3", "did you mean `batch`?"), ("[train]\nbatch = 0", "train.batch")]
        {
            let change: toml::Table = toml::from_str(text).unwrap();
            let message = SweepPreset::changed("emoji-nano", &change).unwrap_err().to_string();
            assert!(message.contains(fault), "{message}");
        }
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
            let message = SweepPreset::parse(&text, "my.toml").unwrap_err().to_string();
            assert!(message.contains(key), "{key}: {message}");
        }
    }
}
