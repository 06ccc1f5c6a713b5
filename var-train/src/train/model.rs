//! Training of a transformer.

mod stages;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tch::{Device, Kind};
use var_model::TransformerConfig;
use var_model::config::Standardisation;
use var_tokenizer::TokenizerConfig;
use var_tokenizer::builtin::{self, Opened};
use var_tokenizer::files::sha256_of;
use var_tokenizer::images::Split;
use var_tokenizer::tokens::{TokenFile, TokenInfo};
use var_tokenizer::torch::{DeviceChoice, Precision, guarded};

use super::config::{Stored, precision_to_resume};
use super::options::{Options, missing};
use super::plan::{self, Extent, Machine};
use crate::distributed::Place;
use crate::engine::event::{Event, Watch, warn};
use crate::error::{Error, Result};
use crate::records::{ModelPlan, ModelResult, StepReport};
use crate::settings::{Given, ModelRun, effects};
use crate::transformer::progressive::Stages;

/// Trains a transformer on a token file, in a run folder.
///
/// Without further methods: the published settings, a new run, f32 on the processor, one process.
#[derive(Debug, Clone)]
pub struct TrainModel {
    tokens: PathBuf,
    tokenizer: String,
    settings: ModelRun,
    options: Options,
}

/// The inputs, opened and checked.
struct Ready {
    file: TokenFile,
    opened: Opened,
    config: TransformerConfig,
    extent: Extent,
    data_sha256: String,
    /// The precision of the run that is resumed.
    found: Option<Kind>,
}

impl TrainModel {
    /// Trains on the token file `tokens`, which `tokenizer` made (a file, or `builtin`), in the folder `out`.
    pub fn new(tokens: impl AsRef<Path>, tokenizer: impl AsRef<Path>, out: impl AsRef<Path>) -> Self {
        Self {
            tokens: tokens.as_ref().to_owned(),
            tokenizer: tokenizer.as_ref().display().to_string(),
            settings: ModelRun::default(),
            options: Options::new(out.as_ref()),
        }
    }

    /// Trains with these settings.
    #[must_use]
    pub fn settings(mut self, settings: ModelRun) -> Self {
        self.settings = settings;
        self.settings.follow_progressive();
        self
    }

    /// Notes which settings a person gave: the run warns about those without effect.
    #[must_use]
    pub fn given(mut self, given: Given) -> Self {
        self.options.given = given;
        self
    }

    /// Resumes the run in the folder from its newest whole checkpoint.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.options.resume = resume;
        self
    }

    /// Computes on this device. Ranks on one machine use one GPU each, from this GPU on.
    #[must_use]
    pub fn device(mut self, device: DeviceChoice) -> Self {
        self.options.device = device;
        self
    }

    /// Computes in this precision.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options.precision = precision;
        self
    }

    /// Trains as one of `ranks` ranks: the one at `place`. A rank that does not answer for `timeout` is lost. Without a
    /// place, the checks and the plan are those of `ranks` ranks.
    #[must_use]
    pub fn among(mut self, place: Option<Place>, ranks: usize, timeout: Duration) -> Self {
        let options = &mut self.options;
        (options.place, options.ranks, options.timeout) = (place, ranks.max(1), timeout);
        self
    }

    /// Divides the optimizer's moments over the ranks (ZeRO, stage 1).
    #[must_use]
    pub fn zero(mut self, zero: bool) -> Self {
        self.options.zero = zero;
        self
    }

    /// Checks settings, device and precision. Opens no file.
    ///
    /// # Errors
    /// Names the first setting that does not fit.
    pub fn check(&self) -> Result<()> {
        self.device_of_rank().map(drop)
    }

    /// Checks everything that can be checked before training: settings, files and the run folder. Writes nothing.
    ///
    /// # Errors
    /// Names the first setting or file that does not fit.
    pub fn check_inputs(&self) -> Result<()> {
        self.check()?;
        guarded(|| self.prepare(Device::Cpu, true).map(drop))
    }

    /// The plan of the run. Checks everything, writes nothing, trains nothing. `watch` receives notes and warnings.
    ///
    /// # Errors
    /// As [`TrainModel::check_inputs`].
    pub fn plan(&self, watch: &mut Watch<'_>) -> Result<ModelPlan> {
        let device = self.device_of_rank()?;
        guarded(|| {
            let ready = self.prepare(device, true)?;
            self.tell(&ready, watch)?;
            let compute = self.options.precision.resolve(device, ready.extent.product)?;
            let Options { ranks, zero, .. } = self.options;
            let machine = Machine { device, compute, ranks, zero };
            let rows = [Split::Train, Split::Val].map(|split| ready.file.rows(split));
            let latent = ready.opened.tokenizer.config();
            plan::of_model(&self.settings, &ready.config, latent, ready.extent, machine, rows)
        })
    }

    /// Trains, and calls `on_step` after each step. `Break` saves a checkpoint and stops the run.
    ///
    /// # Errors
    /// As [`TrainModel::watch`].
    pub fn run(&self, mut on_step: impl FnMut(&StepReport) -> ControlFlow<()>) -> Result<ModelResult> {
        self.watch(&mut |event| {
            Ok(if let Event::Step(report) = event { on_step(report) } else { ControlFlow::Continue(()) })
        })
    }

    /// Trains, and tells `watch` every event. Writes the model, its tokenizer, the class names and `result.json` into the
    /// run folder.
    ///
    /// # Errors
    /// Bad settings or files, [`Error::Diverged`], [`Error::Interrupted`] when `watch` stops the run (after saving), a
    /// lost rank, or a machine failure.
    pub fn watch(&self, watch: &mut Watch<'_>) -> Result<ModelResult> {
        let device = self.device_of_rank()?;
        let leads = self.options.leads();
        let ready = self.options.prepared(|| self.prepare(device, leads))?;
        if leads {
            self.tell(&ready, watch)?;
        }
        self.options.together(&self.settings, device, |ranks| self.train(ready, ranks, watch))
    }

    /// The device of this process, after checking settings and precision.
    fn device_of_rank(&self) -> Result<Device> {
        self.settings.validate()?;
        let device = self.options.device_of_rank(&self.settings.training)?;
        if self.options.precision == Precision::Fp16 {
            guarded(|| self.options.precision.resolve(device, [1, 1, 1]).map(drop).map_err(Error::from))?;
        }
        Ok(device)
    }

    /// Opens and checks tokens and tokenizer, and on the rank that leads the run folder. The tokenizer goes to `device`.
    fn prepare(&self, device: Device, leads: bool) -> Result<Ready> {
        // The folder first: this check reads no other file.
        if leads {
            self.options.start()?;
        }
        let file = TokenFile::open(&self.tokens)
            .map_err(|e| missing(e, "the token file of `var-tokenizer encode`"))?;
        let opened = builtin::open(&self.tokenizer, Some(&file.info().schedule), device)
            .map_err(|e| missing(e, "the tokenizer that made the tokens"))?;
        file.require_tokenizer(&opened.sha256)?;
        let (train, held_out) = (file.rows(Split::Train), file.rows(Split::Val));
        if train == 0 || held_out == 0 {
            return Err(Error::file(
                &self.tokens,
                format!(
                    "has {train} training and {held_out} held-out rows; training needs at least one of each"
                ),
            ));
        }
        let config = self.configuration(file.info(), opened.tokenizer.config())?;
        let steps = self.settings.training.total_steps(train);
        Stages::of(&self.settings, steps, config.schedule.scales())?;
        self.settings.model.scale_loss_weights.per_token(&config.schedule)?;
        let data_sha256 = sha256_of(&self.tokens)?;
        let asked = self.stored(String::new(), &data_sha256, &opened.sha256);
        let found = if leads { precision_to_resume(&self.options, &asked)? } else { None };
        let extent = Extent::new(&config, &self.settings.training, steps, self.options.ranks);
        Ok(Ready { file, opened, config, extent, data_sha256, found })
    }

    /// The network: its size from the settings, the rest from tokens and tokenizer.
    fn configuration(&self, tokens: &TokenInfo, latent: &TokenizerConfig) -> Result<TransformerConfig> {
        let network = &self.settings.model;
        let input = match (network.standardise_inputs, &tokens.input_statistics) {
            (false, _) => None,
            (true, Some(s)) => Some(Standardisation { mean: s.mean.clone(), deviation: s.deviation.clone() }),
            (true, None) => {
                return Err(Error::file(
                    &self.tokens,
                    "has no statistics of the input vectors, which standardise_inputs needs; encode again, or set \
                     standardise_inputs=false",
                ));
            }
        };
        let config = TransformerConfig {
            depth: network.depth,
            width: if network.width > 0 { network.width } else { network.depth.saturating_mul(64) },
            heads: if network.heads > 0 { network.heads } else { network.depth },
            classes: tokens.classes(),
            vocabulary: latent.vocabulary,
            latent_channels: latent.latent_channels,
            schedule: latent.schedule.clone(),
            order: network.order,
            adaln: network.adaln,
            shared_adaln: network.shared_adaln,
            qk_norm: network.qk_norm,
            input,
        };
        config.validate()?;
        Ok(config)
    }

    fn stored(&self, precision: String, data_sha256: &str, tokenizer_sha256: &str) -> Stored<&ModelRun> {
        Stored {
            kind: "model".into(),
            precision,
            data: self.tokens.display().to_string(),
            data_sha256: data_sha256.into(),
            tokenizer_sha256: tokenizer_sha256.into(),
            settings: &self.settings,
        }
    }

    /// Tells how the tokenizer's tensors were found, and which settings have no effect.
    fn tell(&self, ready: &Ready, watch: &mut Watch<'_>) -> Result<()> {
        for text in &ready.opened.notes {
            warn(watch, &format!("{}: {text}", self.tokenizer))?;
        }
        let (given, held_out) = (&self.options.given, ready.file.rows(Split::Val));
        for text in effects::of_model(&self.settings, given, ready.extent.steps, held_out) {
            warn(watch, &text)?;
        }
        Ok(())
    }
}
