//! Bad input: a clear message, exit status 2, and nothing started.

use predicates::prelude::*;
use predicates::str::contains;

use crate::fake::Fake;

#[test]
fn an_unknown_preset_lists_the_known_ones() {
    let fake = Fake::new();
    fake.sweep(&["--preset", "emojinano"]).assert().code(2).stderr(
        contains("emoji-nano")
            .and(contains("cifar-nano"))
            .and(contains("paper-256"))
            .and(contains("did you mean")),
    );
    assert!(fake.calls().is_empty() && !fake.out().exists());
}

#[test]
fn a_typo_in_a_preset_file_names_the_key_and_the_nearest_one() {
    let fake = Fake::new();
    let text = include_str!("../../presets/emoji-nano.toml").replace("crops = 2", "crosp = 2");
    std::fs::write(fake.path("mine.toml"), text).unwrap();
    fake.sweep(&["--preset", "mine.toml"])
        .assert()
        .code(2)
        .stderr(contains("mine.toml line").and(contains("`crosp`")).and(contains("did you mean `crops`?")));
}

#[test]
fn a_preset_file_that_is_missing_or_no_toml_is_named() {
    let fake = Fake::new();
    fake.sweep(&["--preset", "gone.toml"]).assert().code(2).stderr(contains("gone.toml"));
    std::fs::write(fake.path("broken.toml"), "about = ").unwrap();
    fake.sweep(&["--preset", "broken.toml"]).assert().code(2).stderr(contains("broken.toml line 1"));
}

#[test]
fn a_preset_file_of_ones_own_works() {
    let fake = Fake::new();
    let text = include_str!("../../presets/emoji-nano.toml").replace("[\"nano\"]", "[\"1x32\", \"d2\"]");
    std::fs::write(fake.path("mine.toml"), text).unwrap();
    fake.sweep(&["--preset", "mine.toml", "--dry-run"]).assert().success().stdout(contains("d2"));
}

#[test]
fn bad_sizes_settings_and_options_are_refused() {
    let fake = Fake::new();
    for (arguments, words) in [
        (&["--sizes", "3x97"][..], "multiple of 32"),
        (&["--sizes", "huge"], "blocks and width (3x96)"),
        (&["--sizes", ","], "no sizes; name sizes"),
        (&["--set", "steps"], "write key=value"),
        (&["--set", "batch=0"], "batch=0: expected a whole number from 1 to 131072"),
        (&["--irreducible", "loss=3"], "loss_all"),
        (&["--flops-rate", "0"], "above 0"),
        (&["--preset", "cifar-nano"], "--data"),
        (&["--tokenizer", "gone.safetensors"], "no such tokenizer"),
        (&["--tokenizer", "builtin", "--train-tokenizer"], "cannot be used with"),
        (&["--seeds", "0"], "--seeds"),
        (&["--seeds", "1001"], "1..=1000"),
    ] {
        fake.sweep(arguments).assert().code(2).stderr(contains("error:").and(contains(words)));
    }
    assert!(fake.calls().is_empty());
}

#[test]
fn images_that_cannot_be_encoded_are_the_encoders_words_and_status_2() {
    let fake = Fake::new();
    fake.mark("no-tokens");
    fake.images("photos", 2);
    fake.sweep(&["--data", "photos", "--tokenizer", "builtin"]).assert().code(2).stderr(
        contains("error: encoding the images failed: photos: none can be read").and(contains("tokens.log")),
    );
}

#[test]
fn images_that_are_named_must_be_there_even_for_a_dry_run() {
    let fake = Fake::new();
    for more in [&[][..], &["--dry-run"], &["--dry-run", "--preset", "paper-256"]] {
        fake.sweep(&["--data", "nowhere"])
            .args(more)
            .assert()
            .code(2)
            .stderr(contains("error: nowhere: no such file or folder").and(contains("class folders")));
    }
    std::fs::create_dir(fake.path("empty")).unwrap();
    fake.sweep(&["--data", "empty", "--dry-run"]).assert().code(2).stderr(contains("empty"));
    assert!(fake.calls().is_empty() && !fake.out().exists());
}

#[test]
fn a_dry_run_needs_no_images_and_a_sweep_does() {
    let fake = Fake::new();
    let dry = ["--preset", "paper-256", "--dry-run"];
    fake.sweep(&dry)
        .assert()
        .success()
        .stdout(contains("d30").and(contains("your images").and(contains("--data PATH counts your images"))));
    fake.sweep(&dry[..2]).assert().code(2).stderr(contains("--data PATH"));
    assert!(!fake.out().exists());
}

#[test]
fn a_dry_run_counts_the_images_that_are_named() {
    let fake = Fake::new();
    fake.images("photos", 3);
    let arguments = ["plan", "--data", "photos", "--set", "epochs=4", "--set", "batch=6", "--json"];
    let output = fake.program().args(arguments).assert().success().get_output().stdout.clone();
    let plan: serde_json::Value = serde_json::from_slice(&output).unwrap();
    // One in ten of each class is held out.
    assert_eq!((&plan["pictures"]["train"], &plan["pictures"]["val"]), (&27.into(), &3.into()));
    assert_eq!(plan["pictures"]["classes"], 3);
    assert_eq!(plan["runs"][0]["steps"], 18);
}

#[test]
fn what_the_sweep_sets_is_refused_as_a_setting() {
    let fake = Fake::new();
    for (setting, origin) in [
        ("depth=3", "the sizes of the sweep"),
        ("width=64", "the sizes of the sweep"),
        ("model.heads=2", "the sizes of the sweep"),
        ("seed=7", "the seed of the sweep"),
        ("training.seed=7", "the seed of the sweep"),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let words = contains(origin).and(contains(format!("setting {setting}")));
            fake.sweep(&["--set", setting]).args(more).assert().code(2).stderr(words);
        }
    }
    let text = include_str!("../../presets/emoji-nano.toml").replace("log_every = 5", "depth = 5");
    std::fs::write(fake.path("mine.toml"), text).unwrap();
    let words = contains("[train.set] depth").and(contains("[ladder]"));
    fake.sweep(&["--preset", "mine.toml"]).assert().code(2).stderr(words);
    assert!(fake.calls().is_empty());
}

#[test]
fn numbers_that_no_plan_can_hold_are_refused_with_their_bounds() {
    let fake = Fake::new();
    for (arguments, bound) in [
        (&["--set", "steps=18446744073709551615"][..], "1000000000"),
        (&["--set", "steps=184467440737095516"], "1000000000"),
        (&["--set", "batch=131073"], "131072"),
        (&["--set", "epochs=1e30"], "at most 1000000"),
        (&["--set", "epochs=-3"], "above 0"),
        (&["--set", "epochs=nan"], "above 0"),
        (&["--seed", "18446744073709551615", "--seeds", "2"], "9223372036854775807"),
    ] {
        fake.program().args(["plan"]).args(arguments).assert().code(2).stderr(contains(bound));
    }
}

#[test]
fn a_preset_whose_schedule_does_not_fit_its_images_says_what_would() {
    let fake = Fake::new();
    let text = include_str!("../../presets/emoji-nano.toml");
    let text = text.replace("schedule = [1, 2, 3, 4, 6, 8]", "schedule = [1, 2, 3, 5]");
    std::fs::write(fake.path("mine.toml"), text).unwrap();
    fake.sweep(&["--preset", "mine.toml", "--dry-run"]).assert().code(2).stderr(
        contains("mine.toml")
            .and(contains("the latent of 32 pixels cannot be 5"))
            .and(contains("32, 16, 8, 4, 2, 1"))
            .and(contains("image_side of 20, 40 or 80")),
    );
}

#[test]
fn devices_and_precisions_that_do_not_exist_are_refused_at_once() {
    let fake = Fake::new();
    for (flag, value, words) in
        [("--device", "tpu", "cuda:N"), ("--device", "cuda:x", "cuda:N"), ("--precision", "f8", "bf16")]
    {
        for more in [&[][..], &["--dry-run"]] {
            fake.sweep(&[flag, value]).args(more).assert().code(2).stderr(contains(words));
        }
    }
    assert!(fake.calls().is_empty());
    fake.sweep(&["--device", "cuda:1", "--precision", "bf16", "--sizes", "1x32"]).assert().success();
    assert!(fake.trained("1x32")[0].contains("--device cuda:1 --precision bf16"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let fake = Fake::new();
    for arguments in [&["plan"][..], &["plan", "--json"], &["sweep", "--list-presets"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("var-scaling"));
        let status = command.args(arguments).current_dir(fake.path("")).stdout(writer).status().unwrap();
        assert!(status.success(), "{arguments:?}: {status}");
    }
    // Standard error may be closed just as well.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("var-scaling"));
    let status = command.args(["plan", "--sizes", "huge"]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn help_has_examples() {
    let fake = Fake::new();
    for command in [&["--help"][..], &["plan", "--help"], &["sweep", "--help"], &["fit", "--help"]] {
        fake.program().args(command).assert().success().stdout(contains("Example"));
    }
}

#[test]
fn a_missing_program_is_named_with_what_to_do() {
    let fake = Fake::new();
    std::fs::remove_file(fake.path("bin/var-train")).unwrap();
    fake.sweep(&[]).assert().code(2).stderr(contains("var-train is not in").and(contains("cargo build")));
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let fake = Fake::new();
    std::fs::write(fake.path("bin/var-tokenizer"), "no program").unwrap();
    std::fs::set_permissions(
        fake.path("bin/var-tokenizer"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    fake.sweep(&[]).assert().code(2).stderr(contains("var-tokenizer"));
}

#[test]
fn a_dry_run_prints_the_table_and_writes_nothing() {
    let fake = Fake::new();
    fake.sweep(&["--dry-run"]).assert().success().stdout(
        contains("params")
            .and(contains("tokens"))
            .and(contains("FLOPs"))
            .and(contains("memory"))
            .and(contains("6x192"))
            .and(contains("emoji: 3385 for training, 9 classes, 396 held out")),
    );
    let text = fake.program().args(["plan", "--preset", "cifar-nano"]).assert().success();
    text.stdout(
        contains("tokenizer").and(contains("1.04M")).and(contains("3 min 20 s")).and(contains("tokens")),
    );
    let output = fake
        .program()
        .args(["plan", "--preset", "paper-256", "--json", "--flops-rate", "1e15"])
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let plan: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(plan["runs"][5]["params"], 310_283_520);
    assert_eq!(plan["runs"][12]["params"], 2_010_020_356_u64);
    assert!(!fake.out().exists() && fake.calls().is_empty());
}

#[test]
fn a_plan_for_accelerators_has_hours_cost_and_a_placement_of_each_size() {
    let fake = Fake::new();
    let plan = |arguments: &[&str]| {
        let mut command = fake.program();
        command.args(["plan", "--preset", "paper-256", "--accelerator", "A100"]).args(arguments);
        command
    };
    let found = plan(&["--ranks", "16", "--price", "2", "--json"]).assert().success();
    let found: serde_json::Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 13);
    for run in runs {
        let place = &run["placement"];
        let number = |key: &str| place[key].as_u64().unwrap();
        assert_eq!(number("images") * number("accumulation") * 16, run["batch"].as_u64().unwrap(), "{run}");
        assert!(place["memory"].as_f64().unwrap() <= 0.9 * 80e9, "{run}");
    }
    let text = plan(&["--ranks", "16", "--price", "2"]).assert().success();
    text.stdout(
        contains("device hours").and(contains("cost")).and(contains("16 × a100, 21% of 312 TFLOP/s each")),
    );
    let little = plan(&["--device-memory", "2GB", "--sizes", "d30"]).assert().success();
    little.stdout(contains("does not fit"));
    for (arguments, why) in [
        (&["--ranks", "7"][..], "cannot be divided by 7 ranks"),
        (&["--mfu", "1.5"], "--mfu 1.5: expected a share"),
        (&["--device-memory", "much"], "expected a size, for example 80GB"),
        (&["--ranks", "0"], "0 ranks: expected 1 to"),
        (&["--flops-rate", "1e15"], "cannot be used with"),
    ] {
        plan(arguments).assert().code(2).stderr(contains(why));
    }
    let train = ["sweep", "--accelerator", "h100", "--sizes", "1x32"];
    fake.program().args(train).assert().code(2).stderr(contains("add --dry-run"));
    assert!(fake.calls().is_empty());
}

#[test]
fn presets_and_ladders_are_listed() {
    let fake = Fake::new();
    fake.sweep(&["--list-presets"])
        .assert()
        .success()
        .stdout(contains("emoji-nano").and(contains("nano-long")));
}

#[test]
fn a_folder_without_results_says_how_to_make_them() {
    let fake = Fake::new();
    for command in ["fit", "plot", "report"] {
        fake.program().args([command, "nowhere"]).assert().code(2).stderr(contains("var-scaling sweep"));
    }
}

#[test]
fn a_damaged_results_file_names_the_line() {
    let fake = Fake::new();
    std::fs::create_dir(fake.out()).unwrap();
    std::fs::write(fake.out().join("results.jsonl"), "{\"name\": 3}\n{}\n").unwrap();
    fake.program().arg("fit").arg(fake.out()).assert().code(2).stderr(contains("line 1 is damaged"));
}

#[test]
fn an_output_folder_that_is_a_file_is_refused() {
    let fake = Fake::new();
    std::fs::write(fake.out(), "x").unwrap();
    fake.sweep(&[]).assert().failure().stderr(contains("error:").and(contains("out")));
}

#[test]
fn settings_of_a_plan_are_checked_as_in_the_real_run() {
    let fake = Fake::new();
    for command in [&["plan"][..], &["sweep", "--dry-run"]] {
        let refused = fake.program().args(command).args(["--set", "nonsense=3"]).assert().code(2);
        refused.stderr(contains("error: 1x32: unknown key 'nonsense'"));
    }
    let text = include_str!("../../presets/cifar-nano.toml");
    std::fs::write(fake.path("mine.toml"), format!("{text}\n[tokenizer.set]\nnonsense = 3\n")).unwrap();
    let refused = fake.program().args(["plan", "--preset", "mine.toml"]).assert().code(2);
    refused.stderr(contains("error: tokenizer: unknown key 'nonsense'"));
    assert!(fake.calls().is_empty() && !fake.out().exists());
    // The check needs no other program.
    std::fs::remove_file(fake.path("bin/var-train")).unwrap();
    fake.program().arg("plan").assert().success();
    fake.program().args(["plan", "--set", "nonsense=3"]).assert().code(2);
}

#[test]
fn settings_without_effect_are_told_by_plan_and_sweep() {
    let fake = Fake::new();
    let words = "note: setting epochs has no effect: the setting steps gives the length";
    fake.program()
        .args(["plan", "--set", "epochs=3", "--set", "steps=10"])
        .assert()
        .success()
        .stdout(contains(words));
    fake.sweep(&["--set", "epochs=3", "--sizes", "1x32"]).assert().success().stderr(contains(words));
    let twice = ["--irreducible", "loss_all=3", "--irreducible", "loss_all=4"];
    fake.sweep(&twice).assert().code(2).stderr(contains("--irreducible loss_all is given twice"));
}
