//! Cycles between modules, counted from the paths that their files name. A cycle has to be read as one piece, so each
//! that remains is listed here with its reason.
//!
//! A module is a file. It depends on the modules that its `use` lines and its `crate::…` and `super::…` paths lead to;
//! re-exports are followed, and are no dependency themselves. Unit tests and `main.rs` do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Crate, modules of a cycle, and why it stays.
const REMAINING: [(&str, &str, &str); 2] = [
    (
        "var-tokenizer",
        "runtime::weights::pickle::globals, runtime::weights::pickle::values",
        "a pickled value may be a named global, and a global holds values",
    ),
    (
        "var-tokenizer",
        "runtime::weights::pickle::machine, runtime::weights::pickle::rebuild",
        "the machine calls what rebuilds tensors, which takes the machine's operands",
    ),
];

/// The Rust files in `folder` and below.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// Segments of a module's path below the crate.
type Module = Vec<String>;

/// The modules of a crate: their dependencies.
struct Graph {
    sources: BTreeMap<Module, String>,
    exported: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Every path of a `use` tree, without what it is called afterwards.
fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, inside)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.strip_suffix("::self").unwrap_or(path).to_owned()];
    };
    let inside = inside.rsplit_once('}').unwrap().0;
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in inside.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| leaves(part)).map(|leaf| format!("{before}{leaf}")).collect()
}

/// The text without comments and unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// `use` items: whether they are re-exports, and their trees; and the text without them.
fn uses(code: &str) -> (Vec<(bool, String)>, String) {
    let (mut found, mut rest, mut open) = (Vec::new(), String::new(), None::<(bool, String)>);
    for line in code.lines() {
        let start = line.trim_start();
        let public = start.starts_with("pub");
        let after =
            if public { start.split_once(" use ").map(|(_, tree)| tree) } else { start.strip_prefix("use ") };
        match (&mut open, after.filter(|_| !public || start.split(" use ").next().unwrap().len() < 20)) {
            (Some((_, tree)), _) => tree.push_str(line),
            (None, Some(tree)) => open = Some((public, tree.to_owned())),
            (None, None) => {
                rest.push_str(line);
                rest.push('\n');
            }
        }
        if let Some((public, tree)) = open.take_if(|(_, tree)| tree.trim_end().ends_with(';')) {
            found.push((public, tree.trim_end().trim_end_matches(';').to_owned()));
        }
    }
    (found, rest)
}

/// Paths in `text` that begin with `crate::` or `super::`.
fn inline(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let path: String =
                text[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
            found.push(path);
        }
    }
    found
}

impl Graph {
    fn of(source: &Path) -> Self {
        let mut graph = Self { sources: BTreeMap::new(), exported: BTreeMap::new() };
        rust_files(source).iter().for_each(|path| graph.add(source, path));
        graph
    }

    fn add(&mut self, source: &Path, path: &Path) {
        let below: PathBuf = path.strip_prefix(source).unwrap().with_extension("");
        let mut module: Module =
            below.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        if module == ["main"] || module[0] == "cli" {
            return;
        }
        if ["mod", "lib"].contains(&module.last().unwrap().as_str()) {
            module.pop();
        }
        let text = code(&std::fs::read_to_string(path).unwrap());
        let mut exported = BTreeMap::new();
        for leaf in uses(&text).0.iter().filter(|(public, _)| *public).flat_map(|(_, tree)| leaves(tree)) {
            let leaf = segments(&leaf);
            exported.insert(leaf.last().unwrap().clone(), leaf);
        }
        self.exported.insert(module.clone(), exported);
        self.sources.insert(module, text);
    }

    /// The module that `path`, named in `module`, leads to.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (mut at, mut path) = (module.clone(), path);
        match path.first()?.as_str() {
            "crate" => (at, path) = (Module::new(), &path[1..]),
            "self" => path = &path[1..],
            "super" => {
                while path.first().is_some_and(|part| part == "super") {
                    at.pop();
                    path = &path[1..];
                }
            }
            child if self.sources.contains_key(&[at.clone(), vec![child.to_owned()]].concat()) => {}
            _ => return None,
        }
        while let Some(child) = path.first().map(|part| [at.clone(), vec![part.clone()]].concat())
            && self.sources.contains_key(&child)
        {
            (at, path) = (child, &path[1..]);
        }
        let exported = path.first().and_then(|name| self.exported.get(&at)?.get(name)).filter(|_| depth < 8);
        let further =
            exported.and_then(|target| self.resolve(&at, &[target, &path[1..]].concat(), depth + 1));
        Some(further.unwrap_or(at))
    }

    fn dependencies(&self, module: &Module) -> BTreeSet<&Module> {
        let (uses, rest) = uses(&self.sources[module]);
        let private = uses.iter().filter(|(public, _)| !public).flat_map(|(_, tree)| leaves(tree));
        let found = private.chain(inline(&rest)).filter_map(|path| self.resolve(module, &segments(&path), 0));
        let found: BTreeSet<Module> = found.filter(|other| other != module && !other.is_empty()).collect();
        self.sources.keys().filter(|key| found.contains(*key)).collect()
    }

    /// Groups of modules each of which leads to every other, as `a, b, c`.
    fn cycles(&self) -> BTreeSet<String> {
        let direct: BTreeMap<&Module, BTreeSet<&Module>> =
            self.sources.keys().map(|module| (module, self.dependencies(module))).collect();
        let reachable = |from: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), direct[from].clone());
            while let Some(module) = next.pop_first() {
                if seen.insert(module) {
                    next.extend(&direct[module]);
                }
            }
            seen
        };
        let all: BTreeMap<&Module, BTreeSet<&Module>> =
            direct.keys().map(|module| (*module, reachable(module))).collect();
        let around = |module: &&Module| -> Vec<String> {
            let both = all[*module].iter().filter(|other| all[**other].contains(*module));
            both.map(|other| other.join("::")).collect()
        };
        all.keys().map(around).filter(|group| group.len() > 1).map(|group| group.join(", ")).collect()
    }
}

#[test]
fn modules_have_no_cycles_but_those_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = BTreeSet::new();
    for name in ["var-tokenizer", "var-model", "var-train", "var-eval", "var-scaling", "xtask"] {
        let graph = Graph::of(&root.join(name).join("src"));
        assert!(graph.sources.len() > 10, "{name}");
        found.extend(graph.cycles().into_iter().map(|cycle| format!("{name}: {cycle}")));
    }
    let listed: BTreeSet<String> =
        REMAINING.iter().map(|(name, cycle, _)| format!("{name}: {cycle}")).collect();
    assert_eq!(found, listed);
}

#[test]
fn a_cycle_is_found_through_re_exports_and_braces() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub use b::B;\n");
    write("a.rs", "use crate::{B, c::C};\n");
    write("b.rs", "fn b() {\n    super::a::call();\n}\n");
    write("c.rs", "// use crate::a::A;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n");
    let cycles = Graph::of(folder.path()).cycles();
    assert_eq!(cycles.into_iter().collect::<Vec<_>>(), ["a, b"]);
}
