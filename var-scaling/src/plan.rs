//! The plan of a sweep: each run with its settings, size, compute, memory and time.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::devices::Devices;
use crate::error::{Error, Result};
use crate::images::{SweepImages, absolute};
use crate::ladder::{self, Size};
use crate::machine;
use crate::plan_notes;
use crate::preparation::{Preparation, preparations};
use crate::preset::{self, Length, SweepPreset};
use crate::request::{PlannedRun, SweepRequest, TokenizerSource};
use crate::run_plan::{planned_run, strings};
use crate::settings::{self, MAX_SEED, MAX_SEEDS};

/// The plan of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepPlan {
    /// Name of the preset.
    pub name: String,
    /// The preset.
    pub preset: SweepPreset,
    /// The images.
    pub images: SweepImages,
    /// The tokenizer.
    pub tokenizer: TokenizerSource,
    /// First seed, and the seed of encoding.
    pub seed: u64,
    /// The work before the first run.
    pub preparations: Vec<Preparation>,
    /// The runs, smallest first.
    pub runs: Vec<PlannedRun>,
    /// What the times assume.
    pub assumption: String,
    /// The devices that it is for.
    pub devices: Option<Devices>,
    /// Settings without effect, and choices of the program; one line each.
    pub notes: Vec<String>,
}

impl SweepPlan {
    /// Makes the plan. Counts the images of the request; without images, see [`SweepPlan::data`], it uses the numbers of the
    /// preset.
    ///
    /// # Errors
    /// When the preset, a size or a setting is unknown, a number is out of range, or the named images
    /// cannot be opened.
    pub fn new(request: &SweepRequest) -> Result<Self> {
        let fallback = preset::default_for(request.data.is_some());
        let name = request.preset.as_deref().unwrap_or(fallback);
        Self::of(name, SweepPreset::load(name)?, request, None)
    }

    /// The plan of `preset`, called `name`. `tokenizer`: this one, and no other.
    ///
    /// # Errors
    /// As for [`SweepPlan::new`].
    pub(crate) fn of(
        name: &str,
        mut preset: SweepPreset,
        request: &SweepRequest,
        tokenizer: Option<TokenizerSource>,
    ) -> Result<Self> {
        if preset.data.source.is_some()
            && request.data.as_ref().is_some_and(|d| Some(d) != preset.data.source.as_ref())
        {
            // The tokenizer of the preset does not fit other images.
            preset.tokenizer.weights = "train".into();
        }
        let tokenizer = match tokenizer {
            Some(tokenizer) => tokenizer,
            None => tokenizer_of(request, &preset)?,
        };
        let sizes = match &request.sizes {
            Some(list) => ladder::parse(list)?,
            None => preset.sizes()?,
        };
        let asked = settings::assignments(&request.set)?;
        let seeds = seeds(request)?;
        let source = request.data.as_ref().or(preset.data.source.as_ref());
        let images = SweepImages::find(source.map(String::as_str), &preset)?;
        let mut runs: Vec<PlannedRun> = Vec::new();
        let mut add = |size: &Size, length: Option<Length>, held_out: bool| -> Result<()> {
            for seed in seeds.clone() {
                let mut asked = asked.clone();
                let mut name = size.to_string();
                if let Some(length) = length {
                    let (steps, words) = match length {
                        Length::Steps(steps) => (steps, format!("{steps}steps")),
                        Length::Flops(flops) => {
                            let mut one = asked.clone();
                            one.remove("epochs");
                            one.insert("steps".into(), "1".into());
                            let one = planned_run(name.clone(), &preset, &images, size, seed, &one, request)?;
                            // Too many steps are refused with the run.
                            ((flops / one.flops).round().max(1.0) as u64, format!("{flops:e}flops"))
                        }
                    };
                    name += &format!("-{words}");
                    asked.remove("epochs");
                    asked.extend(["steps", "validate_every"].map(|key| (key.to_owned(), steps.to_string())));
                }
                if request.seeds > 1 {
                    name += &format!("-s{seed}");
                }
                let run = planned_run(name, &preset, &images, size, seed, &asked, request)?;
                let mut run = PlannedRun { held_out, ..run };
                if held_out {
                    // No law needs its curve, and the validations of a large model take time.
                    run.set.insert("validate_every".into(), run.steps.to_string());
                }
                let same = |other: &PlannedRun| {
                    other.size == run.size && other.steps == run.steps && other.seed == seed
                };
                if !runs.iter().any(same) {
                    runs.push(run);
                }
            }
            Ok(())
        };
        for size in &sizes {
            add(size, None, false)?;
        }
        // Sizes that a request names are all that it wants.
        for lengths in preset.ladder.lengths.iter().filter(|_| request.sizes.is_none()) {
            for (size, length) in lengths.pairs()? {
                add(&size, Some(length), false)?;
            }
        }
        let held_out = match (&request.held_out, &request.sizes) {
            (Some(list), _) => ladder::parse(list)?,
            (None, Some(_)) => Vec::new(),
            (None, None) => preset.held_out()?,
        };
        for size in &held_out {
            add(size, None, true)?;
        }
        runs.sort_by_key(|run| (run.parameters, run.seed, run.steps));
        let preparations = preparations(&tokenizer, &preset, &images, request.rate())?;
        let assumption = request
            .devices
            .map_or_else(|| machine::assumption(request.rate()), |devices| devices.assumption());
        let mut notes = images.notes.clone();
        notes.extend(plan_notes::of(request, name, &preset, &tokenizer, &images, &runs));
        let name = Path::new(name).file_stem().map_or(name.to_owned(), |s| s.to_string_lossy().into_owned());
        Ok(Self {
            name,
            preset,
            images,
            tokenizer,
            seed: request.seed,
            preparations,
            runs,
            assumption,
            devices: request.devices,
            notes,
        })
    }

    /// The images as an argument for the other programs: `emoji` or a path.
    ///
    /// # Errors
    /// [`Error::NoImages`] when neither the request nor the preset names images.
    pub fn data(&self) -> Result<&str> {
        self.images.source.as_deref().ok_or_else(|| Error::NoImages { preset: self.name.clone() })
    }

    /// Settings that all runs share and that affect the tokens.
    pub fn shared(&self) -> BTreeMap<String, String> {
        let data = &self.preset.data;
        BTreeMap::from([
            ("data".to_owned(), self.images.name().to_owned()),
            ("tokenizer".into(), self.tokenizer.to_string()),
            ("crops".into(), data.crops.to_string()),
            ("flip".into(), data.flip.to_string()),
            ("limit".into(), data.limit.to_string()),
            ("limit_held_out".into(), data.limit_held_out.to_string()),
            ("seed".into(), self.seed.to_string()),
        ])
    }

    /// A short fingerprint of all settings that affect the result of a run.
    pub fn fingerprint(&self, run: &PlannedRun) -> String {
        let text = format!("{:?} {:?}", self.shared(), run.settings());
        Sha256::digest(text.as_bytes()).iter().take(6).map(|b| format!("{b:02x}")).collect()
    }

    /// Passes of a run over the training images.
    pub fn epochs(&self, run: &PlannedRun) -> f64 {
        (run.steps * run.batch) as f64 / self.images.training.max(1) as f64
    }

    /// Estimated seconds of preparations and runs.
    pub fn seconds(&self) -> f64 {
        let before: f64 = self.preparations.iter().map(|p| p.seconds).sum();
        before + self.runs.iter().map(|r| r.seconds).sum::<f64>()
    }

    /// The plan as JSON.
    pub fn json(&self) -> Value {
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|r| {
                json!({
                    "name": r.name, "depth": r.size.depth, "width": r.size.width, "heads": r.size.heads,
                    "seed": r.seed, "steps": r.steps, "batch": r.batch, "params": r.parameters,
                    "tokens": r.tokens, "flops": r.flops, "memory_bytes": r.memory,
                    "estimated_seconds": r.seconds, "held_out": r.held_out, "epochs": self.epochs(r), "placement": r.placement,
                    "device_hours": self.devices.map(|devices| devices.hours(r.seconds)), "settings": r.settings(),
                })
            })
            .collect();
        json!({
            "preset": self.name, "shared": self.shared(), "pictures": self.images.json(),
            "preparations": self.preparations.iter().map(Preparation::json).collect::<Vec<_>>(), "runs": runs,
            "estimated_seconds": self.seconds(), "assumption": self.assumption, "devices": self.devices, "notes": self.notes,
        })
    }
}

/// The seeds of every size.
fn seeds(request: &SweepRequest) -> Result<std::ops::Range<u64>> {
    let count = request.seeds.max(1);
    if count > MAX_SEEDS {
        return Err(Error::config(format!("{count} seeds per size: expected 1 to {MAX_SEEDS}")));
    }
    match request.seed.checked_add(count) {
        Some(end) if end - 1 <= MAX_SEED => Ok(request.seed..end),
        _ => Err(Error::config(format!(
            "seed {}: too large; the last of the {count} seeds must not exceed {MAX_SEED}",
            request.seed
        ))),
    }
}

/// The tokenizer that the request or the preset names.
fn tokenizer_of(request: &SweepRequest, preset: &SweepPreset) -> Result<TokenizerSource> {
    let named = request.tokenizer.clone().unwrap_or_else(|| preset.tokenizer.weights.clone());
    if request.train_tokenizer && request.tokenizer.is_some() {
        return Err(Error::config(
            "a tokenizer is named, and another one is to be trained; choose one of the two",
        ));
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
        return Err(Error::file(&named, "no such tokenizer; name a .safetensors file, or train a tokenizer"));
    }
    Ok(TokenizerSource::Given(absolute(&named)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(request: &SweepRequest) -> SweepPlan {
        SweepPlan::new(request).unwrap()
    }

    #[test]
    fn the_default_plan_spans_thirty_times_in_parameters_with_equal_tokens() {
        let plan = plan(&SweepRequest::default());
        assert!(plan.runs.len() >= 5);
        let (first, last) = (&plan.runs[0], &plan.runs[plan.runs.len() - 1]);
        assert!(last.parameters > 30 * first.parameters);
        assert!(plan.runs.iter().all(|r| r.tokens == first.tokens));
        assert_eq!(plan.tokenizer, TokenizerSource::Given("builtin".into()));
    }

    #[test]
    fn the_published_plan_has_the_published_sizes_and_steps() {
        let plan = plan(&SweepRequest { preset: Some("paper-256".into()), ..SweepRequest::default() });
        let params: Vec<u64> = plan.runs.iter().map(|r| r.parameters).collect();
        let published = [
            18_492_580,
            41_315_904,
            78_367_716,
            133_186_960,
            209_312_580,
            310_283_520,
            439_638_724,
            600_917_136,
            797_657_700,
            1_033_399_360,
            1_311_681_060,
            1_636_041_744,
            2_010_020_356,
        ];
        assert_eq!(params, published);
        let d30 = &plan.runs[12];
        // 350 epochs of 1,281,167 images of 680 tokens: the 305 billion of the paper.
        assert!((d30.tokens as f64 / 305e9 - 1.0).abs() < 0.001, "{}", d30.tokens);
        assert_eq!(d30.set["learning_rate"], "0.00032");
        assert_eq!(d30.set["weight_decay_end"], "0.08");
        assert_eq!(plan.runs[0].set["learning_rate"], "0.0003");
        let large = SweepRequest { preset: Some("paper-512".into()), ..SweepRequest::default() };
        assert_eq!(self::plan(&large).runs[0].parameters, 2_353_893_904);
    }

    #[test]
    fn the_published_d16_takes_the_published_hours_within_a_quarter() {
        let devices = Devices::new("a100".parse().unwrap(), 16).unwrap();
        let request = SweepRequest {
            preset: Some("paper-256".into()),
            sizes: Some("d16".into()),
            devices: Some(devices),
            ..SweepRequest::default()
        };
        let found = plan(&request);
        // 2.5 days on 16 A100.
        let hours = devices.hours(found.runs[0].seconds);
        assert!((hours / (2.5 * 24.0 * 16.0) - 1.0).abs() < 0.25, "{hours}");
        let place = found.runs[0].placement.unwrap();
        assert_eq!(place.images * place.accumulation, 768 / 16);
        assert!((found.epochs(&found.runs[0]) - 200.0).abs() < 0.1);
        let odd = SweepRequest { devices: Some(Devices { ranks: 7, ..devices }), ..request };
        assert!(SweepPlan::new(&odd).is_err());
    }

    #[test]
    fn the_ladders_for_one_gpu_span_two_decades_and_fit_it_within_a_day() {
        for name in ["gpu-32", "gpu-64"] {
            let devices = Devices::new("h100".parse().unwrap(), 1).unwrap();
            let preset = Some(name.into());
            let found = plan(&SweepRequest { preset, devices: Some(devices), ..SweepRequest::default() });
            let fitted = || found.runs.iter().filter(|run| !run.held_out);
            let params = || fitted().map(|run| run.parameters as f64);
            assert!(params().fold(0.0, f64::max) > 100.0 * params().fold(f64::INFINITY, f64::min), "{name}");
            assert!(found.runs.iter().all(|run| run.placement.is_some()), "{name}");
            assert!(found.seconds() < 86_400.0, "{name}: {}", found.seconds());
            assert!(found.runs.last().is_some_and(|run| run.held_out), "{name}");
        }
    }

    #[test]
    fn settings_of_a_person_win_and_reach_the_estimates() {
        let base = plan(&SweepRequest::default());
        let set = vec!["training.steps=1000".into(), "learning_rate=0.5".into(), "clip=1".into()];
        let changed = plan(&SweepRequest { set, ..SweepRequest::default() });
        assert_eq!(changed.runs[0].steps, 2 * base.runs[0].steps);
        assert_eq!(changed.runs[0].tokens, 2 * base.runs[0].tokens);
        assert_eq!(changed.runs[0].set["learning_rate"], "0.5");
        assert_eq!(changed.runs[0].set["clip"], "1");
        assert_ne!(changed.fingerprint(&changed.runs[0]), base.fingerprint(&base.runs[0]));
        for bad in [
            "steps",
            "steps=x",
            "steps=0",
            "steps=1000000001",
            "steps=18446744073709551615",
            "batch=0",
            "batch=131073",
            "epochs=-3",
            "epochs=nan",
            "epochs=0",
            "epochs=1e30",
            // Within the bounds, but too many steps.
            "epochs=1e6 batch=1",
            "accumulation=0",
            "=3",
        ] {
            let set = bad.split(' ').map(str::to_owned).collect();
            assert!(SweepPlan::new(&SweepRequest { set, ..SweepRequest::default() }).is_err(), "{bad}");
        }
        let most = vec!["steps=1000000000".into(), "batch=131072".into()];
        assert_eq!(plan(&SweepRequest { set: most, ..SweepRequest::default() }).runs[0].steps, 1_000_000_000);
    }

    #[test]
    fn several_seeds_make_runs_of_their_own_names() {
        let plan =
            plan(&SweepRequest { sizes: Some("1x32".into()), seeds: 3, seed: 5, ..SweepRequest::default() });
        let names: Vec<&str> = plan.runs.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["1x32-s5", "1x32-s6", "1x32-s7"]);
        assert_eq!(plan.runs[2].set["seed"], "7");
        for (seed, seeds) in [(u64::MAX, 2), (u64::MAX, 1), (MAX_SEED, 2), (0, 1001)] {
            assert!(
                SweepPlan::new(&SweepRequest { seed, seeds, ..SweepRequest::default() }).is_err(),
                "{seed} {seeds}"
            );
        }
        assert!(
            SweepPlan::new(&SweepRequest { seed: MAX_SEED, seeds: 1, ..SweepRequest::default() }).is_ok()
        );
    }

    #[test]
    fn lengths_are_trainings_of_their_own_and_nothing_trains_twice() {
        let laws = SweepRequest { preset: Some("cifar-laws".into()), ..SweepRequest::default() };
        let base = plan(&laws);
        assert_eq!(base.runs.len(), 7 + 4 * 5 + 1);
        let last = base.runs.last().unwrap();
        assert_eq!(
            (last.name.as_str(), last.held_out, last.set["validate_every"].as_str()),
            ("8x256", true, "1000")
        );
        let short = base.runs.iter().find(|run| run.name == "2x64-125steps").unwrap();
        assert_eq!((short.steps, short.set["validate_every"].as_str()), (125, "125"));
        assert!(base.runs.iter().all(|run| run.steps == 1000 || run.name.ends_with("steps")));
        let named = plan(&SweepRequest { sizes: Some("2x64".into()), ..laws.clone() });
        assert_eq!(named.runs.len(), 1, "a request that names sizes gets these");
        let same = plan(&SweepRequest { set: vec!["steps=500".into()], seeds: 2, ..laws });
        assert_eq!(same.runs.len(), 2 * (7 + 4 * 4 + 1), "500 steps are one of the lengths");
        assert!(same.runs.iter().any(|run| run.name == "2x64-125steps-s1"));
    }

    #[test]
    fn budgets_of_compute_become_steps_of_each_size() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("grid.toml");
        let grid = |lengths: &str| {
            let text = include_str!("../presets/emoji-nano.toml");
            std::fs::write(
                &path,
                text.replace("[train]\n", &format!("[[ladder.lengths]]\n{lengths}\n[train]\n")),
            )
            .unwrap();
            let preset = Some(path.display().to_string());
            SweepPlan::new(&SweepRequest { preset, ..SweepRequest::default() })
        };
        let found = grid("sizes = [\"1x32\", \"2x64\"]\nflops = [1e12, 4e12]").unwrap();
        let of = |name: &str| found.runs.iter().find(|run| run.name == name).unwrap();
        for (name, flops) in [("1x32-1e12flops", 1e12), ("2x64-1e12flops", 1e12), ("2x64-4e12flops", 4e12)] {
            assert!((of(name).flops / flops - 1.0).abs() < 0.01, "{name}: {}", of(name).flops);
        }
        for bad in ["flops = [0.0]", "flops = [1e12]\nsteps = [5]", "", "flops = [1e300]"] {
            assert!(grid(&format!("sizes = [\"1x32\"]\n{bad}")).is_err(), "{bad}");
        }
    }

    /// The path of a folder with four images of each of `classes` classes.
    fn images(place: &tempfile::TempDir, classes: usize) -> String {
        for class in 0..classes {
            let folder = place.path().join(format!("class-{class}"));
            std::fs::create_dir(&folder).unwrap();
            for image in 0..4 {
                std::fs::write(folder.join(format!("{image}.ppm")), b"P6 2 2 255\n000000000000").unwrap();
            }
        }
        place.path().display().to_string()
    }

    #[test]
    fn own_images_get_a_tokenizer_of_their_own() {
        let place = tempfile::tempdir().unwrap();
        let data = Some(images(&place, 2));
        let own = plan(&SweepRequest { data: data.clone(), ..SweepRequest::default() });
        assert_eq!(own.name, "cifar-nano");
        assert!(matches!(own.tokenizer, TokenizerSource::Trained { .. }));
        let own = plan(&SweepRequest { data, preset: Some("emoji-nano".into()), ..SweepRequest::default() });
        assert!(matches!(own.tokenizer, TokenizerSource::Trained { .. }));
        let unnamed = plan(&SweepRequest { preset: Some("cifar-nano".into()), ..SweepRequest::default() });
        assert!(unnamed.data().unwrap_err().to_string().contains("class folders"));
    }

    #[test]
    fn named_images_are_counted_and_epochs_count_them() {
        let place = tempfile::tempdir().unwrap();
        let set = vec!["epochs=10".to_owned(), "batch=4".into()];
        let request = SweepRequest { data: Some(images(&place, 3)), set, ..SweepRequest::default() };
        let own = plan(&request);
        // One image of each class is held out.
        assert_eq!((own.images.classes, own.images.training, own.images.held_out), (3, 9, Some(3)));
        assert_eq!(own.runs[0].steps, 23);
        let guess = plan(&SweepRequest { data: None, preset: Some("cifar-nano".into()), ..request });
        assert_eq!(guess.runs[0].parameters - own.runs[0].parameters, 7 * 32, "10 classes less 3, width 32");
    }

    #[test]
    fn the_total_time_includes_tokenizer_and_tokens() {
        let plan = plan(&SweepRequest { preset: Some("cifar-nano".into()), ..SweepRequest::default() });
        let names: Vec<&str> = plan.preparations.iter().map(|p| p.name).collect();
        assert_eq!(names, ["tokenizer", "tokens"]);
        let runs: f64 = plan.runs.iter().map(|r| r.seconds).sum();
        assert!(plan.seconds() > runs + 200.0);
    }
}
