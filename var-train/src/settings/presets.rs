//! Presets: named settings that are part of the program.

use toml::Table;
use var_tokenizer::nearest::did_you_mean;

use crate::error::{Error, Result};

/// A preset: name and TOML text.
pub(crate) type Preset = (&'static str, &'static str);

/// Presets of the transformer.
pub(crate) const MODEL: [Preset; 2] = [
    ("published", include_str!("../presets/published.toml")),
    ("nano", include_str!("../presets/nano.toml")),
];

/// The preset of the published recipe, which depends on the depth.
pub const PUBLISHED: &str = "published";

/// The preset for small networks on a CPU.
pub const NANO: &str = "nano";

/// Changes of the published recipe from depth 20 on (`docs` of the published code, one command per depth).
///
/// # Errors
/// When the text is not TOML; the texts below are.
pub(crate) fn published_at(depth: usize) -> Result<Table> {
    let text = match depth {
        0..20 => "",
        20..24 => "[training]\nepochs = 250",
        24..30 => "[training]\nepochs = 350\nfinal_rate = 0.01\n[initialisation]\nadaln_gamma = 1e-4",
        _ => {
            "[training]\nepochs = 350\nbatch = 1024\nfinal_rate = 0.01\nweight_decay_end = 0.08\n\
             [initialisation]\nadaln_gamma = 1e-5"
        }
    };
    text.parse().map_err(|e| Error::config(format!("preset {PUBLISHED} at depth {depth}: {e}")))
}

/// The published peak learning rate: 1e-4 (from depth 24 on 8e-5) for every 256 images per step.
pub(crate) fn published_rate(depth: usize, batch: usize) -> f64 {
    let base = if depth < 24 { 1e-4 } else { 8e-5 };
    base * batch as f64 / 256.0
}

/// Presets of the tokenizer.
pub(crate) const TOKENIZER: [Preset; 5] = [
    ("nano", include_str!("../presets/tokenizer-nano.toml")),
    ("f4-cpu", include_str!("../presets/tokenizer-f4-cpu.toml")),
    ("f8-64", include_str!("../presets/tokenizer-f8-64.toml")),
    ("f16-256", include_str!("../presets/tokenizer-f16-256.toml")),
    ("published", include_str!("../presets/tokenizer-published.toml")),
];

/// The preset `name` among `known`.
///
/// # Errors
/// Lists the known presets when the name is unknown.
pub(crate) fn find(known: &[Preset], name: &str) -> Result<Table> {
    let Some((_, text)) = known.iter().find(|(n, _)| *n == name) else {
        let names: Vec<&str> = known.iter().map(|(n, _)| *n).collect();
        let hint = did_you_mean(name, names.iter().copied());
        return Err(Error::config(format!("unknown preset '{name}'; known: {}{hint}", names.join(", "))));
    };
    text.parse().map_err(|e| Error::config(format!("preset {name}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::layers::{from_table, overlay, to_table};
    use crate::settings::{ModelRun, TokenizerRun};

    #[test]
    fn every_preset_holds_known_keys_of_the_right_type() {
        for (name, _) in MODEL {
            let mut table = to_table(&ModelRun::default()).unwrap();
            overlay(&mut table, &find(&MODEL, name).unwrap(), name).unwrap();
            from_table::<ModelRun>(&table).unwrap().training.validate().unwrap();
        }
        for (name, _) in TOKENIZER {
            let mut table = to_table(&TokenizerRun::default()).unwrap();
            overlay(&mut table, &find(&TOKENIZER, name).unwrap(), name).unwrap();
            let run = from_table::<TokenizerRun>(&table).unwrap();
            run.validate().unwrap();
            // A codebook that is trained against a discriminator from the first step stays small.
            let deferred = run.recipe.quantize_from > 0.0 && run.recipe.replace_every > 0;
            assert!(deferred || !run.adversary.is_on(), "{name}");
        }
    }

    #[test]
    fn the_published_preset_equals_the_defaults() {
        let mut table = to_table(&ModelRun::default()).unwrap();
        overlay(&mut table, &find(&MODEL, "published").unwrap(), "published").unwrap();
        assert_eq!(from_table::<ModelRun>(&table).unwrap(), ModelRun::default());
    }

    #[test]
    fn the_published_recipe_follows_the_depth() {
        for (depth, epochs, gamma) in
            [(16, 200.0, 1e-3), (20, 250.0, 1e-3), (24, 350.0, 1e-4), (30, 350.0, 1e-5)]
        {
            let mut table = to_table(&ModelRun::default()).unwrap();
            overlay(&mut table, &published_at(depth).unwrap(), "published").unwrap();
            let run = from_table::<ModelRun>(&table).unwrap();
            assert_eq!((run.training.epochs, run.initialisation.adaln_gamma), (epochs, gamma), "d{depth}");
        }
        assert!((published_rate(16, 768) - 3e-4).abs() < 1e-12);
        assert!((published_rate(30, 1024) - 3.2e-4).abs() < 1e-12);
    }

    #[test]
    fn an_unknown_preset_lists_the_known_ones() {
        let message = find(&MODEL, "nanno").unwrap_err().to_string();
        assert!(message.contains("'nano'") && message.contains("published"), "{message}");
    }
}
