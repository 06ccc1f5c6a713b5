//! A sweep over one sampling setting: `cfg=1.0:4.0:0.5`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::settings::Settings;
use crate::error::bad_use;

/// Values of a sweep at most.
const MOST: usize = 200;

/// The setting that is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Cfg,
    TopK,
    TopP,
    Temperature,
    GuidedTo,
    LargeScales,
}

const KEYS: [(Key, &str, &str); 6] = [
    (Key::Cfg, "cfg", "guidance (cfg)"),
    (Key::TopK, "top-k", "top-k"),
    (Key::TopP, "top-p", "top-p"),
    (Key::Temperature, "temperature", "temperature"),
    (Key::GuidedTo, "guided-to", "last scale with guidance"),
    (Key::LargeScales, "large-scales", "scales of the large model"),
];

impl Key {
    /// Whether the setting takes a value. How many scales there are is for the model to say.
    fn takes(self, value: f64) -> bool {
        match self {
            Self::Cfg => value >= 0.0,
            Self::TopK => value >= 0.0 && value.fract() == 0.0,
            Self::TopP => (0.0..=1.0).contains(&value),
            Self::Temperature => value > 0.0,
            Self::GuidedTo | Self::LargeScales => value >= 1.0 && value.fract() == 0.0,
        }
    }

    /// What it takes.
    fn expected(self) -> &'static str {
        match self {
            Self::Cfg => "0 or more",
            Self::TopK => "whole numbers",
            Self::TopP => "0 to 1",
            Self::Temperature => "numbers above 0",
            Self::GuidedTo | Self::LargeScales => "whole numbers from 1",
        }
    }
}

/// Which setting takes which values.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    key: Key,
    values: Vec<f64>,
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let expected = "expected KEY=FROM:TO:STEP, e.g. cfg=1.0:4.0:0.5";
        let (name, range) = text.split_once('=').ok_or(expected)?;
        let known = KEYS.map(|(_, name, _)| name).join(", ");
        let found = KEYS.iter().find(|(_, known, _)| *known == name);
        let (key, ..) = found.ok_or_else(|| format!("'{name}' cannot be swept; {known} can"))?;
        let numbers: Option<Vec<f64>> =
            range.split(':').map(|word| word.parse().ok().filter(|n: &f64| n.is_finite())).collect();
        let Some([from, to, step]) = numbers.as_deref() else { return Err(expected.into()) };
        if !(step > &0.0 && to >= from) {
            return Err(format!("{expected}: TO not below FROM, STEP above 0"));
        }
        // A hair more, so that the last value is there whatever the rounding.
        let steps = ((to - from) / step + 1e-9).floor();
        if steps >= MOST as f64 {
            return Err(format!("that makes more than {MOST} values; take a larger STEP"));
        }
        // Rounded, so that 0.1 + 0.2 is 0.3 in names of folders.
        let value = |i: usize| ((from + i as f64 * step) * 1e9).round() / 1e9;
        let values: Vec<f64> = (0..=steps as usize).map(value).collect();
        match values.iter().find(|value| !key.takes(**value)) {
            Some(bad) => Err(format!("{name} cannot be {bad}; expected {}", key.expected())),
            None => Ok(Self { key: *key, values }),
        }
    }
}

impl Sweep {
    /// The values, rising.
    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.values.iter().copied()
    }

    /// Whether the sweep needs a smaller model.
    pub(super) fn needs_small(&self) -> bool {
        self.key == Key::LargeScales
    }

    /// Name of the setting.
    pub fn key(&self) -> &'static str {
        self.names().0
    }

    fn names(&self) -> (&'static str, &'static str) {
        let names = KEYS.iter().find(|(key, ..)| *key == self.key);
        names.map_or(("", ""), |(_, name, title)| (name, title))
    }

    /// `settings` with this value of the setting.
    pub(super) fn applied(&self, settings: Settings, value: f64) -> Settings {
        match self.key {
            Key::Cfg => Settings { cfg: value, ..settings },
            Key::TopK => Settings { top_k: value, ..settings },
            Key::TopP => Settings { top_p: value, ..settings },
            Key::Temperature => Settings { temperature: value, ..settings },
            Key::GuidedTo => Settings { guided_to: Some(value), ..settings },
            Key::LargeScales => Settings { large_scales: Some(value), ..settings },
        }
    }

    /// Writes the curve next to the evaluations: `sweep-KEY.json`, as `var-scaling curve` reads it.
    pub(super) fn write(&self, points: &[(f64, Distance)], model: &str, out: &Path) -> Result<PathBuf> {
        let (key, title) = self.names();
        let path = out.join(format!("sweep-{key}.json"));
        let name = points.first().map_or(String::new(), |(_, distance)| distance.name.clone());
        let curve = json!({
            "title": format!("{name} over {title}"),
            "subtitle": model,
            "x": title,
            "y": name,
            "points": points.iter().map(|(value, distance)| (value, distance.value)).collect::<Vec<_>>(),
        });
        let text = format!("{curve:#}\n");
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }
}

/// A Fréchet distance, under the name that it was measured as.
#[derive(Debug, Clone, PartialEq)]
pub struct Distance {
    name: String,
    value: f64,
}

/// The Fréchet distance in a `metrics.json`.
pub fn distance(path: &Path) -> Result<Distance> {
    let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let metrics: Value = serde_json::from_slice(&text).unwrap_or_default();
    let found = metrics["metrics"].as_array().into_iter().flatten().find(|entry| entry["metric"] == "fd");
    let name = found.and_then(|entry| entry["name"].as_str());
    match (name, found.and_then(|entry| entry["value"].as_f64())) {
        (Some(name), Some(value)) => Ok(Distance { name: name.to_owned(), value }),
        _ => Err(bad_use(format!(
            "{} has no Fréchet distance: a sweep needs it among --metrics",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_both_ends_and_round_values() {
        let values = |text: &str| text.parse::<Sweep>().unwrap().values().collect::<Vec<_>>();
        assert_eq!(values("cfg=1.0:4.0:0.5"), [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]);
        assert_eq!(values("top-p=0.1:0.4:0.1"), [0.1, 0.2, 0.3, 0.4]);
        assert_eq!(values("top-k=900:900:1"), [900.0]);
        assert_eq!(values("temperature=0.8:1.1:0.2"), [0.8, 1.0]);
    }

    #[test]
    fn wrong_ranges_say_what_is_wrong() {
        for (text, fault) in [
            ("cfg", "expected KEY=FROM:TO:STEP"),
            ("guidance=1:2:1", "cfg, top-k, top-p, temperature, guided-to, large-scales"),
            ("cfg=1:2", "expected"),
            ("cfg=2:1:0.5", "TO not below FROM"),
            ("cfg=1:2:0", "STEP above 0"),
            ("cfg=1:nan:1", "expected"),
            ("top-k=1:100000:1", "more than 200"),
            ("guided-to=0:3:1", "guided-to cannot be 0; expected whole numbers from 1"),
            ("top-k=1:2:0.5", "top-k cannot be 1.5"),
            ("top-p=0.5:1.5:0.5", "top-p cannot be 1.5; expected 0 to 1"),
            ("temperature=0:1:0.5", "temperature cannot be 0"),
        ] {
            let message = text.parse::<Sweep>().unwrap_err();
            assert!(message.contains(fault), "{text}: {message}");
        }
    }
}
