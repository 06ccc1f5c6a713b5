//! Settings of `--set`, and the bounds of the numbers in a plan.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Most passes over the images.
pub(crate) const MAX_EPOCHS: f64 = 1e6;
/// Most runs of a size.
pub const MAX_SEEDS: u64 = 1000;
/// Largest seed: the largest whole number in TOML.
pub(crate) const MAX_SEED: u64 = i64::MAX as u64;

/// Settings that the sweep itself sets, and the flag that changes them.
const OWN: [(&str, &str); 4] = [
    ("depth", "--sizes, for example --sizes 3x96"),
    ("width", "--sizes, for example --sizes 3x96"),
    ("heads", "--sizes, for example --sizes 3x96"),
    ("seed", "--seed"),
];

/// A key without its section: `training.steps` and `steps` are the same setting.
pub(crate) fn plain(key: &str) -> &str {
    let key = key.trim();
    ["training.", "model."].iter().find_map(|section| key.strip_prefix(section)).unwrap_or(key)
}

/// The flag that changes `key`, if the sweep itself sets it.
pub(crate) fn own(key: &str) -> Option<&'static str> {
    OWN.iter().find(|(name, _)| *name == plain(key)).map(|(_, instead)| *instead)
}

/// The assignments of `--set` by plain key.
///
/// # Errors
/// When one lacks `=` or a key, or its key has its own flag.
pub(crate) fn assignments(set: &[String]) -> Result<BTreeMap<String, String>> {
    set.iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => match own(key) {
                Some(flag) => Err(Error::config(format!("--set {text}: set this with {flag}"))),
                None => Ok((plain(key).to_owned(), value.trim().to_owned())),
            },
            _ => Err(Error::config(format!("--set {text}: write key=value, for example --set steps=800"))),
        })
        .collect()
}

/// The whole number from 1 to `most` that `key` is set to, if it is set.
///
/// # Errors
/// When it is something else.
pub(crate) fn whole(set: &BTreeMap<String, String>, key: &str, most: u64) -> Result<Option<u64>> {
    let Some(text) = set.get(key) else { return Ok(None) };
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
        _ => Err(Error::config(format!("--set {key}={text}: expected a whole number from 1 to {most}"))),
    }
}

/// The epochs that are set, if they are.
///
/// # Errors
/// When they are not above 0 and at most [`MAX_EPOCHS`].
pub(crate) fn epochs(set: &BTreeMap<String, String>) -> Result<Option<f64>> {
    let Some(text) = set.get("epochs") else { return Ok(None) };
    match text.parse() {
        Ok(epochs) if epochs_fit(epochs) => Ok(Some(epochs)),
        _ => Err(Error::config(format!(
            "--set epochs={text}: expected a number above 0 and at most {MAX_EPOCHS}"
        ))),
    }
}

/// Whether epochs are within their bounds; NaN is not.
pub(crate) fn epochs_fit(epochs: f64) -> bool {
    epochs > 0.0 && epochs <= MAX_EPOCHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_flag_of_its_own_is_refused_with_that_flag() {
        for (text, flag) in [
            ("depth=3", "--sizes"),
            ("model.width=64", "--sizes"),
            (" heads = 2", "--sizes"),
            ("training.seed=1", "--seed"),
        ] {
            let message = assignments(&[text.to_owned()]).unwrap_err().to_string();
            assert!(message.contains(flag) && message.contains(text), "{message}");
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
