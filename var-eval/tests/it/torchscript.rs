//! TorchScript modules as feature networks.

use std::path::Path;

use image::{Rgb, RgbImage};
use tch::{CModule, Device, Kind, Tensor};
use var_eval::features::network::FeatureNetwork;
use var_eval::features::torchscript::{ModuleOutput, ModuleSettings, TorchScript};

use super::networks::picture;

/// A module that gives `output` of its input, in a file.
fn module(path: &Path, output: &mut dyn FnMut(&Tensor) -> Tensor) {
    let example = Tensor::zeros([2, 3, 8, 8], (Kind::Float, Device::Cpu));
    let mut call = |inputs: &[Tensor]| vec![output(&inputs[0])];
    CModule::create_by_tracing("Example", "forward", &[example], &mut call).unwrap().save(path).unwrap();
}

fn settings(output: ModuleOutput) -> ModuleSettings {
    ModuleSettings { side: 8, mean: [0.5; 3], deviation: [0.25; 3], output, ..ModuleSettings::default() }
}

#[test]
fn a_module_sees_pictures_as_its_settings_say_and_maps_are_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module.pt");
    module(&path, &mut |x| x * 2.0);
    let network = TorchScript::load(&path, settings(ModuleOutput::Features), Device::Cpu).unwrap();
    assert_eq!((network.identity().width, network.identity().classes), (3, 0));
    assert_eq!(network.identity().preprocessing, "pillow-bicubic-8 mean 0.5,0.5,0.5 std 0.25,0.25,0.25");
    let found = network.activations(&[RgbImage::from_pixel(3, 30, Rgb([0, 51, 255]))]).unwrap();
    let expected = [0.0_f32, 0.2, 1.0].map(|value| 2.0 * (value - 0.5) / 0.25);
    let row: Vec<f32> = found.features.iter().copied().collect();
    assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{row:?}");

    module(&path, &mut |x| x.flatten(1, -1));
    let network = TorchScript::load(&path, settings(ModuleOutput::Logits), Device::Cpu).unwrap();
    assert_eq!((network.identity().width, network.identity().classes), (192, 192));
    let found = network.activations(&[picture(8, 8, 0), picture(30, 4, 1)]).unwrap();
    assert_eq!(found.logits.unwrap(), found.features);
}

#[test]
fn a_module_that_is_none_or_gives_something_else_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module.pt");
    let load = |output| TorchScript::load(&path, settings(output), Device::Cpu).unwrap_err().to_string();
    assert!(load(ModuleOutput::Features).contains("module.pt"));
    std::fs::write(&path, "no module").unwrap();
    assert!(load(ModuleOutput::Features).contains("is no TorchScript module"));
    module(&path, &mut |x| x.mean(Kind::Float));
    assert!(load(ModuleOutput::Features).contains("gives [] for 1 images, expected features [B, D]"));
    module(&path, &mut |x| x * 1.0);
    assert!(load(ModuleOutput::Logits).contains("expected logits [B, D]"));
    module(&path, &mut |x| x.matmul(&Tensor::ones([8, 2], (Kind::Float, Device::Cpu))));
    let wide = ModuleSettings { side: 16, ..settings(ModuleOutput::Features) };
    let message = TorchScript::load(&path, wide, Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("the module fails") && !message.contains('\n'), "{message}");
    for wrong in [
        ModuleSettings { side: 0, ..ModuleSettings::default() },
        ModuleSettings { deviation: [1.0, 0.0, 1.0], ..ModuleSettings::default() },
        ModuleSettings { mean: [f64::NAN; 3], ..ModuleSettings::default() },
    ] {
        assert_eq!(TorchScript::load(&path, wrong, Device::Cpu).unwrap_err().exit_code(), 2);
    }
}
