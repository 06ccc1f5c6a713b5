//! The plan of one run: its settings and its cost.

use std::collections::BTreeMap;

use var_model::cost::{MOST_PICTURES, MOST_STEPS, TrainingStep};
use var_model::{TransformerConfig, cost};

use crate::devices::place;
use crate::error::{Error, Result};
use crate::images::SweepImages;
use crate::ladder::Size;
use crate::machine;
use crate::preset::SweepPreset;
use crate::request::{PlannedRun, SweepRequest};
use crate::settings;
use crate::trainer;

impl PlannedRun {
    /// All settings of the run, as `var-train model` takes them.
    pub(crate) fn settings(&self) -> BTreeMap<String, String> {
        let mut all = self.set.clone();
        all.insert("preset".into(), self.preset.clone());
        for (key, value) in
            [("depth", self.size.depth), ("width", self.size.width), ("heads", self.size.heads)]
        {
            all.insert(key.into(), value.to_string());
        }
        all
    }
}

/// The values of a table, as text.
pub(crate) fn strings(table: &toml::Table) -> BTreeMap<String, String> {
    table
        .iter()
        .map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (key.clone(), text)
        })
        .collect()
}

/// Number of steps of `epochs` passes over `images` images.
fn steps_of(epochs: f64, images: u64, batch: u64) -> u64 {
    // At most 10⁶ · 2³².
    (epochs * images as f64 / batch as f64).round().max(1.0) as u64
}

/// The run `name` of `size`, with the devices or speed of `request`. `asked`: given settings of the run.
///
/// # Errors
/// When a setting is unknown or out of range.
pub(crate) fn planned_run(
    name: String,
    preset: &SweepPreset,
    images: &SweepImages,
    size: &Size,
    seed: u64,
    asked: &BTreeMap<String, String>,
    request: &SweepRequest,
) -> Result<PlannedRun> {
    let change = preset.sizes.get(&size.name).cloned().unwrap_or_default();
    let (train, tokens) = (&preset.train, &preset.tokens);
    let batch = settings::whole(asked, "batch", MOST_PICTURES)?.or(change.batch).unwrap_or(train.batch);
    let by_epochs = |epochs: f64| steps_of(epochs, images.training, batch);
    let own = change.steps.or_else(|| change.epochs.map(by_epochs));
    let shared = || train.steps.or_else(|| train.epochs.map(by_epochs));
    let asked_epochs = settings::epochs(asked)?.map(by_epochs);
    let asked_steps = settings::whole(asked, "steps", MOST_STEPS)?.or(asked_epochs);
    let steps = asked_steps.or(own).or_else(shared).unwrap_or(1);
    if steps > MOST_STEPS {
        return Err(Error::config(format!(
            "{}: the epochs over {} images give {steps} steps, more than {MOST_STEPS}; set fewer epochs",
            size.name, images.training
        )));
    }
    let rule = change.learning_rate.unwrap_or(train.learning_rate);
    let mut set = strings(&train.set);
    set.extend(strings(&change.set));
    set.insert("learning_rate".into(), rule.at(size.width).to_string());
    set.extend(asked.clone());
    set.remove("epochs");
    for (key, value) in [("steps", steps), ("batch", batch), ("seed", seed)] {
        set.insert(key.into(), value.to_string());
    }
    let trained = trainer::model(&name, &train.preset, size, &set)?;
    let config = TransformerConfig {
        adaln: trained.model.adaln,
        shared_adaln: trained.model.shared_adaln,
        qk_norm: trained.model.qk_norm,
        order: trained.model.order,
        depth: size.depth,
        width: size.width,
        heads: size.heads,
        classes: images.classes,
        vocabulary: tokens.vocabulary,
        latent_channels: tokens.latent_channels,
        schedule: tokens.schedule.clone(),
        ..TransformerConfig::published(size.depth)
    };
    let seen = steps * batch;
    let flops = cost::training_flops(&config) * seen as f64;
    let micro = (batch / (trained.training.accumulation as u64).max(1)).max(1);
    let step = TrainingStep {
        accumulate: micro < batch,
        recompute: trained.model.recompute,
        average: trained.model.ema > 0.0,
        ..TrainingStep::plain(micro as usize, 2)
    };
    let placement = match &request.devices {
        Some(devices) => place(&config, batch, step.average, devices)?,
        None => None,
    };
    let seconds = match &request.devices {
        Some(devices) => devices.seconds(flops, placement.as_ref()),
        None => flops / machine::rate(size.width, request.rate()),
    };
    Ok(PlannedRun {
        name,
        preset: train.preset.clone(),
        steps,
        batch,
        seed,
        held_out: false,
        parameters: cost::parameters(&config),
        // Saturates only for schedules that do not fit in memory.
        tokens: seen.saturating_mul(tokens.schedule.tokens() as u64),
        flops,
        memory: cost::training_memory(&config, &step).total(),
        seconds,
        placement,
        size: size.clone(),
        set,
        config,
    })
}
