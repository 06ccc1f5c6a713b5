//! The work of a sweep before its first size, tokenizer and tokens, with its cost.

use serde_json::{Value, json};
use var_tokenizer::{TokenizerConfig, builtin, cost};
use var_train::settings::Training;

use crate::error::Result;
use crate::pictures::Pictures;
use crate::preset::Preset;
use crate::request::TokenizerSource;
use crate::trainer;

/// Seconds in which two CPU cores train the nano tokenizer, 1600 steps of 32 images.
const TOKENIZER_SECONDS: f64 = 200.0;
/// Images of that training.
const TOKENIZER_PICTURES: f64 = 1600.0 * 32.0;
/// Images per second that they encode with it.
const VIEWS_PER_SECOND: f64 = 600.0;
/// Seconds that a grid of samples or reconstructions is expected to take.
pub(crate) const PICTURE_SECONDS: f64 = 5.0;

/// One piece of work that comes before the sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Preparation {
    /// `tokenizer` or `tokens`.
    pub name: &'static str,
    /// Trained parameters, where the shape is known.
    pub parameters: Option<u64>,
    /// Tokens that it writes.
    pub tokens: Option<u64>,
    /// FLOPs, where the shape is known.
    pub flops: Option<f64>,
    /// Estimated seconds.
    pub seconds: f64,
}

impl Preparation {
    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name, "params": self.parameters, "tokens": self.tokens, "flops": self.flops,
            "estimated_seconds": self.seconds,
        })
    }
}

/// The work before the first size, in order. `rate` is the FLOPs per second that a person gives.
///
/// # Errors
/// When the trainer refuses the settings of the tokenizer.
pub(crate) fn preparations(
    source: &TokenizerSource,
    preset: &Preset,
    pictures: &Pictures,
    rate: Option<f64>,
) -> Result<Vec<Preparation>> {
    let training = match source {
        TokenizerSource::Given(_) => None,
        TokenizerSource::Trained { preset, set } => Some(trainer::tokenizer(preset, set)?),
    };
    let shape = match (source, &training) {
        (TokenizerSource::Given(file), _) => of_file(file),
        (_, training) => training.as_ref().map(|run| run.tokenizer.clone()),
    };
    let nano = of_file(builtin::NAME);
    // Without a given rate, the time of two cores for the nano tokenizer, times the ratio of the FLOPs.
    let seconds = |pictures: f64, nano_seconds: f64, flops: fn(&TokenizerConfig) -> f64| match (
        shape.as_ref().map(flops),
        rate,
        nano.as_ref().map(flops),
    ) {
        (Some(flops), Some(rate), _) => pictures * flops / rate,
        (Some(flops), None, Some(nano)) => pictures * nano_seconds * flops / nano,
        _ => pictures * nano_seconds,
    };
    let mut pieces = Vec::new();
    if let Some(settings) = &training {
        let seen = trained_pictures(&settings.training, pictures.all as f64);
        pieces.push(Preparation {
            name: "tokenizer",
            parameters: shape.as_ref().map(cost::parameters),
            tokens: None,
            flops: shape.as_ref().map(|shape| seen * cost::training_flops(shape)),
            seconds: seconds(seen, TOKENIZER_SECONDS / TOKENIZER_PICTURES, cost::training_flops),
        });
    }
    let views = pictures.training * u64::from(preset.data.crops) + pictures.held_out.unwrap_or(0);
    pieces.push(Preparation {
        name: "tokens",
        parameters: None,
        tokens: Some(views.saturating_mul(preset.tokens.schedule.tokens() as u64)),
        flops: shape.as_ref().map(|shape| views as f64 * cost::encode_flops(shape)),
        seconds: seconds(views as f64, 1.0 / VIEWS_PER_SECOND, cost::encode_flops),
    });
    Ok(pieces)
}

/// Images, repeats included, that a training of the tokenizer sees; `all` is one epoch.
fn trained_pictures(settings: &Training, all: f64) -> f64 {
    match settings.steps as f64 * settings.batch as f64 {
        pictures if pictures > 0.0 => pictures,
        _ => settings.epochs.max(1.0) * all,
    }
}

/// The shape of a tokenizer file, whose tensors stay where they are.
fn of_file(name: &str) -> Option<TokenizerConfig> {
    builtin::weights(name, None).ok().map(|(_, config)| config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, rate: Option<f64>) -> Vec<Preparation> {
        let preset = Preset::load(name).unwrap();
        let pictures = Pictures::find(preset.data.source.as_deref(), &preset).unwrap();
        let source = match preset.tokenizer.weights.as_str() {
            "train" => {
                TokenizerSource::Trained { preset: preset.tokenizer.preset.clone(), set: Default::default() }
            }
            file => TokenizerSource::Given(file.into()),
        };
        preparations(&source, &preset, &pictures, rate).unwrap()
    }

    #[test]
    fn the_nano_tokenizer_takes_what_was_measured() {
        let pieces = of("cifar-nano", None);
        assert_eq!(pieces[0].parameters, Some(1_038_419));
        assert!((pieces[0].seconds - TOKENIZER_SECONDS).abs() < 1e-6, "{pieces:?}");
        assert!((pieces[1].seconds - 2.0 * 20_000.0 / VIEWS_PER_SECOND).abs() < 1e-6, "{pieces:?}");
        assert_eq!(of("emoji-nano", None).len(), 1, "the built-in tokenizer is not trained");
    }

    #[test]
    fn the_published_tokenizer_takes_its_flops_over_the_rate() {
        let slow = of("imagenet-256", None);
        assert_eq!(slow[0].parameters, Some(108_948_355));
        let flops = 16.0 * 1_281_167.0 * cost::training_flops(&TokenizerConfig::published());
        assert_eq!(slow[0].flops, Some(flops));
        let given = of("imagenet-256", Some(1e15));
        assert!((given[0].seconds / (flops / 1e15) - 1.0).abs() < 1e-9);
        assert!(slow.iter().zip(&given).all(|(slow, given)| slow.seconds > 100.0 * given.seconds));
    }

    #[test]
    fn settings_of_the_preset_reach_length_and_shape() {
        let settings = |preset: &str, set: &[(&str, &str)]| {
            let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            trainer::tokenizer(preset, &set).unwrap()
        };
        let short = settings("nano", &[("steps", "100"), ("batch", "8")]);
        assert_eq!(trained_pictures(&short.training, 5.0), 800.0);
        assert_eq!(trained_pictures(&settings("published", &[]).training, 5.0), 80.0);
        let (preset, set) = (Preset::load("cifar-nano").unwrap(), [("channels".to_owned(), "64".to_owned())]);
        let pictures = Pictures::find(None, &preset).unwrap();
        let source = TokenizerSource::Trained { preset: "nano".into(), set: set.into() };
        let wide = preparations(&source, &preset, &pictures, None).unwrap();
        let shape = settings("nano", &[("channels", "64")]).tokenizer;
        assert_eq!(wide[0].parameters, Some(cost::parameters(&shape)));
        assert_ne!(wide[0].parameters, of("cifar-nano", None)[0].parameters);
    }
}
