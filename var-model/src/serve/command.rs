//! The command line that makes the same images as a request.

use std::fmt::Display;

use crate::classes::{ClassNames, NONE, by_number};
use crate::sampling::SamplingOptions;
use crate::source::ModelSource;

/// The flags that name the model of `source` and how it computes here.
pub(super) fn model_flags(source: &ModelSource, precision: &str, device: &str) -> Vec<String> {
    let mut flags = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            flags.extend([name.to_owned(), value]);
        }
    };
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    add("--run", path(&source.run));
    add("--model", path(&source.model));
    add("--part", source.part.clone());
    add("--tokenizer", source.tokenizer.clone());
    add("--class-names", path(&source.class_names));
    add("--schedule", source.schedule.as_ref().map(ToString::to_string));
    add("--heads", source.heads.map(|heads| heads.to_string()));
    add("--device", Some(device.to_owned()));
    add("--precision", Some(precision.to_owned()));
    if source.ema {
        flags.push("--ema".to_owned());
    }
    flags
}

/// A command line in the making.
#[derive(Debug)]
pub(super) struct Line(Vec<String>);

impl Line {
    /// `var-model COMMAND` with the flags of the model.
    pub(super) fn new(command: &str, model_flags: &[String]) -> Self {
        let mut words = vec!["var-model".to_owned(), command.to_owned()];
        words.extend_from_slice(model_flags);
        Self(words)
    }

    /// Adds a flag with its value.
    pub(super) fn with(mut self, flag: &str, value: impl Display) -> Self {
        self.0.extend([flag.to_owned(), value.to_string()]);
        self
    }

    /// Adds a flag without a value, if it is `wanted`.
    pub(super) fn flag(mut self, flag: &str, wanted: bool) -> Self {
        if wanted {
            self.0.push(flag.to_owned());
        }
        self
    }

    /// Adds the options that `sample` and `edit` have in common.
    pub(super) fn options(self, options: &SamplingOptions, seed: u64) -> Self {
        self.with("--cfg", options.cfg)
            .with("--top-k", options.top_k)
            .with("--top-p", options.top_p)
            .with("--seed", seed)
    }

    /// The line for a shell.
    pub(super) fn text(&self) -> String {
        // A word with a zero byte cannot be quoted; no program gets one as an argument either.
        shlex::try_join(self.0.iter().map(String::as_str)).unwrap_or_else(|_| self.0.join(" "))
    }
}

/// `labels` as a list of classes: by name where that is clear.
pub(super) fn class_list(names: &ClassNames, labels: &[i64]) -> String {
    let by_name: Vec<String> = labels.iter().map(|&label| class_name(names, label)).collect();
    let list = by_name.join(",");
    match names.labels([&list]) {
        Ok(found) if found == labels => list,
        _ => labels.iter().map(|&label| class_number(names, label)).collect::<Vec<_>>().join(","),
    }
}

/// The class `label` by its name if that is clear, or else by its number.
pub(super) fn class_name(names: &ClassNames, label: i64) -> String {
    let name = names.name(label);
    let clear = !name.contains(',') && names.label(name).is_ok_and(|found| found == [label]);
    if clear { name.to_owned() } else { class_number(names, label) }
}

fn class_number(names: &ClassNames, label: i64) -> String {
    match usize::try_from(label) {
        Ok(number) if number < names.classes() => by_number(number),
        _ => NONE.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str], labels: &[i64]) -> String {
        let names = ClassNames::new(names.iter().map(|&n| n.to_owned()).collect(), names.len()).unwrap();
        let list = class_list(&names, labels);
        assert_eq!(names.labels([&list]).unwrap(), labels);
        list
    }

    #[test]
    fn classes_are_named_where_the_name_is_clear() {
        assert_eq!(list(&["ant", "bee"], &[1, 0, 2]), "bee,ant,none");
        assert_eq!(list(&["1", "bee"], &[0, 1]), "id:0,bee");
        assert_eq!(list(&["cat, feline", "bee"], &[0, 1]), "id:0,bee");
        assert_eq!(list(&["b", "c", "b, c"], &[0, 1]), "id:0,id:1");
        assert_eq!(list(&["", ""], &[1]), "id:1");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        let line = Line::new("edit", &[]).with("--image", "my photo.png").flag("--blend", true).text();
        assert_eq!(line, "var-model edit --image 'my photo.png' --blend");
    }
}
