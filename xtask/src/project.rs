//! The clone that xtask works in, and how it calls cargo there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The clone: its root folder, and the folder of the caller.
pub struct Project {
    root: PathBuf,
    caller: PathBuf,
}

impl Project {
    /// Finds the clone: from the environment of `cargo xtask`, or else from the path at compile time.
    pub fn find() -> Result<Self> {
        let package = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        };
        let root = package.parent().map(Path::to_path_buf).unwrap_or_default();
        if !root.join("Cargo.toml").is_file() {
            bail!("{} is not the repository; run `cargo xtask` in a clone", root.display());
        }
        let caller = std::env::current_dir().context("cannot read the current folder")?;
        Ok(Self { root, caller })
    }

    /// A path below the root of the clone.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A path that the caller gives: a relative one starts at the caller's folder.
    pub fn of_caller(&self, path: &Path) -> PathBuf {
        self.caller.join(path)
    }

    /// The folder of the builds.
    pub fn builds(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
            Some(folder) => self.caller.join(folder),
            None => self.path("target"),
        }
    }

    /// An empty folder for work that is thrown away, below the folder of the builds.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.builds().join(format!("xtask-{name}-{}", std::process::id()));
        let failed = || format!("cannot make {}", folder.display());
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(failed)?;
        }
        std::fs::create_dir_all(&folder).with_context(failed)?;
        Ok(folder)
    }

    /// The value of `name` in the environment. `None` for the default of `.cargo/config.toml` (`default` below the root),
    /// which cargo sets for xtask too.
    pub fn own_setting(&self, name: &str, default: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| Path::new(value) != self.root.join(default))
    }

    /// A cargo command in the root of the clone, with the environment of a plain `cargo build`. It removes the variables
    /// that `cargo run` set for xtask: build scripts see no change, and nothing is built twice.
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
            // A relative path starts at the folder of the caller.
            command.env("CARGO_TARGET_DIR", self.caller.join(folder));
        }
        command
    }

    /// Builds the programs with `--release` and returns their paths, which cargo prints: they depend on CARGO_TARGET_DIR
    /// and the configuration.
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
        let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        if !output.status.success() {
            bail!("cargo could not build the programs ({}); its messages are above", output.status);
        }
        let mut paths = executables(&String::from_utf8_lossy(&output.stdout));
        // A build with tests builds this program, too.
        paths.retain(|name, _| PROGRAMS.contains(&name.as_str()));
        for name in PROGRAMS {
            if !paths.contains_key(name) {
                bail!("cargo did not build the program {name}");
            }
        }
        Ok(paths)
    }
}

/// The programs of the workspace, with the names of their packages. They are always built together: cargo selects the
/// features of shared dependencies for the set, and builds these again for another set.
const PROGRAMS: [&str; 5] = ["var-tokenizer", "var-model", "var-train", "var-eval", "var-scaling"];

/// What to build.
#[derive(Clone, Copy)]
pub enum Extent {
    /// Only the programs.
    Programs,
    /// Programs and tests, as `cargo test --workspace` builds them.
    WithTests,
}

/// The programs in the JSON messages of cargo: name → path. Skips test binaries, which have the same names.
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
