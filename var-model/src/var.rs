//! The interface for programs: opens a model and its tokenizer from one or two paths, samples and edits images.

use std::cell::OnceCell;
use std::path::Path;

use image::RgbImage;
use tch::Tensor;
use var_tokenizer::ScaleSchedule;
use var_tokenizer::images::from_tensor;
use var_tokenizer::torch::{DeviceChoice, Precision, guarded};
use var_tokenizer::weights::Role;

use crate::builtin;
use crate::classes::{ClassNames, NONE, by_number};
use crate::edit::{Area, EditPlan, FractionBox, Generation, Region, generate};
use crate::error::{Error, Result};
use crate::sampling::{
    Draws, Guidance, Sampler, SamplingOptions, ScaleRange, Temperature, at_once, unwatched,
};
use crate::source::{Loaded, ModelSource, Opened};

/// Maximum number of images to sample at once.
const MOST_AT_ONCE: usize = 64;

/// A VAR transformer with its tokenizer.
///
/// Reads the weights before the first image. Computes in f32 on the processor by default; see
/// [`with_device`](Self::with_device) and [`with_precision`](Self::with_precision).
#[derive(Debug)]
pub struct Var {
    source: ModelSource,
    ready: OnceCell<Ready>,
}

/// The opened files, and the networks in memory.
#[derive(Debug)]
struct Ready {
    opened: Opened,
    loaded: Loaded,
}

/// A class to sample: by name, by number, or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Class {
    /// No class: the model samples without a condition.
    #[default]
    None,
    /// By number, from 0.
    Number(usize),
    /// By name or synonym; `#7` and `id:7` are numbers, `none` is no class.
    Name(String),
}

impl From<&str> for Class {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

impl From<String> for Class {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for Class {
    fn from(number: usize) -> Self {
        Self::Number(number)
    }
}

impl Class {
    /// The label among `names`; "no class" is the label after the last.
    fn label(&self, names: &ClassNames) -> Result<i64> {
        let text = match self {
            Self::None => NONE.to_owned(),
            Self::Number(number) => by_number(*number),
            Self::Name(name) => name.clone(),
        };
        match names.label(&text)?.as_slice() {
            [label] => Ok(*label),
            several => {
                Err(Error::Config(format!("class '{text}': {} classes; name one at a time", several.len())))
            }
        }
    }
}

/// Settings of sampling. The defaults are the published settings of evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Classifier-free guidance at the last scale; 0: no guidance.
    pub cfg: f64,
    /// Guidance over the scales.
    pub guidance: Guidance,
    /// The scales with guidance; `None`: all. Later scales take half the work.
    pub guided_scales: Option<ScaleRange>,
    /// Divides the guided logits.
    pub temperature: Temperature,
    /// Draws among this many codes; 0: all.
    pub top_k: usize,
    /// Draws among the most likely codes that together reach this probability; 0: all.
    pub top_p: f64,
    /// Mixes code vectors by a Gumbel softmax instead of drawing one.
    pub more_smooth: bool,
    /// Image `n` depends only on the seed and `n`.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        let SamplingOptions { cfg, guidance, guided_scales, temperature, top_k, top_p, more_smooth } =
            SamplingOptions::default();
        Self { cfg, guidance, guided_scales, temperature, top_k, top_p, more_smooth, seed: 0 }
    }
}

impl Sampling {
    fn options(&self) -> SamplingOptions {
        let Self { cfg, guidance, guided_scales, temperature, top_k, top_p, more_smooth, .. } = self.clone();
        SamplingOptions { cfg, guidance, guided_scales, temperature, top_k, top_p, more_smooth }
    }
}

/// Which part of a photo to generate, and how.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The pixels.
    pub area: Area,
    /// The class; with [`Class::None`] only the photo conditions the result.
    pub class: Class,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Number of results.
    pub variants: usize,
    /// Width of the soft border in pixels; `None` chooses by the size of the photo.
    pub feather: Option<u32>,
}

impl Edit {
    /// Generates the pixels that are white in `mask`, which has the size of the photo.
    pub fn inpaint(mask: &RgbImage) -> Self {
        Self::of(Area::Pixels(Region::of_mask(mask, false)))
    }

    /// Generates inside the box.
    pub fn inpaint_box(bounds: FractionBox) -> Self {
        Self::of(Area::Box(bounds))
    }

    /// Generates outside the box.
    pub fn outpaint(bounds: FractionBox) -> Self {
        Self::of(Area::Outside(bounds))
    }

    fn of(area: Area) -> Self {
        Self { area, class: Class::None, sampling: Sampling::default(), variants: 1, feather: None }
    }

    /// Generates an image of this class.
    #[must_use]
    pub fn class(mut self, class: impl Into<Class>) -> Self {
        self.class = class.into();
        self
    }
}

impl Var {
    /// Opens `builtin`, a run folder of `var-train`, published weights by name (`var-d16`, or `hf:OWNER/REPO/FILE`), or a
    /// weight file of any layout (as released, of a trainer, safetensors, several files with an index). A run folder and a
    /// trainer's checkpoint contain their tokenizer, and `var-d16` brings it; other files need
    /// [`with_tokenizer`](Self::with_tokenizer).
    ///
    /// Published weights come from a model hub into its cache, which other programs share; `HF_HOME`, `HF_TOKEN` and
    /// `HF_HUB_OFFLINE` have their usual meaning.
    ///
    /// # Errors
    /// When the file is missing, damaged, cannot be fetched, or has no transformer.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (precision, device) = (Precision::F32, DeviceChoice::Cpu);
        let source = ModelSource { precision, device, ..ModelSource::at(path)? };
        if source.run.is_some() {
            source.open()?;
        } else {
            builtin::checkpoint(path)?.part(Role::Transformer)?;
        }
        Ok(Self { source, ready: OnceCell::new() })
    }

    /// Uses the tokenizer at `path`, or `builtin`.
    ///
    /// # Errors
    /// When it is missing or damaged, or the model was trained with another.
    pub fn with_tokenizer(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.source.tokenizer = Some(path.as_ref().display().to_string());
        let opened = self.source.open()?;
        crate::sampling::check_pair(&opened.config, &opened.tokenizer_config)?;
        Ok(self.unloaded())
    }

    /// Uses the class names in a file: a JSON list, or one name per line.
    #[must_use]
    pub fn with_class_names(mut self, path: impl AsRef<Path>) -> Self {
        self.source.class_names = Some(path.as_ref().to_owned());
        self.unloaded()
    }

    /// Uses the averaged weights of a run folder.
    #[must_use]
    pub fn with_averaged_weights(mut self) -> Self {
        self.source.ema = true;
        self.unloaded()
    }

    /// Uses these sides of the token maps, if the files do not contain them.
    #[must_use]
    pub fn with_schedule(mut self, schedule: ScaleSchedule) -> Self {
        self.source.schedule = Some(schedule);
        self.unloaded()
    }

    /// Computes on this device.
    #[must_use]
    pub fn with_device(mut self, device: DeviceChoice) -> Self {
        self.source.device = device;
        self.unloaded()
    }

    /// Computes in this precision.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.source.precision = precision;
        self.unloaded()
    }

    fn unloaded(self) -> Self {
        Self { source: self.source, ready: OnceCell::new() }
    }

    /// Samples one image for each of `classes`.
    ///
    /// # Errors
    /// When a file does not fit, a class is unknown, a setting is out of range, a value is not finite, or memory runs
    /// out.
    pub fn sample<C: Into<Class> + Clone>(
        &self,
        classes: &[C],
        sampling: &Sampling,
    ) -> Result<Vec<RgbImage>> {
        self.with_sampler(|ready, sampler| {
            let labels = labels(classes, &ready.opened.names)?;
            let numbers: Vec<u64> = (0..labels.len() as u64).collect();
            let mut images = Vec::with_capacity(labels.len());
            let at_once = at_once(sampler.config(), MOST_AT_ONCE);
            for (labels, numbers) in labels.chunks(at_once).zip(numbers.chunks(at_once)) {
                let draws = Draws::new(sampling.seed, numbers.to_vec());
                images.extend(from_tensor(&sampler.sample(labels, &draws, &sampling.options())?.images)?);
            }
            Ok(images)
        })
    }

    /// Samples image number 0 of `class`, and decodes it after each scale, from coarse to fine.
    ///
    /// # Errors
    /// As [`Var::sample`].
    pub fn sample_scales(&self, class: impl Into<Class>, sampling: &Sampling) -> Result<Vec<RgbImage>> {
        self.with_sampler(|ready, sampler| {
            let label = class.into().label(&ready.opened.names)?;
            let sample =
                sampler.sample(&[label], &Draws::new(sampling.seed, vec![0]), &sampling.options())?;
            let latents = Tensor::f_cat(&sample.latents, 0).map_err(Error::from)?;
            from_tensor(&sampler.decode(&latents, || "images after each scale".into())?)
        })
    }

    /// Generates parts of `photo`, which can have any size. Kept pixels do not change.
    ///
    /// # Errors
    /// As [`Var::sample`], and when the area does not fit the photo.
    pub fn edit(&self, photo: &RgbImage, edit: &Edit) -> Result<Vec<RgbImage>> {
        self.with_sampler(|ready, sampler| {
            let label = edit.class.label(&ready.opened.names)?;
            let tokenizer = &ready.loaded.tokenizer;
            let (side, cells) = (tokenizer.config().image_side(), tokenizer.config().schedule.last_side());
            let plan = EditPlan::new(photo.clone(), &edit.area, side as u32, cells)?;
            let weights = plan.weights(edit.feather);
            let options = edit.sampling.options();
            let generation = Generation { label, options, seed: edit.sampling.seed, variants: edit.variants };
            let mut results = Vec::with_capacity(edit.variants);
            generate(
                sampler,
                tokenizer,
                &plan.square()?,
                plan.mask(),
                &generation,
                &mut unwatched,
                |_, generated| {
                    results.push(plan.blended(&generated, &weights)?);
                    Ok(())
                },
            )?;
            Ok(results)
        })
    }

    /// Runs `work` with the networks in memory. A libtorch exception in it becomes an error.
    fn with_sampler<T>(&self, work: impl FnOnce(&Ready, &Sampler<'_>) -> Result<T>) -> Result<T> {
        guarded(|| {
            let ready = match self.ready.get() {
                Some(ready) => ready,
                None => {
                    let opened = self.source.open()?;
                    let device = self.source.device.resolve()?;
                    let kind = self.source.compute_kind(&opened, device, MOST_AT_ONCE)?;
                    let loaded = opened.load(device, kind)?;
                    self.ready.get_or_init(|| Ready { opened, loaded })
                }
            };
            let sampler = ready.opened.sampler(&ready.loaded.model, &ready.loaded.tokenizer)?;
            work(ready, &sampler)
        })
    }
}

/// The labels of `classes`, one each.
fn labels<C: Into<Class> + Clone>(classes: &[C], names: &ClassNames) -> Result<Vec<i64>> {
    classes.iter().map(|class| class.clone().into().label(names)).collect()
}
