//! `cargo xtask eval-fid` with scripts in place of the programs.

use predicates::prelude::*;
use predicates::str::contains;

use crate::sandbox::Sandbox;

/// A sandbox with a run of two classes; the programs write down their arguments and make what they are asked for.
fn with_a_run() -> Sandbox {
    let sandbox = Sandbox::ready();
    sandbox.cargo("");
    let weights = sandbox.path("clone/.features");
    std::fs::create_dir_all(&weights).unwrap();
    std::fs::write(weights.join("efficientnet_lite0.pth"), vec![0; 18_826_032]).unwrap();
    let run = sandbox.path("clone/runs/small");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("model.safetensors"), "").unwrap();
    std::fs::write(sandbox.path("clone/tokens.h5"), "").unwrap();
    std::fs::write(run.join("config.toml"), "kind = \"model\"\ndata = \"tokens.h5\"\n").unwrap();
    std::fs::write(run.join("classes.json"), "[\"a\", \"b\"]").unwrap();
    let log = sandbox.path("log");
    let metrics = r#"{"metrics": [{"metric": "fd", "name": "FD-x", "value": 2.5}]}"#;
    for (name, made) in [
        ("var-model", ": > \"$out\"".to_owned()),
        ("var-eval", format!("echo '{metrics}' > \"$out/metrics.json\"")),
        ("var-scaling", String::new()),
    ] {
        let script = format!(
            "echo {name} \"$@\" >> '{}'; out=; while test $# -gt 0; do test \"$1\" = --out && out=$2; shift; done; {made}",
            log.display()
        );
        sandbox.program(name, &script);
    }
    sandbox
}

fn calls(sandbox: &Sandbox) -> Vec<String> {
    let text = std::fs::read_to_string(sandbox.path("log")).unwrap_or_default();
    let _ = std::fs::remove_file(sandbox.path("log"));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_newest_run_is_sampled_drawn_and_scored_against_its_training_images() {
    let sandbox = with_a_run();
    sandbox.xtask().args(["eval-fid", "-n", "99"]).assert().success();
    let first = calls(&sandbox);
    assert!(!first[0].contains("--resume"), "there is nothing to go on with yet: {first:?}");
    assert!(
        first[1].contains("--classes id:0,id:1 --per-class 8") && first[1].ends_with("/grid.png"),
        "{first:?}"
    );
    sandbox.xtask().args(["eval-fid", "-n", "99"]).assert().success();
    let folder = "runs/small/evaluation/cfg1.5-k900-p0.96-n100-s0";
    let settings = "--cfg 1.5 --top-k 900 --top-p 0.96 --temperature 1 --seed 0";
    assert_eq!(
        calls(&sandbox),
        [
            format!(
                "var-model sample --run runs/small --classes id:all --per-class 50 {settings} --resume --out {folder}/samples.npz"
            ),
            format!(
                "var-eval score --samples {folder}/samples.npz --reference tokens.h5 --reference-split train --out {folder} \
                 --reference-cache runs/small/evaluation"
            ),
        ]
    );
}

#[test]
fn a_published_model_is_sampled_by_its_name_and_needs_a_reference() {
    let sandbox = with_a_run();
    let log = sandbox.path("log");
    let about = r#"{"parts": [{"config": {"channels": 160}}, {"config": {"classes": 1000}}]}"#;
    let script = format!(
        "echo var-model \"$@\" >> '{}'; test $1 = inspect && echo '{about}' && exit; \
         while test $# -gt 0; do test \"$1\" = --out && : > \"$2\"; shift; done",
        log.display()
    );
    sandbox.program("var-model", &script);
    let mut xtask = sandbox.xtask();
    xtask.args(["eval-fid", "--model", "hf:a/b/c.pth@main", "--reference", "imagenet-256"]);
    xtask.args(["--", "--network", "inception-fid"]).assert().success();
    let folder = "evaluation/hf-a-b-c.pth-main/cfg1.5-k900-p0.96-n50000-s0";
    let settings = "--cfg 1.5 --top-k 900 --top-p 0.96 --temperature 1 --seed 0";
    let calls = calls(&sandbox);
    assert_eq!(calls[0], "var-eval fetch imagenet-256 inception");
    assert_eq!(calls[1], "var-model inspect hf:a/b/c.pth@main --json");
    assert_eq!(
        calls[2],
        format!(
            "var-model sample --model hf:a/b/c.pth@main --classes id:all --per-class 50 {settings} --out {folder}/samples.npz"
        )
    );
    assert_eq!(
        calls[4],
        format!(
            "var-eval score --samples {folder}/samples.npz --reference imagenet-256 --out {folder} --reference-cache \
             evaluation/hf-a-b-c.pth-main --network inception-fid"
        )
    );
    sandbox.xtask().args(["eval-fid", "--model", "var-d16"]).assert().code(2).stderr(contains("--reference"));
}

#[test]
fn a_sweep_scores_every_value_and_ends_with_a_curve() {
    let sandbox = with_a_run();
    let mut xtask = sandbox.xtask();
    xtask.args([
        "eval-fid",
        "-n",
        "4",
        "--sweep",
        "cfg=1:2:1",
        "--reference",
        "emoji",
        "--out",
        "o",
        "--",
        "--quiet",
    ]);
    xtask.assert().success();
    let calls = calls(&sandbox);
    assert_eq!(calls.len(), 7, "{calls:?}");
    assert!(calls[0].contains("--cfg 1 ") && calls[3].contains("--cfg 2 "), "{calls:?}");
    assert!(
        calls[5].ends_with("--reference emoji --out o/cfg2-k900-p0.96-n4-s0 --reference-cache o --quiet"),
        "{calls:?}"
    );
    assert_eq!(calls[6], "var-scaling curve o/sweep-cfg.json");
    let curve = std::fs::read_to_string(sandbox.path("clone/o/sweep-cfg.json")).unwrap();
    let curve: serde_json::Value = serde_json::from_str(&curve).unwrap();
    assert_eq!(curve["points"], serde_json::json!([[1.0, 2.5], [2.0, 2.5]]));
    assert_eq!(curve["y"], "FD-x");
}

#[test]
fn every_run_of_a_sweep_folder_is_scored_and_its_report_written_again() {
    let sandbox = with_a_run();
    let sweep = sandbox.path("clone/runs/sweep");
    for name in ["1x32", "2x64", "unfinished"] {
        let run = sweep.join("runs").join(name);
        std::fs::create_dir_all(&run).unwrap();
        for file in ["config.toml", "classes.json", "model.safetensors"] {
            if name != "unfinished" {
                std::fs::copy(sandbox.path("clone/runs/small").join(file), run.join(file)).unwrap();
            }
        }
    }
    std::fs::write(sweep.join("results.jsonl"), "").unwrap();
    sandbox.xtask().args(["eval-fid", "--run", "runs/sweep", "-n", "4"]).assert().success();
    let calls = calls(&sandbox);
    let scored: Vec<&str> = calls
        .iter()
        .filter_map(|call| call.strip_prefix("var-eval score --samples runs/sweep/runs/"))
        .collect();
    assert!(
        scored.len() == 2 && scored[0].starts_with("1x32/") && scored[1].starts_with("2x64/"),
        "{calls:?}"
    );
    let sweep = sweep.canonicalize().unwrap();
    let shared = format!(" --reference-cache {}/evaluation", sweep.display());
    assert!(scored.iter().all(|call| call.ends_with(&shared)), "{calls:?}");
    let expected = ["plot", "report"].map(|command| format!("var-scaling {command} {}", sweep.display()));
    assert_eq!(calls[calls.len() - 2..], expected);
    sandbox
        .xtask()
        .args(["eval-fid", "--run", "runs/sweep", "--out", "o"])
        .assert()
        .code(2)
        .stderr(contains("--out is for one run"));
}

#[test]
fn averaged_weights_are_sampled_into_a_folder_of_their_own_where_a_run_has_them() {
    let sandbox = with_a_run();
    let refusal = "runs/small has no averaged weights (model-ema.safetensors)";
    sandbox.xtask().args(["eval-fid", "-n", "4", "--ema"]).assert().code(2).stderr(contains(refusal));
    assert!(calls(&sandbox).is_empty());
    std::fs::write(sandbox.path("clone/runs/small/model-ema.safetensors"), "").unwrap();
    sandbox.xtask().args(["eval-fid", "-n", "4", "--ema"]).assert().success();
    let calls = calls(&sandbox);
    assert!(calls[0].contains(" --ema ") && calls[1].contains(" --ema "), "{calls:?}");
    assert!(calls[2].contains("--out runs/small/evaluation/cfg1.5-k900-p0.96-n4-s0-ema "), "{calls:?}");
}

#[test]
fn exit_status_of_a_program_passes_through_and_bad_use_ends_in_2() {
    let sandbox = with_a_run();
    sandbox.program("var-model", "exit 3");
    sandbox.xtask().args(["eval-fid", "-n", "4"]).assert().code(3);
    for (arguments, message) in [
        (&["--sweep", "cfg=1"][..], "KEY=FROM:TO:STEP"),
        (&["--samples", "x"], "needs --reference"),
        (&["--run", "nowhere"], "neither a run folder"),
    ] {
        sandbox.xtask().arg("eval-fid").args(arguments).assert().code(2).stderr(contains(message));
    }
    std::fs::remove_file(sandbox.path("clone/tokens.h5")).unwrap();
    sandbox.xtask().arg("eval-fid").assert().code(2).stderr(contains("or give --reference"));
    std::fs::remove_dir_all(sandbox.path("clone/runs")).unwrap();
    sandbox.xtask().arg("eval-fid").assert().code(2).stderr(contains("no finished run"));
}

#[test]
fn a_program_that_a_signal_ends_is_named_with_the_signal() {
    let sandbox = with_a_run();
    sandbox.program("var-eval", "kill -KILL $$");
    let message = contains("error: signal 9 ended var-eval").and(contains("run the same command again"));
    sandbox.xtask().args(["eval-fid", "-n", "4"]).assert().code(1).stderr(message);
    sandbox.program("var-model", "kill -TERM $$");
    let message = contains("error: signal 15 ended var-model;");
    sandbox.xtask().args(["eval-fid", "-n", "4"]).assert().code(1).stderr(message);
}

#[test]
fn what_can_be_refused_is_refused_before_a_picture_is_sampled() {
    let sandbox = with_a_run();
    for (arguments, message) in [
        (&["--reference", "none.npz"][..], "none.npz: no such file or folder; correct --reference"),
        (
            &["--samples", "none.tar", "--reference", "emoji"],
            "none.tar: no such file or folder; correct --samples",
        ),
        (&["--sweep", "cfg=1:2:1", "--", "--metrics", "kid"], "add fd to --metrics"),
        (&["--sweep", "large-scales=1:3:1"], "needs --small-model"),
        (&["--small-model", "runs/small"], "needs --large-scales"),
    ] {
        sandbox.xtask().arg("eval-fid").args(arguments).assert().code(2).stderr(contains(message));
    }
    std::fs::rename(sandbox.path("clone/tokens.h5"), sandbox.path("clone/moved.h5")).unwrap();
    sandbox.xtask().arg("eval-fid").assert().code(2).stderr(contains("(tokens.h5)"));
    std::fs::rename(sandbox.path("clone/moved.h5"), sandbox.path("clone/tokens.h5")).unwrap();
    std::fs::write(sandbox.path("clone/runs/small/classes.json"), "{}").unwrap();
    sandbox.xtask().arg("eval-fid").assert().code(2).stderr(contains("expected a list of class names"));
    assert_eq!(calls(&sandbox), [""; 0]);
}

#[test]
fn runs_that_lack_files_are_named_with_what_they_lack() {
    let sandbox = with_a_run();
    let sweep = sandbox.path("clone/runs/sweep");
    for name in ["1x32", "2x64"] {
        let run = sweep.join("runs").join(name);
        std::fs::create_dir_all(&run).unwrap();
        for file in ["config.toml", "classes.json", "model.safetensors"] {
            std::fs::copy(sandbox.path("clone/runs/small").join(file), run.join(file)).unwrap();
        }
    }
    std::fs::remove_file(sweep.join("runs/2x64/model.safetensors")).unwrap();
    std::fs::write(sweep.join("results.jsonl"), "{\"run\": \"runs/1x32\"}\n{\"run\": \"runs/3x96\"}\n")
        .unwrap();
    let told = contains("skips runs/sweep/runs/2x64: it lacks model.safetensors")
        .and(contains("skips runs/sweep/runs/3x96: results.jsonl names it, but the folder is missing"));
    sandbox.xtask().args(["eval-fid", "--run", "runs/sweep", "-n", "4"]).assert().success().stderr(told);
    for (file, advice) in [("model.safetensors", "--resume"), ("classes.json", "restore the files")] {
        let (from, to) = (sandbox.path("clone/runs/small").join(file), sandbox.path("clone/kept"));
        std::fs::rename(&from, &to).unwrap();
        let told = contains(format!("lacks {file}; ")).and(contains(advice));
        sandbox.xtask().args(["eval-fid", "--run", "runs/small"]).assert().code(2).stderr(told);
        std::fs::rename(&to, &from).unwrap();
    }
}
