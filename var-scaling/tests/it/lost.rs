//! Sweeps that lost files: what is missing is named, and no work begins anew unasked.

use predicates::prelude::*;
use predicates::str::contains;

use crate::fake::Fake;

/// A sweep of two sizes that stopped while the second had a checkpoint.
fn half_finished() -> Fake {
    let fake = Fake::new();
    fake.mark("die-2x64");
    fake.sweep(&["--sizes", "1x32,2x64"]).assert().code(1);
    fake
}

fn remove(path: &std::path::Path) {
    if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
}

#[test]
fn a_file_that_is_lost_from_a_half_finished_sweep_is_named_and_work_is_not_begun_anew() {
    for (lost, named, way) in [
        (
            "sweep.json",
            "sweep.json: missing, but the folder has an earlier sweep (results.jsonl, tokens.h5, runs/1x32, runs/2x64)",
            "start a new sweep in another folder (--out DIR)",
        ),
        ("tokens.h5", "tokens.h5: missing", "encode the images again (--start-over tokens)"),
        ("runs/2x64", "runs/2x64: missing or empty", "train 2x64 from the beginning (--start-over 2x64)"),
        ("runs/2x64/checkpoints", "runs/2x64/checkpoints: missing or empty", "--start-over 2x64"),
        ("runs/2x64/config.toml", "runs/2x64/config.toml: missing", "--start-over 2x64"),
    ] {
        let fake = half_finished();
        let calls = fake.calls();
        let place = fake.out().join(lost);
        let kept = fake.path("kept");
        std::fs::rename(&place, &kept).unwrap();
        let sizes = ["--sizes", "1x32,2x64"];
        for _ in 0..2 {
            let words = contains(named).and(contains("Put it back to resume")).and(contains(way));
            fake.sweep(&sizes).assert().code(2).stderr(words);
        }
        assert_eq!(fake.calls(), calls, "{lost}");
        // Repaired, the same command goes on.
        std::fs::rename(&kept, &place).unwrap();
        fake.sweep(&sizes).assert().success();
        assert!(fake.trained("2x64")[1].ends_with("--resume"), "{lost}");
        assert_eq!(fake.results().len(), 2);
    }
}

#[test]
fn results_that_are_lost_are_taken_from_the_run_folders_and_lost_finished_files_are_told() {
    let fake = half_finished();
    remove(&fake.out().join("results.jsonl"));
    let found = fake.sweep(&["--sizes", "1x32,2x64"]).assert().success();
    found.stderr(contains("1x32: read its result from"));
    assert_eq!((fake.trained("1x32").len(), fake.results().len()), (1, 2));
    // A finished sweep needs neither tokens nor runs any more, and says what its report lacks.
    for lost in ["tokens.h5", "runs/2x64", "samples/1x32.png", "fits.json", "report.html", "logs", "plots"] {
        remove(&fake.out().join(lost));
        let calls = fake.calls().len();
        let words = if lost.starts_with("runs") || lost.starts_with("samples") {
            "runs/2x64/metrics.jsonl: missing"
        } else {
            ""
        };
        fake.sweep(&["--sizes", "1x32,2x64"]).assert().success().stdout(contains(words));
        let new = fake.calls()[calls..].to_vec();
        assert!(new.iter().all(|call| call.starts_with("model sample")), "{lost}: {new:?}");
        assert_eq!(fake.results().len(), 2, "{lost}");
    }
}

#[test]
fn a_trained_tokenizer_that_is_lost_is_named() {
    let fake = Fake::new();
    fake.mark("fail-1x32");
    let arguments = ["--sizes", "1x32", "--train-tokenizer"];
    fake.sweep(&arguments).assert().code(1);
    let file = fake.out().join("tokenizer/tokenizer.safetensors");
    let kept = fake.path("kept");
    std::fs::rename(&file, &kept).unwrap();
    let calls = fake.calls();
    let words = contains("tokenizer.safetensors: missing").and(contains("(--out DIR)"));
    fake.sweep(&arguments).assert().code(2).stderr(words);
    assert_eq!(fake.calls(), calls);
    std::fs::rename(&kept, &file).unwrap();
    fake.unmark("fail-1x32");
    fake.sweep(&arguments).assert().success();
}

#[test]
fn start_over_moves_what_there_is_aside_and_refuses_what_is_finished() {
    let fake = half_finished();
    let sweep = |name: &str| fake.sweep(&["--sizes", "1x32,2x64", "--start-over", name]);
    sweep("1x32").assert().code(2).stderr(contains("cannot start 1x32 over: it is finished"));
    sweep("9x9").assert().code(2).stderr(contains("tokens or one of 1x32, 2x64"));
    // What is refused moves nothing.
    fake.sweep(&["--sizes", "1x32,2x64", "--start-over", "2x64", "--set", "nonsense=3"]).assert().code(2);
    assert!(
        !fake.out().join("runs/2x64.old-1").exists() && fake.out().join("runs/2x64/checkpoints").is_dir()
    );
    sweep("2x64,tokens").assert().success().stderr(contains("2x64.old-1").and(contains("tokens.h5.old-1")));
    assert!(!fake.trained("2x64")[1].contains("--resume"));
    assert!(fake.out().join("runs/2x64.old-1/checkpoints/step-00000001").is_dir());
    assert!(fake.out().join("tokens.h5.old-1").is_file() && fake.out().join("tokens.h5").is_file());
    // What an interrupted encode left beside the file is not resumed either.
    let encodes: Vec<String> =
        fake.calls().into_iter().filter(|call| call.starts_with("tokenizer encode")).collect();
    let restarts: Vec<bool> = encodes.iter().map(|call| call.contains("--restart")).collect();
    assert_eq!(restarts, [false, true], "{encodes:?}");
}

#[test]
fn a_folder_of_images_is_no_place_for_a_sweep() {
    let fake = Fake::new();
    let class = fake.out().join("cats");
    std::fs::create_dir_all(&class).unwrap();
    std::fs::write(class.join("0.png"), "").unwrap();
    let words = contains("holds images, not a sweep; choose a new folder");
    fake.sweep(&["--sizes", "1x32"]).assert().code(2).stderr(words);
    let left: Vec<_> =
        std::fs::read_dir(fake.out()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["cats"]);
}
