//! `var-model sample` as a person uses it: classes, outputs, going on, scales, rejection, plans.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use image::AnimationDecoder;
use tch::{CModule, Device, Kind, Tensor};
use var_model::Transformer;
use var_tokenizer::weights::portable;

use super::support::{fill_run_folder, program, refused, run, run_folder};
use super::wait::while_alive;

/// A run folder and a place for outputs beside it.
pub(crate) struct Place {
    pub(crate) run: tempfile::TempDir,
    out: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { run: run_folder(), out: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A call with `--out` for each of `outs`.
    fn command(&self, outs: &[&str], more: &[&str]) -> Command {
        let mut command = program(&["sample", "--precision", "f32", "--run"]);
        command.arg(self.run.path()).args(more);
        for out in outs {
            command.arg("--out").arg(self.path(out));
        }
        command
    }

    pub(crate) fn sample(&self, outs: &[&str], more: &[&str]) -> Output {
        self.command(outs, more).output().unwrap()
    }

    pub(crate) fn works(&self, outs: &[&str], more: &[&str]) -> Output {
        let output = self.sample(outs, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn labels(&self, folder: &str) -> Vec<Vec<String>> {
        let text = String::from_utf8(self.read(&format!("{folder}/labels.csv"))).unwrap();
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }
}

#[test]
fn classes_are_numbers_ranges_names_and_none() {
    let place = Place::new();
    place.works(&["f"], &["--classes", "1-2,ANT,none", "--per-class", "1"]);
    let rows: Vec<String> = place.labels("f").iter().map(|row| row[1..].join(" ")).collect();
    assert_eq!(rows, ["1 bee", "2 cat", "0 ant", "3 none"]);
    for (classes, parts) in [
        ("3", &["'3'", "classes 0 to 2"][..]),
        ("0-3", &["'0-3'", "classes 0 to 2"]),
        ("2-0", &["'2-0'", "'0-2'"]),
        ("bea", &["'bea'", "ant, bee, cat"]),
        ("0,,1", &["class ''"]),
    ] {
        refused(&place.sample(&["g.png"], &["--classes", classes]), parts);
    }
}

#[test]
fn a_model_of_a_thousand_classes_knows_imagenets_names_and_a_file_gives_others() {
    let place = Place::new();
    fill_run_folder(place.run.path(), 1000, &[]);
    std::fs::remove_file(place.run.path().join("classes.json")).unwrap();
    place.works(&["f"], &["--classes", "tinca tinca,toilet paper", "--per-class", "1"]);
    assert_eq!(place.labels("f")[0][1..], ["0", "\"tench", " Tinca tinca\""]);
    refused(&place.sample(&["g.png"], &["--classes", "goldfsh"]), &["did you mean goldfish"]);
    refused(&place.sample(&["g.png"], &["--classes", "crane"]), &["134", "517", "number"]);
    let names = place.text("names.txt");
    std::fs::write(&names, "one\ntwo\n").unwrap();
    refused(
        &place.sample(&["g.png"], &["--class-names", &names]),
        &["names.txt", "2 class names", "1000 classes"],
    );
    std::fs::write(&names, (0..1000).map(|i| format!("name {i}\n")).collect::<String>()).unwrap();
    place.works(&["g.png"], &["--class-names", &names, "--classes", "name 7", "--per-class", "1"]);
}

#[test]
fn grid_archive_and_folder_hold_the_same_pictures() {
    let place = Place::new();
    let output = place.works(&["g.png", "x.npz", "f"], &["--classes", "2,0", "--per-class", "3", "--json"]);
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let done: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(done["outputs"].as_array().unwrap().len(), 3);
    let mut archive = npyz::npz::NpzArchive::open(place.path("x.npz")).unwrap();
    let array = archive.by_name("arr_0").unwrap().unwrap();
    assert_eq!(array.shape(), [6, 8, 8, 3]);
    let bytes: Vec<u8> = array.into_vec().unwrap();
    let labels: Vec<i64> = archive.by_name("arr_1").unwrap().unwrap().into_vec().unwrap();
    assert_eq!(labels, [2, 0, 2, 0, 2, 0]);
    let grid = image::open(place.path("g.png")).unwrap().to_rgb8();
    for (i, expected) in bytes.chunks(8 * 8 * 3).enumerate() {
        let alone = image::open(place.path(&format!("f/{i:06}.png"))).unwrap().to_rgb8();
        assert_eq!(alone.as_raw(), expected);
        let cell =
            image::imageops::crop_imm(&grid, (i as u32 / 2) * 10, (i as u32 % 2) * 10, 8, 8).to_image();
        assert_eq!(cell.as_raw(), expected);
    }
    let settings: serde_json::Value = serde_json::from_slice(&place.read("g.png.json")).unwrap();
    assert_eq!(place.read("x.npz.json"), place.read("f/settings.json"));
    assert_eq!(settings["class_names"], serde_json::json!(["cat", "ant"]));
    assert_eq!(settings["model"]["sha256"].as_str().unwrap().len(), 64);
    // A finished grid or archive may be made anew; a folder with pictures may not.
    place.works(&["g.png", "x.npz"], &["--per-class", "1"]);
    refused(&place.sample(&["f"], &["--per-class", "1"]), &["resume it", "another place"]);
}

#[test]
fn places_that_cannot_be_are_refused_before_anything_is_loaded() {
    let place = Place::new();
    std::fs::write(place.path("file"), "x").unwrap();
    for (outs, more, parts) in [
        (&["file"][..], &[][..], &["is not a folder"][..]),
        (&["x.jpg"], &[], &[".jpg", ".png"]),
        (&["a.png", "a.png"], &[], &["twice"]),
        (&["no/such/f"], &[], &["make it first"]),
        (&[], &[], &["--out"]),
        (&["g.png"], &["--resume"], &["made at the end"]),
        (&["f"], &["--resume"], &["start without resuming"]),
        (&["g.png"], &["--temperature", "0"], &["temperature is 0"]),
        (&["g.png"], &["--guidance", "steep"], &["ramp, constant"]),
        (&["g.png"], &["--keep", "0.5"], &["--classifier"]),
        (&["g.png"], &["--classifier", "c.pt"], &["--keep"]),
        (&["g.png"], &["--classifier-size", "8"], &["--keep"]),
        (&["g.png"], &["--show-scales", "s.webp"], &[".gif"]),
    ] {
        refused(&place.sample(outs, more), parts);
    }
    let g = place.text("g.png");
    refused(&place.sample(&["g.png"], &["--show-scales", &g]), &["the same file"]);
    assert_eq!(std::fs::read(place.path("file")).unwrap(), b"x");
}

#[test]
fn temperature_and_guidance_change_the_pictures() {
    let place = Place::new();
    let options = ["--per-class", "4", "--cfg", "3", "--top-k", "0", "--top-p", "0"];
    place.works(&["a.png"], &options);
    place.works(&["b.png"], &[&options[..], &["--temperature", "0.1"]].concat());
    place.works(&["c.png"], &[&options[..], &["--guidance", "constant"]].concat());
    assert!(place.read("a.png") != place.read("b.png") && place.read("a.png") != place.read("c.png"));
}

/// Lines of a table that grows; none when it is not there.
fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Starts a call and ends it by `signal` when some pictures are there.
fn interrupted(place: &Place, outs: &[&str], more: &[&str], signal: &str) -> Output {
    let mut command = place.command(outs, more);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    while_alive(std::slice::from_mut(&mut child), "some pictures", || {
        lines(&place.path("f/labels.csv")) >= 9
    });
    assert!(Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap().success());
    child.wait_with_output().unwrap()
}

#[test]
fn what_was_killed_goes_on_to_the_same_bytes_and_settings_must_agree() {
    let (whole, killed) = (Place::new(), Place::new());
    let outs = ["g.png", "x.npz", "f"];
    let options = ["--per-class", "80", "--batch", "4", "--seed", "5"];
    whole.works(&outs, &options);
    let output = interrupted(&killed, &outs, &options, "-KILL");
    assert_eq!(output.status.code(), None);
    assert!(!killed.path("g.png").exists() && !killed.path("x.npz").exists());
    refused(&killed.sample(&outs, &options), &["x.npz.partial", "resume it"]);
    let other = [&options[..], &["--cfg", "2", "--resume"]].concat();
    refused(&killed.sample(&outs, &other), &["sampling.cfg 1.5 before, 2.0 now"]);
    let output = killed.works(&outs, &[&options[..], &["--resume"]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("resuming after"));
    for file in ["g.png", "x.npz", "f/labels.csv", "f/000000.png", "f/000239.png"] {
        assert_eq!(whole.read(file), killed.read(file), "{file}");
    }
    let pictures = |place: &Place| std::fs::read_dir(place.path("f")).unwrap().count();
    assert_eq!(pictures(&whole), pictures(&killed));
    assert!(!killed.path("x.npz.partial").exists() && !killed.path("x.npz.partial.json").exists());
}

#[test]
fn sigterm_ends_in_order_and_says_how_to_go_on() {
    let place = Place::new();
    let output = interrupted(&place, &["f"], &["--per-class", "20000", "--batch", "4"], "-TERM");
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("are saved") && text.contains("--resume"), "{text}");
    assert!(place.labels("f").len().is_multiple_of(4));
}

#[test]
fn a_full_disk_ends_with_one_and_leaves_what_was_there() {
    let place = Place::new();
    place.works(&["x.npz"], &["--per-class", "1"]);
    let before = place.read("x.npz");
    // Files may grow to 16 KiB; the signal is ignored, so that the write fails as on a full disk.
    let inner = place.command(&["x.npz"], &["--per-class", "64"]);
    let limited = |inner: &Command| {
        let mut command = Command::new("bash");
        command.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""]);
        command.env("OMP_NUM_THREADS", "1").arg(inner.get_program()).args(inner.get_args());
        command.output().unwrap()
    };
    let output = limited(&inner);
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("x.npz: File too large") && !text.contains("partial"), "{text}");
    assert_eq!(place.read("x.npz"), before);
    // With room again, the same call names the flag, and continues with it.
    refused(&place.sample(&["x.npz"], &["--per-class", "64"]), &["x.npz", "resume it"]);
    place.works(&["x.npz"], &["--per-class", "64", "--resume"]);
    let output = limited(&place.command(&["g.png"], &["--per-class", "64"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(!place.path("g.png").exists());
}

#[test]
fn scales_are_shown_as_strips_and_animations() {
    let place = Place::new();
    let shown: Vec<String> = ["s.png", "s.gif", "s.apng"].map(|name| place.text(name)).to_vec();
    let mut more = vec!["--per-class", "5", "--batch", "3"];
    for file in &shown {
        more.extend(["--show-scales", file]);
    }
    place.works(&["f"], &more);
    let strip = image::open(place.path("s.png")).unwrap().to_rgb8();
    // Three scales of 8 pixels and gaps of 2; the first 8 of 15 pictures.
    assert_eq!(strip.dimensions(), (3 * 10 - 2, 8 * 10 - 2));
    for i in 0..8 {
        let last = image::imageops::crop_imm(&strip, 20, i * 10, 8, 8).to_image();
        // Picture number i of 5 per class, of 3 classes.
        let row = i % 5 * 3 + i / 5;
        let picture = image::open(place.path(&format!("f/{row:06}.png"))).unwrap().to_rgb8();
        let off = last.iter().zip(picture.iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(1), "{i}: {off:?}");
    }
    let gif = std::io::BufReader::new(std::fs::File::open(place.path("s.gif")).unwrap());
    let frames = image::codecs::gif::GifDecoder::new(gif).unwrap().into_frames().collect_frames().unwrap();
    let apng = std::io::BufReader::new(std::fs::File::open(place.path("s.apng")).unwrap());
    let decoder = image::codecs::png::PngDecoder::new(apng).unwrap().apng().unwrap();
    let more_frames = decoder.into_frames().collect_frames().unwrap();
    for frames in [frames, more_frames] {
        assert_eq!(frames.len(), 3);
        assert_eq!(frames[0].buffer().dimensions(), (4 * 10 - 2, 2 * 10 - 2));
        let shown = |i: usize| Duration::from(frames[i].delay());
        assert!(shown(2) > shown(0));
    }
}

/// A classifier of three classes that is the surer of class 0 the brighter a picture is, of 1 the darker.
fn brightness(path: &Path, classes: i64) {
    var_tokenizer::torch::start();
    let example = Tensor::rand([2, 3, 8, 8], (Kind::Float, tch::Device::Cpu));
    // Made outside: tracing would take down how it is allocated, not what is copied into it.
    let weights = Tensor::from_slice(&[20_f32, -20.0, 0.0, 0.0]).narrow(0, 0, classes).view([1, classes]);
    let mut judge = |inputs: &[Tensor]| {
        let mean = inputs[0].mean_dim([1_i64, 2, 3].as_slice(), true, Kind::Float).view([-1, 1]);
        vec![mean.matmul(&weights)]
    };
    CModule::create_by_tracing("Brightness", "forward", &[example], &mut judge).unwrap().save(path).unwrap();
}

#[test]
fn of_the_candidates_those_stay_that_the_classifier_is_surest_of() {
    let place = Place::new();
    brightness(&place.path("c.pt"), 3);
    let c = place.text("c.pt");
    place.works(&["all"], &["--classes", "0,1", "--per-class", "6", "--batch", "6"]);
    let judged = ["--classifier", &c, "--classifier-size", "8", "--classifier-mean", "0,0,0"];
    let judged = [&judged[..], &["--classifier-std", "1,1,1", "--classes", "0,1", "--batch", "6"]].concat();
    let options = [&judged[..], &["--per-class", "3", "--keep", "0.5"]].concat();
    place.works(&["best", "x.npz"], &options);
    // The row of picture `number` where there are 2 classes.
    let row = |number: usize, per_class: usize| number % per_class * 2 + number / per_class;
    let bright = |i: usize| {
        let picture = image::open(place.path(&format!("all/{:06}.png", row(i, 6)))).unwrap().to_rgb8();
        picture.iter().map(|&b| u32::from(b)).sum::<u32>()
    };
    let mut expected: Vec<usize> = Vec::new();
    for class in 0..2 {
        let mut order: Vec<usize> = (class * 6..class * 6 + 6).collect();
        order.sort_by_key(|&i| if class == 0 { u32::MAX - bright(i) } else { bright(i) });
        order.truncate(3);
        order.sort_unstable();
        expected.extend(order);
    }
    let rows = place.labels("best");
    let kept: Vec<usize> = rows.iter().map(|row| row[3].parse().unwrap()).collect();
    let in_rows: Vec<usize> = [0, 3, 1, 4, 2, 5].map(|number| expected[number]).to_vec();
    assert_eq!(kept, in_rows, "{rows:?}");
    for (i, &number) in kept.iter().enumerate() {
        assert_eq!(rows[i][1], (i % 2).to_string());
        let all = format!("all/{:06}.png", row(number, 6));
        assert_eq!(place.read(&format!("best/{i:06}.png")), place.read(&all));
        let probability: f64 = rows[i][4].parse().unwrap();
        assert!((0.0..=1.0).contains(&probability));
    }
    let table = String::from_utf8(place.read("x.npz.kept.csv")).unwrap();
    assert!(table.lines().nth(1).unwrap().starts_with(&format!("0,0,ant,{},", kept[0])), "{table}");
    // Resuming from one class to the next gives the same; a scale strip of chosen pictures is made too.
    std::fs::create_dir(place.path("half")).unwrap();
    for file in ["settings.json", "000000.png", "000002.png", "000004.png"] {
        std::fs::copy(place.path(&format!("best/{file}")), place.path(&format!("half/{file}"))).unwrap();
    }
    let labels = String::from_utf8(place.read("best/labels.csv")).unwrap();
    let some: String = labels.split_inclusive('\n').filter(|line| !line.contains(".png,1,")).collect();
    std::fs::write(place.path("half/labels.csv"), some).unwrap();
    let strip = place.text("s.png");
    place.works(&["half"], &[&options[..], &["--resume", "--show-scales", &strip]].concat());
    for file in ["labels.csv", "000001.png", "000005.png"] {
        assert_eq!(place.read(&format!("half/{file}")), place.read(&format!("best/{file}")), "{file}");
    }
    assert_eq!(image::open(strip).unwrap().height(), 6 * 10 - 2);
}

#[test]
fn a_classifier_that_does_not_fit_is_refused() {
    let place = Place::new();
    brightness(&place.path("four.pt"), 4);
    std::fs::write(place.path("junk.pt"), b"junk").unwrap();
    brightness(&place.path("good.pt"), 3);
    for (file, more, parts) in [
        ("four.pt", &["--keep", "0.5"][..], &["four.pt", "3 classes"][..]),
        ("junk.pt", &["--keep", "0.5"], &["junk.pt", "no TorchScript"]),
        ("missing.pt", &["--keep", "0.5"], &["missing.pt"]),
        ("good.pt", &["--keep", "0"], &["share to keep is 0", "at most 1"]),
        ("good.pt", &["--keep", "1.5"], &["share to keep is 1.5"]),
        ("good.pt", &["--keep", "0.5", "--classes", "none"], &["none"]),
        ("good.pt", &["--keep", "0.000001", "--per-class", "9"], &["9000000 candidates"]),
        ("good.pt", &["--keep", "0.5", "--classifier-mean", "1,2"], &["three numbers"]),
        ("good.pt", &["--keep", "0.5", "--classifier-std", "1,0,1"], &["standard deviation of the channels"]),
    ] {
        let file = place.text(file);
        refused(&place.sample(&["f"], &[&["--classifier", &file], more].concat()), parts);
        assert!(!place.path("f").exists());
    }
}

#[test]
fn a_plan_tells_pictures_disk_and_memory_and_makes_nothing() {
    let place = Place::new();
    let output = place.works(&["x.npz", "f"], &["--per-class", "50", "--dry-run", "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&plan["pictures"], &plan["batches"]), (&150.into(), &10.into()));
    assert_eq!(std::fs::read_dir(place.out.path()).unwrap().count(), 0);
    let total = plan["memory"]["f32"]["total"].as_f64().unwrap();
    assert!(total > 0.0 && plan["memory"]["bf16"].is_null());
    let text = String::from_utf8(place.works(&["f"], &["--dry-run"]).stdout).unwrap();
    assert!(text.contains("24 of 8 × 8") && text.contains("memory"), "{text}");
    refused(&place.sample(&["f"], &["--dry-run", "--classes", "dog"]), &["'dog'"]);
    refused(
        &run(&["sample", "--model", "nowhere", "--tokenizer", "builtin", "--out", "f", "--dry-run"]),
        &["nowhere"],
    );
}

#[test]
fn the_size_of_an_archive_is_foretold() {
    let place = Place::new();
    let output = place.works(&["x.npz"], &["--per-class", "7", "--dry-run", "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    place.works(&["x.npz"], &["--per-class", "7"]);
    let size = place.read("x.npz").len() as u64;
    assert_eq!(plan["outputs"][0]["bytes"], size);
}

#[test]
fn averaged_weights_are_sampled_where_the_run_has_them() {
    let place = Place::new();
    let flags = ["--per-class", "1", "--classes", "0,1", "--batch", "2"];
    let with_average = [&flags[..], &["--ema"]].concat();
    refused(
        &place.sample(&["none.npz"], &with_average),
        &["no averaged weights (model-ema.safetensors)", "setting `ema`", "plain weights"],
    );
    assert!(!place.path("none.npz").exists());
    // A run folder whose average is another model.
    let other = tempfile::tempdir().unwrap();
    fill_run_folder(other.path(), 3, &["ant", "bee", "cat"]);
    let from = other.path().join("model.safetensors");
    let mut model = Transformer::load(&from, Device::Cpu).unwrap();
    portable::fill(model.parameters_mut(), 77);
    model.save(&from).unwrap();
    std::fs::copy(&from, place.run.path().join("model-ema.safetensors")).unwrap();
    place.works(&["plain.npz"], &flags);
    place.works(&["average.npz"], &with_average);
    assert_ne!(place.read("plain.npz"), place.read("average.npz"));
    let mut command = program(&["sample", "--precision", "f32", "--run"]);
    command.arg(other.path()).args(flags).arg("--out").arg(place.path("other.npz"));
    assert!(command.status().unwrap().success());
    assert_eq!(place.read("other.npz"), place.read("average.npz"));
}
