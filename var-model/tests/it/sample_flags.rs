//! Flags of `var-model sample`: classes with two meanings, settings without effect, finished outputs, negative numbers.

use super::sample_cli::Place;
use super::support::{fill_run_folder, refused, run};

#[test]
fn class_folders_with_numbers_as_names_are_never_taken_for_numbers() {
    let place = Place::new();
    std::fs::write(place.run.path().join("classes.json"), r#"["1", "10", "2"]"#).unwrap();
    refused(
        &place.sample(&["f"], &["--classes", "1"]),
        &["class '1' has two meanings", "number 1 ('10')", "number 0 ('1')", "id:1 ", "name:1 "],
    );
    refused(&place.sample(&["f"], &["--classes", "0-1"]), &["'0-1'", "id:0-1"]);
    place.works(&["f"], &["--classes", "10,name:2,id:1,#0,none", "--per-class", "1"]);
    let labels: Vec<String> = place.labels("f").iter().map(|row| row[1].clone()).collect();
    assert_eq!(labels, ["1", "2", "1", "0", "3"]);
}

#[test]
fn settings_without_effect_and_choices_are_said_once() {
    let place = Place::new();
    fill_run_folder(place.run.path(), 11, &[]);
    std::fs::remove_file(place.run.path().join("classes.json")).unwrap();
    let said = |more: &[&str]| {
        let output = place.works(&["g.png"], &[&["--per-class", "1"], more].concat());
        String::from_utf8_lossy(&output.stderr).to_string()
    };
    for (more, part) in [
        (&["--classes", "1", "--top-k", "900"][..], "--top-k 900 has no effect: the model has 24 codes"),
        (&["--classes", "none", "--cfg", "2"], "--cfg 2 has no effect without a class"),
        (&["--classes", "1", "--cfg", "0", "--guidance", "constant"], "--guidance has no effect"),
        (&["--classes", "1", "--batch", "99"], "--batch 99 has no effect: 1 images are sampled"),
        (&["--classes", "1,2,1"], "class 1 appears 2 times in --classes: 2 images"),
        (&[], "samples the first 10 of 11 classes"),
    ] {
        let said = said(more);
        assert_eq!(said.matches("note:").count(), 1, "{more:?}: {said}");
        assert!(said.contains(part), "'{part}' is not in: {said}");
    }
    assert!(!said(&["--classes", "1"]).contains("note:"));
}

#[test]
fn a_finished_output_with_resume_is_said_to_be_complete_and_stays_as_it_is() {
    let place = Place::new();
    for out in ["x.npz", "f", "g.png"] {
        place.works(&[out], &["--per-class", "2"]);
        let output = place.works(&[out], &["--per-class", "2", "--resume"]);
        let said = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(said.contains("all 6 images are there: an earlier call finished them"), "{out}: {said}");
        assert!(!said.contains("wrote"), "{out}: {said}");
        let other = place.sample(&[out], &["--per-class", "2", "--resume", "--seed", "1"]);
        refused(&other, &["seed 0 before, 1 now", "another place"]);
    }
    // The grid of a finished folder is made without sampling.
    let output = place.works(&["f", "h.png"], &["--per-class", "2", "--resume", "--json"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"sampled\":0"));
    assert_eq!(place.read("h.png"), place.read("g.png"));
}

#[test]
fn negative_numbers_after_flags_are_values() {
    let place = Place::new();
    for (more, parts) in [
        (&["--cfg", "-1"][..], &["cfg is -1", "from 0 on"][..]),
        (&["--temperature", "-0.5"], &["temperature is -0.5"]),
        (&["--top-p", "-1e-3"], &["top-p is -0.001", "0 to 1"]),
        (&["--seed", "-1"], &["'-1'", "--seed"]),
        (&["--per-class", "-1"], &["-1", "--per-class"]),
        (&["--classes", "-1"], &["class '-1'"]),
        (&["--classes", "-1-2"], &["class '-1-2'"]),
        (&["--schedule", "-1,2"], &["'-1,2'", "--schedule"]),
        (&["--keep", "-1", "--classifier", "c.pt"], &["share to keep is -1"]),
    ] {
        let output = place.sample(&["g.png"], more);
        refused(&output, parts);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("unexpected argument"), "{more:?}");
    }
    for args in [
        &["edit", "--run", "r", "--image", "i", "--out", "o", "--box", "-0.1,0,1,1"][..],
        &["edit", "--run", "r", "--image", "i", "--out", "o", "--box", "0,0,1,1", "--feather", "-1"],
        &["cost", "--depth", "-1"],
        &["cost", "--depth", "3", "--schedule", "-1,2"],
    ] {
        let output = run(args);
        refused(&output, &["-"]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("unexpected argument"), "{args:?}");
    }
}
