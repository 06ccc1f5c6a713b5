//! The file of a comparison: its arms, as changes of one preset of a sweep.

use std::path::Path;

use serde::{Deserialize, Serialize};
use var_tokenizer::nearest::{explain_unknown_key, nearest};

use crate::error::{Error, Result};
use crate::json_text::without_mark;
use crate::request::SweepRequest;
use crate::settings::plain;

/// The comparisons of the program: name and text.
const EMBEDDED: [(&str, &str); 2] = [
    ("raster-vs-var", include_str!("../../presets/compare/raster-vs-var.toml")),
    ("ablation", include_str!("../../presets/compare/ablation.toml")),
];

/// The comparison if a request names none.
pub(crate) const DEFAULT: &str = "raster-vs-var";

/// Names that folders of a comparison have for other purposes.
const TAKEN: [&str; 3] = ["reference", "logs", "plots"];

/// A comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Comparison {
    /// What it compares, in one line.
    pub about: String,
    /// The preset that all arms start from: a name, or a TOML file [default: as for a sweep].
    pub base: Option<String>,
    /// How samples are scored and timed.
    pub score: Scoring,
    /// Each arm is a step from the one before, and is compared with it, not with the first.
    #[serde(default)]
    pub steps: bool,
    /// What is compared, in order. The first arm is the one that the others are compared with.
    #[serde(rename = "arm")]
    pub arms: Vec<Arm>,
}

/// How samples are scored and timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scoring {
    /// Number of samples of each model, rounded up to the same number per class.
    pub images: u64,
    /// Number of draws for the interval of a score; 0: no interval.
    pub bootstrap: u64,
    /// Batch sizes at which sampling is timed; empty: not timed.
    pub speed: Vec<u64>,
}

impl Scoring {
    /// Rough seconds of two CPU cores to sample the images of a nano model.
    pub(crate) fn sampling_seconds(&self) -> f64 {
        0.02 * self.images as f64
    }

    /// Rough seconds of two CPU cores to score them: their features, then the draws.
    pub(crate) fn score_seconds(&self) -> f64 {
        0.04 * self.images as f64 + 0.1 * self.bootstrap as f64
    }
}

/// One arm of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arm {
    /// Name; also that of its folder.
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    /// An earlier arm whose tokenizer it uses.
    pub tokenizer_of: Option<String>,
    /// An earlier arm with the same sizes, whose training compute each size gets.
    pub compute_of: Option<String>,
    /// An earlier arm whose models it samples with other settings; it trains none.
    pub models_of: Option<String>,
    /// What differs from the base, as in a preset.
    #[serde(default)]
    pub change: toml::Table,
}

impl Comparison {
    /// The comparison `name`, or that in the file `name` if it ends in `.toml` or has a `/`.
    ///
    /// # Errors
    /// When there is no such comparison, or the file is not one.
    pub(crate) fn load(name: &str) -> Result<Self> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(n, _)| *n == name) {
            return Self::parse(text, &format!("comparison {name}"));
        }
        if name.ends_with(".toml") || name.contains('/') {
            let text = std::fs::read_to_string(name).map_err(|e| Error::io(Path::new(name), e))?;
            let mut found = Self::parse(&text, name)?;
            // A preset in a file is named from the folder of the comparison.
            if let (Some(base), Some(folder)) = (&mut found.base, Path::new(name).parent())
                && base.ends_with(".toml")
            {
                *base = folder.join(&*base).display().to_string();
            }
            return Ok(found);
        }
        let names = EMBEDDED.map(|(name, _)| name);
        let hint = nearest(name, names).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        Err(Error::config(format!(
            "unknown comparison '{name}'; known: {}, or a .toml file{hint}",
            names.join(", ")
        )))
    }

    /// The comparison in the text of a TOML file. Messages call the file `origin`.
    ///
    /// # Errors
    /// When the text is not TOML, a key is unknown or missing, or arms do not fit together.
    pub(crate) fn parse(text: &str, origin: &str) -> Result<Self> {
        let found: Self = toml::from_str(without_mark(text))
            .map_err(|e| Error::config(format!("{origin}: {}", explain_unknown_key(e.message()))))?;
        found.check().map_err(|why| Error::config(format!("{origin}: {why}")))?;
        Ok(found)
    }

    /// Refuses a request that would undo what the arms differ in.
    ///
    /// # Errors
    /// When it does.
    pub(crate) fn admits(&self, request: &SweepRequest) -> Result<()> {
        for text in &request.set {
            let key = plain(text.split('=').next().unwrap_or_default());
            let changes = |arm: &&Arm| {
                let set =
                    arm.change.get("train").and_then(|train| train.get("set")).and_then(|set| set.as_table());
                set.is_some_and(|set| set.keys().any(|other| plain(other) == key))
            };
            if let Some(arm) = self.arms.iter().find(changes) {
                return Err(Error::config(format!(
                    "{key}: the arms of this comparison differ in it (arm {}); set something else, or change the \
                     comparison",
                    arm.name
                )));
            }
        }
        let sizes = |arm: &Arm| arm.change.get("ladder").and_then(|ladder| ladder.get("sizes")).cloned();
        let mut own = self.arms.iter().filter(|arm| arm.models_of.is_none()).map(sizes);
        let first = own.next();
        if request.sizes.is_some() && own.any(|other| Some(other) != first) {
            return Err(Error::config(
                "the arms of this comparison differ in their sizes; leave the sizes out, or change the comparison",
            ));
        }
        Ok(())
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.arms.len() < 2 {
            return Err("a comparison needs two arms or more ([[arm]])".into());
        }
        for (number, batch) in [("score.images", self.score.images)]
            .into_iter()
            .chain(self.score.speed.iter().map(|&batch| ("score.speed", batch)))
        {
            if !(1..=1_000_000).contains(&batch) {
                return Err(format!("{number}: {batch} is out of range; use 1 to 1000000"));
            }
        }
        for (i, arm) in self.arms.iter().enumerate() {
            let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if arm.name.is_empty() || !arm.name.chars().all(good) {
                return Err(format!("arm '{}': use letters, digits, - and _; it names a folder", arm.name));
            }
            let earlier = self.arms.get(..i).unwrap_or_default();
            if TAKEN.contains(&arm.name.as_str()) || earlier.iter().any(|other| other.name == arm.name) {
                return Err(format!("arm '{}': this name is taken; choose another one", arm.name));
            }
            for (key, named) in [
                ("tokenizer_of", &arm.tokenizer_of),
                ("compute_of", &arm.compute_of),
                ("models_of", &arm.models_of),
            ] {
                let Some(named) = named else { continue };
                if !earlier.iter().any(|other| other.name == *named && other.models_of.is_none()) {
                    return Err(format!(
                        "arm '{}': {key} = '{named}': name an earlier arm that trains its own models",
                        arm.name
                    ));
                }
            }
            if arm.models_of.is_some() {
                let other = arm.change.keys().find(|key| *key != "sample").map(String::as_str);
                let other = other.or(arm.tokenizer_of.is_some().then_some("tokenizer_of"));
                if let Some(key) = other.or(arm.compute_of.is_some().then_some("compute_of")) {
                    return Err(format!(
                        "arm '{}': {key} has no effect, because models_of trains nothing; remove it",
                        arm.name
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Name and purpose of each comparison of the program.
pub fn list() -> Vec<(String, String)> {
    EMBEDDED
        .iter()
        .map(|(name, text)| {
            let about = Comparison::parse(text, name).map_or_else(|e| e.to_string(), |c| c.about);
            ((*name).to_owned(), about)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_comparison_parses() {
        for (name, text) in EMBEDDED {
            Comparison::parse(text, name).unwrap();
        }
        let message = Comparison::load("ablatoin").unwrap_err().to_string();
        assert!(message.contains("did you mean ablation?"), "{message}");
    }

    #[test]
    fn arms_that_do_not_fit_together_are_refused_by_name() {
        for (from, to, fault) in [
            (
                "tokenizer_of = \"raster\"",
                "tokenizer_of = \"rastre\"",
                "tokenizer_of = 'rastre': name an earlier",
            ),
            ("name = \"raster\"", "name = \"next-scale\"", "this name is taken"),
            ("name = \"raster\"", "name = \"../x\"", "it names a folder"),
            ("name = \"raster\"", "name = \"logs\"", "this name is taken"),
            ("compute_of", "models_of", "ladder has no effect"),
            ("compute_of", "compute_off", "did you mean `compute_of`?"),
            ("images = 1000", "images = 0", "score.images"),
        ] {
            let text = EMBEDDED[0].1.replace(from, to);
            assert_ne!(text, EMBEDDED[0].1, "{from}");
            let message = Comparison::parse(&text, "my.toml").unwrap_err().to_string();
            assert!(message.starts_with("my.toml") && message.contains(fault), "{fault}: {message}");
        }
    }
}
