//! The clone that xtask works in, and how it calls cargo there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The clone: its root folder and the folder from which the person called.
pub struct Project {
    root: PathBuf,
    caller: PathBuf,
}

impl Project {
    /// Finds the clone. `cargo run` (and so `cargo xtask`) says where the package lies; the path seen
    /// at compile time serves when the binary is started by hand.
    pub fn find() -> Result<Self> {
        let package = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        };
        let root = package.parent().map(Path::to_path_buf).unwrap_or_default();
        if !root.join("Cargo.toml").is_file() {
            bail!("{} is not the repository: start xtask as `cargo xtask` inside a clone", root.display());
        }
        let caller = std::env::current_dir().context("the current folder cannot be read")?;
        Ok(Self { root, caller })
    }

    /// A path below the root of the clone.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The value of `name` in the environment, unless it is the default that `.cargo/config.toml`
    /// gives (`default` below the root): cargo hands that one to xtask too, and it is nobody's wish.
    pub fn own_setting(&self, name: &str, default: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| Path::new(value) != self.root.join(default))
    }

    /// A cargo call in the root of the clone, in the environment that the person's own `cargo build`
    /// would have there. What `cargo run` added for xtask is taken out again, so that build scripts
    /// see no change between the two and nothing is built twice.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        for (name, default) in [("LIBTORCH", ".libtorch"), ("CMAKE", ".cmake/cmake")] {
            if self.own_setting(name, default).is_none() {
                command.env_remove(name);
            }
        }
        if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
            // A relative one counts from the folder of the caller.
            command.env("CARGO_TARGET_DIR", self.caller.join(folder));
        }
        command
    }

    /// Builds the programs with `--release` and says where each lies. Cargo is asked for the paths, so
    /// that CARGO_TARGET_DIR and a target of the configuration are followed.
    pub fn build(&self, extent: Extent) -> Result<BTreeMap<String, PathBuf>> {
        eprintln!("xtask: building (a first build takes some minutes)");
        let mut command = self.cargo();
        command.args(["build", "--release", "--message-format", "json-render-diagnostics"]);
        match extent {
            Extent::Programs => PROGRAMS.iter().for_each(|name| {
                command.args(["--package", name]);
            }),
            Extent::WithTests => {
                command.args(["--workspace", "--bins", "--tests"]);
            }
        }
        let output = command.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
        if !output.status.success() {
            bail!("cargo could not build the programs ({})", output.status);
        }
        let paths = executables(&String::from_utf8_lossy(&output.stdout));
        for name in PROGRAMS {
            if !paths.contains_key(name) {
                bail!("cargo built no program {name}");
            }
        }
        Ok(paths)
    }
}

/// The programs of the workspace, each named like its package. They are always built together: cargo
/// chooses the features of shared dependencies for the set, and another set would build them anew.
const PROGRAMS: [&str; 5] = ["var-tokenizer", "var-model", "var-train", "var-eval", "var-scaling"];

/// How much is built.
#[derive(Clone, Copy)]
pub enum Extent {
    /// The programs alone.
    Programs,
    /// The same programs as `cargo test --workspace` builds them, beside the tests: nothing is left to
    /// do after it.
    WithTests,
}

/// The programs that cargo names in its JSON messages: name of the target → path. Test binaries of a
/// program bear its name too and are left out.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let mut paths = BTreeMap::new();
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let target = &message["target"];
        if target["kind"][0] != "bin" || message["profile"]["test"] != false {
            continue;
        }
        if let (Some(name), Some(path)) = (target["name"].as_str(), message["executable"].as_str()) {
            paths.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_the_messages_of_cargo_and_their_tests_are_not() {
        let message = |kind: &str, test: bool, path: &str| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "target": {"name": "b", "kind": [kind]},
                "profile": {"test": test},
                "executable": path,
            })
        };
        let messages = format!(
            "{}\nnot json\n{}\n{}\n{{\"reason\":\"build-finished\",\"success\":true}}\n",
            message("bin", false, "/t/b"),
            message("bin", true, "/t/deps/b-1"),
            message("test", true, "/t/deps/it-1"),
        );
        let expected = BTreeMap::from([("b".to_owned(), PathBuf::from("/t/b"))]);
        assert_eq!(executables(&messages), expected);
    }
}
