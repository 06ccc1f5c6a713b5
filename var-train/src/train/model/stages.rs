//! The stages of a transformer's training, once its inputs are checked.

use tch::{Device, Kind};
use var_model::TransformerConfig;
use var_model::cost;
use var_tokenizer::builtin;
use var_tokenizer::files::write_atomically;
use var_tokenizer::images::Split;
use var_tokenizer::torch::{Precision, peak_bytes};

use super::{Ready, TrainModel};
use crate::average::{AVERAGE_FILE, PUBLISHED_FILE};
use crate::checkpoint::MODEL_FILE;
use crate::distributed::Ranks;
use crate::engine::event::{Watch, note, warn};
use crate::engine::{self, Course, Outcome};
use crate::error::{Error, Result};
use crate::records::{ModelResult, Scores};
use crate::run::RunFolder;
use crate::train::plan::Extent;
use crate::transformer::{ModelTask, TokenRows};

impl TrainModel {
    /// Trains as one of `ranks`.
    pub(super) fn train(&self, ready: Ready, ranks: Ranks, watch: &mut Watch<'_>) -> Result<ModelResult> {
        let mut run = self.options.folder(ranks)?;
        let rows = [ready.file.read_split(Split::Train)?, ready.file.read_split(Split::Val)?];
        let [train, validation] = rows.map(TokenRows::new);
        let files = format!("{} {}", ready.data_sha256, ready.opened.sha256);
        let device = ready.opened.tokenizer.device();
        let compute = self.options.agree(ranks, device, (ready.found, ready.extent.product), &files)?;
        if ranks.leads() {
            self.write_inputs(&ready, &mut run, compute, watch)?;
        }
        let Ready { opened, config, extent, .. } = ready;
        let training = &self.settings.training;
        let text = format!(
            "{} parameters, {} steps of {} images, {} training and {} held-out rows, {}{}",
            extent.parameters,
            extent.steps,
            training.batch,
            train.len(),
            validation.len(),
            Precision::name_of(compute),
            if ranks.size() > 1 { format!(", {} ranks", ranks.size()) } else { String::new() }
        );
        note(watch, &text)?;
        let task = ModelTask::new(&config, opened.tokenizer, train, validation, &self.settings, compute)?;
        let course = Course {
            settings: training,
            steps: extent.steps,
            resume: self.options.resume,
            ranks,
            zero: self.options.zero,
        };
        let outcome = engine::train(&mut task.among(ranks), &mut run, course, watch)?;
        let result = result(&config, extent, (device, compute), &outcome)?;
        if ranks.leads() {
            self.options.publish(&outcome.checkpoint, MODEL_FILE, MODEL_FILE)?;
            if self.settings.model.ema > 0.0 {
                self.options.publish(&outcome.checkpoint, AVERAGE_FILE, PUBLISHED_FILE)?;
            }
            self.options.write_result(&result)?;
        }
        Ok(result)
    }

    /// Writes the files that make the run folder complete: tokenizer, class names and configuration.
    fn write_inputs(
        &self,
        ready: &Ready,
        run: &mut RunFolder,
        compute: Kind,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let resumed = ready.found.is_some();
        let classes = serde_json::to_string(&ready.file.info().class_names)
            .map_err(|e| Error::config(e.to_string()))?;
        for (name, bytes) in [
            ("tokenizer.safetensors", builtin::bytes(&self.tokenizer)?),
            ("classes.json", classes.into_bytes()),
        ] {
            let path = self.options.out.join(name);
            if resumed && path.exists() {
                continue;
            }
            if resumed {
                warn(watch, &format!("{} was missing; wrote it again", path.display()))?;
            }
            write_atomically(&path, &bytes)?;
        }
        if resumed {
            return Ok(());
        }
        // Last: a folder with a configuration has all other files.
        let precision = Precision::name_of(compute).into();
        self.stored(precision, &ready.data_sha256, &ready.opened.sha256).write(run)
    }
}

/// The result of a run.
fn result(
    config: &TransformerConfig,
    extent: Extent,
    (device, compute): (Device, Kind),
    outcome: &Outcome,
) -> Result<ModelResult> {
    let Scores::Model(scores) = &outcome.validation.scores else {
        return Err(Error::config("the validation of a transformer gave scores of a tokenizer"));
    };
    Ok(ModelResult {
        parameters: extent.parameters,
        tokens: extent.tokens,
        flops: extent.flops,
        six_n_d: cost::six_n_d(config) * extent.images as f64,
        val_loss_all: scores.loss_all,
        val_loss_last: scores.loss_last,
        val_err_all: scores.err_all,
        val_err_last: scores.err_last,
        val_loss_per_scale: scores.loss_per_scale.clone(),
        val_average: scores.average.clone(),
        seconds: outcome.seconds,
        precision: Precision::name_of(compute).into(),
        depth: config.depth,
        width: config.width,
        heads: config.heads,
        peak_memory_bytes: peak_bytes(device),
    })
}
