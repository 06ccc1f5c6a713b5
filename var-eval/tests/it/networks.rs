//! Feature networks: against the published tools, whatever the batch, and on files that are wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use var_eval::features::efficientnet::{self, EfficientNetLite0};
use var_eval::features::inception::{self, Inception};
use var_eval::features::network::{Activations, FeatureNetwork, Identity};
use var_eval::features::preprocess::InceptionInput;
use var_eval::features::registry::{NetworkChoice, NetworkName};
use var_eval::features::weights::TensorSource;
use var_eval::golden::{self, check};
use var_eval::report::distance_name;
use var_tokenizer::files::sha256_of;
use var_tokenizer::weights::{Checkpoint, portable, safetensors};

const WAYS: [InceptionInput; 3] =
    [InceptionInput::PytorchFid, InceptionInput::TorchFidelity, InceptionInput::CleanFid];

pub fn committed(group: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/eval").join(group)
}

/// Checks the committed cases of a group (`cargo xtask golden --dir` checks others).
pub fn check_committed(group: &str, expected: usize) {
    let checks = check(&committed(group));
    let failures: Vec<_> = checks.iter().filter(|check| !check.pass).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(checks.len(), expected, "{group}");
}

/// Checks the first case of a committed group after a change to its manifest.
pub fn check_changed(group: &str, pointer: &str, value: serde_json::Value) -> Vec<golden::Check> {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(committed(group)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    manifest["cases"].as_array_mut().unwrap().truncate(1);
    *manifest.pointer_mut(pointer).unwrap() = value;
    std::fs::write(&path, manifest.to_string()).unwrap();
    check(folder.path())
}

/// A source that keeps what it was asked for.
struct Recorder<S> {
    source: S,
    taken: BTreeMap<String, Tensor>,
}

impl<S: TensorSource> TensorSource for Recorder<S> {
    fn take(&mut self, name: &str, shape: &[i64]) -> var_eval::Result<Tensor> {
        let tensor = self.source.take(name, shape)?;
        self.taken.insert(name.to_owned(), tensor.shallow_clone());
        Ok(tensor)
    }
}

/// Weights that keep activations at a sensible size.
struct Tame;

impl TensorSource for Tame {
    fn take(&mut self, name: &str, shape: &[i64]) -> var_eval::Result<Tensor> {
        let normal = portable::normal(name, 3, shape);
        Ok(if name.ends_with("running_var") {
            normal.abs() + 0.5
        } else if shape.len() == 1 {
            normal * 0.1 + f64::from(u8::from(name.ends_with(".weight")))
        } else {
            normal * (2.0 / shape[1..].iter().product::<i64>() as f64).sqrt()
        })
    }
}

/// A folder with a safetensors file `weights`.
fn written(tensors: &BTreeMap<String, Tensor>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    safetensors::write(&path, tensors, &BTreeMap::new()).unwrap();
    (folder, path)
}

fn efficientnet_tensors() -> BTreeMap<String, Tensor> {
    let mut source = Recorder { source: Tame, taken: BTreeMap::new() };
    efficientnet::Layers::new(&mut source, Device::Cpu).unwrap();
    source.taken
}

fn inception_tensors() -> BTreeMap<String, Tensor> {
    let mut source = Recorder { source: golden::inception::weights(1), taken: BTreeMap::new() };
    inception::Layers::new(&mut source, Device::Cpu).unwrap();
    source.taken
}

pub fn picture(width: u32, height: u32, salt: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let value = |k: u32| ((x * (3 + k) + y * (5 + 2 * k) + salt * 37 + k * 80) % 256) as u8;
        Rgb([value(0), value(1), value(2)])
    })
}

/// Largest difference between two arrays in units of the largest value. Panics at NaN, which no maximum shows.
fn apart(a: &ndarray::Array2<f32>, b: &ndarray::Array2<f32>) -> f32 {
    assert_eq!(a.dim(), b.dim());
    let most = a.iter().fold(f32::MIN_POSITIVE, |most, x| x.abs().max(most));
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).inspect(|d| assert!(d.is_finite())).fold(0.0, f32::max) / most
}

#[test]
fn inception_activations_equal_pytorch_fid_and_torch_fidelity() {
    check_committed("inception", 3 * 5);
}

#[test]
fn damaged_inception_cases_are_failures_and_no_crash() {
    for (pointer, value) in [
        ("/seed", 2.into()),
        ("/cases/0/input/names", "?".into()),
        ("/cases/0/input/convention", "?".into()),
        ("/cases/0/expected/file", "state_dict_keys.json".into()),
        ("/cases/0/input/h", 0.into()),
        ("/cases/0/sha256_u8", "00".into()),
    ] {
        let checks = check_changed("inception", pointer, value);
        assert!(checks.iter().any(|check| !check.pass && check.note.is_some()), "{pointer}");
    }
}

#[test]
fn inception_wants_the_tensors_of_the_published_file_and_no_others() {
    let text = std::fs::read_to_string(committed("inception").join("state_dict_keys.json")).unwrap();
    let published: serde_json::Value = serde_json::from_str(&text).unwrap();
    let published: BTreeMap<String, Vec<i64>> = serde_json::from_value(published["tensors"].clone()).unwrap();
    let taken = inception_tensors().into_iter().map(|(name, tensor)| (name, tensor.size()));
    let counters = published.iter().filter(|(name, _)| name.ends_with("num_batches_tracked"));
    let expected: BTreeMap<_, _> = taken.chain(counters.map(|(n, s)| (n.clone(), s.clone()))).collect();
    assert_eq!(expected, published);
}

#[test]
fn inception_out_of_a_file_gives_the_golden_activations_and_says_what_it_is() {
    let mut tensors = inception_tensors();
    tensors.insert("Conv2d_1a_3x3.bn.num_batches_tracked".into(), Tensor::from(7_i64));
    let (_folder, path) = written(&tensors);
    let network = Inception::load(&path, InceptionInput::CleanFid, Device::Cpu).unwrap();
    let identity = network.identity();
    assert_eq!(identity.network, "inception-fid");
    assert_eq!(identity.weights_sha256, sha256_of(&path).unwrap());
    assert_eq!(identity.preprocessing, "clean-fid");
    assert_eq!((identity.width, identity.classes, identity.spatial), (2048, 1008, 2023));

    let text = std::fs::read_to_string(committed("inception").join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entry = manifest["cases"].as_array().unwrap().iter().find(|c| c["id"] == "64_clean_fid").unwrap();
    let make = |k: usize| {
        let name = entry["input"]["names"][k].as_str().unwrap();
        golden::portable::picture(name, 1, &entry["input"]).unwrap()
    };
    // An odd one between them, and one more than a batch in all.
    let mut pictures = vec![make(0), picture(5, 700, 1), make(1)];
    pictures.extend((0..14).map(|salt| picture(9, 9, salt)));
    let found = network.activations(&pictures).unwrap();
    for (row, expected) in [(0, 0), (2, 1)] {
        for (name, array) in [
            ("pool3", &found.features),
            ("logits_unbiased", found.logits.as_ref().unwrap()),
            ("spatial_mixed6_conv_nhwc7", found.spatial.as_ref().unwrap()),
        ] {
            let stored = golden::portable::array(&committed("inception").join("64_clean_fid.npz"), name);
            let stored = ndarray::Array2::from_shape_vec((2, array.ncols()), stored.unwrap()).unwrap();
            let row = array.row(row).insert_axis(ndarray::Axis(0)).to_owned();
            let stored = stored.row(expected).insert_axis(ndarray::Axis(0)).to_owned();
            assert!(apart(&stored, &row) < 1e-4, "{name}");
        }
    }
}

#[test]
fn pictures_of_any_shape_can_be_prepared() {
    for (width, height) in [(1, 1), (5000, 3), (3, 5000), (1, 299), (299, 299), (300, 1)] {
        let flat = RgbImage::from_pixel(width, height, Rgb([255, 128, 0]));
        for way in WAYS {
            let input = way.prepare(std::slice::from_ref(&flat), Device::Cpu).unwrap();
            assert_eq!(input.size(), [1, 3, 299, 299]);
            // A flat image stays flat.
            let spread = input.amax([2, 3], false) - input.amin([2, 3], false);
            assert!(spread.max().double_value(&[]) < 1e-5, "{way} {width}×{height}");
        }
        let input = efficientnet::prepare(&[flat], Device::Cpu).unwrap();
        assert_eq!(input.size(), [1, 3, 224, 224]);
        assert_eq!(input.double_value(&[0, 0, 100, 100]), 1.0);
    }
    for way in WAYS {
        assert!(way.prepare(&[RgbImage::new(0, 5)], Device::Cpu).is_err());
    }
    assert!(efficientnet::prepare(&[RgbImage::new(5, 0)], Device::Cpu).is_err());
    let thread = RgbImage::from_pixel(1, 100_000, Rgb([1; 3]));
    let message = efficientnet::prepare(&[thread], Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("sides must be"), "{message}");
}

#[test]
fn a_file_that_does_not_fit_is_one_error_that_names_the_first_tensors_and_counts_them() {
    let mut tensors = efficientnet_tensors();
    tensors.remove("_conv_head.weight");
    tensors.insert("_fc.bias".into(), Tensor::zeros([10], (Kind::Float, Device::Cpu)));
    tensors.insert("_surplus".into(), Tensor::zeros([1], (Kind::Float, Device::Cpu)));
    let (folder, path) = written(&tensors);
    let message = EfficientNetLite0::load(&path, Device::Cpu).unwrap_err().to_string();
    for part in ["weights", "missing _conv_head.weight", "_fc.bias has shape [10]", "unexpected _surplus"] {
        assert!(message.contains(part), "{message}");
    }
    // Another network's weights.
    let message = Inception::load(&path, InceptionInput::default(), Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("missing Conv2d_1a_3x3.conv.weight") && message.contains(" more"), "{message}");

    let bytes = std::fs::read(&path).unwrap();
    for (content, expected) in [
        (&bytes[..bytes.len() / 2], "cut short"),
        (&b"\x89PNG\r\n\x1a\n0000000000"[..], "neither a safetensors file nor"),
        (&b""[..], "is empty"),
    ] {
        std::fs::write(&path, content).unwrap();
        let message = EfficientNetLite0::load(&path, Device::Cpu).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("weights"), "{message}");
    }
    for path in [folder.path().to_owned(), folder.path().join("nothing")] {
        let error = EfficientNetLite0::load(&path, Device::Cpu).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

#[test]
fn activations_depend_neither_on_the_batch_nor_on_the_order() {
    let (_folder, path) = written(&efficientnet_tensors());
    let choice = NetworkChoice { weights: Some(path), ..NetworkChoice::default() };
    let network = choice.open(Device::Cpu).unwrap();
    assert_eq!(network.identity().network, "efficientnet-lite0");
    assert_eq!(network.identity().preprocessing, efficientnet::PREPROCESSING);
    let pictures: Vec<RgbImage> = (0..18).map(|k| picture(20 + 31 * (k % 4), 20 + 17 * (k % 3), k)).collect();
    let all = network.activations(&pictures).unwrap();
    assert_eq!(all.features.dim(), (18, 1280));
    assert_eq!(all.logits.as_ref().unwrap().dim(), (18, 1000));
    assert!(all.spatial.is_none());
    assert!(
        apart(
            &all.features.slice(ndarray::s![0..1, ..]).to_owned(),
            &all.features.slice(ndarray::s![1..2, ..]).to_owned()
        ) > 1e-3
    );

    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(6));
    let strategy = (Just((0..18_usize).collect::<Vec<_>>()).prop_shuffle(), 1_usize..18);
    let outcome = runner.run(&strategy, |(order, split)| {
        let shuffled: Vec<RgbImage> = order.iter().map(|&k| pictures[k].clone()).collect();
        let (first, second) = shuffled.split_at(split);
        for (part, offset) in [(first, 0), (second, split)] {
            let found: Activations = network.activations(part).unwrap();
            for (row, &k) in order[offset..offset + part.len()].iter().enumerate() {
                let same = |of: &ndarray::Array2<f32>, k: usize| of.slice(ndarray::s![k..=k, ..]).to_owned();
                prop_assert!(apart(&same(&all.features, k), &same(&found.features, row)) < 1e-5);
                let (a, b) = (all.logits.as_ref().unwrap(), found.logits.as_ref().unwrap());
                prop_assert!(apart(&same(a, k), &same(b, row)) < 1e-5);
            }
        }
        Ok(())
    });
    outcome.unwrap();
    let none = network.activations(&[]).unwrap();
    assert_eq!(none.features.dim(), (0, 1280));
}

#[test]
fn networks_are_known_by_name_and_a_typo_finds_its_word() {
    for name in ["efficientnet-lite0", "inception-fid", "torchscript"] {
        assert_eq!(name.parse::<NetworkName>().unwrap().to_string(), name);
        // Only FID's own network gives an FID.
        let identity = Identity {
            network: name.into(),
            weights_sha256: String::new(),
            preprocessing: "x".into(),
            width: 1,
            classes: 0,
            spatial: 0,
        };
        assert_eq!(distance_name(&identity).starts_with("FID"), name == "inception-fid");
        assert_eq!(distance_name(&identity).contains("FID"), name == "inception-fid");
    }
    let message = NetworkChoice::named("inception-fdi").unwrap_err().to_string();
    assert!(message.contains("efficientnet-lite0") && message.contains("did you mean 'inception-fid'?"));
    for way in WAYS {
        assert_eq!(way.name().parse::<InceptionInput>().unwrap(), way);
    }
    let message = "torch-fid".parse::<InceptionInput>().unwrap_err().to_string();
    assert!(message.contains("did you mean 'torch-fidelity'?"), "{message}");
}

#[test]
fn what_a_network_needs_and_does_not_have_is_named() {
    let open = |choice: NetworkChoice| choice.open(Device::Cpu).err().unwrap().to_string();
    let message = open(NetworkChoice::named("torchscript").unwrap());
    assert!(message.contains("torch.jit.save"), "{message}");
    let default = || NetworkChoice { weights: Some("x".into()), ..NetworkChoice::default() };
    let way = Some(InceptionInput::CleanFid);
    let message = open(NetworkChoice { preprocessing: way, ..default() });
    assert!(message.contains("is for inception-fid"), "{message}");
    assert!(open(NetworkChoice { threads: Some(0), ..default() }).contains("1 to 4096"));
}

/// By hand, after `cargo xtask setup --features`: `VAR_PHOTOGRAPHS` names a folder of foolbox's
/// `imagenet_NN_LABEL.jpg`, or of their pixels as PNG. `VAR_REFERENCE` may name a safetensors file with the
/// `features` `[20, 1280]` and `logits` `[20, 1000]` that PyTorch gives for the same pixels.
#[test]
#[ignore = "needs photographs and weights that are not in the repository"]
fn efficientnet_knows_eighteen_of_twenty_photographs_and_agrees_with_pytorch() {
    let folder = PathBuf::from(std::env::var_os("VAR_PHOTOGRAPHS").unwrap());
    let network = NetworkChoice::default().open(Device::Cpu).unwrap();
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("imagenet_")).collect();
    paths.sort();
    let pictures: Vec<RgbImage> = paths.iter().map(|p| image::open(p).unwrap().into_rgb8()).collect();
    let found = network.activations(&pictures).unwrap();
    let logits = found.logits.unwrap();
    let right = paths.iter().zip(logits.rows()).filter(|(path, row)| {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let label: usize = stem.rsplit('_').next().unwrap().parse().unwrap();
        let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        best == label
    });
    let right = right.count();
    println!("{right} of {}", paths.len());
    assert!(right >= 18);
    let Some(reference) = std::env::var_os("VAR_REFERENCE") else { return };
    let mut parts = Checkpoint::open(Path::new(&reference)).unwrap().parts.into_values();
    let dict = parts.next().unwrap();
    for (name, array) in [("features", &found.features), ("logits", &logits)] {
        let stored = dict.get(name).unwrap().tensor().unwrap().flatten(0, -1);
        let values = Vec::<f32>::try_from(&stored).unwrap();
        let expected = ndarray::Array2::from_shape_vec(array.dim(), values).unwrap();
        let apart = apart(&expected, array);
        println!("{name}: {apart:.1e} of the largest value");
        assert!(apart < 1e-4, "{name}");
    }
}
