//! The licences of everything in the archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Archive;
use crate::project::Project;
use crate::setup;

/// Beginnings of the names of files with a licence.
const BEGINNINGS: [&str; 5] = ["license", "licence", "copying", "notice", "copyright"];

/// Adds them below `licences/`: ours, those of libtorch and CUDA, and those of every crate in the programs.
pub fn add<W: Write>(archive: &mut Archive<W>, project: &Project, cuda: bool) -> Result<()> {
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        archive.add_file(&format!("licences/{name}"), &project.path(name))?;
    }
    for path in texts(&project.path("var-tokenizer/assets/emoji"))? {
        archive.add_file(&format!("licences/emoji/{}", name_of(&path)), &path)?;
    }
    for (network, path) in of_networks(&project.path(".features"))? {
        archive.add_file(&format!("licences/networks/{network}/{}", name_of(&path)), &path)?;
    }
    if !cuda {
        let folder = setup::libtorch_folder(project)?.join("licences");
        if !folder.is_dir() {
            bail!(
                "{} is missing: this libtorch was fetched without its licences; remove its folder in the cache, and run \
                 `cargo xtask setup`",
                folder.display()
            );
        }
        for path in texts(&folder)? {
            archive.add_file(&format!("licences/libtorch/{}", name_of(&path)), &path)?;
        }
    }
    let mut list = String::new();
    for package in packages(project)? {
        list.push_str(&format!("{} {}: {}\n", package.name, package.version, package.licence));
        for path in texts(&package.folder)? {
            let place = format!("licences/crates/{}-{}/{}", package.name, package.version, name_of(&path));
            archive.add_file(&place, &path)?;
        }
    }
    archive.add("licences/crates.txt", list.as_bytes(), false)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files in `folder` that hold a licence, sorted; none without the folder.
fn texts(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let is_text = |path: &PathBuf| {
        let name = name_of(path).to_lowercase();
        path.is_file() && BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_text).collect();
    paths.sort();
    Ok(paths)
}

/// Those of the weights in `folder`, which are links to folders with their licences: name of the weights, and path.
fn of_networks(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(target) = entry.path().canonicalize() else { continue };
        let network = target.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for path in texts(target.parent().unwrap_or(&target))? {
            found.push((network.clone(), path));
        }
    }
    found.sort();
    Ok(found)
}

/// A crate from outside the workspace.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
    folder: PathBuf,
}

/// The crates that the programs are made of.
fn packages(project: &Project) -> Result<BTreeSet<Package>> {
    let output = project
        .cargo()
        .args(["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    in_programs(&serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?)
}

/// Those that the members of the workspace depend on, in a build without tests. This program is none of them.
fn in_programs(metadata: &Value) -> Result<BTreeSet<Package>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let by_id: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node["id"]), node)).collect();
    let mut open: Vec<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
    open.retain(|id| by_id.get(id).is_some_and(|package| package["name"] != env!("CARGO_PKG_NAME")));
    let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let package = by_id.get(&id).with_context(|| format!("cargo metadata lacks the package {id}"))?;
        if !package["source"].is_null() {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            found.insert(Package {
                name: text(&package["name"]),
                version: text(&package["version"]),
                licence: package["license"].as_str().unwrap_or("see its files").to_owned(),
                folder: manifest.parent().map(Path::to_path_buf).unwrap_or_default(),
            });
        }
        for dependency in list(&nodes.get(&id).unwrap_or(&Value::Null)["deps"]) {
            if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                open.push(text(&dependency["pkg"]));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn crates_of_the_programs_are_listed_and_those_of_tests_and_builds_are_not() {
        let package = |name: &str, source: Value| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": source,
                   "manifest_path": format!("/c/{name}/Cargo.toml")})
        };
        let deps = |list: &[(&str, Value)]| {
            let one = |(name, kind): &(&str, Value)| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
            json!(list.iter().map(one).collect::<Vec<_>>())
        };
        let metadata = json!({
            "packages": [
                package("var", Value::Null), package("xtask", Value::Null), package("used", json!("registry")),
                package("deeper", json!("registry")), package("tests", json!("registry")), package("tool", json!("registry")),
            ],
            "workspace_members": ["var", "xtask"],
            "resolve": {"nodes": [
                {"id": "var", "deps": deps(&[("used", Value::Null), ("tests", json!("dev")), ("tool", json!("build"))])},
                {"id": "used", "deps": deps(&[("deeper", Value::Null)])},
                {"id": "xtask", "deps": deps(&[("tool", Value::Null)])},
            ]},
        });
        let names: Vec<String> = in_programs(&metadata).unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["deeper", "used"]);
    }

    #[test]
    fn files_with_a_licence_are_told_by_their_names() {
        let place = tempfile::tempdir().unwrap();
        for name in ["LICENSE-MIT", "License.txt", "COPYING", "NOTICE", "README.md", "src"] {
            std::fs::write(place.path().join(name), "x").unwrap();
        }
        let names: Vec<String> = texts(place.path()).unwrap().iter().map(|path| name_of(path)).collect();
        assert_eq!(names, ["COPYING", "LICENSE-MIT", "License.txt", "NOTICE"]);
        assert_eq!(texts(&place.path().join("none")).unwrap(), Vec::<PathBuf>::new());
    }
}
