//! LPIPS against the `lpips` package, and on images that do not go together.

use std::collections::BTreeMap;
use std::path::Path;

use image::{Rgb, RgbImage};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use tch::{Device, Kind, Tensor};
use var_eval::Error;
use var_eval::features::weights::TensorSource;
use var_eval::golden::lpips::{heads, trunk};
use var_eval::metrics::lpips::{Lpips, Trunk};
use var_tokenizer::files::sha256_of;
use var_tokenizer::weights::{portable, safetensors};

use crate::made_up;
use crate::networks::{check_changed, check_committed};
use crate::score::program;

const TRUNKS: [Trunk; 3] = [Trunk::Squeeze, Trunk::Alex, Trunk::Vgg];

fn with_portable_weights(kind: Trunk) -> Lpips {
    let (mut weights, mut heads) = (trunk(kind.name(), 1), heads(kind.name(), 1));
    Lpips::new(kind, &mut weights, &mut heads, Device::Cpu).unwrap()
}

fn picture(width: u32, height: u32, salt: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 7 + salt) as u8, (y * 5 + x * salt) as u8, (x * y + 90) as u8])
    })
}

#[test]
fn distances_equal_the_lpips_package() {
    check_committed("lpips", 106);
}

#[test]
fn damaged_lpips_cases_are_failures_and_no_crash() {
    for (pointer, value) in [
        ("/seed", 2.into()),
        ("/cases/0/input/net", "resnet".into()),
        ("/cases/0/input/trunk", "imagenet".into()),
        ("/cases/0/input/b/kind", "?".into()),
        ("/cases/0/input/w", 1.into()),
        ("/cases/0/expected/f64/distance", "?".into()),
        ("/heads/file", "manifest.json".into()),
    ] {
        let checks = check_changed("lpips", pointer, value);
        assert!(checks.iter().any(|check| !check.pass), "{pointer}");
    }
}

#[test]
fn distances_are_symmetric_nothing_between_equals_and_the_same_in_any_company() {
    let lpips = with_portable_weights(Trunk::Squeeze);
    let (a, b) = (picture(40, 30, 1), picture(40, 30, 2));
    let (c, d) = (picture(33, 50, 3), picture(33, 50, 4));
    let forth = lpips
        .distances(
            &[a.clone(), c.clone(), a.clone(), b.clone()],
            &[b.clone(), d.clone(), a.clone(), a.clone()],
        )
        .unwrap();
    let [ab, cd, aa, ba] = forth[..] else { panic!("{forth:?}") };
    assert_eq!(aa, 0.0);
    assert!(ab > 0.0 && cd > 0.0);
    assert!((ab - ba).abs() < 1e-6 * ab);
    let alone = lpips.distances(&[c], &[d]).unwrap()[0];
    assert!((alone - cd).abs() < 1e-6 * cd);
    assert!(lpips.distances(&[], &[]).unwrap().is_empty());
}

#[test]
fn the_least_side_is_the_least() {
    for kind in TRUNKS {
        let lpips = with_portable_weights(kind);
        let side = kind.least_side();
        let pair = |side: u32| lpips.distances(&[picture(side, 40, 1)], &[picture(side, 40, 2)]);
        assert!(pair(side).unwrap()[0].is_finite(), "{kind:?}");
        let message = pair(side - 1).unwrap_err().to_string();
        assert!(message.contains("at least"), "{message}");
    }
}

#[test]
fn pairs_that_do_not_go_together_are_errors() {
    let lpips = with_portable_weights(Trunk::Squeeze);
    let found = lpips.distances(&[picture(40, 30, 1)], &[picture(30, 40, 1)]);
    assert!(matches!(found, Err(Error::Shapes { .. })));
    assert!(lpips.distances(&[picture(40, 30, 1)], &[]).is_err());
    let message = "vgg19".parse::<Trunk>().unwrap_err().to_string();
    assert!(message.contains("squeeze, alex, vgg") && message.contains("did you mean 'vgg'?"), "{message}");
}

#[test]
fn files_of_the_package_and_of_torchvision_are_told_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, shapes: &[(&str, &[i64])]| {
        let zero = |&(name, shape): &(&str, &[i64])| {
            (name.to_owned(), Tensor::zeros(shape, (Kind::Float, Device::Cpu)))
        };
        let tensors: BTreeMap<String, Tensor> = shapes.iter().map(zero).collect();
        let path = folder.path().join(name);
        safetensors::write(&path, &tensors, &BTreeMap::new()).unwrap();
        path
    };
    let trunk: [(&str, &[i64]); 11] = [
        ("features.0.weight", &[64, 3, 11, 11]),
        ("features.0.bias", &[64]),
        ("features.3.weight", &[192, 64, 5, 5]),
        ("features.3.bias", &[192]),
        ("features.6.weight", &[384, 192, 3, 3]),
        ("features.6.bias", &[384]),
        ("features.8.weight", &[256, 384, 3, 3]),
        ("features.8.bias", &[256]),
        ("features.10.weight", &[256, 256, 3, 3]),
        ("features.10.bias", &[256]),
        ("classifier.6.bias", &[1000]),
    ];
    let shapes: [&[i64]; 5] =
        [&[1, 64, 1, 1], &[1, 192, 1, 1], &[1, 384, 1, 1], &[1, 256, 1, 1], &[1, 256, 1, 1]];
    let names: Vec<String> = (0..5).map(|k| format!("lin{k}.model.1.weight")).collect();
    let heads: Vec<(&str, &[i64])> = names.iter().map(String::as_str).zip(shapes).collect();
    let (trunk, heads) = (write("trunk", &trunk), write("heads", &heads));
    let load = |kind, trunk: &Path, heads: &Path| Lpips::load(kind, trunk, heads, Device::Cpu);
    load(Trunk::Alex, &trunk, &heads).unwrap();
    let message = load(Trunk::Vgg, &trunk, &heads).unwrap_err().to_string();
    assert!(
        message.contains("trunk")
            && message.contains("missing features.2.weight")
            && message.contains(" more"),
        "{message}"
    );
    let message = load(Trunk::Alex, &heads, &trunk).unwrap_err().to_string();
    assert!(message.contains("missing features.0.weight"), "{message}");
    let error = load(Trunk::Alex, &heads, &trunk).unwrap_err();
    let Error::Core(var_tokenizer::Error::Weights { problems, .. }) = error else { panic!("{error}") };
    assert!(problems.iter().any(|problem| problem == "unexpected lin0.model.1.weight"), "{problems:?}");
}

/// Passes tensors on and keeps them.
struct Kept<T>(T, BTreeMap<String, Tensor>);

impl<T: TensorSource> TensorSource for Kept<T> {
    fn take(&mut self, name: &str, shape: &[i64]) -> var_eval::Result<Tensor> {
        let tensor = self.0.take(name, shape)?;
        self.1.insert(name.to_owned(), tensor.shallow_clone());
        Ok(tensor)
    }
}

#[test]
fn the_command_reports_lpips_and_the_distance_of_the_sets_with_their_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (mut weights, mut heads) =
        (Kept(trunk("squeeze", 1), BTreeMap::new()), Kept(heads("squeeze", 1), BTreeMap::new()));
    let lpips = Lpips::new(Trunk::Squeeze, &mut weights, &mut heads, Device::Cpu).unwrap();
    safetensors::write(&place("trunk"), &weights.1, &BTreeMap::new()).unwrap();
    safetensors::write(&place("heads"), &heads.1, &BTreeMap::new()).unwrap();
    let mut expected = 0.0;
    for set in ["a", "b"] {
        std::fs::create_dir(place(set)).unwrap();
    }
    for i in 0..3 {
        let pair = [picture(40, 30, i), picture(40, 30, i + 5)];
        for (set, picture) in ["a", "b"].iter().zip(&pair) {
            picture.save(place(set).join(format!("{i}.png"))).unwrap();
        }
        let [a, b] = pair;
        expected += lpips.distances(&[a], &[b]).unwrap()[0] / 3.0;
    }
    let command = |more: &[&str]| {
        let mut command = program();
        command.arg("reconstruction").arg("--reference").arg(place("a")).arg("--samples").arg(place("b"));
        command.args(["--lpips", "squeeze", "--lpips-weights"]).arg(place("trunk"));
        command.arg("--lpips-heads").arg(place("heads")).args(more);
        command
    };
    let output = command(&["--fd", "--network", "colour-grid", "--json"]).assert().success();
    let report: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let found = report["lpips"].as_f64().unwrap();
    assert!((found - expected).abs() < 1e-6 * expected, "{found} {expected}");
    let stamp = &report["protocol"]["lpips"];
    assert_eq!((&stamp["trunk"], &stamp["version"]), (&"squeeze".into(), &"0.1".into()));
    assert_eq!(stamp["weights_sha256"], sha256_of(&place("trunk")).unwrap());
    let distance = &report["sets"]["metrics"][0];
    assert_eq!((&distance["metric"], &distance["name"]), (&"fd".into(), &"rFD-colour-grid".into()));
    assert!(distance["value"].as_f64().unwrap() > 0.0);
    assert!(report["sets"]["protocol"]["network"].is_object());
    command(&[]).assert().success().stdout(contains("LPIPS       version 0.1, squeeze"));
    picture(16, 30, 0).save(place("a/0.png")).unwrap();
    picture(16, 30, 1).save(place("b/0.png")).unwrap();
    command(&["--quiet"]).assert().code(2).stderr(contains("'0'").and(contains("at least 17×17")));
}

/// Images `[2, 3, H, W]` in −1..1, and mixtures with others.
fn mixed(height: i64, width: i64) -> (Tensor, Tensor) {
    let image = |name: &str| portable::uniform(name, 1, &[2, 3, height, width]) * 2.0 - 1.0;
    let (a, b) = (image("st.a"), image("st.b"));
    let mixture = &a * 0.7 + b * 0.3;
    (a, mixture)
}

#[test]
fn st_lpips_equals_its_package_on_made_up_weights() {
    let folder = tempfile::tempdir().unwrap();
    let lpips = Lpips::load_shift_tolerant(
        Trunk::ShiftTolerantAlex,
        Path::new(&made_up::network(folder.path())),
        Device::Cpu,
    )
    .unwrap();
    // stlpips-pytorch 0.0.2 with the same weights and images.
    let expected =
        [((21, 21), [0.118_077_173_8, 0.115_947_134_8]), ((32, 40), [0.118_936_270_5, 0.132_694_557_3])];
    for ((height, width), distances) in expected {
        let (a, b) = mixed(height, width);
        let sums = lpips.per_layer(&a, &b).unwrap().sum_dim_intlist(&[1_i64][..], false, Kind::Double);
        for (found, expected) in Vec::<f64>::try_from(&sums).unwrap().iter().zip(distances) {
            assert!(
                (found - expected).abs() < 2e-4 * expected,
                "{height}×{width}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn a_distance_by_the_network_of_the_training_is_given_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (originals, samples) = (folder.path().join("originals"), folder.path().join("reconstructions"));
    for (place, salt) in [(&originals, 1), (&samples, 2)] {
        std::fs::create_dir(place).unwrap();
        picture(24, 24, salt).save(place.join("0.png")).unwrap();
    }
    let network = made_up::network(folder.path());
    let run = || {
        let mut program = program();
        program
            .args(["reconstruction", "--quiet", "--reference"])
            .arg(&originals)
            .arg("--samples")
            .arg(&samples);
        program.arg(format!("--st-lpips=alex={network}"));
        program.assert().success()
    };
    let text = contains("ST-LPIPS    0.").and(contains("(alex)"));
    run().stdout(text.and(contains("trained-on-network").not()));
    let record = |network: &str| {
        let text =
            format!(r#"{{"tokenizer": "t", "tokenizer_sha256": "0", "perceptual_network": {network}}}"#);
        std::fs::write(folder.path().join("reconstruction.json"), text).unwrap();
    };
    record("\"st-lpips-vgg\"");
    run().stdout(contains("trained-on-network").not());
    record("\"st-lpips-alex\"");
    run().stdout(contains("trained-on-network").and(contains("st-lpips-alex")));
}

#[test]
fn unknown_missing_and_foreign_networks_of_st_lpips_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (place, salt) in [("a", 1), ("b", 2)] {
        std::fs::create_dir(folder.path().join(place)).unwrap();
        picture(24, 24, salt).save(folder.path().join(place).join("0.png")).unwrap();
    }
    let network = made_up::network(folder.path());
    let run = |name: &str| {
        let mut program = program();
        program.env("VAR_FEATURES", folder.path()).args(["reconstruction", "--quiet", "--reference"]);
        program.arg(folder.path().join("a")).arg("--samples").arg(folder.path().join("b"));
        program.arg(format!("--st-lpips={name}")).assert().code(2)
    };
    run("squeeze").stderr(contains("squeeze").and(contains("alex")).and(contains("vgg")));
    run("alex").stderr(contains("st_lpips_alex.pth"));
    run(&format!("vgg={network}")).stderr(contains("missing net.slice1.2.weight"));
}
