//! Outputs: the order of their rows, and what happens when they are left in the middle and resumed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::{Value, json};
use var_model::ClassNames;
use var_model::outputs::{self, Candidate, OutputPlan, Outputs, Picture, Target};

const SIDE: u32 = 2;

fn plan(chosen: bool) -> OutputPlan {
    let names = ClassNames::new(vec!["a".into(), "b, c".into()], 2).unwrap();
    OutputPlan { labels: vec![1, 0, 2], names, per_class: 4, side: SIDE as usize, chosen }
}

fn picture(plan: &OutputPlan, index: usize) -> Picture {
    let image = RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([index as u8, x as u8, y as u8]));
    let candidate = plan
        .chosen
        .then(|| Candidate { number: 2 * index as u64 + 1, probability: 1.0 / (index + 3) as f64 });
    Picture { image, candidate }
}

fn settings() -> Value {
    json!({"model": {"file": "m", "sha256": "1"}, "seed": 3})
}

/// Makes all pictures from `outputs.done()` to `end`, `step` at a time.
fn fill(outputs: &mut Outputs, plan: &OutputPlan, end: usize, step: usize) {
    while outputs.done() < end {
        let first = outputs.done();
        let pictures: Vec<Picture> =
            (first..(first + step).min(plan.pictures())).map(|i| picture(plan, i)).collect();
        outputs.add(&pictures).unwrap();
    }
}

fn paths(folder: &Path) -> Vec<Target> {
    ["grid.png", "x.npz", "pictures"].map(|name| Target::of(folder.join(name)).unwrap()).to_vec()
}

/// The outputs of a call, started, or resumed, with these settings.
fn opened(
    targets: &[Target],
    plan: &OutputPlan,
    settings: &Value,
    unit: usize,
    resume: bool,
) -> var_model::Result<Outputs> {
    let mut outputs = Outputs::open(targets, plan, resume)?;
    outputs.start(settings, unit)?;
    Ok(outputs)
}

/// Every file below `folder` with its bytes.
fn everything(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn whole(plan: &OutputPlan) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut outputs = opened(&paths(folder.path()), plan, &settings(), 4, false).unwrap();
    fill(&mut outputs, plan, plan.pictures(), 4);
    outputs.finish().unwrap();
    everything(folder.path())
}

#[test]
fn nothing_but_the_outputs_is_left_behind() {
    let files = whole(&plan(true));
    let names: Vec<String> = files.keys().map(|name| name.display().to_string()).collect();
    let pictures = (0..12).map(|i| format!("pictures/{i:06}.png"));
    let mut expected: Vec<String> = pictures.collect();
    expected.extend(["pictures/labels.csv", "pictures/settings.json"].map(str::to_owned));
    for name in ["grid.png", "x.npz"] {
        expected.extend(["", ".json", ".kept.csv"].map(|ending| format!("{name}{ending}")));
    }
    expected.sort();
    let mut names = names;
    names.sort();
    assert_eq!(names, expected);
    let labels = String::from_utf8(files[Path::new("pictures/labels.csv")].clone()).unwrap();
    let lines: Vec<&str> = labels.lines().collect();
    assert_eq!(lines[0], "file,label,name,candidate,probability");
    assert_eq!(lines[1], "000000.png,1,\"b, c\",1,0.3333333333333333");
    // Row 1 is the first picture of the second class: number 4.
    assert!(lines[2].starts_with("000001.png,0,a,9,"), "{}", lines[2]);
    let kept = String::from_utf8(files[Path::new("x.npz.kept.csv")].clone()).unwrap();
    assert!(kept.lines().nth(2).unwrap().starts_with("1,0,a,9,"), "{kept}");
    let kept = String::from_utf8(files[Path::new("grid.png.kept.csv")].clone()).unwrap();
    assert!(kept.lines().nth(2).unwrap().starts_with("1,1,\"b, c\",3,"), "{kept}");
    assert!(lines[12].starts_with("000011.png,2,none,23,"), "{}", lines[12]);
}

#[test]
fn what_is_left_at_any_picture_goes_on_to_the_same_bytes() {
    for chosen in [false, true] {
        let plan = plan(chosen);
        let expected = whole(&plan);
        for left_at in 1..=plan.pictures() {
            let folder = tempfile::tempdir().unwrap();
            let paths = paths(folder.path());
            let mut outputs = opened(&paths, &plan, &settings(), 4, false).unwrap();
            fill(&mut outputs, &plan, left_at, 1);
            drop(outputs);
            let mut outputs = opened(&paths, &plan, &settings(), 4, true).unwrap();
            let from = if left_at == plan.pictures() { left_at } else { left_at / 4 * 4 };
            assert_eq!(outputs.done(), from);
            fill(&mut outputs, &plan, plan.pictures(), 4);
            outputs.finish().unwrap();
            assert_eq!(everything(folder.path()), expected, "left at {left_at}");
        }
    }
}

#[test]
fn an_output_that_was_torn_or_is_new_is_filled_from_the_one_that_has_more() {
    let plan = plan(true);
    let expected = whole(&plan);
    let spoil: [&dyn Fn(&Path); 6] = [
        &|folder| std::fs::remove_dir_all(folder.join("pictures")).unwrap(),
        &|folder| std::fs::remove_file(folder.join("pictures/000001.png")).unwrap(),
        &|folder| {
            let path = folder.join("pictures/labels.csv");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        },
        &|folder| {
            let file = std::fs::OpenOptions::new().write(true).open(folder.join("x.npz.partial")).unwrap();
            file.set_len(30).unwrap();
        },
        &|folder| std::fs::remove_file(folder.join("x.npz.partial")).unwrap(),
        &|folder| std::fs::remove_file(folder.join("x.npz.partial.kept.csv")).unwrap(),
    ];
    for (i, spoil) in spoil.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let mut outputs = opened(&paths, &plan, &settings(), 4, false).unwrap();
        fill(&mut outputs, &plan, 9, 1);
        drop(outputs);
        spoil(folder.path());
        let mut outputs = opened(&paths, &plan, &settings(), 4, true).unwrap();
        assert_eq!((outputs.done(), outputs.first()), (8, &[1, 3, 5, 7, 9, 11, 13, 15][..]), "{i}");
        fill(&mut outputs, &plan, plan.pictures(), 4);
        outputs.finish().unwrap();
        assert_eq!(everything(folder.path()), expected, "{i}");
    }
}

#[test]
fn a_finished_archive_fills_a_new_folder_and_a_grid() {
    let plan = plan(false);
    let expected = whole(&plan);
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    let mut outputs = opened(&paths[1..2], &plan, &settings(), 4, false).unwrap();
    fill(&mut outputs, &plan, plan.pictures(), 4);
    outputs.finish().unwrap();
    let mut outputs = opened(&paths, &plan, &settings(), 4, true).unwrap();
    assert_eq!(outputs.done(), plan.pictures());
    outputs.finish().unwrap();
    assert_eq!(everything(folder.path()), expected);
}

#[test]
fn other_settings_another_process_and_nothing_at_all_are_refused_by_resume() {
    let plan = plan(false);
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    let message = |result: var_model::Result<Outputs>| result.unwrap_err().to_string();
    let nothing = message(opened(&paths, &plan, &settings(), 4, true));
    assert!(nothing.contains("start without resuming"), "{nothing}");
    let mut outputs = opened(&paths, &plan, &settings(), 4, false).unwrap();
    fill(&mut outputs, &plan, 5, 1);
    let busy = message(opened(&paths, &plan, &settings(), 4, true));
    assert!(busy.contains("another process"), "{busy}");
    drop(outputs);
    let mut other = settings();
    other["seed"] = json!(4);
    let differs = message(opened(&paths, &plan, &other, 4, true));
    assert!(differs.contains("seed 3 before, 4 now"), "{differs}");
    let taken = outputs::check(&paths, false).unwrap_err().to_string();
    assert!(taken.contains("x.npz.partial") && taken.contains("resume it"), "{taken}");
    std::fs::remove_file(folder.path().join("x.npz.partial")).unwrap();
    let taken = outputs::check(&paths, false).unwrap_err().to_string();
    assert!(taken.contains("pictures") && taken.contains("resume it"), "{taken}");
    let alone = outputs::check(&paths[..1], true).unwrap_err().to_string();
    assert!(alone.contains("made at the end"), "{alone}");
}

#[test]
fn every_run_of_rows_is_balanced_over_the_classes() {
    let names = ClassNames::new(Vec::new(), 9).unwrap();
    for (classes, per_class) in [(1, 5), (2, 1), (3, 4), (7, 3), (5, 8)] {
        let plan = OutputPlan {
            labels: (0..classes).collect(),
            names: names.clone(),
            per_class,
            side: 2,
            chosen: false,
        };
        let class_in = |row: usize| plan.number_in(row) / per_class;
        for row in 0..plan.pictures() {
            assert_eq!(plan.row(plan.number_in(row)), row);
        }
        for from in 0..plan.pictures() {
            let mut counts = vec![0; classes as usize];
            for row in from..plan.pictures() {
                counts[class_in(row)] += 1;
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 1, "{classes} × {per_class}, rows {from} to {row}: {counts:?}");
            }
        }
    }
}

#[test]
fn labels_of_archive_and_folder_are_those_of_the_pictures_in_the_same_rows() {
    let plan = plan(false);
    let files = whole(&plan);
    let bytes = std::io::Cursor::new(files[Path::new("x.npz")].clone());
    let mut archive = npyz::npz::NpzArchive::new(bytes).unwrap();
    let pixels: Vec<u8> = archive.by_name("arr_0").unwrap().unwrap().into_vec().unwrap();
    let labels: Vec<i64> = archive.by_name("arr_1").unwrap().unwrap().into_vec().unwrap();
    assert_eq!(labels, [1, 0, 2, 1, 0, 2, 1, 0, 2, 1, 0, 2]);
    let table = String::from_utf8(files[Path::new("pictures/labels.csv")].clone()).unwrap();
    for (row, line) in table.lines().skip(1).enumerate() {
        let name = format!("{row:06}.png");
        assert!(line.starts_with(&format!("{name},{},", labels[row])), "{line}");
        let picture = image::load_from_memory(&files[&Path::new("pictures").join(&name)]).unwrap().to_rgb8();
        let size = (3 * SIDE * SIDE) as usize;
        assert_eq!(picture.as_raw(), &pixels[row * size..][..size]);
        // Red is the number of the picture: class by class.
        assert_eq!(picture.get_pixel(0, 0)[0] as usize, plan.number_in(row));
    }
}

#[test]
fn nothing_is_written_before_the_first_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = opened(&paths(folder.path()), &plan(true), &settings(), 4, false).unwrap();
    drop(outputs);
    assert!(everything(folder.path()).is_empty());
}

#[test]
fn a_finished_output_is_complete_whatever_its_kind() {
    for chosen in [false, true] {
        let plan = plan(chosen);
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let mut outputs = opened(&paths, &plan, &settings(), 4, false).unwrap();
        fill(&mut outputs, &plan, plan.pictures(), 4);
        outputs.finish().unwrap();
        drop(outputs);
        let before = everything(folder.path());
        for outs in [&paths[..], &paths[..1], &paths[1..2], &paths[2..]] {
            let mut outputs = opened(outs, &plan, &settings(), 4, true).unwrap();
            assert!(outputs.complete() && outputs.notes().is_empty(), "{outs:?}");
            assert_eq!((outputs.done(), outputs.first().len()), (12, 8));
            assert_eq!(outputs.first()[2], if chosen { 5 } else { 2 });
            outputs.finish().unwrap();
            assert_eq!(everything(folder.path()), before);
            let mut other = settings();
            other["seed"] = json!(4);
            let message = opened(outs, &plan, &other, 4, true).unwrap_err().to_string();
            assert!(message.contains("seed 3 before, 4 now") || outs.len() == 3, "{message}");
        }
    }
}

/// Leaves `done` pictures at `path`, all of them finished.
fn left(path: &Path, plan: &OutputPlan, done: usize) {
    let mut outputs = opened(&[Target::of(path.to_owned()).unwrap()], plan, &settings(), 4, false).unwrap();
    fill(&mut outputs, plan, done, 4);
    if done == plan.pictures() {
        outputs.finish().unwrap();
    }
}

#[test]
fn missing_pictures_are_no_fresh_start_where_other_files_show_that_they_were_made() {
    let plan = plan(true);
    let all = plan.pictures();
    // Output, pictures left there, what is removed, what the message names.
    let cases: [(&str, usize, &[&str], &[&str]); 13] = [
        ("x.npz", 8, &["x.npz.partial"], &["x.npz.partial is missing", "x.npz.partial.json", "put it back"]),
        ("x.npz", 8, &["x.npz.partial.json"], &["x.npz.partial.json is missing", "put it back"]),
        ("x.npz", 8, &["x.npz.partial.kept.csv"], &["x.npz.partial.kept.csv is missing", "put it back"]),
        ("x.npz", all, &["x.npz"], &["x.npz is missing", "x.npz.json", "without resuming"]),
        ("x.npz", all, &["x.npz", "x.npz.json"], &["x.npz is missing", "x.npz.kept.csv", "without resuming"]),
        ("f", all, &["f/labels.csv", "f/settings.json"], &["is not empty"]),
        ("x.npz", all, &["x.npz.json"], &["x.npz.json is missing", "put it back"]),
        ("x.npz", all, &["x.npz.kept.csv"], &["x.npz.kept.csv is missing", "without resuming"]),
        ("f", 8, &["f/settings.json"], &["but not settings.json", "put it back", "another place"]),
        ("f", 8, &["f/labels.csv"], &["labels.csv is missing", "put it back", "another place"]),
        ("f", all, &["f/*.png"], &["labels.csv lists 12 images", "missing", "another place"]),
        ("g.png", all, &["g.png"], &["g.png is missing", "g.png.json", "without resuming"]),
        ("g.png", all, &["g.png.kept.csv"], &["g.png.kept.csv is missing", "without resuming"]),
    ];
    for (out, done, removed, parts) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(out);
        left(&path, &plan, done);
        for name in removed {
            match name.strip_suffix("*.png") {
                Some(inside) => {
                    for row in 0..all {
                        std::fs::remove_file(folder.path().join(format!("{inside}{row:06}.png"))).unwrap();
                    }
                }
                None => std::fs::remove_file(folder.path().join(name)).unwrap(),
            }
        }
        let before = everything(folder.path());
        let outs = [Target::of(path).unwrap()];
        outputs::check(&outs, true).unwrap();
        let error = opened(&outs, &plan, &settings(), 4, true).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.exit_code(), 2, "{message}");
        for part in parts {
            assert!(message.contains(part), "{out} without {removed:?}: '{part}' is not in: {message}");
        }
        assert_eq!(everything(folder.path()), before);
    }
}

#[test]
fn what_is_made_again_is_said() {
    let plan = plan(false);
    let expected = whole(&plan);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pictures");
    left(&path, &plan, plan.pictures());
    std::fs::remove_file(path.join("000004.png")).unwrap();
    let mut outputs = opened(&[Target::of(path).unwrap()], &plan, &settings(), 4, true).unwrap();
    assert_eq!((outputs.done(), outputs.complete()), (4, false));
    assert!(outputs.notes()[0].contains("000004.png is missing"), "{:?}", outputs.notes());
    fill(&mut outputs, &plan, plan.pictures(), 4);
    outputs.finish().unwrap();
    for (name, bytes) in everything(folder.path()) {
        assert_eq!(bytes, expected[&name], "{name:?}");
    }
}

#[test]
fn pictures_of_other_settings_are_never_overwritten_however_few_of_them_fit() {
    let before = plan(false);
    let mut other = settings();
    other["side"] = json!(64);
    let now = OutputPlan { side: 64, per_class: 2, ..plan(false) };
    for out in ["x.npz", "f"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(out);
        let outs = [Target::of(path.clone()).unwrap()];
        left(&path, &before, 4);
        if out == "f" {
            std::fs::remove_file(path.join("000000.png")).unwrap();
        }
        let files = everything(folder.path());
        let message = opened(&outs, &now, &other, 4, true).unwrap_err().to_string();
        assert!(message.contains("side none before, 64 now"), "{out}: {message}");
        assert_eq!(everything(folder.path()), files);
    }
}
