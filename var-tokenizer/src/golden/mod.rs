//! Golden cases: numbers of the published implementation that ours must give.
//!
//! A case is a folder with a `manifest.json` (configuration and what was run) and, mostly, an
//! `expected.safetensors`. Weights and inputs are not stored: the portable initialiser makes them. The
//! functions here serve the tests and `cargo xtask golden` alike.
//!
//! A gap is a failure: every comparison expects its tensor in the case, and [`Case::finish`] reports the
//! tensors that no comparison has looked at.

pub(crate) mod ops;
pub mod preprocess;
pub(crate) mod vae;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Serialize;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::runtime::error::{Error, Result};
use crate::runtime::progress::say;
use crate::runtime::torch::guarded;
use crate::runtime::weights::safetensors;
use crate::runtime::weights::{Parameters, portable};
use crate::vqvae::{PhiSharing, TokenizerConfig, VqVae};

/// Absolute plus relative tolerance of latents, features and logits.
pub const FEATURES: f64 = 1e-4;
/// Tolerance of images.
pub const IMAGES: f64 = 1e-3;
/// Relative tolerance of losses.
pub const LOSSES: f64 = 1e-5;
/// Relative tolerance of a gradient tensor's norm.
pub(crate) const GRADIENT_NORMS: f64 = 1e-3;
/// Absolute tolerance of single entries of a gradient.
pub(crate) const GRADIENT_ENTRIES: f64 = 1e-4;

/// Tolerances of another device than a processor, as a multiple: its sums have another order.
const ON_A_DEVICE: f64 = 4.0;
/// The device that cases are computed on; a processor if nothing is set.
static DEVICE: OnceLock<Device> = OnceLock::new();

/// Computes all later cases of this process on `device`. The first call decides.
pub fn compute_on(device: Device) {
    let _ = DEVICE.set(device);
}

/// Outcome for one quantity of one case.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The case's folder, as given.
    pub case: String,
    /// What was compared.
    pub quantity: String,
    /// Largest difference found; `None` when the quantity could not be computed.
    pub difference: Option<f64>,
    /// Largest difference allowed.
    pub tolerance: f64,
    /// Whether it holds.
    pub pass: bool,
    /// What went wrong, or what the difference counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One case with its manifest and expected tensors, and the checks made so far.
#[derive(Debug)]
pub struct Case {
    folder: PathBuf,
    /// The manifest as it stands.
    pub manifest: Value,
    /// Expected tensors; empty where the case has none.
    pub expected: BTreeMap<String, Tensor>,
    /// Outcomes so far.
    pub checks: Vec<Check>,
    /// Where networks and inputs of the case are.
    pub device: Device,
    /// Names of the expected tensors that a check has looked at.
    compared: BTreeSet<String>,
}

impl Case {
    /// Opens the case in `folder`.
    ///
    /// # Errors
    /// When the manifest is missing or is no JSON, or the tensors cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("manifest.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        let manifest = serde_json::from_str(&text).map_err(|e| Error::file(&path, e.to_string()))?;
        let tensors = folder.join("expected.safetensors");
        let expected =
            if tensors.exists() { safetensors::open(&tensors)?.read_all()? } else { BTreeMap::new() };
        let (checks, compared) = (Vec::new(), BTreeSet::new());
        let device = *DEVICE.get().unwrap_or(&Device::Cpu);
        Ok(Self { folder: folder.to_owned(), manifest, expected, checks, device, compared })
    }

    /// The case's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The text entry `key` of the manifest, or "".
    pub fn text(&self, key: &str) -> &str {
        self.manifest.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// The whole number `key` of the manifest.
    ///
    /// # Errors
    /// When it is missing or is no whole number.
    pub fn number(&self, key: &str) -> Result<u64> {
        self.manifest
            .get(key)
            .and_then(Value::as_u64)
            .ok_or_else(|| Error::file(&self.folder, format!("manifest has no whole number '{key}'")))
    }

    /// The truth value `key` of the manifest; false when missing.
    pub fn flag(&self, key: &str) -> bool {
        self.manifest.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The list of whole numbers `key` of the manifest.
    ///
    /// # Errors
    /// When it is missing or holds something else.
    pub fn numbers(&self, key: &str) -> Result<Vec<usize>> {
        self.manifest
            .get(key)
            .and_then(Value::as_array)
            .and_then(|list| list.iter().map(|v| v.as_u64().map(|n| n as usize)).collect())
            .ok_or_else(|| Error::file(&self.folder, format!("manifest has no list of numbers '{key}'")))
    }

    /// Whether the case expects the tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.expected.contains_key(name)
    }

    /// The expected tensor `name`, which counts as compared from now on; without it a failed check.
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        let found = self.expected.get(name).map(Tensor::shallow_clone);
        if found.is_some() {
            self.compared.insert(name.to_owned());
        } else {
            self.fail(name, "missing in expected.safetensors");
        }
        found
    }

    /// Notes that `quantity` could not be compared, and why.
    pub fn fail(&mut self, quantity: &str, why: impl Into<String>) {
        self.record(quantity, None, 0.0, Some(why.into()));
    }

    /// Notes an outcome; it passes when there is a difference and it is within the tolerance.
    pub fn record(&mut self, quantity: &str, difference: Option<f64>, tolerance: f64, note: Option<String>) {
        let tolerance = tolerance * if self.device == Device::Cpu { 1.0 } else { ON_A_DEVICE };
        let pass = difference.is_some_and(|d| d <= tolerance);
        let case = self.folder.display().to_string();
        self.checks.push(Check { case, quantity: quantity.to_owned(), difference, tolerance, pass, note });
    }

    /// Compares with the expected tensor of the same name: `|a − b| ≤ tolerance · (1 + |b|)`.
    pub fn close(&mut self, name: &str, found: &Tensor, tolerance: f64) {
        let Some(expected) = self.take(name) else { return };
        let (difference, note) = largest_difference(found, &expected);
        self.record(name, difference, tolerance, note);
    }

    /// Compares whole numbers; the difference counts those that differ.
    pub fn exact(&mut self, name: &str, found: &Tensor) {
        let Some(expected) = self.take(name) else { return };
        if found.size() != expected.size() {
            let note = format!("shape {:?}, expected {:?}", found.size(), expected.size());
            return self.record(name, None, 0.0, Some(note));
        }
        let differing = found
            .to_kind(Kind::Int64)
            .to_device(Device::Cpu)
            .not_equal_tensor(&expected.to_kind(Kind::Int64))
            .to_kind(Kind::Double)
            .sum(Kind::Double)
            .double_value(&[]);
        let note = format!("of {} differ", expected.numel());
        self.record(name, Some(differing), 0.0, Some(note));
    }

    /// Compares numbers (a scalar or a list) by their largest relative difference.
    pub fn relative(&mut self, name: &str, found: &Tensor, tolerance: f64) {
        let Some(expected) = self.take(name) else { return };
        let expected = expected.to_kind(Kind::Double).flatten(0, -1);
        let found = found.to_kind(Kind::Double).flatten(0, -1).to_device(Device::Cpu);
        if expected.size() != found.size() {
            return self.record(name, None, tolerance, Some("shapes differ".into()));
        }
        let difference = ((found - &expected).abs() / expected.abs().clamp_min(1e-12)).max();
        self.record(name, Some(finite(difference.double_value(&[]))), tolerance, None);
    }

    /// Compares gradients with `grad_norms`, `grad_heads` and every `grad.NAME`.
    pub fn gradients(&mut self, parameters: &Parameters) {
        self.compare_gradients("", parameters, false);
    }

    /// The same with `prefix` before the names of list and tensors, and for gradients of any size: what counts as zero but
    /// for rounding follows the largest norm, an entry may be off by the share that its tensor's norm may be off by, and
    /// a tensor without gradient has a gradient of 0.
    pub fn gradients_of(&mut self, prefix: &str, parameters: &Parameters) {
        self.compare_gradients(prefix, parameters, true);
    }

    fn compare_gradients(&mut self, prefix: &str, parameters: &Parameters, any_size: bool) {
        let names: Vec<String> =
            match self.manifest.get(format!("{prefix}grad_names")).and_then(Value::as_array) {
                Some(list) => list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
                None => {
                    return self.fail("gradients", format!("the manifest has no list '{prefix}grad_names'"));
                }
            };
        let norms = self.take(&format!("{prefix}grad_norms"));
        let (Some(norms), Some(heads)) = (norms, self.take(&format!("{prefix}grad_heads"))) else {
            return;
        };
        let count = names.len() as i64;
        if count == 0 || norms.size() != [count] || heads.size() != [count, 4] {
            let (norms, heads) = (norms.size(), heads.size());
            return self.fail("gradients", format!("{count} names, norms {norms:?}, heads {heads:?}"));
        }
        // A gradient that is zero but for rounding has no norm to compare: a floor.
        let largest = if any_size { norms.max().double_value(&[]) } else { 1.0 };
        let floor = 1e-4 * largest.max(1.0);
        let mut worst_norm = (0.0_f64, String::new());
        let mut worst_head = (0.0_f64, String::new());
        for (i, name) in names.iter().enumerate() {
            let expected = norms.double_value(&[i as i64]);
            let Some(gradient) = parameters.get(name).map(Tensor::grad).filter(Tensor::defined) else {
                if any_size && expected == 0.0 {
                    continue;
                }
                return self.fail("gradients", format!("none for {name}"));
            };
            let flat = gradient.flatten(0, -1).to_kind(Kind::Double).to_device(Device::Cpu);
            let difference = (flat.norm().double_value(&[]) - expected).abs() / expected.max(floor);
            if finite(difference) > worst_norm.0 {
                worst_norm = (finite(difference), name.clone());
            }
            let count = flat.numel().min(4) as i64;
            let head = heads.get(i as i64).narrow(0, 0, count).to_kind(Kind::Double);
            let allowed =
                if any_size { (expected * GRADIENT_NORMS / GRADIENT_ENTRIES).max(1.0) } else { 1.0 };
            let difference = (flat.narrow(0, 0, count) - head).abs().max().double_value(&[]) / allowed;
            if finite(difference) > worst_head.0 {
                worst_head = (finite(difference), name.clone());
            }
        }
        let note = format!("{} tensors, worst {}", names.len(), worst_norm.1);
        self.record(&format!("{prefix}gradient norms"), Some(worst_norm.0), GRADIENT_NORMS, Some(note));
        self.record(
            &format!("{prefix}gradient entries"),
            Some(worst_head.0),
            GRADIENT_ENTRIES,
            Some(worst_head.1),
        );
        let whole = format!("{prefix}grad.");
        let names: Vec<String> =
            self.expected.keys().filter_map(|k| k.strip_prefix(&whole).map(str::to_owned)).collect();
        for name in names {
            let key = format!("{whole}{name}");
            let Some(expected) = self.take(&key) else { continue };
            let gradient = parameters.get(&name).map(Tensor::grad).filter(Tensor::defined);
            let Some(gradient) = gradient.filter(|g| g.size() == expected.size()) else {
                self.fail(&key, "no such gradient");
                continue;
            };
            let expected = expected.to_kind(Kind::Double);
            let off = (gradient.to_kind(Kind::Double) - &expected).norm().double_value(&[]);
            let difference = off / expected.norm().double_value(&[]).max(1e-12);
            self.record(&key, Some(finite(difference)), GRADIENT_NORMS, None);
        }
    }

    /// Compares the digests in the manifest's table `key` with the parameters' values.
    pub fn weights(&mut self, key: &str, parameters: &Parameters) {
        let table = self.manifest.get(key).cloned().unwrap_or_default();
        self.weights_in(key, &table, parameters);
    }

    /// Compares the digests in `table` with the parameters' values; those of buffers may be missing.
    pub fn weights_in(&mut self, key: &str, table: &Value, parameters: &Parameters) {
        let Some(table) = table.as_object() else {
            return self.fail(key, "the manifest has no table of digests");
        };
        let mut wrong = Vec::new();
        for (name, expected) in table {
            let found = parameters.get(name).map(portable::digest);
            // Buffers that we have no use for are not among the parameters.
            if let Some(found) = found
                && Some(found.as_str()) != expected.as_str()
            {
                wrong.push(name.clone());
            }
        }
        let missing: Vec<&str> = parameters
            .trainable()
            .map(|p| p.name.as_str())
            .filter(|name| !table.contains_key(*name))
            .collect();
        let note = match (wrong.first(), missing.first()) {
            (Some(name), _) => format!("differs: {name}"),
            (_, Some(name)) => format!("not in the manifest: {name}"),
            _ => format!("{} tensors", table.len()),
        };
        self.record(key, Some((wrong.len() + missing.len()) as f64), 0.0, Some(note));
    }

    /// Ends a case: expected tensors that no check has looked at make a failed check, except those whose
    /// names begin like an entry of `known`, which says why they are passed over.
    pub fn finish(&mut self, known: &[(&str, &str)]) {
        let names = self.expected.keys().map(String::as_str);
        let mut left: Vec<&str> = names.filter(|name| !self.compared.contains(*name)).collect();
        let mut notes = Vec::new();
        for (start, why) in known {
            let before = left.len();
            left.retain(|name| !name.starts_with(start));
            let count = before - left.len();
            notes.extend((count > 0).then(|| format!("{start}*: {count} tensors {why}")));
        }
        notes.extend(left.iter().map(|name| format!("nothing compares {name}")));
        if !notes.is_empty() {
            self.record("tensors without a check", Some(left.len() as f64), 0.0, Some(notes.join("; ")));
        }
    }
}

/// Turns NaN into infinity, so that it fails every comparison.
pub(crate) fn finite(x: f64) -> f64 {
    if x.is_nan() { f64::INFINITY } else { x }
}

/// Largest `|a − b| / (1 + |b|)`; `None` and a note when shapes differ.
pub(crate) fn largest_difference(found: &Tensor, expected: &Tensor) -> (Option<f64>, Option<String>) {
    if found.size() != expected.size() {
        return (None, Some(format!("shape {:?}, expected {:?}", found.size(), expected.size())));
    }
    if found.numel() == 0 {
        return (Some(0.0), None);
    }
    let found = found.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    let expected = expected.to_kind(Kind::Double);
    let difference = ((found - &expected).abs() / (expected.abs() + 1.0)).max().double_value(&[]);
    (Some(finite(difference)), None)
}

/// The tokenizer's configuration in a manifest.
///
/// # Errors
/// When a key is missing or the parts do not fit.
pub fn tokenizer_config(case: &Case) -> Result<TokenizerConfig> {
    let schedule = crate::ScaleSchedule::new(case.numbers("patch_nums")?)?;
    Ok(TokenizerConfig {
        channels: case.number("ch")? as usize,
        channel_multipliers: case.numbers("ch_mult")?,
        residual_blocks: 2,
        latent_channels: case.number("z")? as usize,
        vocabulary: case.number("V")? as usize,
        phi: match case.number("share")? as usize {
            0 => PhiSharing::PerScale,
            1 => PhiSharing::Shared,
            n => PhiSharing::Partial(n),
        },
        phi_ratio: 0.5,
        z_norm: case.flag("znorm"),
        commitment: 0.25,
        schedule,
    })
}

/// The case's tokenizer with portable weights; its digests are checked under `key`.
///
/// # Errors
/// When the manifest is not whole.
pub fn tokenizer(case: &mut Case, key: &str) -> Result<VqVae> {
    let config = tokenizer_config(case)?;
    let mut vae = VqVae::new(&config, case.device, None)?;
    portable::fill(vae.parameters_mut(), case.number("seed")?);
    case.weights(key, vae.parameters());
    Ok(vae)
}

/// Returns the images `[B, 3, S, S]` of the case, in [-1, 1].
///
/// # Errors
/// When the manifest is incomplete.
pub fn images(case: &Case, config: &TokenizerConfig) -> Result<Tensor> {
    let side = config.image_side() as i64;
    let shape = [case.number("batch")? as i64, 3, side, side];
    Ok((portable::uniform("image", case.number("seed")?, &shape) * 2.0 - 1.0).to_device(case.device))
}

/// Runs everything that this crate can check in the case at `folder`; nothing for other kinds.
///
/// # Errors
/// When the case cannot be read.
pub fn check(folder: &Path) -> Result<Vec<Check>> {
    let mut case = Case::open(folder)?;
    if case.text("kind") == "vae" {
        vae::check(&mut case)?;
        case.finish(&[]);
    } else if case.text("case") == "ops" {
        ops::check(&mut case)?;
        case.finish(&[("filter.", "are for var-model")]);
    } else if case.text("group") == "preprocess" {
        for (quantity, difference, tolerance, _) in preprocess::check_preprocess(folder)? {
            case.record(&quantity, Some(difference), tolerance, None);
        }
    }
    Ok(case.checks)
}

/// Prints the checks of `folders` as JSON lines; a case that cannot be read, or on which libtorch fails,
/// becomes a failed check.
pub fn print_json<E: std::fmt::Display + From<Error>>(
    folders: &[PathBuf],
    check: impl Fn(&Path) -> std::result::Result<Vec<Check>, E>,
) {
    for folder in folders {
        let checks = guarded(|| check(folder)).unwrap_or_else(|e| {
            vec![Check {
                case: folder.display().to_string(),
                quantity: "case".into(),
                difference: None,
                tolerance: 0.0,
                pass: false,
                note: Some(e.to_string()),
            }]
        });
        for line in checks.iter().filter_map(|c| serde_json::to_string(c).ok()) {
            let _ = say(line);
        }
    }
}
