//! Sweeps whose programs start in other ways: again after a loss, behind a command, or as jobs of SLURM.

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use rustix::process::Signal;

use crate::fake::{Fake, end, names, stop};
use crate::program::write_program;

/// Runs the script in the background. With `$FAKE/busy` it fails once; with `$FAKE/lose-NAME` it starts nothing, once.
const SBATCH: &str = r#"#!/bin/sh
echo "sbatch $*" >> "$FAKE/calls"
if [ -e "$FAKE/busy" ]; then rm "$FAKE/busy"; echo "sbatch: error: too many jobs" >&2; exit 1; fi
number=$(cat "$FAKE/number" 2>/dev/null || echo 100)
echo $((number + 1)) > "$FAKE/number"
name=$(basename "$2" .sh)
if [ -e "$FAKE/lose-$name" ]; then
  rm "$FAKE/lose-$name"
else
  setsid bash "$2" >/dev/null 2>&1 </dev/null &
  echo $! > "$FAKE/job-$number"
fi
echo "$number;cluster"
"#;

const SRUN: &str = r#"#!/bin/sh
echo "srun $*" >> "$FAKE/calls"
shift
exec "$@"
"#;

const SQUEUE: &str = r#"#!/bin/sh
for number; do :; done
pid=$(cat "$FAKE/job-$number" 2>/dev/null)
if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then echo RUNNING; exit 0; fi
echo "slurm_load_jobs error: Invalid job id specified" >&2
exit 1
"#;

fn cluster() -> Fake {
    let fake = Fake::new();
    let programs = [("sbatch", SBATCH), ("srun", SRUN), ("squeue", SQUEUE)];
    for (name, text) in programs {
        write_program(&fake.path("bin").join(name), text);
    }
    std::fs::write(fake.path("job.sh"), "#!/bin/bash\n#SBATCH --nodes=2\nexport NCCL_DEBUG=WARN\n").unwrap();
    fake
}

/// `PATH` with the stand-ins first.
fn path(fake: &Fake) -> String {
    format!("{}:{}", fake.path("bin").display(), std::env::var("PATH").unwrap())
}

fn sweep(fake: &Fake, arguments: &[&str]) -> Command {
    let mut command = fake.sweep(&["--slurm", "job.sh"]);
    command.args(arguments).env("PATH", path(fake));
    command
}

fn submitted(fake: &Fake, name: &str) -> usize {
    let ending = format!("slurm/{name}.sh");
    fake.calls().iter().filter(|c| c.starts_with("sbatch") && c.ends_with(&ending)).count()
}

#[test]
fn slurm_runs_every_program_of_a_sweep_and_leaves_what_a_sweep_leaves() {
    let fake = cluster();
    fake.mark("busy");
    sweep(&fake, &["--sizes", "1x32,2x64,3x96"]).assert().success();
    let results = fake.results();
    for name in ["1x32", "2x64", "3x96"] {
        assert!(names(&results).contains(&name));
        assert!(fake.out().join(format!("samples/{name}.png")).is_file());
        assert_eq!(submitted(&fake, name), 1);
        // Only trainings have ranks.
        let srun = format!("/runs/{name} ");
        let calls = fake.calls();
        let starts: Vec<_> = calls.iter().filter(|c| c.starts_with("srun") && c.contains(&srun)).collect();
        assert_eq!(starts.len(), 1, "{starts:?}");
        assert!(starts[0].starts_with("srun --kill-on-bad-exit=0 "), "{starts:?}");
    }
    assert_eq!(submitted(&fake, "tokens"), 2, "the first time the queue was full");
    assert!(fake.out().join("report.html").is_file());
}

#[test]
fn scripts_are_only_written_with_render_only() {
    let fake = cluster();
    let output = sweep(&fake, &["--sizes", "1x32,2x64", "--render-only"]).assert().success();
    let scripts = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let endings = ["tokens.sh", "1x32.sh", "samples-of-1x32.sh", "2x64.sh", "samples-of-2x64.sh"];
    assert_eq!(scripts.lines().count(), endings.len());
    for (script, ending) in scripts.lines().zip(endings) {
        assert!(script.ends_with(&format!("slurm/{ending}")), "{script}");
        let good = std::process::Command::new("bash").args(["-n", script]).status().unwrap();
        assert!(good.success(), "{script}");
        let text = std::fs::read_to_string(script).unwrap();
        assert!(text.contains("#SBATCH --nodes=2\nexport NCCL_DEBUG=WARN\n"), "{text}");
        assert_eq!(text.matches("#!").count(), 1);
    }
    assert!(fake.calls().is_empty());
    assert!(!fake.out().join("results.jsonl").exists());
}

#[test]
fn jobs_go_on_after_a_signal_or_a_kill_and_the_same_command_follows_them() {
    for signal in [Signal::INT, Signal::KILL] {
        let fake = cluster();
        fake.mark("slow-2x64");
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("var-scaling"))
            .env("VAR_BIN_DIR", fake.path("bin"))
            .env("FAKE", fake.path(""))
            .env("PATH", path(&fake))
            .current_dir(fake.path(""))
            .args(["sweep", "--out"])
            .arg(fake.out())
            .args(["--set", "steps=10", "--sizes", "1x32,2x64", "--slurm", "job.sh"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        fake.wait_for("started-2x64", &mut child);
        stop(&child, signal);
        let (_, text) = end(child);
        if signal == Signal::INT {
            assert!(text.contains("2x64: job 1") && text.contains("`scancel 1"), "{text}");
            assert!(text.contains("error: interrupted"), "{text}");
        }
        fake.unmark("slow-2x64");
        sweep(&fake, &["--sizes", "1x32,2x64"]).assert().success();
        assert_eq!(fake.trained("2x64").len(), 1, "the job went on");
        assert_eq!(submitted(&fake, "tokens"), 1);
        assert_eq!(submitted(&fake, "2x64"), 1);
        assert_eq!(fake.results().len(), 2);
    }
}

#[test]
fn a_job_that_ended_while_the_sweep_was_away_is_not_submitted_again() {
    let fake = cluster();
    sweep(&fake, &["--sizes", "1x32", "--render-only"]).assert().success();
    // As if a sweep had been killed before it saw the end of its first job.
    let event = r#"{"event":"done","train":64,"val":8,"bad":1,"images_per_second":100.5,"out":"tokens.h5"}"#;
    for (name, text) in [
        ("slurm/tokens.job", "7\n"),
        ("slurm/tokens.status", "0\n"),
        ("slurm/tokens.events", &format!("{event}\n")),
        ("tokens.h5", "tokens"),
    ] {
        std::fs::write(fake.out().join(name), text).unwrap();
    }
    sweep(&fake, &["--sizes", "1x32"]).assert().success();
    assert_eq!((submitted(&fake, "tokens"), submitted(&fake, "1x32")), (0, 1));
    assert_eq!(fake.results().len(), 1);
}

#[test]
fn what_slurm_needs_is_said() {
    let fake = cluster();
    std::fs::write(fake.path("empty.sh"), "echo\n").unwrap();
    fake.sweep(&["--slurm", "empty.sh"]).assert().code(2).stderr(contains("no #SBATCH line"));
    fake.sweep(&["--slurm", "none.sh"]).assert().code(2).stderr(contains("none.sh"));
    std::fs::remove_file(fake.path("bin/sbatch")).unwrap();
    // With the stand-ins only: this machine may have SLURM.
    let bin = fake.path("bin").display().to_string();
    let alone = fake.sweep(&["--slurm", "job.sh"]).env("PATH", bin).assert().code(2);
    alone.stderr(contains("sbatch is not on this machine"));
    fake.sweep(&["--render-only"]).assert().code(2).stderr(contains("--slurm"));
    fake.sweep(&["--prefix", "mpirun 'x"]).assert().code(2).stderr(contains("closed quotes"));
}

#[test]
fn a_killed_size_starts_again_as_often_as_asked_and_a_bad_one_never() {
    let fake = Fake::new();
    fake.mark("die-1x32");
    fake.mark("fail-2x64");
    fake.sweep(&["--sizes", "1x32,2x64,3x96", "--retries", "2"])
        .assert()
        .code(1)
        .stderr(contains("1x32: killed (signal 9").and(contains("starts again")))
        .stdout(contains("2x64 failed: step 3: the loss is NaN"));
    assert_eq!(fake.trained("1x32").len(), 2);
    assert!(fake.trained("1x32")[1].ends_with("--resume"));
    assert_eq!(fake.trained("2x64").len(), 1);
    assert_eq!(fake.results().len(), 2);
}

#[test]
fn a_command_stands_in_front_of_trainings_only() {
    let fake = cluster();
    fake.sweep(&["--sizes", "1x32", "--prefix", "srun '-N 2'"]).env("PATH", path(&fake)).assert().success();
    let calls: Vec<String> = fake.calls().into_iter().filter(|c| c.starts_with("srun")).collect();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(calls[0].starts_with("srun -N 2 /") && calls[0].contains("/var-train model "), "{calls:?}");
    assert_eq!(fake.results().len(), 1);
}
