//! The images of a request for its model: everything that is known before weights are loaded.

use serde_json::Value;
use tch::{Device, Kind};
use var_tokenizer::builtin::digest;
use var_tokenizer::torch::Precision;

use super::record::{RejectionSettings, SampleSettings, SampleSummary, SmallSettings};
use super::request::{MOST_PICTURES, SampleRequest, SmallRequest};
use crate::error::{Error, Result};
use crate::order::Order;
use crate::outputs::OutputPlan;
use crate::sampling::{at_once, check_pair, check_small};
use crate::source::{FileDigest, ModelSource, Opened};

/// Number of classes if the user names none.
const DEFAULT_CLASSES: usize = 10;
/// How rows of an archive and a folder are ordered: [`OutputPlan::row`].
const ROW_ORDER: &str = "round-robin";

/// A request with its model's configuration.
#[derive(Debug)]
pub(super) struct Job {
    pub request: SampleRequest,
    pub opened: Opened,
    /// The smaller model that continues.
    pub small: Option<Opened>,
    pub plan: OutputPlan,
    /// Candidates per class; without rejection, images per class.
    pub candidates: usize,
    /// Number of images that are sampled together.
    pub at_once: usize,
    /// Notes for the user before the work starts.
    pub notes: Vec<String>,
}

impl Job {
    /// Checks the request, opens its files, and finds its images.
    ///
    /// # Errors
    /// When a setting is out of range, a place is taken, a file is missing or does not fit, a class is unknown, or
    /// there are too many images.
    pub(crate) fn new(request: SampleRequest) -> Result<Self> {
        request.check()?;
        let opened = request.source.open()?;
        let config = &opened.config;
        check_pair(config, &opened.tokenizer_config)?;
        request.options.check_model(config)?;
        if config.order == Order::Raster && !request.show_scales.is_empty() {
            return Err(Error::Config(
                "the model generates in raster order and has one scale only; omit --show-scales".into(),
            ));
        }
        let small = request.small.as_ref().map(|small| open_small(small, &opened)).transpose()?;
        let labels = if request.classes.is_empty() {
            (0..config.classes.min(DEFAULT_CLASSES) as i64).collect::<Vec<i64>>()
        } else {
            opened.names.labels(&request.classes)?
        };
        let per_class = request.per_class;
        let candidates = request.rejection.as_ref().map_or(per_class, |r| r.candidates(per_class));
        check_count(&request, labels.len(), candidates)?;
        if request.rejection.is_some() && labels.contains(&(config.classes as i64)) {
            return Err(Error::Config(
                "--keep: the classifier gives no probability for the class none; omit one of the two".into(),
            ));
        }
        let plan = OutputPlan {
            labels,
            names: opened.names.clone(),
            per_class,
            side: opened.tokenizer_config.image_side(),
            chosen: request.rejection.is_some(),
        };
        let at_once = at_once(config, request.batch);
        Ok(Self { request, opened, small, plan, candidates, at_once, notes: Vec::new() })
    }

    /// Number of images to sample, including rejected ones.
    pub(crate) fn sampled(&self) -> usize {
        self.plan.labels.len() * self.candidates
    }

    /// Number of images that belong together. A call resumes at a multiple of it.
    pub(crate) fn unit(&self) -> usize {
        if self.plan.chosen { self.plan.per_class } else { self.at_once }
    }

    /// The device and the type to compute in. `earlier` are the settings of the call that this one resumes; its measured
    /// precision is kept.
    ///
    /// # Errors
    /// When there is no such device, or it cannot compute in the precision.
    pub(crate) fn device_and_kind(&mut self, earlier: Option<&Value>) -> Result<(Device, Kind)> {
        let measured = earlier.and_then(|settings| settings.get("precision")).and_then(Value::as_str);
        let source = &mut self.request.source;
        if let Some(measured) = measured.filter(|_| source.precision == Precision::Auto) {
            source.precision = measured.parse()?;
        }
        let device = source.device.resolve()?;
        Ok((device, source.compute_kind(&self.opened, device, self.at_once)?))
    }

    /// Everything that the images depend on, as JSON.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn settings(&self, device: Device, kind: Kind) -> Result<Value> {
        let (request, plan) = (&self.request, &self.plan);
        let (model, tokenizer) = self.opened.fingerprints()?;
        let rejection = match &request.rejection {
            None => None,
            Some(r) => Some(RejectionSettings {
                keep: r.keep,
                candidates: self.candidates,
                size: r.size,
                mean: r.mean,
                std: r.deviation,
                classifier: FileDigest::of(&r.classifier)?,
            }),
        };
        let small = match (&self.small, &request.small) {
            (Some(opened), Some(asked)) => {
                Some(SmallSettings { model: opened.model_digest()?, large_scales: asked.large_scales })
            }
            _ => None,
        };
        let settings = SampleSettings {
            program: concat!("var-model ", env!("CARGO_PKG_VERSION")).to_owned(),
            model,
            tokenizer,
            small,
            classes: plan.labels.clone(),
            class_names: plan.labels.iter().map(|&label| plan.names.name(label).to_owned()).collect(),
            per_class: plan.per_class,
            seed: request.seed,
            sampling: request.options.clone(),
            batch: self.at_once,
            precision: Precision::name_of(kind).to_owned(),
            device: match device {
                Device::Cuda(index) => format!("cuda:{index}"),
                _ => "cpu".to_owned(),
            },
            rejection,
            pictures: plan.pictures(),
            side: plan.side,
            order: ROW_ORDER.to_owned(),
        };
        serde_json::to_value(settings).map_err(|e| Error::Config(format!("settings: {e}")))
    }

    /// The summary of the call, which `sampled` this number of images in `seconds`.
    pub(crate) fn summary(&self, sampled: usize, seconds: f64, complete: bool) -> SampleSummary {
        let places = self.request.out.iter().map(|target| target.path());
        let scales = self.request.show_scales.iter().map(|file| file.path());
        let outputs: Vec<String> = places.chain(scales).map(|path| path.display().to_string()).collect();
        SampleSummary {
            pictures: self.plan.pictures(),
            sampled,
            seconds,
            images_per_second: sampled as f64 / seconds.max(1e-9),
            out: outputs.first().cloned(),
            outputs,
            notes: self.notes.clone(),
            complete,
        }
    }
}

/// Opens the model that continues what `large` begins. A run folder must have the same tokenizer; a model file has none.
fn open_small(asked: &SmallRequest, large: &Opened) -> Result<Opened> {
    let mut source = ModelSource::at(&asked.model)?;
    if source.run.is_none() {
        source.tokenizer = Some(large.tokenizer_name.clone());
        source.schedule = Some(large.config.schedule.clone());
    }
    let small = source.open()?;
    check_small(&large.config, &small.config, asked.large_scales)?;
    let (first, second) = (&large.tokenizer_name, &small.tokenizer_name);
    if first != second && digest(first)? != digest(second)? {
        return Err(Error::Config(format!(
            "the models have different tokenizers, {first} and {second}; the tokens of one mean nothing to the other. Name a \
             small model of the same tokenizer"
        )));
    }
    Ok(small)
}

fn check_count(request: &SampleRequest, classes: usize, candidates: usize) -> Result<()> {
    let images = classes.checked_mul(candidates);
    if images.is_some_and(|n| (1..=MOST_PICTURES).contains(&n)) {
        return Ok(());
    }
    let of = if request.rejection.is_some() { format!(" of {candidates} candidates") } else { String::new() };
    Err(Error::Config(format!(
        "{classes} classes with --per-class {}{of}: a call samples 1 to {MOST_PICTURES} images; sample in several calls",
        request.per_class
    )))
}
