//! Settings for all trainings of a sweep, and the bounds of the numbers in a plan.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Maximum number of passes over the images.
pub(crate) const MAX_EPOCHS: f64 = 1e6;
/// Maximum number of runs of a size.
pub const MAX_SEEDS: u64 = 1000;
/// Largest seed, which is the largest whole number in TOML.
pub(crate) const MAX_SEED: u64 = i64::MAX as u64;

/// Settings that the sweep itself sets, and where they come from.
const OWN: [(&str, &str); 4] = [
    ("depth", "the sizes of the sweep, for example 3x96"),
    ("width", "the sizes of the sweep, for example 3x96"),
    ("heads", "the sizes of the sweep, for example 3x96"),
    ("seed", "the seed of the sweep"),
];

/// A key without its section: `training.steps` and `steps` are the same setting.
pub(crate) fn plain(key: &str) -> &str {
    let key = key.trim();
    ["training.", "model."].iter().find_map(|section| key.strip_prefix(section)).unwrap_or(key)
}

/// Where `key` comes from, if the sweep itself sets it.
pub(crate) fn own(key: &str) -> Option<&'static str> {
    OWN.iter().find(|(name, _)| *name == plain(key)).map(|(_, origin)| *origin)
}

/// The values of the assignments `key=value`, by plain key.
///
/// # Errors
/// When one lacks `=` or a key, or the sweep itself sets its key.
pub(crate) fn assignments(set: &[String]) -> Result<BTreeMap<String, String>> {
    set.iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => match own(key) {
                Some(origin) => {
                    Err(Error::config(format!("setting {text}: this setting comes from {origin}")))
                }
                None => Ok((plain(key).to_owned(), value.trim().to_owned())),
            },
            _ => Err(Error::config(format!("setting {text}: write key=value, for example steps=800"))),
        })
        .collect()
}

/// The value of `key`, a whole number from 1 to `most`, if it is set.
///
/// # Errors
/// When the value is something else.
pub(crate) fn whole(set: &BTreeMap<String, String>, key: &str, most: u64) -> Result<Option<u64>> {
    let Some(text) = set.get(key) else { return Ok(None) };
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
        _ => Err(Error::config(format!("setting {key}={text}: expected a whole number from 1 to {most}"))),
    }
}

/// The value of `epochs`, if it is set.
///
/// # Errors
/// When it is not above 0 and at most [`MAX_EPOCHS`].
pub(crate) fn epochs(set: &BTreeMap<String, String>) -> Result<Option<f64>> {
    let Some(text) = set.get("epochs") else { return Ok(None) };
    match text.parse() {
        Ok(epochs) if epochs_fit(epochs) => Ok(Some(epochs)),
        _ => Err(Error::config(format!(
            "setting epochs={text}: expected a number above 0 and at most {MAX_EPOCHS}"
        ))),
    }
}

/// Whether a number of epochs is within the bounds; NaN is not.
pub(crate) fn epochs_fit(epochs: f64) -> bool {
    epochs > 0.0 && epochs <= MAX_EPOCHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sweep_sets_is_refused_with_its_origin() {
        for (text, origin) in [
            ("depth=3", "the sizes of the sweep"),
            ("model.width=64", "the sizes of the sweep"),
            (" heads = 2", "the sizes of the sweep"),
            ("training.seed=1", "the seed of the sweep"),
        ] {
            let message = assignments(&[text.to_owned()]).unwrap_err().to_string();
            assert!(message.contains(origin) && message.contains(text), "{message}");
        }
    }

    #[test]
    fn a_section_makes_no_second_setting() {
        let set = ["training.steps=5", "model.qk_norm=false", "steps=6"].map(str::to_owned);
        let set = assignments(&set).unwrap();
        assert_eq!(set["steps"], "6");
        assert_eq!(set["qk_norm"], "false");
        assert_eq!(set.len(), 2);
    }
}
