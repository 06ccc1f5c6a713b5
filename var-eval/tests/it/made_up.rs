//! The AlexNet of ST-LPIPS with made-up weights, for tests without its file.

use std::collections::BTreeMap;
use std::path::Path;

use var_tokenizer::weights::{portable, safetensors};

/// The network of ST-LPIPS with made-up weights.
pub fn network(folder: &Path) -> String {
    let mut tensors = BTreeMap::new();
    let mut add = |name: &str, shape: &[i64], factor: f64| {
        tensors.insert(name.to_owned(), portable::normal(name, 1, shape) * factor);
    };
    for (name, shape) in [
        ("1.0", [64, 3, 11, 11]),
        ("2.5", [192, 64, 5, 5]),
        ("3.9", [384, 192, 3, 3]),
        ("4.11", [256, 384, 3, 3]),
        ("5.13", [256, 256, 3, 3]),
    ] {
        let inputs: i64 = shape.iter().skip(1).product();
        add(&format!("net.slice{name}.weight"), &shape, (2.0 / inputs as f64).sqrt());
        add(&format!("net.slice{name}.bias"), &shape[..1], 0.1);
    }
    for (name, channels) in [("1.1", 64), ("2.4", 64), ("3.8", 192)] {
        add(&format!("net.slice{name}.filt"), &[channels, 1, 3, 3], 0.1);
    }
    let mut heads = Vec::new();
    for (k, channels) in [64, 192, 384, 256, 256].into_iter().enumerate() {
        let name = format!("lin{k}.model.1.weight");
        heads.push((name.clone(), portable::uniform(&name, 1, &[1, channels, 1, 1])));
    }
    add("scaling_layer.shift", &[1, 3, 1, 1], 0.1);
    add("scaling_layer.scale", &[1, 3, 1, 1], 0.0);
    let scale = tensors.get_mut("scaling_layer.scale").unwrap();
    *scale = &*scale + 0.45;
    tensors.extend(heads);
    let path = folder.join("network.safetensors");
    safetensors::write(&path, &tensors, &BTreeMap::new()).unwrap();
    path.display().to_string()
}
