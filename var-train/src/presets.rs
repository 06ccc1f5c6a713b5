//! Named settings that come with the program.

use toml::Table;

use crate::error::{Error, Result};
use crate::settings::distance;

/// Presets of `var-train model`: name and text.
pub const MODEL: [(&str, &str); 2] =
    [("published", include_str!("presets/published.toml")), ("nano", include_str!("presets/nano.toml"))];

/// Presets of `var-train tokenizer`: name and text.
pub const TOKENIZER: [(&str, &str); 2] = [
    ("nano", include_str!("presets/tokenizer-nano.toml")),
    ("published", include_str!("presets/tokenizer-published.toml")),
];

/// The preset called `name` among `known`.
///
/// # Errors
/// Lists the known ones when there is none of this name.
pub fn find(known: &[(&str, &str)], name: &str) -> Result<Table> {
    let Some((_, text)) = known.iter().find(|(n, _)| *n == name) else {
        let names: Vec<&str> = known.iter().map(|(n, _)| *n).collect();
        let nearest = names.iter().min_by_key(|n| distance(n, name)).copied().unwrap_or("");
        return Err(Error::Config(format!(
            "unknown preset '{name}'; did you mean '{nearest}'? known: {}",
            names.join(", ")
        )));
    };
    text.parse().map_err(|e| Error::Config(format!("preset {name}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ModelRun, TokenizerRun, from_table, overlay, to_table};

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
            run.training.validate().unwrap();
            run.tokenizer.validate().unwrap();
        }
    }

    #[test]
    fn the_published_preset_equals_the_defaults() {
        let mut table = to_table(&ModelRun::default()).unwrap();
        overlay(&mut table, &find(&MODEL, "published").unwrap(), "published").unwrap();
        assert_eq!(from_table::<ModelRun>(&table).unwrap(), ModelRun::default());
    }

    #[test]
    fn an_unknown_preset_lists_the_known_ones() {
        let message = find(&MODEL, "nanno").unwrap_err().to_string();
        assert!(message.contains("'nano'") && message.contains("published"), "{message}");
    }
}
