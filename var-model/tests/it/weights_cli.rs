//! Files of weights through the command line: released layouts in, both layouts out.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use var_model::config::Standardisation;
use var_model::transformer::Initialisation;
use var_model::{Transformer, TransformerConfig};
use var_tokenizer::weights::pickle::writer;
use var_tokenizer::weights::{Checkpoint, portable, safetensors};

use super::support::{refused, run, run_folder};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../var-tokenizer/tests/golden/checkpoints").join(name)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn succeeded(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn greedy_samples_of_the_released_layouts_are_the_published_ones() {
    let folder = tempfile::tempdir().unwrap();
    let manifest: Value = serde_json::from_slice(&std::fs::read(golden("manifest.json")).unwrap()).unwrap();
    let greedy = &manifest["sampling"]["greedy"];
    let expected = safetensors::open(&golden("expected.safetensors")).unwrap();
    let label = expected.get("labels").unwrap().tensor().unwrap().int64_value(&[0]).to_string();
    let image = expected.get("sample.greedy.image").unwrap().tensor().unwrap();
    let (cfg, seed) = (greedy["cfg"].to_string(), greedy["draw_seed"].to_string());
    for (model, tokenizer) in [
        ("var.pth", Some("vae.pth")),
        ("var_legacy.pth", Some("vae.pth")),
        ("ar-ckpt-last.pth", None),
        ("ar-ckpt-last.pth", Some("vae.pth")),
    ] {
        let (model, out) = (text(&golden(model)), text(&folder.path().join("x.npz")));
        let mut args = vec!["sample", "--model", &model, "--classes", &label, "--per-class", "1"];
        args.extend(["--cfg", &cfg, "--top-k", "1", "--top-p", "0", "--seed", &seed]);
        args.extend(["--precision", "f32", "--quiet", "--out", &out]);
        let tokenizer = tokenizer.map(|name| text(&golden(name)));
        args.extend(tokenizer.iter().flat_map(|path| ["--tokenizer", path.as_str()]));
        succeeded(&args);
        let archive = std::fs::read(&out).unwrap();
        let mut archive = npyz::npz::NpzArchive::new(std::io::Cursor::new(archive)).unwrap();
        let bytes: Vec<u8> = archive.by_name("arr_0").unwrap().unwrap().into_vec().unwrap();
        let found = Tensor::from_slice(&bytes).view([1, 4, 4, 3]).permute([0, 3, 1, 2]) / 255.0;
        let off = (found - &image).abs().max().double_value(&[]);
        assert!(off <= 0.5 / 255.0 + 1e-3, "{args:?}: {off}");
    }
}

#[test]
fn inspect_tells_configuration_and_cost_of_every_layout() {
    for name in ["var.pth", "var_legacy.pth", "var_f16.pth", "var_bf16.pth"] {
        let told: Value =
            serde_json::from_str(&succeeded(&["inspect", &text(&golden(name)), "--json"])).unwrap();
        let part = &told["parts"][0];
        assert_eq!((&part["role"], &part["config"]["depth"]), (&"transformer".into(), &2.into()), "{name}");
        assert_eq!(part["config"]["schedule"], serde_json::json!([1, 2, 4]));
        assert_eq!(part["cost"]["parameters"], 164_612);
    }
    let table = succeeded(&["inspect", &text(&golden("ar-ckpt-last.pth"))]);
    for part in ["tokenizer (at trainer/vae_local)", "transformer (at trainer/var_wo_ddp)", "parameters"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    let loaded = succeeded(&["inspect", &text(&golden("var.pth")), "--load", "--json"]);
    assert!(serde_json::from_str::<Value>(&loaded).unwrap()["bytes"] == 4 * 164_612);
}

#[test]
fn a_model_loads_within_its_own_size_and_a_tenth() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(folder.path());
    succeeded(&["portable", "--depth", "7", "--out", &out]);
    let file = text(&folder.path().join("var.pth"));
    let told: Value = serde_json::from_str(&succeeded(&["inspect", &file, "--load", "--json"])).unwrap();
    let (bytes, memory) = (told["bytes"].as_f64().unwrap(), told["memory"].as_f64().unwrap());
    assert!(bytes > 1e8 && memory < 1.1 * bytes, "{memory} for {bytes} bytes");
}

#[test]
fn weights_come_back_bit_for_bit_from_both_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name));
    for (name, more) in [
        ("var.pth", &[][..]),
        ("var_bf16.pth", &[]),
        ("vae.pth", &["--schedule", "1,2,4"]),
        ("ar-ckpt-last.pth", &["--part", "model"]),
    ] {
        let (first, second) = (path("first.safetensors"), path("second.pth"));
        succeeded(&[&["convert", &text(&golden(name)), &first], more].concat());
        succeeded(&["convert", &first, &second]);
        let read = |file: &str| {
            let checkpoint = Checkpoint::open(Path::new(file)).unwrap();
            checkpoint.parts.into_values().next_back().unwrap().read_all().unwrap()
        };
        let (original, back) = (read(&text(&golden(name))), read(&second));
        // The buffers of the published code come back too.
        assert!(original.keys().eq(back.keys()), "{name}");
        for (key, tensor) in &original {
            assert_eq!(*tensor, back[key], "{name}: {key}");
        }
    }
}

#[test]
fn the_type_of_values_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("half.pth"));
    succeeded(&["convert", &text(&golden("var.pth")), &out, "--dtype", "f16"]);
    let ours = Checkpoint::open(Path::new(&out)).unwrap().parts[""].read_all().unwrap();
    let theirs = Checkpoint::open(&golden("var_f16.pth")).unwrap().parts[""].read_all().unwrap();
    assert!(ours.keys().eq(theirs.keys()));
    for (name, tensor) in &ours {
        assert_eq!((tensor.kind(), tensor), (theirs[name].kind(), &theirs[name]), "{name}");
    }
}

#[test]
fn a_file_is_not_converted_onto_itself_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("var.pth"), folder.path().join("link.pth"));
    std::fs::copy(golden("var.pth"), &file).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let before = std::fs::read(&file).unwrap();
    for to in [&file, &link] {
        let output = run(&["convert", &text(&file), &text(to), "--dtype", "f16"]);
        refused(&output, &["input and output are the same file"]);
    }
    assert!(std::fs::read(&file).unwrap() == before);
}

#[test]
fn a_standardised_model_gives_the_same_logits_as_a_pth() {
    var_tokenizer::torch::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut config = TransformerConfig::published(1);
    config.schedule = "1,2,3".parse().unwrap();
    (config.vocabulary, config.latent_channels, config.classes) = (16, 3, 4);
    let input = Standardisation { mean: vec![0.5, -1.0, 2.0], deviation: vec![0.25, 2.0, 1.5] };
    config.input = Some(input);
    let mut model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, None).unwrap();
    portable::fill(model.parameters_mut(), 1);
    model.save(&path("m.safetensors")).unwrap();
    succeeded(&["convert", &text(&path("m.safetensors")), &text(&path("m.pth"))]);
    let plain = Transformer::load(&path("m.pth"), Device::Cpu).unwrap();
    assert!(plain.config().input.is_none());
    let (labels, vectors) = (Tensor::from_slice(&[1_i64, 3]), portable::normal("v", 1, &[2, 13, 3]));
    let logits = |model: &Transformer| model.forward(&labels, &vectors, 3, None).unwrap();
    let off = (logits(&model) - logits(&plain)).abs().max().double_value(&[]);
    assert!(off < 1e-4, "{off}");
    assert_eq!(logits(&plain).kind(), Kind::Float);
}

#[test]
fn bad_files_are_refused_and_leave_nothing() {
    let folder = run_folder();
    let path = |name: &str| text(&folder.path().join(name));
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        path(name)
    };
    let out = path("out.safetensors");
    let whole = std::fs::read(golden("var.pth")).unwrap();
    let cut = write("cut.pth", &whole[..whole.len() / 2]);
    let evil = write("evil.pth", b"\x80\x02cos\nsystem\nX\x09\0\0\0touch pwn\x85R.");
    let prose = write("prose.pth", b"Once upon a time there was a checkpoint.");
    for (file, parts) in [
        (&cut, &["cut.pth", "cut short"][..]),
        (&evil, &["evil.pth", "refused", "os.system", "state_dict()"]),
        (&prose, &["prose.pth", "is it the right file?"]),
        (&path("nowhere.pth"), &["nowhere.pth"]),
        (&text(folder.path()), &["is a folder"]),
    ] {
        refused(&run(&["inspect", file]), parts);
        refused(&run(&["convert", file, &out]), parts);
        refused(&run(&["sample", "--model", file, "--tokenizer", "builtin", "--out", &path("g.png")]), parts);
    }
    assert!(!Path::new(&out).exists() && !Path::new(&path("g.png")).exists());
    assert!(!Path::new("pwn").exists() && !Path::new(&path("pwn")).exists());

    let model = path("model.safetensors");
    refused(&run(&["convert", &model, &path("x.bin")]), &["x.bin", ".pth", ".safetensors"]);
    refused(&run(&["convert", &text(&golden("ar-ckpt-last.pth")), &out]), &["--part"]);
    refused(&run(&["convert", &text(&golden("vae.pth")), &out]), &["3 token maps", "--schedule"]);
    refused(
        &run(&["convert", &model, &out, "--part", "tokenizer"]),
        &["holds a transformer, not a tokenizer"],
    );
    refused(&run(&["convert", &model, &out, "--schedule", "1,2,3"]), &["pos_1LC has shape"]);
    refused(
        &run(&["sample", "--model", &text(&golden("var.pth")), "--out", &path("g.png")]),
        &["var.pth holds no tokenizer", "name a tokenizer file"],
    );
    let vae = text(&golden("vae.pth"));
    refused(
        &run(&["sample", "--model", &vae, "--tokenizer", &vae, "--out", &path("g.png")]),
        &["holds a tokenizer, not a transformer"],
    );
}

/// Writes the golden transformer under changed names into one file, and the same with halved values under others.
fn two_models(path: &Path) {
    let model = Checkpoint::open(&golden("var.pth")).unwrap().parts[""].read_all().unwrap();
    let halved = |t: &Tensor| if t.is_floating_point() { t * 0.5 } else { t.shallow_clone() };
    let all: Vec<(String, Tensor)> = model
        .iter()
        .flat_map(|(n, t)| [(format!("model.{n}"), t.shallow_clone()), (format!("ema.{n}"), halved(t))])
        .collect();
    writer::write(path, &all).unwrap();
}

#[test]
fn several_models_in_one_file_need_a_part_and_inspect_shows_all() {
    var_tokenizer::torch::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name));
    let (both, vae, out) = (path("both.pth"), text(&golden("vae.pth")), path("g.png"));
    two_models(Path::new(&both));
    let told: Value = serde_json::from_str(&succeeded(&["inspect", &both, "--json"])).unwrap();
    let parts: Vec<&str> =
        told["parts"].as_array().unwrap().iter().map(|part| part["part"].as_str().unwrap()).collect();
    assert_eq!(parts, ["ema", "model"]);
    let one: Value =
        serde_json::from_str(&succeeded(&["inspect", &both, "--json", "--part", "ema"])).unwrap();
    assert_eq!(one["parts"].as_array().unwrap().len(), 1);

    let sample = ["sample", "--model", &both, "--tokenizer", &vae, "--per-class", "1", "--quiet", "--out"];
    let words = ["both.pth: holds several transformers", "'ema'", "'model'", "parameters", "--part"];
    refused(&run(&[&sample[..], &[&out]].concat()), &words);
    refused(&run(&["convert", &both, &path("x.safetensors")]), &words);
    assert!(!Path::new(&out).exists() && !Path::new(&path("x.safetensors")).exists());
    let picture = |model: &str, more: &[&str], name: &str| {
        let mut args = vec!["sample", "--model", model, "--tokenizer", &vae, "--per-class", "1", "--quiet"];
        let place = path(name);
        args.extend(["--precision", "f32", "--out", &place]);
        succeeded(&[&args[..], more].concat());
        std::fs::read(place).unwrap()
    };
    let plain = picture(&text(&golden("var.pth")), &[], "a.png");
    assert_eq!(picture(&both, &["--part", "model"], "b.png"), plain);
    let average = path("ema.safetensors");
    succeeded(&["convert", &both, &average, "--part", "ema"]);
    let averaged = picture(&average, &[], "c.png");
    assert_ne!(averaged, plain);
    assert_eq!(picture(&both, &["--part", "ema"], "d.png"), averaged);
}

#[test]
fn a_nan_model_is_refused_by_name_and_nothing_is_written() {
    var_tokenizer::torch::start();
    let folder = run_folder();
    let path = |name: &str| text(&folder.path().join(name));
    let (bad, vae) = (path("bad.pth"), text(&golden("vae.pth")));
    let model = Checkpoint::open(&golden("var.pth")).unwrap().parts[""].read_all().unwrap();
    let _ = model["head.weight"].view([-1]).get(5).fill_(f64::NAN);
    writer::write(Path::new(&bad), &model.into_iter().collect::<Vec<_>>()).unwrap();
    let words = ["bad.pth: tensor head.weight: 1 of", "NaN"];
    for out in ["g.png", "x.npz", "pictures"] {
        let out = path(out);
        refused(&run(&["sample", "--model", &bad, "--tokenizer", &vae, "--quiet", "--out", &out]), &words);
        assert!(!Path::new(&out).exists() && !Path::new(&format!("{out}.partial")).exists());
    }
    refused(&run(&["convert", &bad, &path("x.safetensors")]), &words);
    assert!(!Path::new(&path("x.safetensors")).exists());
    refused(&run(&["inspect", &bad, "--load"]), &words);
}

#[test]
fn a_conversion_that_makes_infinities_is_refused_by_name() {
    var_tokenizer::torch::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name));
    let (large, out) = (path("large.pth"), path("half.safetensors"));
    let model = Checkpoint::open(&golden("var.pth")).unwrap().parts[""].read_all().unwrap();
    let _ = model["head.weight"].view([-1]).get(5).fill_(1e6);
    writer::write(Path::new(&large), &model.into_iter().collect::<Vec<_>>()).unwrap();
    refused(
        &run(&["convert", &large, &out, "--dtype", "f16"]),
        &["large.pth: tensor head.weight: 1 of", "infinite as f16", "wider --dtype"],
    );
    assert!(!Path::new(&out).exists());
    succeeded(&["convert", &large, &out, "--dtype", "bf16"]);
}

#[test]
fn a_full_disk_is_told_in_one_line_and_leaves_nothing() {
    let folder = run_folder();
    let model = text(&folder.path().join("model.safetensors"));
    let program = env!("CARGO_BIN_EXE_var-model");
    for (name, command) in [
        ("x.pth", format!("convert {model}")),
        ("x.safetensors", format!("convert {model}")),
        ("x.npz", format!("sample --run {} --per-class 1 --quiet --out", text(folder.path()))),
    ] {
        let out = text(&folder.path().join(name));
        // No file may have more than 1024 bytes.
        let script = format!("trap '' XFSZ; ulimit -f 2; exec {program} {command} {out}");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        let lines: Vec<&str> = said.lines().collect();
        assert!(matches!(lines[..], [line] if line.starts_with("error: ") && line.contains(name)), "{said}");
        assert!(!Path::new(&out).exists());
    }
}

#[test]
fn weights_go_through_a_link_and_to_standard_output() {
    let folder = run_folder();
    let path = |name: &str| text(&folder.path().join(name));
    let model = path("model.safetensors");
    std::os::unix::fs::symlink("far.pth", path("link.pth")).unwrap();
    succeeded(&["convert", &model, &path("link.pth")]);
    assert!(std::fs::symlink_metadata(path("link.pth")).unwrap().is_symlink());
    Checkpoint::open(Path::new(&path("far.pth"))).unwrap();
    std::os::unix::fs::symlink("/dev/stdout", path("out.pth")).unwrap();
    let output = run(&["convert", &model, &path("out.pth")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == std::fs::read(path("far.pth")).unwrap(), "the two differ");
}

#[test]
fn a_small_file_that_asks_for_a_large_model_gets_an_error_and_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("boasts.safetensors");
    let mut config = TransformerConfig::published(256);
    config.width = 1 << 16;
    let metadata = [("transformer_config".to_owned(), serde_json::to_string(&config).unwrap())];
    let tensors = [("word_embed.weight".to_owned(), Tensor::ones([4, 4], (Kind::Float, Device::Cpu)))];
    safetensors::write(&file, &tensors.into(), &metadata.into()).unwrap();
    let output = run(&["inspect", &text(&file), "--load"]);
    refused(&output, &["boasts.safetensors", "3082 tensors", "missing pos_start", "expected [65536, 32]"]);
}
