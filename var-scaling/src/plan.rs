//! The plan of a sweep: every run with its settings, size, compute, memory and time, before any of it
//! is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use var_model::{TransformerConfig, cost};

use crate::error::{Error, Result};
use crate::ladder::{self, Size};
use crate::machine;
use crate::preset::{self, Preset};

/// What a person asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Preset name or TOML file.
    pub preset: Option<String>,
    /// Pictures.
    pub data: Option<String>,
    /// Sizes and ladders, comma-separated.
    pub sizes: Option<String>,
    /// Tokenizer file, or `builtin`.
    pub tokenizer: Option<String>,
    /// Train the tokenizer first, whatever the preset says.
    pub train_tokenizer: bool,
    /// First seed.
    pub seed: u64,
    /// Runs of every size, with consecutive seeds.
    pub seeds: u64,
    /// `key=value` for every `var-train model`.
    pub set: Vec<String>,
    /// Assumed FLOPs a second; none for the built-in estimate.
    pub flops_rate: Option<f64>,
}

/// Where the tokenizer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerSource {
    /// `builtin` or a file.
    Given(String),
    /// Trained first with these settings of `var-train tokenizer`.
    Trained {
        /// Its preset.
        preset: String,
        /// More settings.
        set: BTreeMap<String, String>,
    },
}

/// One run of the sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Name, which is its folder's.
    pub name: String,
    /// Size.
    pub size: Size,
    /// Preset of `var-train model`.
    pub preset: String,
    /// Settings of `var-train model`, among them steps, batch, learning_rate and seed.
    pub set: BTreeMap<String, String>,
    /// Optimizer steps.
    pub steps: u64,
    /// Pictures a step.
    pub batch: u64,
    /// Seed.
    pub seed: u64,
    /// Trainable parameters.
    pub parameters: u64,
    /// Training tokens.
    pub tokens: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Bytes of memory in training with activations of two bytes.
    pub memory: f64,
    /// Estimated seconds.
    pub seconds: f64,
}

/// The whole plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Name of the preset.
    pub name: String,
    /// The preset.
    pub preset: Preset,
    /// Pictures: `emoji` or a path.
    pub data: String,
    /// The tokenizer.
    pub tokenizer: TokenizerSource,
    /// First seed, which also is the data's.
    pub seed: u64,
    /// The runs, smallest first.
    pub runs: Vec<Run>,
    /// What the times assume.
    pub assumption: String,
}

impl Plan {
    /// Makes the plan. Pictures need not be there yet.
    ///
    /// # Errors
    /// When the preset, a size or a setting is unknown, or pictures are needed and none are named.
    pub fn new(request: &Request) -> Result<Self> {
        let fallback = if request.data.is_some() { preset::DEFAULT_FOR_DATA } else { preset::DEFAULT };
        let name = request.preset.clone().unwrap_or_else(|| fallback.into());
        let mut preset = Preset::load(&name)?;
        if preset.data.source.is_some()
            && request.data.as_ref().is_some_and(|d| Some(d) != preset.data.source.as_ref())
        {
            // A tokenizer that comes with other pictures does not fit a person's own.
            preset.tokenizer.weights = "train".into();
        }
        let data = match request.data.clone().or_else(|| preset.data.source.clone()) {
            Some(data) => absolute(&data),
            None => {
                return Err(Error::Config(format!(
                    "preset {name} has no pictures of its own; name them with --data PATH \
                     (class folders, a tar, an npz, CIFAR's binary files, or emoji)"
                )));
            }
        };
        let tokenizer = tokenizer(request, &preset)?;
        let sizes = match &request.sizes {
            Some(list) => ladder::parse(list)?,
            None => preset.sizes()?,
        };
        let asked = assignments(&request.set)?;
        let mut runs = Vec::new();
        for size in sizes {
            for offset in 0..request.seeds.max(1) {
                let seed = request.seed + offset;
                runs.push(run(&preset, &size, seed, request.seeds > 1, &asked, request.flops_rate)?);
            }
        }
        runs.sort_by(|a, b| a.parameters.cmp(&b.parameters).then(a.seed.cmp(&b.seed)));
        let assumption = machine::assumption(request.flops_rate);
        let name = Path::new(&name).file_stem().map_or(name.clone(), |s| s.to_string_lossy().into_owned());
        Ok(Self { name, preset, data, tokenizer, seed: request.seed, runs, assumption })
    }

    /// Settings that all runs share and that the tokens depend on.
    pub fn shared(&self) -> BTreeMap<String, String> {
        let data = &self.preset.data;
        let tokenizer = match &self.tokenizer {
            TokenizerSource::Given(file) => file.clone(),
            TokenizerSource::Trained { preset, set } => format!("trained with {preset} {set:?}"),
        };
        BTreeMap::from([
            ("data".to_owned(), self.data.clone()),
            ("tokenizer".into(), tokenizer),
            ("crops".into(), data.crops.to_string()),
            ("flip".into(), data.flip.to_string()),
            ("limit".into(), data.limit.to_string()),
            ("limit_held_out".into(), data.limit_held_out.to_string()),
            ("seed".into(), self.seed.to_string()),
        ])
    }

    /// Short fingerprint of everything that a run's result depends on.
    pub fn fingerprint(&self, run: &Run) -> String {
        let text = format!("{:?} {:?}", self.shared(), run.settings());
        Sha256::digest(text.as_bytes()).iter().take(6).map(|b| format!("{b:02x}")).collect()
    }

    /// Estimated seconds of all runs.
    pub fn seconds(&self) -> f64 {
        self.runs.iter().map(|r| r.seconds).sum()
    }

    /// The plan for programs.
    pub fn json(&self) -> Value {
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|r| {
                json!({
                    "name": r.name, "depth": r.size.depth, "width": r.size.width, "heads": r.size.heads,
                    "seed": r.seed, "steps": r.steps, "batch": r.batch, "params": r.parameters,
                    "tokens": r.tokens, "flops": r.flops, "memory_bytes": r.memory,
                    "estimated_seconds": r.seconds, "settings": r.settings(),
                })
            })
            .collect();
        json!({
            "preset": self.name, "shared": self.shared(), "runs": runs,
            "estimated_seconds": self.seconds(), "assumption": self.assumption,
        })
    }
}

impl Run {
    /// Everything that `var-train model` is told about it.
    pub fn settings(&self) -> BTreeMap<String, String> {
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

/// A path that holds from any folder; names of built-in sets and missing files stay as they are.
fn absolute(text: &str) -> String {
    if text == "emoji" {
        return text.into();
    }
    std::fs::canonicalize(text).map_or_else(|_| text.into(), |p: PathBuf| p.display().to_string())
}

fn tokenizer(request: &Request, preset: &Preset) -> Result<TokenizerSource> {
    let named = request.tokenizer.clone().unwrap_or_else(|| preset.tokenizer.weights.clone());
    if request.train_tokenizer && request.tokenizer.is_some() {
        return Err(Error::Config("give either --tokenizer or --train-tokenizer".into()));
    }
    if request.train_tokenizer || named == "train" {
        let mut set = strings(&preset.tokenizer.set);
        set.insert("seed".into(), request.seed.to_string());
        return Ok(TokenizerSource::Trained { preset: preset.tokenizer.preset.clone(), set });
    }
    if named == "builtin" {
        return Ok(TokenizerSource::Given(named));
    }
    if !Path::new(&named).is_file() {
        return Err(Error::file(&named, "no such tokenizer; give a .safetensors file, or --train-tokenizer"));
    }
    Ok(TokenizerSource::Given(absolute(&named)))
}

fn strings(table: &toml::Table) -> BTreeMap<String, String> {
    table
        .iter()
        .map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (key.clone(), text)
        })
        .collect()
}

fn assignments(set: &[String]) -> Result<BTreeMap<String, String>> {
    set.iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                // Sections may be named or not; the plan needs one spelling.
                let key = key.trim().trim_start_matches("training.").to_owned();
                Ok((key, value.trim().to_owned()))
            }
            _ => Err(Error::Config(format!("--set {text}: write key=value, e.g. --set steps=800"))),
        })
        .collect()
}

/// A number among `--set`, where there is one.
fn asked_number<T: std::str::FromStr>(asked: &BTreeMap<String, String>, key: &str) -> Result<Option<T>> {
    let bad = |v: &String| Error::Config(format!("--set {key}={v}: {key} must be a positive number"));
    asked.get(key).map(|v| v.parse().map_err(|_| bad(v))).transpose()
}

fn run(
    preset: &Preset,
    size: &Size,
    seed: u64,
    several: bool,
    asked: &BTreeMap<String, String>,
    rate: Option<f64>,
) -> Result<Run> {
    let change = preset.sizes.get(&size.name).cloned().unwrap_or_default();
    let (train, tokens) = (&preset.train, &preset.tokens);
    let batch = asked_number(asked, "batch")?.or(change.batch).unwrap_or(train.batch);
    let zero = |key: &str| Error::Config(format!("--set {key}=0: {key} must be above zero"));
    if batch == 0 {
        return Err(zero("batch"));
    }
    let by_epochs = |epochs: f64| (epochs * tokens.pictures as f64 / batch as f64).round().max(1.0) as u64;
    let own = change.steps.or_else(|| change.epochs.map(by_epochs));
    let shared = || train.steps.or_else(|| train.epochs.map(by_epochs));
    let asked_steps = asked_number(asked, "steps")?.or(asked_number(asked, "epochs")?.map(by_epochs));
    let steps: u64 = asked_steps.or(own).or_else(shared).unwrap_or(0);
    if steps == 0 {
        return Err(zero("steps"));
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
    let flag = |key: &str| set.get(key).is_some_and(|v| v == "true");
    let config = TransformerConfig {
        shared_adaln: flag("shared_adaln"),
        qk_norm: set.get("qk_norm").is_none_or(|v| v == "true"),
        depth: size.depth,
        width: size.width,
        heads: size.heads,
        classes: tokens.classes,
        vocabulary: tokens.vocabulary,
        latent_channels: tokens.latent_channels,
        schedule: tokens.schedule.clone(),
        ..TransformerConfig::published(size.depth)
    };
    let images = steps * batch;
    let flops = cost::training_flops(&config) * images as f64;
    let micro = (batch / asked_number(&set, "accumulation")?.unwrap_or(1).max(1)).max(1);
    Ok(Run {
        name: if several { format!("{}-s{seed}", size.name) } else { size.name.clone() },
        preset: train.preset.clone(),
        steps,
        batch,
        seed,
        parameters: cost::parameters(&config),
        tokens: images * tokens.schedule.tokens() as u64,
        flops,
        memory: cost::training_memory(&config, micro as usize, 2).total(),
        seconds: flops / machine::rate(size.width, rate),
        size: size.clone(),
        set,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(request: &Request) -> Plan {
        Plan::new(request).unwrap()
    }

    #[test]
    fn the_default_plan_spans_thirty_times_in_parameters_with_equal_tokens() {
        let plan = plan(&Request::default());
        assert!(plan.runs.len() >= 5);
        let (first, last) = (&plan.runs[0], &plan.runs[plan.runs.len() - 1]);
        assert!(last.parameters > 30 * first.parameters);
        assert!(plan.runs.iter().all(|r| r.tokens == first.tokens));
        assert_eq!(plan.tokenizer, TokenizerSource::Given("builtin".into()));
    }

    #[test]
    fn the_published_plan_has_the_published_sizes_and_steps() {
        let plan = plan(&Request {
            preset: Some("imagenet-256".into()),
            data: Some("/nowhere".into()),
            ..Request::default()
        });
        let params: Vec<u64> = plan.runs.iter().map(|r| r.parameters).collect();
        assert_eq!(params, [310_283_520, 600_917_136, 1_033_399_360, 2_010_020_356]);
        let d30 = &plan.runs[3];
        // 350 epochs of 1 281 167 pictures of 680 tokens: the paper's 305 billion.
        assert!((d30.tokens as f64 / 305e9 - 1.0).abs() < 0.001, "{}", d30.tokens);
        assert_eq!(d30.set["learning_rate"], "0.00032");
        assert_eq!(d30.set["weight_decay_end"], "0.08");
        assert_eq!(plan.runs[0].set["learning_rate"], "0.0003");
    }

    #[test]
    fn settings_of_a_person_win_and_reach_the_estimates() {
        let base = plan(&Request::default());
        let set = vec!["training.steps=1000".into(), "learning_rate=0.5".into(), "clip=1".into()];
        let changed = plan(&Request { set, ..Request::default() });
        assert_eq!(changed.runs[0].steps, 2 * base.runs[0].steps);
        assert_eq!(changed.runs[0].tokens, 2 * base.runs[0].tokens);
        assert_eq!(changed.runs[0].set["learning_rate"], "0.5");
        assert_eq!(changed.runs[0].set["clip"], "1");
        assert_ne!(changed.fingerprint(&changed.runs[0]), base.fingerprint(&base.runs[0]));
        for bad in ["steps", "steps=x", "steps=0", "batch=0", "=3"] {
            assert!(Plan::new(&Request { set: vec![bad.into()], ..Request::default() }).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_seeds_make_runs_of_their_own_names() {
        let plan = plan(&Request { sizes: Some("1x32".into()), seeds: 3, seed: 5, ..Request::default() });
        let names: Vec<&str> = plan.runs.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["1x32-s5", "1x32-s6", "1x32-s7"]);
        assert_eq!(plan.runs[2].set["seed"], "7");
    }

    #[test]
    fn own_pictures_get_a_tokenizer_of_their_own() {
        let own = plan(&Request { data: Some("/nowhere".into()), ..Request::default() });
        assert_eq!(own.name, "cifar-nano");
        assert!(matches!(own.tokenizer, TokenizerSource::Trained { .. }));
        let preset = Some("emoji-nano".to_owned());
        let own =
            plan(&Request { data: Some("/nowhere".into()), preset: preset.clone(), ..Request::default() });
        assert!(matches!(own.tokenizer, TokenizerSource::Trained { .. }));
        let error =
            Plan::new(&Request { preset: Some("cifar-nano".into()), ..Request::default() }).unwrap_err();
        assert!(error.to_string().contains("--data"), "{error}");
    }
}
