//! Examples in `--help` can be copied: they fit into the lines that clap prints, which breaks longer ones.

use std::path::Path;

use super::modules::rust_files;

/// Columns that clap prints in one line.
const COLUMNS: usize = 100;

/// The lines of every text after `after_help = "`, as they are printed.
fn help_lines(source: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, opening) in source.match_indices("after_help = \"") {
        let mut text = String::new();
        let mut letters = source[at + opening.len()..].chars();
        while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
            if letter != '\\' {
                text.push(letter);
                continue;
            }
            match letters.next() {
                // Prose that goes on in the next line of the source.
                Some('\n') | None => {}
                Some(other) => text.push(other),
            }
        }
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

#[test]
fn no_example_of_a_help_text_is_broken_by_clap() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let crates = ["var-tokenizer", "var-model", "var-train", "var-eval", "var-scaling", "xtask"];
    let texts = crates
        .iter()
        .flat_map(|name| rust_files(&root.join(name).join("src")))
        .flat_map(|file| help_lines(&std::fs::read_to_string(file).unwrap()));
    // Examples are indented; prose may be broken.
    let examples: Vec<String> = texts.filter(|line| line.starts_with("  ")).collect();
    for line in &examples {
        let columns = line.chars().count();
        assert!(columns <= COLUMNS, "{columns} columns: {line}");
    }
    assert!(examples.len() > 100, "only {} lines of examples were found", examples.len());
}
