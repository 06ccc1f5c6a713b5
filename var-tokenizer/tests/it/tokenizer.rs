//! The interface for programs, and the example that uses it, against the network and the command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Rgb, RgbImage};
use tch::{Device, Tensor};
use var_tokenizer::images::{from_tensor, to_unit};
use var_tokenizer::{TokenMaps, Tokenizer, builtin};

fn photo(side: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| Rgb([(3 * x) as u8, (255 - 2 * y) as u8, ((x * y) % 251) as u8]))
}

#[test]
fn ids_and_images_are_those_of_the_network() {
    let tokenizer = Tokenizer::open("builtin").unwrap();
    let side = tokenizer.config().image_side();
    let maps = tokenizer.encode(&photo(side as u32)).unwrap();
    let network = builtin::open("builtin", None, Device::Cpu).unwrap().tokenizer;
    let pixels = Tensor::from_slice(&to_unit(&photo(side as u32))).view([1, 3, side as i64, side as i64]);
    let ids = network.encode(&pixels).unwrap();
    let expected: Vec<i64> = Vec::try_from(ids.view([-1])).unwrap();
    assert!(maps.ids().iter().map(|&id| i64::from(id)).eq(expected));
    let image = from_tensor(&network.decode(&ids).unwrap()).unwrap().remove(0);
    assert_eq!(tokenizer.decode(&maps).unwrap(), image);
    let scales = tokenizer.decode_scales(&maps).unwrap();
    assert_eq!(scales.len(), maps.schedule().scales());
    assert_eq!(scales.last(), Some(&image));
    let sides: Vec<usize> = maps.scales().map(|(side, _)| side).collect();
    assert_eq!(sides, maps.schedule().sides());
    assert!(maps.scales().all(|(side, ids)| ids.len() == side * side));
}

#[test]
fn an_image_of_any_size_is_cut_to_a_square_and_a_copy_of_the_file_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let builtin_ = Tokenizer::open("builtin").unwrap();
    let wide = RgbImage::from_fn(300, 90, |x, y| Rgb([x as u8, y as u8, 7]));
    let maps = builtin_.encode(&wide).unwrap();
    // A run folder holds its tokenizer under this name.
    let path = folder.path().join("tokenizer.safetensors");
    std::fs::write(&path, builtin::bytes("builtin").unwrap()).unwrap();
    for place in [path.as_path(), folder.path()] {
        assert_eq!(Tokenizer::open(place).unwrap().encode(&wide).unwrap(), maps);
    }
    let schedule = maps.schedule().clone();
    assert_eq!(Tokenizer::open_with_schedule(&path, &schedule).unwrap().encode(&wide).unwrap(), maps);
}

#[test]
fn what_does_not_fit_is_an_error_with_the_next_step() {
    let says = |result: var_tokenizer::Result<()>, part: &str| {
        let e = result.unwrap_err();
        assert!(e.to_string().contains(part) && e.exit_code() == 2, "{e}");
    };
    says(Tokenizer::open("nowhere.pth").map(drop), "nowhere.pth");
    let tokenizer = Tokenizer::open("builtin").unwrap();
    let schedule = tokenizer.config().schedule.clone();
    says(TokenMaps::new(&schedule, vec![0; 3]).map(drop), "3 token ids");
    let other = TokenMaps::new(&"1,2".parse().unwrap(), vec![0; 5]).unwrap();
    says(tokenizer.decode(&other).map(drop), "tokens of schedule 1,2");
    let vocabulary = tokenizer.config().vocabulary as u32;
    let beyond = TokenMaps::new(&schedule, vec![vocabulary; schedule.tokens()]).unwrap();
    says(tokenizer.decode(&beyond).map(drop), &format!("{vocabulary} codes"));
    says(tokenizer.encode(&RgbImage::new(0, 5)).map(drop), "0×5");
}

#[test]
fn the_example_prints_the_ids_and_writes_the_strip() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    photo(64).save(path("photo.png")).unwrap();
    let test = std::env::current_exe().unwrap();
    let example: PathBuf = test.parent().unwrap().parent().unwrap().join("examples/encode");
    let run = |arguments: &[&Path]| Command::new(&example).args(arguments).output().unwrap();
    let output = run(&[Path::new("builtin"), &path("photo.png"), &path("strip.png")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tokenizer = Tokenizer::open("builtin").unwrap();
    let scales = tokenizer.config().schedule.scales();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), scales);
    let side = tokenizer.config().image_side() as u32;
    assert_eq!(image::image_dimensions(path("strip.png")).unwrap(), (side * scales as u32, side));
    assert!(!run(&[Path::new("builtin")]).status.success());
}
