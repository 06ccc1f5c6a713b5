//! The plan of a comparison: one plan of a sweep per arm.

use std::path::Path;

use serde_json::{Value, json};
use var_model::cost;

use super::settings::{self, Arm, Comparison, Scoring};
use crate::error::{Error, Result};
use crate::plan::SweepPlan;
use crate::preset::{self, SweepPreset};
use crate::request::{PlannedRun, SweepRequest, TokenizerSource};

/// The plan of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonPlan {
    /// Name of the comparison.
    pub name: String,
    /// What it compares, in one line.
    pub about: String,
    /// Whether each arm is compared with the one before, not with the first.
    pub steps: bool,
    /// The arms, in order.
    pub arms: Vec<PlannedArm>,
    pub(crate) scoring: Scoring,
}

/// One arm.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedArm {
    /// Name.
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    /// The arm whose folder has its models: itself, unless it only samples differently.
    pub models: String,
    /// Its sweep.
    pub plan: SweepPlan,
}

impl PlannedArm {
    /// Whether it trains its models.
    pub fn trains(&self) -> bool {
        self.models == self.name
    }

    /// Whether its samples are guided.
    pub(crate) fn guided(&self) -> bool {
        self.plan.preset.sample.cfg != 0.0
    }

    /// FLOPs of the transformer for one image.
    pub(crate) fn sampling_flops(&self, run: &PlannedRun) -> f64 {
        cost::forward_flops(&run.config) * if self.guided() { 2.0 } else { 1.0 }
    }

    /// Tokens of one image.
    pub(crate) fn tokens(&self) -> usize {
        self.plan.preset.tokens.schedule.tokens()
    }
}

impl ComparisonPlan {
    /// Plans the comparison `name`. `request` changes all arms; its preset is not used. `images`: the
    /// number of samples of each model, instead of that of the comparison.
    ///
    /// # Errors
    /// When the comparison, a size or a setting is unknown, arms do not fit together, or the images cannot be opened.
    pub fn new(name: Option<&str>, request: &SweepRequest, images: Option<u64>) -> Result<Self> {
        let name = name.unwrap_or(settings::DEFAULT);
        let mut comparison = Comparison::load(name)?;
        if let Some(images) = images {
            comparison.score.images = images;
        }
        comparison.admits(request)?;
        let base = comparison.base.as_deref().unwrap_or(preset::default_for(request.data.is_some()));
        let mut arms: Vec<PlannedArm> = Vec::new();
        for arm in &comparison.arms {
            let planned = planned(arm, base, request, &arms)
                .map_err(|e| Error::config(format!("arm {}: {e}", arm.name)))?;
            arms.push(planned);
        }
        let name = Path::new(name).file_stem().map_or(name.to_owned(), |s| s.to_string_lossy().into_owned());
        Ok(Self { name, about: comparison.about, steps: comparison.steps, arms, scoring: comparison.score })
    }

    /// Estimated seconds of all arms, with their scores.
    pub fn seconds(&self) -> f64 {
        let trained: f64 = self.arms.iter().filter(|arm| arm.trains()).map(|arm| arm.plan.seconds()).sum();
        let models: usize = self.arms.iter().map(|arm| arm.plan.runs.len()).sum();
        trained + models as f64 * (self.scoring.sampling_seconds() + self.scoring.score_seconds())
    }

    /// The plan as JSON.
    pub fn json(&self) -> Value {
        let arms: Vec<Value> = self
            .arms
            .iter()
            .map(|arm| {
                json!({"name": arm.name, "about": arm.about, "models": arm.models, "sweep": arm.plan.json()})
            })
            .collect();
        json!({
            "comparison": self.name, "about": self.about, "score": self.scoring, "arms": arms,
            "estimated_seconds": self.seconds(),
        })
    }
}

fn planned(arm: &Arm, base: &str, request: &SweepRequest, earlier: &[PlannedArm]) -> Result<PlannedArm> {
    let find = |name: &String| {
        let found = earlier.iter().find(|arm| arm.name == *name);
        found.ok_or_else(|| Error::config(format!("there is no arm {name}")))
    };
    let (name, about) = (arm.name.clone(), arm.about.clone());
    if let Some(models) = &arm.models_of {
        let mut plan = find(models)?.plan.clone();
        let changed = SweepPreset::changed(base, &arm.change)?;
        plan.preset.sample = changed.sample;
        return Ok(PlannedArm { name, about, models: models.clone(), plan });
    }
    let preset = SweepPreset::changed(base, &arm.change)?;
    let tokenizer = match &arm.tokenizer_of {
        Some(other) => Some(tokenizer_of(find(other)?)),
        None => None,
    };
    let mut plan = SweepPlan::of(&arm.name, preset.clone(), request, tokenizer.clone())?;
    if let Some(other) = &arm.compute_of {
        plan = with_compute_of(find(other)?, plan, preset, request, tokenizer)?;
    }
    Ok(PlannedArm { models: name.clone(), name, about, plan })
}

/// The tokenizer of another arm, which may have to be trained first.
fn tokenizer_of(other: &PlannedArm) -> TokenizerSource {
    match &other.plan.tokenizer {
        TokenizerSource::Trained { .. } => TokenizerSource::Beside(other.name.clone()),
        found => found.clone(),
    }
}

/// The plan with as many steps for each size as the training FLOPs of `other` allow.
fn with_compute_of(
    other: &PlannedArm,
    plan: SweepPlan,
    mut preset: SweepPreset,
    request: &SweepRequest,
    tokenizer: Option<TokenizerSource>,
) -> Result<SweepPlan> {
    for run in &plan.runs {
        let same = other.plan.runs.iter().find(|same| same.size == run.size).ok_or_else(|| {
            Error::config(format!("compute_of: the arm {} has no size {}", other.name, run.size))
        })?;
        let change = preset.sizes.entry(run.size.name.clone()).or_default();
        change.steps = Some((run.steps as f64 * same.flops / run.flops).round().max(1.0) as u64);
        change.epochs = None;
    }
    let mut request = request.clone();
    request.set.retain(|text| {
        let key = text.split('=').next().unwrap_or_default();
        !matches!(crate::settings::plain(key), "steps" | "epochs")
    });
    SweepPlan::of(&plan.name, preset, &request, tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, request: &SweepRequest) -> ComparisonPlan {
        ComparisonPlan::new(Some(name), request, None).unwrap()
    }

    #[test]
    fn both_orders_have_equal_sizes_and_either_equal_images_or_equal_compute() {
        let plan = plan("raster-vs-var", &SweepRequest::default());
        let [scales, images, compute] = &plan.arms[..] else { panic!("{:?}", plan.arms.len()) };
        assert_eq!((scales.tokens(), images.tokens()), (130, 64));
        for ((a, b), c) in scales.plan.runs.iter().zip(&images.plan.runs).zip(&compute.plan.runs) {
            assert_eq!((&a.size, a.steps, a.batch), (&b.size, b.steps, b.batch));
            assert!(b.flops < a.flops && (c.flops / a.flops - 1.0).abs() < 0.01, "{} {}", a.flops, c.flops);
            // The positions and scales of next-scale prediction have embeddings of their own.
            assert!((a.parameters as f64 / b.parameters as f64 - 1.0).abs() < 0.15);
        }
        assert!(matches!(scales.plan.tokenizer, TokenizerSource::Trained { .. }));
        assert!(compute.plan.tokenizer == TokenizerSource::Beside("raster".into()));
    }

    #[test]
    fn steps_of_a_person_hold_for_all_arms_before_compute_is_made_equal() {
        let request = SweepRequest {
            sizes: Some("1x32".into()),
            set: vec!["training.steps=100".into()],
            ..SweepRequest::default()
        };
        let plan = plan("raster-vs-var", &request);
        let steps: Vec<u64> = plan.arms.iter().map(|arm| arm.plan.runs[0].steps).collect();
        assert!(steps[0] == 100 && steps[1] == 100 && (180..260).contains(&steps[2]), "{steps:?}");
    }

    #[test]
    fn each_step_of_the_ablation_is_another_model_or_another_sampling() {
        let plan = plan("ablation", &SweepRequest::default());
        let costs: Vec<f64> = plan.arms.iter().map(|arm| arm.sampling_flops(&arm.plan.runs[0])).collect();
        assert_eq!(costs[3], costs[2], "top-k costs nothing");
        assert_eq!(costs[4], 2.0 * costs[3], "guidance doubles the work");
        assert!(costs[2] > costs[1] && costs[6] > costs[5]);
        let trained: Vec<&str> =
            plan.arms.iter().filter(|arm| arm.trains()).map(|arm| arm.name.as_str()).collect();
        assert_eq!(trained, ["raster", "next-scale", "adaln", "qk-norm", "scale-up"]);
        let set = |i: usize, key: &str| plan.arms[i].plan.runs[0].set.get(key).cloned();
        assert_eq!(set(1, "model.adaln").as_deref(), Some("false"));
        assert_eq!((set(2, "model.adaln"), set(2, "qk_norm").as_deref()), (None, Some("false")));
    }
}
