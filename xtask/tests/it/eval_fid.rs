//! `cargo xtask eval-fid` with scripts in place of the programs.

use predicates::str::contains;

use crate::sandbox::Sandbox;

/// A sandbox with a run of two classes; the programs write down their arguments and make what they are asked for.
fn with_a_run() -> Sandbox {
    let sandbox = Sandbox::ready();
    sandbox.cargo("");
    let run = sandbox.path("clone/runs/small");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("model.safetensors"), "").unwrap();
    std::fs::write(run.join("config.toml"), "kind = \"model\"\ndata = \"/d/tokens.h5\"\n").unwrap();
    std::fs::write(run.join("classes.json"), "[\"a\", \"b\"]").unwrap();
    let log = sandbox.path("log");
    for (name, made) in [("var-model", "\"$out\""), ("var-eval", "\"$out/metrics.json\"")] {
        let script = format!(
            "echo {name} \"$@\" >> '{}'; out=; while test $# -gt 0; do test \"$1\" = --out && out=$2; shift; done; \
             case \"$out\" in *.svg) made=$out ;; *) made={made} ;; esac; : > \"$made\"",
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
fn the_newest_run_is_sampled_drawn_and_scored_against_its_held_out_pictures() {
    let sandbox = with_a_run();
    sandbox.xtask().args(["eval-fid", "-n", "100"]).assert().success();
    let eval = "runs/small/eval";
    assert_eq!(
        calls(&sandbox),
        [
            format!(
                "var-model sample --classes all --per-class 50 --run runs/small --out {eval}/samples.npz"
            ),
            format!("var-model sample --classes all --per-class 8 --run runs/small --out {eval}/grid.png"),
            format!(
                "var-eval score --samples {eval}/samples.npz --reference /d/tokens.h5 --reference-split val --out {eval}"
            ),
        ]
    );
}

#[test]
fn a_sweep_goes_on_where_it_was_and_ends_with_a_plot() {
    let sandbox = with_a_run();
    let ask = || {
        let mut xtask = sandbox.xtask();
        xtask.args(["eval-fid", "-n", "4", "--sweep", "cfg=1:2:1", "--reference", "val", "--out", "o"]);
        xtask
    };
    ask().assert().success();
    let first = calls(&sandbox);
    assert_eq!(first.len(), 7, "{first:?}");
    assert!(first[0].contains("--cfg 1 --out o/cfg-1/samples.npz"), "{first:?}");
    assert_eq!(first[6], "var-eval sweep-plot --setting cfg --out o/cfg.svg o/cfg-1 o/cfg-2");
    std::fs::remove_file(sandbox.path("clone/o/cfg-2/metrics.json")).unwrap();
    ask().assert().success();
    let again = calls(&sandbox);
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(again[0].starts_with("var-eval score --samples o/cfg-2/samples.npz"), "{again:?}");
}

#[test]
fn exit_status_of_a_program_passes_through_and_bad_use_ends_in_2() {
    let sandbox = with_a_run();
    sandbox.program("var-model", "exit 3");
    sandbox.xtask().args(["eval-fid", "-n", "4"]).assert().code(3);
    sandbox
        .xtask()
        .args(["eval-fid", "--sweep", "cfg=1"])
        .assert()
        .code(2)
        .stderr(contains("FIRST:LAST:STEP"));
    sandbox.xtask().args(["eval-fid", "--samples", "x"]).assert().code(2);
    std::fs::remove_dir_all(sandbox.path("clone/runs")).unwrap();
    sandbox.xtask().arg("eval-fid").assert().code(2).stderr(contains("no finished run"));
}
