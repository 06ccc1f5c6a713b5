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
use var_tokenizer::weights::safetensors;

use crate::networks::{check_changed, check_committed};
use crate::score::program;

const TRUNKS: [Trunk; 3] = [Trunk::Squeeze, Trunk::Alex, Trunk::Vgg];

fn portable(kind: Trunk) -> Lpips {
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
    let lpips = portable(Trunk::Squeeze);
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
        let lpips = portable(kind);
        let side = kind.least_side();
        let pair = |side: u32| lpips.distances(&[picture(side, 40, 1)], &[picture(side, 40, 2)]);
        assert!(pair(side).unwrap()[0].is_finite(), "{kind:?}");
        let message = pair(side - 1).unwrap_err().to_string();
        assert!(message.contains("at least"), "{message}");
    }
}

#[test]
fn pairs_that_do_not_go_together_are_errors() {
    let lpips = portable(Trunk::Squeeze);
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
