//! `var-model serve`: what the page gets. The images are those of the command line, to the byte.

use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use var_model::Order;

use super::studio::{Studio, bytes_of, edit, sample};
use super::support::{fill_run, program, refused, run, run_folder};

/// An emoji that is not among the training images.
const DOG: &[u8] = include_bytes!("../../../var-tokenizer/assets/emoji/dog.png");

/// Runs the command line that the server gave, in `folder`, with more flags.
fn repeats(command: &Value, folder: &Path, more: &[&str]) {
    let words = shlex::split(command.as_str().unwrap()).unwrap();
    assert_eq!(words[0], "var-model");
    let arguments: Vec<&str> = words[1..].iter().map(String::as_str).chain(more.iter().copied()).collect();
    let output = program(&arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(7 * x) as u8, (11 * y) as u8, (3 * x + 5 * y) as u8]))
}

#[test]
fn the_page_is_small_and_whole_and_allows_nothing_from_elsewhere() {
    let studio = Studio::built_in();
    assert_eq!(studio.url, format!("{}/", studio.origin()));
    let mut size = 0;
    for (path, kind) in [("/", "text/html"), ("/studio.js", "text/javascript"), ("/studio.css", "text/css")] {
        let answer = studio.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with(kind), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        let text = String::from_utf8(answer.body).unwrap();
        for other in ["http:", "https:", "\"//", "'//", "(//", "@import", " style=", " onclick="] {
            assert!(!text.contains(other), "{path} has {other}");
        }
        size += text.len();
    }
    assert!(size < 60_000, "{size} bytes");
    for name in ["dog", "grinning"] {
        let example = studio.get(&format!("/example/{name}.png"));
        assert_eq!(image::load_from_memory(&example.body).unwrap().width(), 32);
    }
    let model = studio.get("/api/model").json();
    assert_eq!(
        (&model["model"], &model["side"], &model["edits"]),
        (&json!("builtin"), &json!(32), &json!(true))
    );
    assert_eq!(model["classes"].as_array().unwrap().len(), 9);
    assert!(studio.get("/studio.rs").refused(404).contains("nothing"));
    assert!(studio.get("/api/sample").refused(405).contains("POST"));
}

#[test]
fn sampled_images_come_scale_by_scale_and_are_those_of_the_command_line() {
    let studio = Studio::built_in();
    let scales = studio.get("/api/model").json()["scales"].as_array().unwrap().len();
    let mut smooth = sample(&[2], 1, 12);
    (smooth["more_smooth"], smooth["cfg"], smooth["top_k"]) = (json!(true), json!(4.25), json!(0));
    // The last one takes more than one batch.
    for body in [sample(&[8, 3], 2, 7), smooth, sample(&[0, 5, 1], 6, 3)] {
        let per_class = body["per_class"].as_u64().unwrap() as usize;
        let count = body["classes"].as_array().unwrap().len() * per_class;
        let events = studio.events("/api/sample", &body);
        let mut frames = vec![Vec::new(); count];
        for first in (0..count).step_by(16) {
            let steps: Vec<_> =
                named(&events, "step").into_iter().filter(|step| step["first"] == first).collect();
            let numbers: Vec<_> = steps.iter().map(|step| step["step"].as_u64().unwrap() as usize).collect();
            assert_eq!(numbers, (1..=scales).collect::<Vec<_>>());
            for step in &steps[..scales - 1] {
                let images = step["images"].as_array().unwrap();
                assert_eq!(images.len(), 16.min(count - first));
                images.iter().enumerate().for_each(|(i, image)| frames[first + i].push(image.clone()));
            }
        }
        assert_eq!(events[events.len() - 1]["event"], "done");
        let images = events[events.len() - 1]["images"].as_array().unwrap();
        assert_eq!(images.len(), count);
        for (frames, image) in frames.iter_mut().zip(images) {
            frames.push(image.clone());
        }

        let place = tempfile::tempdir().unwrap();
        let files = ["strip.png", "scales.gif", "scales.apng"];
        let more: Vec<&str> = files.iter().flat_map(|file| ["--show-scales", file]).collect();
        repeats(&named(&events, "started")[0]["command"], place.path(), &more);
        let read = |name: &str| std::fs::read(place.path().join(name)).unwrap();
        let assembled = |form: &str, images: &Value| {
            let body = json!({ "form": form, "columns": per_class, "images": images });
            let answer = studio.post("/api/assemble", &body);
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.body
        };
        let alone: Vec<_> = images.iter().map(|image| json!([image])).collect();
        assert!(assembled("grid", &json!(alone)) == read("images.png"), "{body}");
        if count == 1 {
            assert!(bytes_of(&images[0]) == read("images.png"));
        }
        if count <= 8 {
            for (form, file) in ["strip", "gif", "apng"].iter().zip(files) {
                assert!(assembled(form, &json!(frames)) == read(file), "{file}");
            }
        }
    }
}

#[test]
fn images_do_not_depend_on_whether_scales_are_shown() {
    let studio = Studio::built_in();
    let mut body = sample(&[4], 2, 5);
    let with = studio.events("/api/sample", &body);
    body["scales"] = json!(false);
    let without = studio.events("/api/sample", &body);
    assert!(named(&without, "step").iter().all(|step| step["images"] == json!([])));
    assert_eq!(named(&with, "done")[0]["images"], named(&without, "done")[0]["images"]);
}

#[test]
fn edits_are_those_of_the_command_line_and_keep_other_pixels() {
    let studio = Studio::built_in();
    let mask = png(&RgbImage::from_fn(30, 20, |x, _| Rgb([if x > 14 { 255 } else { 0 }; 3])));
    let long = png(&photo(60, 40));
    let class = json!({ "box": [0.0, 0.5, 1.0, 1.0], "class": 8, "seed": 9, "variants": 2, "feather": 0 });
    let masked = json!({ "mask": super::studio::base64(&mask), "outside": true, "more_smooth": false });
    for (photo, name, area) in [
        (DOG, "dog.png", class),
        (DOG, "a dog.png", json!({ "box": [0.25, 0.25, 0.75, 0.75], "outside": true })),
        (&long, "long.png", masked),
        (&long, "long.png", json!({ "box": [0.1, 0.6, 0.5, 0.95] })),
    ] {
        let events = studio.events("/api/edit", &edit(photo, name, &area));
        let done = named(&events, "done")[0];
        let images = done["images"].as_array().unwrap();
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(name), photo).unwrap();
        std::fs::write(place.path().join("mask.png"), &mask).unwrap();
        repeats(&named(&events, "started")[0]["command"], place.path(), &[]);
        for (number, image) in images.iter().enumerate() {
            let file =
                if images.len() == 1 { "edited.png".to_owned() } else { format!("edited-{number}.png") };
            assert!(bytes_of(image) == std::fs::read(place.path().join(file)).unwrap(), "{name} {area}");
        }
        let before = image::load_from_memory(photo).unwrap().to_rgb8();
        let after = image::load_from_memory(&bytes_of(&images[0])).unwrap().to_rgb8();
        assert_eq!(before.dimensions(), after.dimensions());
        // The middle of the left edge is kept in two of them.
        if area.get("outside").is_none() {
            assert_eq!(before.get_pixel(0, before.height() / 2), after.get_pixel(0, before.height() / 2));
            assert_ne!(before, after);
        }
        let steps = named(&events, "step");
        assert!(steps.len() > 2 && steps[0]["images"].as_array().unwrap().len() == images.len());
    }
}

#[test]
fn a_photo_is_shown_as_the_program_reads_it() {
    let studio = Studio::built_in();
    let wide = photo(2050, 30);
    let answer = studio.post_bytes("/api/photo", &png(&wide)).json();
    assert_eq!((&answer["width"], &answer["height"]), (&json!(2050), &json!(30)));
    assert_eq!(image::load_from_memory(&bytes_of(&answer["image"])).unwrap().width(), 1024);
    let dog = studio.post_bytes("/api/photo", DOG).json();
    let shown = image::load_from_memory(&bytes_of(&dog["image"])).unwrap().to_rgb8();
    assert_eq!((shown.width(), shown.get_pixel(0, 0)), (32, &Rgb([255; 3])));
}

#[test]
fn a_run_folder_and_a_raster_model_are_served_too() {
    let folder = run_folder();
    let studio = Studio::start(&["--run", &folder.path().display().to_string(), "--precision", "f32"]);
    let model = studio.get("/api/model").json();
    assert_eq!(model["classes"], json!(["ant", "bee", "cat"]));
    let events = studio.events("/api/sample", &sample(&[1, 2], 1, 0));
    let command = &named(&events, "started")[0]["command"];
    assert!(command.as_str().unwrap().contains("bee,cat"), "{command}");
    let place = tempfile::tempdir().unwrap();
    repeats(command, place.path(), &[]);
    assert!(place.path().join("images.png").exists());

    let raster = tempfile::tempdir().unwrap();
    fill_run(raster.path(), 3, &[], "4", Order::Raster);
    let studio = Studio::start(&["--run", &raster.path().display().to_string(), "--precision", "f32"]);
    let events = studio.events("/api/sample", &sample(&[0], 2, 1));
    assert_eq!(named(&events, "step").len(), 16);
    let place = tempfile::tempdir().unwrap();
    repeats(&named(&events, "started")[0]["command"], place.path(), &[]);
    let why = studio.post("/api/edit", &edit(DOG, "dog.png", &json!({ "box": [0, 0, 1, 1] }))).refused(400);
    assert!(why.contains("raster"), "{why}");
}

#[test]
fn what_cannot_be_served_is_refused_before_the_address_is_printed() {
    refused(&run(&["serve", "--port", "0", "--run", "nowhere"]), &["nowhere", "no such run folder"]);
    refused(&run(&["serve", "--port", "65536"]), &["--port"]);
    let studio = Studio::built_in();
    let port = studio.port.to_string();
    refused(&run(&["serve", "--port", &port]), &[&port, "in use", "--port 0"]);
    let help = String::from_utf8(run(&["serve", "--help"]).stdout).unwrap();
    for part in ["--host", "token", "cargo xtask studio", "--model", "--open"] {
        assert!(help.contains(part), "{part}");
    }
}
