//! The work of a sweep before its first size (tokenizer and tokens), with its cost.

use serde_json::{Value, json};
use var_tokenizer::{TokenizerConfig, builtin, cost};
use var_train::settings::Training;

use crate::error::Result;
use crate::images::SweepImages;
use crate::preset::SweepPreset;
use crate::request::TokenizerSource;
use crate::trainer;

/// Seconds of two CPU cores for the training of the nano tokenizer: 1600 steps of 32 images.
const TOKENIZER_SECONDS: f64 = 200.0;
/// Images that this training sees.
const TOKENIZER_IMAGES: f64 = 1600.0 * 32.0;
/// Images per second that two CPU cores encode with the nano tokenizer.
const VIEWS_PER_SECOND: f64 = 600.0;
/// Expected seconds for a grid of samples or reconstructions.
pub(crate) const IMAGE_SECONDS: f64 = 5.0;

/// One piece of work before the first size.
#[derive(Debug, Clone, PartialEq)]
pub struct Preparation {
    /// `tokenizer` or `tokens`.
    pub name: &'static str,
    /// Number of trained parameters, if the shape is known.
    pub parameters: Option<u64>,
    /// Number of tokens that it writes.
    pub tokens: Option<u64>,
    /// FLOPs, if the shape is known.
    pub flops: Option<f64>,
    /// Estimated seconds.
    pub seconds: f64,
}

impl Preparation {
    /// The piece as JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name, "params": self.parameters, "tokens": self.tokens, "flops": self.flops,
            "estimated_seconds": self.seconds,
        })
    }
}

/// The work before the first size, in order. `rate`: given FLOPs per second.
///
/// # Errors
/// When a setting of the tokenizer is unknown or out of range.
pub(crate) fn preparations(
    source: &TokenizerSource,
    preset: &SweepPreset,
    images: &SweepImages,
    rate: Option<f64>,
) -> Result<Vec<Preparation>> {
    let training = match source {
        TokenizerSource::Given(_) | TokenizerSource::Beside(_) => None,
        TokenizerSource::Trained { preset, set } => Some(trainer::tokenizer(preset, set)?),
    };
    let shape = match (source, &training) {
        (TokenizerSource::Given(file), _) => of_file(file),
        (_, training) => training.as_ref().map(|run| run.tokenizer.clone()),
    };
    let nano = of_file(builtin::NAME);
    // Without a rate: the time of two cores for the nano tokenizer, times the ratio of the FLOPs.
    let seconds = |images: f64, nano_seconds: f64, flops: fn(&TokenizerConfig) -> f64| match (
        shape.as_ref().map(flops),
        rate,
        nano.as_ref().map(flops),
    ) {
        (Some(flops), Some(rate), _) => images * flops / rate,
        (Some(flops), None, Some(nano)) => images * nano_seconds * flops / nano,
        _ => images * nano_seconds,
    };
    let mut pieces = Vec::new();
    if let Some(settings) = &training {
        let seen = trained_images(&settings.training, images.all as f64);
        pieces.push(Preparation {
            name: "tokenizer",
            parameters: shape.as_ref().map(cost::parameters),
            tokens: None,
            flops: shape.as_ref().map(|shape| seen * cost::training_flops(shape)),
            seconds: seconds(seen, TOKENIZER_SECONDS / TOKENIZER_IMAGES, cost::training_flops),
        });
    }
    let views = images.training * u64::from(preset.data.crops) + images.held_out.unwrap_or(0);
    pieces.push(Preparation {
        name: "tokens",
        parameters: None,
        tokens: Some(views.saturating_mul(preset.tokens.schedule.tokens() as u64)),
        flops: shape.as_ref().map(|shape| views as f64 * cost::encode_flops(shape)),
        seconds: seconds(views as f64, 1.0 / VIEWS_PER_SECOND, cost::encode_flops),
    });
    Ok(pieces)
}

/// Number of images that a training of the tokenizer sees, repeats included; `all` is one epoch.
fn trained_images(settings: &Training, all: f64) -> f64 {
    match settings.steps as f64 * settings.batch as f64 {
        images if images > 0.0 => images,
        _ => settings.epochs.max(1.0) * all,
    }
}

/// The shape of a tokenizer file. Reads no tensors.
fn of_file(name: &str) -> Option<TokenizerConfig> {
    builtin::weights(name, None).ok().map(|(_, config)| config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, rate: Option<f64>) -> Vec<Preparation> {
        let preset = SweepPreset::load(name).unwrap();
        let images = SweepImages::find(preset.data.source.as_deref(), &preset).unwrap();
        let source = match preset.tokenizer.weights.as_str() {
            "train" => {
                TokenizerSource::Trained { preset: preset.tokenizer.preset.clone(), set: Default::default() }
            }
            file => TokenizerSource::Given(file.into()),
        };
        preparations(&source, &preset, &images, rate).unwrap()
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
        let slow = of("paper-256", None);
        assert_eq!(slow[0].parameters, Some(108_948_355));
        let flops = 16.0 * 1_281_167.0 * cost::training_flops(&TokenizerConfig::published());
        assert_eq!(slow[0].flops, Some(flops));
        let given = of("paper-256", Some(1e15));
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
        assert_eq!(trained_images(&short.training, 5.0), 800.0);
        assert_eq!(trained_images(&settings("published", &[]).training, 5.0), 80.0);
        let (preset, set) =
            (SweepPreset::load("cifar-nano").unwrap(), [("channels".to_owned(), "64".to_owned())]);
        let images = SweepImages::find(None, &preset).unwrap();
        let source = TokenizerSource::Trained { preset: "nano".into(), set: set.into() };
        let wide = preparations(&source, &preset, &images, None).unwrap();
        let shape = settings("nano", &[("channels", "64")]).tokenizer;
        assert_eq!(wide[0].parameters, Some(cost::parameters(&shape)));
        assert_ne!(wide[0].parameters, of("cifar-nano", None)[0].parameters);
    }
}
