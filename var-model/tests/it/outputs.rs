//! Outputs that are left in the middle and gone on with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::{Value, json};
use var_model::ClassNames;
use var_model::outputs::{Candidate, Outputs, Picture, Plan, check_places};

const SIDE: u32 = 2;

fn plan(chosen: bool) -> Plan {
    let names = ClassNames::new(vec!["a".into(), "b, c".into()], 2).unwrap();
    Plan { labels: vec![1, 0, 2], names, per_class: 4, side: SIDE as usize, chosen }
}

fn picture(plan: &Plan, index: usize) -> Picture {
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
fn fill(outputs: &mut Outputs, plan: &Plan, end: usize, step: usize) {
    while outputs.done() < end {
        let first = outputs.done();
        let pictures: Vec<Picture> =
            (first..(first + step).min(plan.pictures())).map(|i| picture(plan, i)).collect();
        outputs.add(&pictures).unwrap();
    }
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    ["grid.png", "x.npz", "pictures"].map(|name| folder.join(name)).to_vec()
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

fn whole(plan: &Plan) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut outputs = Outputs::open(&paths(folder.path()), plan, &settings(), 4, false).unwrap();
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
    assert!(lines[12].starts_with("000011.png,2,none,23,"), "{}", lines[12]);
}

#[test]
fn what_is_left_at_any_picture_goes_on_to_the_same_bytes() {
    for chosen in [false, true] {
        let plan = plan(chosen);
        let expected = whole(&plan);
        for left_at in 0..=plan.pictures() {
            let folder = tempfile::tempdir().unwrap();
            let paths = paths(folder.path());
            let mut outputs = Outputs::open(&paths, &plan, &settings(), 4, false).unwrap();
            fill(&mut outputs, &plan, left_at, 1);
            drop(outputs);
            let mut outputs = Outputs::open(&paths, &plan, &settings(), 4, true).unwrap();
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
        let mut outputs = Outputs::open(&paths, &plan, &settings(), 4, false).unwrap();
        fill(&mut outputs, &plan, 9, 1);
        drop(outputs);
        spoil(folder.path());
        let mut outputs = Outputs::open(&paths, &plan, &settings(), 4, true).unwrap();
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
    let mut outputs = Outputs::open(&paths[1..2], &plan, &settings(), 4, false).unwrap();
    fill(&mut outputs, &plan, plan.pictures(), 4);
    outputs.finish().unwrap();
    let mut outputs = Outputs::open(&paths, &plan, &settings(), 4, true).unwrap();
    assert_eq!(outputs.done(), plan.pictures());
    outputs.finish().unwrap();
    assert_eq!(everything(folder.path()), expected);
}

#[test]
fn other_settings_another_process_and_nothing_at_all_are_no_place_to_go_on() {
    let plan = plan(false);
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    let message = |result: var_model::Result<Outputs>| result.unwrap_err().to_string();
    let nothing = message(Outputs::open(&paths, &plan, &settings(), 4, true));
    assert!(nothing.contains("leave --resume away"), "{nothing}");
    let mut outputs = Outputs::open(&paths, &plan, &settings(), 4, false).unwrap();
    fill(&mut outputs, &plan, 5, 1);
    let busy = message(Outputs::open(&paths, &plan, &settings(), 4, true));
    assert!(busy.contains("another process"), "{busy}");
    drop(outputs);
    let mut other = settings();
    other["seed"] = json!(4);
    let differs = message(Outputs::open(&paths, &plan, &other, 4, true));
    assert!(differs.contains("seed 3 before, 4 now"), "{differs}");
    let taken = check_places(&paths, false).unwrap_err().to_string();
    assert!(taken.contains("x.npz.partial") && taken.contains("--resume"), "{taken}");
    std::fs::remove_file(folder.path().join("x.npz.partial")).unwrap();
    let taken = check_places(&paths, false).unwrap_err().to_string();
    assert!(taken.contains("pictures") && taken.contains("--resume"), "{taken}");
    let alone = check_places(&paths[..1], true).unwrap_err().to_string();
    assert!(alone.contains("in one go"), "{alone}");
}
