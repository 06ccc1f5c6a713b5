//! Whole sweeps: what they leave, and what a second call does.

use predicates::prelude::*;
use predicates::str::contains;
use var_eval::ScoreReport;

use crate::fake::{Fake, SIZES, end, names};

#[test]
fn a_sweep_leaves_results_fits_plots_samples_and_ends_with_the_path_of_its_report() {
    let fake = Fake::new();
    let out = fake.sweep(&[]).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(out).unwrap();
    let report = fake.out().join("report.html");
    assert_eq!(text.lines().last().unwrap(), report.display().to_string());
    let results = fake.results();
    assert_eq!(names(&results), SIZES);
    for key in [
        "depth",
        "width",
        "params",
        "tokens",
        "flops",
        "val_loss_all",
        "val_loss_last",
        "val_err_all",
        "val_err_last",
        "seconds",
        "run",
    ] {
        assert!(results.iter().all(|r| !r[key].is_null()), "{key}");
    }
    for result in &results {
        assert!(fake.out().join(result["run"].as_str().unwrap()).join("metrics.jsonl").is_file());
        assert!(fake.out().join(format!("samples/{}.png", result["name"].as_str().unwrap())).is_file());
    }
    for plot in [
        "loss-parameters-all",
        "loss-parameters-reducible",
        "error-parameters-last",
        "loss-compute-all",
        "training-curves",
    ] {
        let svg = std::fs::read_to_string(fake.out().join(format!("plots/{plot}.svg"))).unwrap();
        assert!(svg.starts_with("<svg"), "{plot}");
        assert!(image::open(fake.out().join(format!("plots/{plot}.png"))).is_ok(), "{plot}");
    }
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("The validation loss falls from each size to the next"));
    assert!(page.matches("data:image/png;base64,").count() >= 7, "reconstruction and six grids are inside");
    for outside in ["src=\"http", "href=\"http", "src=\"samples", "@import", "<script src", "fetch("] {
        assert!(!page.contains(outside), "the page needs nothing else: {outside}");
    }
    let law = &fake.fits()["laws"][0];
    let alpha = law["coefficients"]["alpha"]["value"].as_f64().unwrap();
    assert!((alpha + 0.3).abs() < 1e-3, "the stand-in's own law comes back: {alpha}");
    assert_eq!(law["irreducible"], "fitted");
}

#[test]
fn sample_rows_are_classes_that_the_model_has() {
    let fake = Fake::new();
    fake.sweep(&["--sizes", "1x32"]).assert().success();
    let call = fake.calls().into_iter().find(|c| c.starts_with("model sample")).unwrap();
    assert!(call.contains("--classes id:0,id:1,id:2 "), "{call}");
}

#[test]
fn a_second_call_trains_nothing_and_ends_the_same() {
    let fake = Fake::new();
    fake.sweep(&[]).assert().success();
    let calls = fake.calls();
    fake.sweep(&[]).assert().success();
    assert_eq!(fake.calls(), calls);
    assert_eq!(fake.results().len(), 6);
}

#[test]
fn more_sizes_are_added_to_those_that_are_done() {
    let fake = Fake::new();
    fake.sweep(&["--sizes", "1x32,2x64"]).assert().success();
    fake.sweep(&[]).assert().success();
    assert_eq!(names(&fake.results()), SIZES);
    assert_eq!(fake.trained("1x32").len(), 1);
}

#[test]
fn other_settings_in_the_same_folder_are_refused_with_both_values() {
    let fake = Fake::new();
    fake.sweep(&["--sizes", "1x32"]).assert().success();
    fake.sweep(&["--sizes", "1x32", "--set", "clip=1"])
        .assert()
        .code(2)
        .stderr(contains("clip not set → 1").and(contains("--out")));
    fake.sweep(&["--sizes", "1x32", "--seed", "4"]).assert().code(2).stderr(contains("seed 0 → 4"));
    assert_eq!(fake.results().len(), 1);
}

#[test]
fn a_setting_that_the_trainer_refuses_is_found_before_anything_is_done_and_binds_nothing() {
    let fake = Fake::new();
    fake.sweep(&["--set", "nonsense=3"])
        .assert()
        .code(2)
        .stderr(contains("error: 1x32: unknown key 'nonsense'"));
    fake.sweep(&["--train-tokenizer", "--set", "nonsense=3"]).assert().code(2);
    assert!(fake.calls().is_empty(), "{:?}", fake.calls());
    fake.sweep(&["--precision", "f32"]).assert().success();
    assert_eq!(fake.results().len(), 6);
}

#[test]
fn a_size_that_never_began_may_get_other_settings() {
    let fake = Fake::new();
    fake.mark("early-1x32");
    fake.sweep(&["--sizes", "1x32"]).assert().code(1);
    fake.unmark("early-1x32");
    fake.mark("fail-1x32");
    fake.sweep(&["--sizes", "1x32", "--set", "batch=8"]).assert().code(1);
    // Now it has begun.
    let refused = fake.sweep(&["--sizes", "1x32", "--set", "batch=4"]).assert().code(2);
    refused.stderr(contains("batch 8 → 4"));
}

#[test]
fn sizes_of_different_precision_are_told_on_the_console_and_in_the_report() {
    let fake = Fake::new();
    let report = fake.out().join("report.html");
    let sizes = |list| vec!["--sizes", list, "--precision"];
    fake.sweep(&sizes("1x32")).arg("bf16").assert().success().stdout(contains("warning").not());
    assert_eq!(fake.results()[0]["precision"], "bf16");
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("Precision of training") && !page.contains("trained in different precisions"));
    fake.sweep(&sizes("1x32,2x64"))
        .arg("f32")
        .assert()
        .success()
        .stdout(contains("trained in different precisions (bf16 and f32)"));
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("The sizes were trained in different precisions (bf16 and f32)"));
    assert!(page.contains("<th>Precision</th>"));
}

#[test]
fn images_that_encoding_left_out_are_counted_at_the_end() {
    let fake = Fake::new();
    fake.sweep(&["--sizes", "1x32"])
        .assert()
        .success()
        .stdout(contains("1 unreadable image skipped by the encoder (see").and(contains("tokens.log")));
}

#[test]
fn a_stage_whose_result_has_another_form_is_done_and_the_report_lacks_its_numbers() {
    let fake = Fake::new();
    fake.mark("odd-result");
    let arguments = ["--sizes", "1x32", "--train-tokenizer"];
    fake.sweep(&arguments)
        .assert()
        .success()
        .stdout(contains("warning: tokens: the report lacks its result"));
    let page = || std::fs::read_to_string(fake.out().join("report.html")).unwrap();
    assert!(page().contains("22.25 dB PSNR, 500 codes in use, 400.50 code perplexity"));
    assert!(page().contains("23.5 dB") && !page().contains("training rows"));
    let calls = fake.calls();
    fake.sweep(&arguments).assert().success();
    assert_eq!(fake.calls(), calls);
    fake.unmark("odd-result");
    std::fs::remove_dir_all(fake.out()).unwrap();
    fake.sweep(&arguments).assert().success();
    assert!(page().contains("64 training rows, 8 held-out rows, 1 unreadable image<"));
}

#[test]
fn samples_that_fail_are_a_warning() {
    let fake = Fake::new();
    fake.mark("no-samples");
    fake.sweep(&["--sizes", "1x32"])
        .assert()
        .success()
        .stdout(contains("warning: samples of 1x32: no memory for samples"));
    fake.unmark("no-samples");
    fake.sweep(&["--sizes", "1x32"]).assert().success();
    assert!(fake.out().join("samples/1x32.png").is_file());
}

#[test]
fn own_images_and_train_tokenizer_train_the_tokenizer_first_and_once() {
    for arguments in [&["--train-tokenizer"][..], &["--data", "photos"]] {
        let fake = Fake::new();
        fake.images("photos", 2);
        let mut all = vec!["--sizes", "1x32"];
        all.extend(arguments);
        fake.sweep(&all).assert().success();
        let calls = fake.calls();
        assert!(calls[0].starts_with("train tokenizer --data "), "{calls:?}");
        assert!(calls[1].contains("tokenizer/tokenizer.safetensors"), "{}", calls[1]);
        fake.sweep(&all).assert().success();
        assert_eq!(fake.calls(), calls);
    }
}

#[test]
fn several_seeds_are_points_of_their_own() {
    let fake = Fake::new();
    fake.sweep(&["--sizes", "1x32,2x64", "--seeds", "2"]).assert().success();
    assert_eq!(names(&fake.results()), ["1x32-s0", "1x32-s1", "2x64-s0", "2x64-s1"]);
    assert_eq!(fake.fits()["laws"][0]["sizes"], 2);
}

#[test]
fn json_prints_one_object_and_quiet_no_progress() {
    let fake = Fake::new();
    let output = fake.sweep(&["--json", "--quiet"]).assert().success().stderr("").get_output().stdout.clone();
    let value: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(value["results"].as_array().unwrap().len(), 6);
    assert!(value["report"].as_str().unwrap().ends_with("report.html"));
}

#[test]
fn fewer_than_four_sizes_get_a_report_but_no_exponent() {
    let fake = Fake::new();
    fake.sweep(&["--sizes", "1x32,2x64,3x96"])
        .assert()
        .success()
        .stdout(contains("not enough sizes (found 3, at least 4 are needed)"));
    for law in fake.fits()["laws"].as_array().unwrap() {
        assert!(law["coefficients"].is_null(), "{law}");
        assert!(law["verdict"].as_str().unwrap().contains("not enough sizes"));
    }
    let page = std::fs::read_to_string(fake.out().join("report.html")).unwrap();
    assert!(page.contains("too few sizes"));
}

#[test]
fn fit_plot_and_report_work_again_from_what_a_sweep_left() {
    let fake = Fake::new();
    fake.sweep(&[]).assert().success();
    for name in ["fits.json", "report.html", "plots/loss-parameters-all.png"] {
        std::fs::remove_file(fake.out().join(name)).unwrap();
    }
    let out = fake.out();
    fake.program()
        .args(["fit", "--irreducible", "loss_all=4"])
        .arg(&out)
        .assert()
        .success()
        .stdout(contains("(given)"));
    assert_eq!(fake.fits()["laws"][0]["irreducible"], "given");
    fake.program().arg("plot").arg(&out).assert().success().stdout(contains("loss-parameters-all.svg"));
    fake.program().arg("report").arg(&out).assert().success().stdout(contains("report.html"));
    assert_eq!(fake.fits()["laws"][0]["irreducible"], "given", "plot and report keep the fits");
    assert!(out.join("plots/loss-parameters-all.png").is_file() && out.join("report.html").is_file());
}

#[test]
fn image_scores_of_the_runs_are_in_the_report_and_the_plots() {
    let fake = Fake::new();
    fake.sweep(&[]).assert().success();
    let out = fake.out();
    let page = || std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page().contains("This page has no image scores") && !page().contains("Scores of images"));
    let results = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    for (i, line) in results.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let place = out.join(line["run"].as_str().unwrap()).join("evaluation/cfg1.5-n100");
        std::fs::create_dir_all(&place).unwrap();
        // A report as var-eval writes it.
        let mut report: ScoreReport = serde_json::from_str(include_str!("../data/metrics.json")).unwrap();
        report.metrics[0].value = 50.25 - i as f64;
        report.write(&place).unwrap();
    }
    fake.program().arg("plot").arg(&out).assert().success().stdout(contains("score-parameters.svg"));
    fake.program().arg("report").arg(&out).assert().success();
    for part in ["Scores of images", "FD-colour-grid between 12 samples", "50.25", "48.25", "cfg1.5-n100"] {
        assert!(page().contains(part), "{part}");
    }
    assert!(!page().contains("This page has no image scores"));
}

#[test]
fn what_is_left_out_of_results_is_told_by_every_command() {
    let fake = Fake::new();
    fake.sweep(&[]).assert().success();
    let path = fake.out().join("results.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("\"name\":\"3x96\"", "\"val_loss_all\":NaN,\"name\":\"3x96\"");
    let line = text.lines().nth(2).unwrap();
    let (before, after) = line.split_once("\"val_loss_all\":NaN,").unwrap();
    let end = after.split_once("\"val_loss_all\":").unwrap();
    let rest = end.1.split_once(',').unwrap().1;
    let bad = format!("{before}{}\"val_loss_all\":NaN,{rest}", end.0);
    std::fs::write(&path, format!("\u{feff}{}", text.replace(line, &bad))).unwrap();
    for command in ["fit", "plot", "report"] {
        let words = contains("warning: results.jsonl: line 3 (3x96) is skipped: val_loss_all is NaN");
        fake.program().arg(command).arg(fake.out()).assert().success().stderr(words);
    }
    let page = std::fs::read_to_string(fake.out().join("report.html")).unwrap();
    assert!(page.contains("line 3 (3x96) is skipped"));
    assert_eq!(fake.fits()["laws"][0]["sizes"], 5);
}

#[test]
fn fits_of_an_earlier_format_are_refused_with_the_way_to_renew_them() {
    let fake = Fake::new();
    fake.sweep(&[]).assert().success();
    assert_eq!(fake.fits()["version"], 2);
    std::fs::write(fake.out().join("fits.json"), "{\"version\": 1, \"laws\": []}").unwrap();
    for command in ["plot", "report"] {
        let refused = fake.program().arg(command).arg(fake.out()).assert().code(2);
        refused.stderr(contains("format 1").and(contains("var-scaling fit")));
    }
    fake.program().arg("fit").arg(fake.out()).assert().success();
    fake.program().arg("report").arg(fake.out()).assert().success();
}

#[test]
fn fit_names_the_sizes_that_are_not_monotone() {
    let fake = Fake::new();
    fake.sweep(&[]).assert().success();
    let path = fake.out().join("results.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().nth(2).unwrap().to_owned();
    let mut row: serde_json::Value = serde_json::from_str(&line).unwrap();
    row["val_loss_all"] = 9.5.into();
    std::fs::write(&path, text.replace(&line, &row.to_string())).unwrap();
    let words = contains("not monotone: 3x96 is worse than the smaller 2x64");
    fake.program().arg("fit").arg(fake.out()).assert().success().stdout(words);
}

#[test]
fn the_report_has_plots_for_phones_and_tables_with_losses_first() {
    let fake = Fake::new();
    fake.sweep(&["--seeds", "2"]).assert().success();
    let page = std::fs::read_to_string(fake.out().join("report.html")).unwrap();
    let count = |part: &str| page.matches(part).count();
    assert!(count("<div class=\"narrow\"><svg") == count("<div class=\"wide\"><svg") && count("<svg") > 10);
    let loss = page.find(">Loss, all scales</th>").unwrap();
    assert!(loss < page.find(">Parameters</th>").unwrap());
    assert!(
        page.contains("the spread between seeds is unknown, so the scatter between sizes counts as noise")
    );
    for (class, least) in [("wide", 12.0 * 1160.0 / 600.0), ("narrow", 12.0 * 720.0 / 358.0)] {
        let begin = format!("<div class=\"{class}\">");
        for figure in page.split(&begin).skip(1) {
            let svg = figure.split("</svg>").next().unwrap();
            for size in svg.split("font-size=\"").skip(1) {
                let size: f64 = size.split('"').next().unwrap().parse().unwrap();
                assert!(size >= least, "{class}: {size}");
            }
        }
    }
}

#[test]
fn status_tells_what_is_finished_begun_and_waiting_while_a_sweep_runs() {
    let fake = Fake::new();
    let status = || fake.program().arg("status").arg(fake.out()).assert();
    status().code(2).stderr(contains("has no sweep"));
    fake.mark("slow-2x64");
    let mut child = fake.spawn(&["--sizes", "1x32,2x64,3x96"]);
    fake.wait_for("started-2x64", &mut child);
    let text = String::from_utf8(status().success().get_output().stdout.clone()).unwrap();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("1x32").contains("finished") && line("1x32").contains("10 of 10"), "{text}");
    assert!(line("2x64").contains("begun") && line("2x64").contains("1 of 10"), "{text}");
    assert!(line("3x96").contains("waiting"), "{text}");
    fake.unmark("slow-2x64");
    assert_eq!(end(child).0, 0);
    fake.program()
        .arg("status")
        .arg(fake.out())
        .arg("--watch")
        .assert()
        .success()
        .stdout(contains("3 of 3 finished"));
}
