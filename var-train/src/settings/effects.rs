//! Settings that have no effect, or less than they say.

use super::adversary::AdversaryTraining;
use super::layers::Given;
use super::{ModelRun, TokenizerRun, Training};

/// Notes about settings, in their order.
#[derive(Debug)]
struct Notes<'a> {
    given: &'a Given,
    notes: Vec<String>,
}

impl Notes<'_> {
    /// Notes that `key` has no effect, with the reason, if it is `idle` and was given.
    fn idle(&mut self, key: &str, idle: bool, reason: impl FnOnce() -> String) {
        if idle && self.given.has(key) {
            self.notes.push(format!("{key} has no effect: {}", reason()));
        }
    }

    /// Notes that a setting is cut, wherever it comes from.
    fn cut(&mut self, cut: bool, text: impl FnOnce() -> String) {
        if cut {
            self.notes.push(text());
        }
    }

    /// Notes that all given keys of `section` have no effect while its weight is 0.
    fn off(&mut self, section: &str, off: bool) {
        let weight = format!("{section}.weight");
        for key in self.given.below(section).filter(|key| *key != weight) {
            self.idle(key, off, || format!("{weight} is 0"));
        }
    }

    fn training(&mut self, training: &Training, steps: u64) {
        self.idle("training.epochs", training.steps > 0, || {
            format!("training.steps = {} decides; set steps=0 to count epochs", training.steps)
        });
        let (asked, used) = (training.asked_warmup(steps), training.schedule(steps).warmup);
        self.cut(asked > used, || {
            format!(
                "training.warmup: {asked:.0} steps are cut to {used:.0}, half of the run of {steps} steps"
            )
        });
        self.idle("training.warmup_start", asked <= 0.0, || "there is no warm-up".into());
        let every =
            [("validate_every", training.validate_every), ("checkpoint_every", training.checkpoint_every)];
        for (key, every) in every {
            let key = format!("training.{key}");
            self.idle(&key, every > steps, || format!("the run ends earlier, after {steps} steps"));
        }
        self.cut(training.keep_checkpoints == 0, || {
            "training.keep_checkpoints = 0 keeps one checkpoint: a resume needs it".into()
        });
    }
}

/// Notes on a transformer's run of `steps` steps with `held_out` rows for validation.
pub(crate) fn of_model(settings: &ModelRun, given: &Given, steps: u64, held_out: usize) -> Vec<String> {
    let mut notes = Notes { given, notes: Vec::new() };
    notes.training(&settings.training, steps);
    let model = &settings.model;
    notes.idle("training.shape", model.progressive > 0.0, || {
        format!("with model.progressive = {} the shape is the published lin{0}", model.progressive)
    });
    for key in ["model.progressive_first", "model.progressive_warmup"] {
        notes.idle(key, model.progressive <= 0.0, || {
            "model.progressive is 0: all scales train from the start".into()
        });
    }
    notes.idle("model.validation_rows", model.validation_rows > held_out, || {
        format!("all {held_out} held-out rows are read")
    });
    notes.idle("model.drop_path", model.depth == 1 && model.drop_path > 0.0, || {
        "the rate is 0 at the first block, and the model has one block".into()
    });
    notes.notes
}

/// Notes on a tokenizer's run of `steps` steps on `train` images, with `held_out` for validation. `exact`: all images
/// have the side of the training.
pub(crate) fn of_tokenizer(
    settings: &TokenizerRun,
    given: &Given,
    steps: u64,
    [train, held_out]: [usize; 2],
    exact: bool,
) -> Vec<String> {
    let mut notes = Notes { given, notes: Vec::new() };
    notes.training(&settings.training, steps);
    let recipe = &settings.recipe;
    for key in ["recipe.quantize_from", "recipe.kmeans_pictures", "recipe.kmeans_rounds"] {
        notes.idle(key, !recipe.start_from.is_empty(), || {
            format!("the run starts from {}, with its codebook", recipe.start_from)
        });
    }
    notes.idle(
        "recipe.kmeans_pictures",
        recipe.start_from.is_empty() && recipe.kmeans_pictures > train,
        || format!("all {train} training images are clustered"),
    );
    notes.idle("recipe.replace_until", recipe.replace_every == 0, || {
        "recipe.replace_every is 0: no code is replaced".into()
    });
    let first = recipe.first_quantized(steps);
    let never = recipe.replace_every > 0 && recipe.replacements_end(steps) <= first;
    notes.idle("recipe.replace_every", never, || {
        format!(
            "quantization starts at step {first} of {steps}, and recipe.replace_until ends replacements at {} of the run",
            recipe.replace_until
        )
    });
    notes.idle("recipe.random_crop", exact && recipe.random_crop, || {
        "every image has the side of the training".into()
    });
    notes.idle("recipe.validation_pictures", recipe.validation_pictures > held_out, || {
        format!("all {held_out} held-out images are read")
    });
    notes.idle("recipe.scale_dropout_keeps", recipe.scale_dropout <= 0.0, || {
        "recipe.scale_dropout is 0: all batches keep all scales".into()
    });
    notes.off("perceptual", !settings.perceptual.is_on());
    notes.off("adversary", !settings.adversary.is_on());
    let AdversaryTraining { running_statistics, joint_batch, .. } = settings.adversary;
    notes.cut(settings.adversary.is_on() && running_statistics && !joint_batch, || {
        "adversary.running_statistics without adversary.joint_batch: the discriminator won in all trials \
         (docs/results/tokenizer.md); turn both on or both off"
            .into()
    });
    notes.notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(keys: &[&str]) -> Given {
        Given::of(keys)
    }

    #[test]
    fn epochs_beside_steps_are_said_to_have_no_effect_and_only_where_given() {
        let mut settings = ModelRun::default();
        settings.training.steps = 40;
        let notes = of_model(&settings, &given(&["training.epochs"]), 40, 10);
        assert_eq!(
            notes,
            ["training.epochs has no effect: training.steps = 40 decides; set steps=0 to count epochs"]
        );
        assert!(of_model(&settings, &given(&[]), 40, 10).is_empty());
        settings.training.steps = 0;
        assert!(of_model(&settings, &given(&["training.epochs"]), 40, 10).is_empty());
    }

    #[test]
    fn a_warm_up_longer_than_half_of_the_run_is_said_to_be_cut() {
        let mut settings = ModelRun::default();
        (settings.training.steps, settings.training.warmup) = (40, 500.0);
        let notes = of_model(&settings, &given(&[]), 40, 10);
        assert_eq!(notes, ["training.warmup: 500 steps are cut to 20, half of the run of 40 steps"]);
        settings.training.warmup = -0.9;
        assert!(
            of_model(&settings, &given(&[]), 40, 10)[0]
                .starts_with("training.warmup: 36 steps are cut to 20")
        );
        settings.training.warmup = 20.0;
        assert!(of_model(&settings, &given(&[]), 40, 10).is_empty());
    }

    #[test]
    fn every_idle_setting_of_a_model_is_named_once() {
        let mut settings = ModelRun::default();
        settings.training = Training {
            steps: 40,
            warmup: 0.0,
            validate_every: 41,
            checkpoint_every: 50,
            keep_checkpoints: 0,
            ..settings.training
        };
        (settings.model.validation_rows, settings.model.depth, settings.model.drop_path) = (11, 1, 0.1);
        let keys = [
            "training.warmup_start",
            "training.validate_every",
            "training.checkpoint_every",
            "training.keep_checkpoints",
            "model.progressive_first",
            "model.progressive_warmup",
            "model.validation_rows",
            "model.drop_path",
        ];
        let notes = of_model(&settings, &given(&keys), 40, 10);
        assert_eq!(notes.len(), keys.len(), "{notes:#?}");
        for (note, key) in notes.iter().zip(keys) {
            assert!(note.starts_with(key), "{note} is not about {key}");
        }
        settings.model.progressive = 0.3;
        let notes = of_model(&settings, &given(&["training.shape"]), 40, 10);
        assert!(notes.iter().any(|note| note.starts_with("training.shape has no effect")), "{notes:#?}");
    }

    #[test]
    fn every_idle_setting_of_a_tokenizer_is_named_once() {
        let mut settings = TokenizerRun::default();
        let recipe = &mut settings.recipe;
        (recipe.kmeans_pictures, recipe.validation_pictures, recipe.replace_every) = (90, 90, 0);
        let keys = [
            "recipe.kmeans_pictures",
            "recipe.replace_until",
            "recipe.random_crop",
            "recipe.validation_pictures",
            "recipe.scale_dropout_keeps",
            "perceptual.network",
            "adversary.lecam",
            "adversary.layers",
        ];
        let notes = of_tokenizer(&settings, &given(&keys), 1600, [80, 80], true);
        assert_eq!(notes.len(), keys.len(), "{notes:#?}");
        for key in keys {
            assert!(notes.iter().any(|note| note.starts_with(key)), "no note about {key}: {notes:#?}");
        }
        (settings.adversary.weight, settings.adversary.joint_batch) = (0.5, false);
        let notes = of_tokenizer(&settings, &given(&[]), 1600, [99, 99], false);
        assert!(notes.len() == 1 && notes[0].contains("turn both on or both off"), "{notes:#?}");
        settings.adversary.weight = 0.0;
        (settings.recipe.replace_every, settings.recipe.replace_until) = (5, 0.2);
        let notes = of_tokenizer(&settings, &given(&["recipe.replace_every"]), 1600, [99, 99], false);
        assert!(notes.len() == 1 && notes[0].starts_with("recipe.replace_every has no effect"), "{notes:#?}");
    }
}
