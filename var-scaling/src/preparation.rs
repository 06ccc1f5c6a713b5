//! The work of a sweep before its first size: the tokenizer and the tokens, with what they will cost.

use serde_json::{Value, json};
use toml::Table;
use var_tokenizer::{TokenizerConfig, builtin, cost};

use crate::pictures::Pictures;
use crate::preset::Preset;
use crate::request::TokenizerSource;

/// Seconds in which two CPU cores train the nano tokenizer, 1600 steps of 32 pictures.
const TOKENIZER_SECONDS: f64 = 200.0;
/// Pictures of that training.
const TOKENIZER_PICTURES: f64 = 1600.0 * 32.0;
/// Pictures a second that they encode with it.
const VIEWS_PER_SECOND: f64 = 600.0;
/// Seconds that a grid of samples or reconstructions is expected to take.
pub const PICTURE_SECONDS: f64 = 5.0;

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
    /// It for programs.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name, "params": self.parameters, "tokens": self.tokens, "flops": self.flops,
            "estimated_seconds": self.seconds,
        })
    }
}

/// The pieces, in their order; `rate` is what a person says of FLOPs a second.
pub fn preparations(
    source: &TokenizerSource,
    preset: &Preset,
    pictures: &Pictures,
    rate: Option<f64>,
) -> Vec<Preparation> {
    let (shape, nano) = (shape(source, preset), of_file(builtin::NAME));
    // Without a given rate: as long as two cores need for the nano tokenizer, times what it has more to do.
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
    if let TokenizerSource::Trained { preset: name, .. } = source {
        let seen = trained_pictures(name, &preset.tokenizer.set, pictures.all as f64);
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
    pieces
}

/// The trainer's own presets for tokenizers: what they say of length and shape is taken from there.
const TRAINER_PRESETS: [(&str, &str); 2] = [
    ("nano", include_str!("../../var-train/src/presets/tokenizer-nano.toml")),
    ("published", include_str!("../../var-train/src/presets/tokenizer-published.toml")),
];

/// The section of a preset of `var-train tokenizer`, with what `set` changes of its keys.
fn section(preset: &str, section: &str, set: &Table) -> Option<Table> {
    let (_, text) = TRAINER_PRESETS.iter().find(|(name, _)| *name == preset)?;
    let mut table = text.parse::<Table>().ok()?.remove(section)?.try_into::<Table>().ok()?;
    for (key, value) in set {
        let name = key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')).unwrap_or(key);
        table.insert(name.to_owned(), value.clone());
    }
    Some(table)
}

/// Pictures, repeats included, that `var-train tokenizer` sees under one of its presets and `set`, out of
/// `all` in one epoch; one epoch where the preset is not known.
fn trained_pictures(preset: &str, set: &Table, all: f64) -> f64 {
    let training = section(preset, "training", set).unwrap_or_default();
    let number = |key: &str| {
        let value = training.get(key);
        value.and_then(|v| v.as_float().or(v.as_integer().map(|n| n as f64))).unwrap_or(0.0)
    };
    match number("steps") * number("batch") {
        pictures if pictures > 0.0 => pictures,
        _ => number("epochs").max(1.0) * all,
    }
}

/// The tokenizer's shape; none where only `var-train` or the file knows, or nothing sensible is asked for.
fn shape(source: &TokenizerSource, preset: &Preset) -> Option<TokenizerConfig> {
    let name = match source {
        TokenizerSource::Given(file) => return of_file(file),
        TokenizerSource::Trained { preset, .. } => preset,
    };
    // What a preset does not name is as published.
    let mut shape = Table::try_from(TokenizerConfig::published()).ok()?;
    let changes = section(name, "tokenizer", &preset.tokenizer.set)?;
    let known: Vec<String> = shape.keys().cloned().collect();
    shape.extend(changes.into_iter().filter(|(key, _)| known.contains(key)));
    shape.try_into().ok().filter(|shape: &TokenizerConfig| shape.validate().is_ok())
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
        preparations(&source, &preset, &pictures, rate)
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
        let set: Table = "steps = 100\nbatch = 8".parse().unwrap();
        assert_eq!(trained_pictures("nano", &set, 5.0), 800.0);
        assert_eq!(trained_pictures("published", &Table::new(), 5.0), 80.0);
        let mut preset = Preset::load("cifar-nano").unwrap();
        preset.tokenizer.set = "channels = 64".parse().unwrap();
        let source = TokenizerSource::Trained { preset: "nano".into(), set: Default::default() };
        assert_eq!(shape(&source, &preset).unwrap().channels, 64);
        preset.tokenizer.set = "channels = \"wide\"".parse().unwrap();
        assert_eq!(shape(&source, &preset), None);
    }
}
