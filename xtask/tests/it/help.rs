//! Examples in `--help` can be copied: clap breaks lines longer than 100 columns, and half a command is no command.

use std::path::{Path, PathBuf};

/// Columns that clap prints in one line.
const COLUMNS: usize = 100;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

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
    let mut files = Vec::new();
    for name in ["var-tokenizer", "var-model", "var-train", "var-eval", "var-scaling", "xtask"] {
        sources(&root.join(name).join("src"), &mut files);
    }
    let mut examples = 0;
    for file in files {
        // Examples are indented; prose may be broken.
        for line in
            help_lines(&std::fs::read_to_string(&file).unwrap()).iter().filter(|l| l.starts_with("  "))
        {
            examples += 1;
            let columns = line.chars().count();
            assert!(columns <= COLUMNS, "{}: {columns} columns: {line}", file.display());
        }
    }
    assert!(examples > 100, "only {examples} lines of examples were found");
}
