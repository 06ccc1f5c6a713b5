//! Which machine a comparison ran on.

use std::process::Command;

use crate::project::Project;

/// Processor, its instructions, cores, memory, and the commit, in one sentence each.
pub fn describe(project: &Project) -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = about.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| "unknown processor".into());
    let flags = field("flags").unwrap_or_default();
    let has: Vec<&str> = ["avx2", "avx512f", "avx512_bf16", "amx_bf16"]
        .into_iter()
        .filter(|flag| flags.split(' ').any(|have| have == *flag))
        .collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let git =
        Command::new("git").arg("-C").arg(project.path("")).args(["rev-parse", "--short", "HEAD"]).output();
    let commit = git.ok().filter(|git| git.status.success());
    let commit =
        commit.map_or_else(|| "unknown".into(), |git| String::from_utf8_lossy(&git.stdout).trim().to_owned());
    format!("Machine: {model}, {cores} cores ({}). Commit {commit}.", has.join(", "))
}
