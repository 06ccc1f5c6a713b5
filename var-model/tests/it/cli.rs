//! The command line: what it prints, and what it says about bad input.

use super::support::{closed_pipe, program, refused, run, run_folder};

#[test]
fn cost_prints_the_published_totals() {
    let output = run(&["cost", "--depth", "16", "--json"]);
    let cost: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(cost["parameters"], 310_283_520_u64);
    assert_eq!(cost["tokens"], 680);
    refused(&run(&["cost", "--depth", "3", "--heads", "5"]), &["width 192", "heads 5"]);
    refused(&run(&["cost", "--depth", "3", "--schedule", "4,2"]), &["schedule"]);
}

#[test]
fn sample_writes_a_grid_with_a_row_a_class_whatever_the_batch() {
    let folder = run_folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run_dir = folder.path().display().to_string();
    for (batch, out) in [("1", "one.png"), ("5", "five.png")] {
        let args = ["sample", "--run", &run_dir, "--classes", "bee,0", "--per-class", "3", "--quiet"];
        let more = ["--precision", "f32", "--batch", batch, "--out", &path(out)];
        let output = run(&[&args[..], &more[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (one, five) = (image::open(path("one.png")).unwrap(), image::open(path("five.png")).unwrap());
    assert!(one.width() >= 24 && one.height() >= 16);
    let off = one.to_rgb8().iter().zip(five.to_rgb8().iter()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off <= Some(1), "{off:?}");
}

#[test]
fn bad_requests_are_refused_with_what_is_known() {
    let folder = run_folder();
    let run_dir = folder.path().display().to_string();
    let out = folder.path().join("x.png").display().to_string();
    let sample = |more: &[&str]| run(&[&["sample", "--run", &run_dir, "--out", &out], more].concat());
    refused(&sample(&["--classes", "dog"]), &["'dog'", "ant, bee, cat"]);
    refused(&sample(&["--classes", "3"]), &["classes 0 to 2"]);
    refused(&sample(&["--top-p", "2"]), &["top-p is 2"]);
    refused(&sample(&["--per-class", "0"]), &["--per-class"]);
    refused(&run(&["sample", "--run", "nowhere", "--out", &out]), &["nowhere", "no such run folder"]);
    std::fs::write(folder.path().join("model.safetensors"), b"junk").unwrap();
    refused(&sample(&[]), &["model.safetensors"]);
}

#[test]
fn sizes_beyond_all_bounds_are_refused() {
    for (flag, value, bound) in [
        ("--depth", "999999999999999999", "1 to 256"),
        ("--width", "99999999999999999", "1 to 65536"),
        ("--classes", "99999999999999999", "1 to 1048576"),
        ("--vocabulary", "9999999999999999999", "2 to 16777216"),
        ("--latent-channels", "99999999999999999", "1 to 65536"),
        ("--heads", "99999999999999999", "width 384"),
        ("--batch", "99999999999999999", "1..=1000000"),
    ] {
        let depth: &[&str] = if flag == "--depth" { &[] } else { &["--depth", "6"] };
        refused(&run(&[&["cost", flag, value], depth].concat()), &[value, bound]);
    }
}

#[test]
fn more_pictures_than_a_grid_holds_are_refused() {
    let folder = run_folder();
    let run_dir = folder.path().display().to_string();
    let out = folder.path().join("x.png").display().to_string();
    let sample = |more: &[&str]| run(&[&["sample", "--run", &run_dir, "--out", &out], more].concat());
    refused(&sample(&["--per-class", "99999999999999999"]), &["--per-class", "1..=1000000"]);
    refused(&sample(&["--batch", "99999999999999999"]), &["--batch", "1..=1024"]);
    refused(&sample(&["--per-class", "1000000"]), &["3 classes", "1 to 1000000 images"]);
    refused(&sample(&["--per-class", "100000", "--classes", "0"]), &["65536 pixels"]);
}

#[test]
fn the_place_of_the_grid_is_looked_at_before_anything_else() {
    let folder = run_folder();
    let run_dir = folder.path().display().to_string();
    // The run folder is missing too, and would be noticed next.
    refused(
        &run(&["sample", "--run", "nowhere", "--out", "/nonexistent/x.png"]),
        &["/nonexistent", "make it"],
    );
    let taken = folder.path().join("taken.png");
    std::fs::create_dir(&taken).unwrap();
    let taken = taken.display().to_string();
    refused(&run(&["sample", "--run", "nowhere", "--out", &taken]), &[&taken, "is a folder"]);
    refused(&run(&["sample", "--run", "nowhere", "--out", &run_dir]), &[&run_dir, "is not empty"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = run_folder();
    let run_dir = folder.path().display().to_string();
    let out = folder.path().join("x.png").display().to_string();
    let case = concat!(env!("CARGO_MANIFEST_DIR"), "/../var-tokenizer/tests/golden/ops");
    let sample =
        ["sample", "--run", &run_dir, "--per-class", "1", "--precision", "f32", "--json", "--out", &out];
    for args in [&["cost", "--depth", "6"], &["golden", "--json", case][..], &["--help"], &sample] {
        let output = program(args).stdout(closed_pipe()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = program(&["cost", "--depth", "0"]).stderr(closed_pipe()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn every_help_has_examples() {
    for args in [&["--help"][..], &["sample", "--help"], &["cost", "--help"]] {
        let output = run(args);
        assert!(String::from_utf8_lossy(&output.stdout).contains("Examples:\n"), "{args:?}");
    }
}

#[test]
fn sample_reports_to_people_and_to_programs() {
    let folder = run_folder();
    let run_dir = folder.path().display().to_string();
    let out = folder.path().join("x.png").display().to_string();
    let sample = |more: &[&str]| {
        let args = ["sample", "--run", &run_dir, "--per-class", "2", "--precision", "f32", "--out", &out];
        let output = run(&[&args, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (events, _) = sample(&["--json", "--batch", "4"]);
    let events: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.len() > 1, "{events:?}");
    assert!(events[..events.len() - 1].iter().all(|e| e["event"] == "progress" && e["steps"] == 6));
    let done = &events[events.len() - 1];
    assert!(done["event"] == "done" && done["pictures"] == 6 && done["out"] == out.as_str(), "{done}");
    assert!(done["seconds"].as_f64().unwrap() > 0.0 && done["images_per_second"].as_f64().unwrap() > 0.0);

    let (stdout, log) = sample(&[]);
    assert!(stdout.is_empty() && log.contains("6/6") && log.contains("images/s"), "{log}");
    assert!(log.contains("x.png (6 images"), "{log}");
    assert_eq!(sample(&["--quiet"]), (String::new(), String::new()));
    refused(
        &run(&["sample", "--run", &run_dir, "--out", "x.png", "--json", "--quiet"]),
        &["--json", "--quiet"],
    );
}
