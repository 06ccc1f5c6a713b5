//! Checks of presets: ranges, and parts that must fit together.

use std::collections::BTreeMap;

use var_model::cost::{MOST_PICTURES, MOST_STEPS};

use super::{PresetTokens, PresetTrain, SizeChange, SweepPreset};
use crate::ladder::Size;
use crate::settings::{MAX_EPOCHS, epochs_fit, own, plain};

/// Maximum number of levels of a tokenizer. Each level except the last halves the side of the images.
const MAX_LEVELS: u32 = 8;

impl SweepPreset {
    /// Checks ranges, and that the parts fit together.
    pub(super) fn validate(&self) -> Result<(), String> {
        let sizes = self.sizes().map_err(|e| e.to_string())?;
        for name in self.sizes.keys() {
            name.parse::<Size>().map_err(|e| format!("[size.{name}]: {e}"))?;
        }
        self.held_out().map_err(|e| e.to_string())?;
        for lengths in &self.ladder.lengths {
            lengths.pairs().map_err(|e| e.to_string())?;
            for &steps in &lengths.steps {
                within("ladder.lengths.steps", steps, 1, MOST_STEPS)?;
            }
            if let Some(flops) = lengths.flops.iter().find(|flops| !flops.is_finite() || **flops <= 0.0) {
                return Err(format!(
                    "ladder.lengths.flops {flops}: expected a number above 0, for example 1e13"
                ));
            }
            if lengths.steps.is_empty() == lengths.flops.is_empty() {
                return Err("[[ladder.lengths]]: set either steps or flops".into());
            }
        }
        self.tokens.validate()?;
        self.train.validate(&self.sizes)?;
        within("data.crops", u64::from(self.data.crops), 1, u64::from(u16::MAX))?;
        let rates = self.sizes.values().filter_map(|c| c.learning_rate).chain([self.train.learning_rate]);
        for rate in rates.flat_map(|rate| sizes.iter().map(move |size| rate.at(size.width))) {
            if !rate.is_finite() || rate <= 0.0 {
                return Err("train.learning_rate must be above 0 at every width".into());
            }
        }
        Ok(())
    }
}

impl PresetTokens {
    /// Checks the ranges, and that the side of the images fits the schedule.
    fn validate(&self) -> Result<(), String> {
        for (key, value, least, most) in [
            ("image_side", self.image_side as u64, 1, 1 << 17),
            ("vocabulary", self.vocabulary as u64, 2, 1 << 20),
            ("latent_channels", self.latent_channels as u64, 1, 4096),
            ("classes", self.classes as u64, 1, u64::from(u32::MAX)),
            ("pictures", self.images, 1, u64::from(u32::MAX)),
        ] {
            within(&format!("tokens.{key}"), value, least, most)?;
        }
        let (side, last) = (self.image_side, self.schedule.last_side());
        let latents: Vec<usize> =
            (0..MAX_LEVELS).filter(|k| side.is_multiple_of(1 << k)).map(|k| side >> k).collect();
        if latents.contains(&last) {
            return Ok(());
        }
        let fitting: Vec<String> = latents.iter().map(usize::to_string).collect();
        Err(format!(
            "tokens.schedule {} ends with {last}, but the latent of {side} pixels cannot be {last}: each level of a \
             tokenizer halves the side ({}); end the schedule with one of these, or set an image_side of {}, {} or {}",
            self.schedule,
            fitting.join(", "),
            4 * last,
            8 * last,
            16 * last
        ))
    }
}

impl PresetTrain {
    /// Checks the ranges of the shared values and of the changes for single sizes.
    fn validate(&self, changes: &BTreeMap<String, SizeChange>) -> Result<(), String> {
        if self.steps.is_some() == self.epochs.is_some() {
            return Err("[train]: set either steps or epochs".into());
        }
        check_length("train", Some(self.batch), self.steps, self.epochs)?;
        check_set("train.set", &self.set)?;
        for (name, change) in changes {
            check_length(&format!("size.{name}"), change.batch, change.steps, change.epochs)?;
            check_set(&format!("size.{name}.set"), &change.set)?;
        }
        Ok(())
    }
}

/// Checks that `value` is from `least` to `most`.
fn within(key: &str, value: u64, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("{key} = {value} is out of range; use {least} to {most}"))
}

fn check_length(
    section: &str,
    batch: Option<u64>,
    steps: Option<u64>,
    epochs: Option<f64>,
) -> Result<(), String> {
    for (key, value, most) in [("batch", batch, MOST_PICTURES), ("steps", steps, MOST_STEPS)] {
        if let Some(value) = value {
            within(&format!("{section}.{key}"), value, 1, most)?;
        }
    }
    match epochs.filter(|&epochs| !epochs_fit(epochs)) {
        Some(epochs) => {
            Err(format!("{section}.epochs = {epochs} is out of range; use above 0 to {MAX_EPOCHS}"))
        }
        None => Ok(()),
    }
}

/// Refuses settings that the plan itself sets.
fn check_set(section: &str, set: &toml::Table) -> Result<(), String> {
    for key in set.keys() {
        let parent = section.trim_end_matches(".set");
        let origin = match plain(key) {
            key @ ("steps" | "epochs" | "batch" | "learning_rate") => Some(format!("{key} in [{parent}]")),
            "depth" | "width" | "heads" => Some("sizes in [ladder]".into()),
            _ => own(key).map(str::to_owned),
        };
        if let Some(origin) = origin {
            return Err(format!("[{section}] {key}: this setting comes from {origin}; remove it here"));
        }
    }
    Ok(())
}
