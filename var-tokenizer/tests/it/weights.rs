//! Files of weights: what goes in comes out, and what strangers put in does no harm.

mod finite;
mod parts;
mod pickles;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};
use var_tokenizer::weights::pickle::writer;
use var_tokenizer::weights::{Checkpoint, Role, StateDict, portable, safetensors};
use var_tokenizer::{Error, ScaleSchedule, TokenizerConfig, VqVae, torch};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name)
}

/// Tensors of every type, of no, one and many dimensions, and without values.
fn tensors() -> BTreeMap<String, Tensor> {
    let values = portable::normal("values", 1, &[2, 3, 4]) * 100.0;
    let kinds = [
        Kind::Float,
        Kind::Double,
        Kind::Half,
        Kind::BFloat16,
        Kind::Int64,
        Kind::Int,
        Kind::Int16,
        Kind::Int8,
    ];
    let mut all: BTreeMap<String, Tensor> =
        kinds.iter().map(|&kind| (format!("{kind:?}"), values.to_kind(kind))).collect();
    all.insert("bytes".into(), values.abs().to_kind(Kind::Uint8));
    all.insert("bools".into(), values.gt(0.0));
    all.insert("scalar".into(), Tensor::from(2.5_f32));
    all.insert("empty".into(), Tensor::zeros([0, 4], (Kind::Float, Device::Cpu)));
    all.insert("transposed".into(), values.transpose(0, 2));
    all
}

fn same(dict: &StateDict, expected: &BTreeMap<String, Tensor>) {
    assert!(dict.tensors.keys().eq(expected.keys()));
    for (name, stored) in &dict.tensors {
        let found = stored.tensor().unwrap();
        assert_eq!((found.kind(), found.size()), (expected[name].kind(), expected[name].size()), "{name}");
        assert_eq!(found, expected[name], "{name}");
    }
}

#[test]
fn every_type_and_shape_goes_through_both_layouts() {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    let all = tensors();
    let path = folder.path().join("x.safetensors");
    let digest = safetensors::write(&path, &all, &BTreeMap::from([("key".into(), "value".into())])).unwrap();
    assert_eq!(digest, var_tokenizer::files::sha256_of(&path).unwrap());
    let dict = safetensors::open(&path).unwrap();
    assert_eq!(dict.metadata["key"], "value");
    same(&dict, &all);

    let path = folder.path().join("x.pth");
    let list: Vec<(String, Tensor)> = all.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
    writer::write(&path, &list).unwrap();
    same(&Checkpoint::open(&path).unwrap().parts[""], &all);
}

#[test]
fn a_pth_has_no_date_so_that_the_same_weights_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pth");
    writer::write(&path, &[("a".to_owned(), Tensor::from_slice(&[1.0_f32]))]).unwrap();
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).unwrap();
        assert_eq!(entry.last_modified().year(), 1980, "{}", entry.name());
    }
}

#[test]
fn libtorch_reads_the_pth_that_we_write() {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pth");
    let all = tensors();
    let list: Vec<(String, Tensor)> = all.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
    writer::write(&path, &list).unwrap();
    let back: BTreeMap<String, Tensor> = Tensor::loadz_multi(&path).unwrap().into_iter().collect();
    assert!(back.keys().eq(all.keys()));
    for (name, tensor) in &back {
        assert_eq!(*tensor, all[name], "{name}");
    }
}

#[test]
fn values_change_their_type_on_the_way_into_a_tensor() {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    // More values than one piece of the way holds.
    let values = portable::normal("many", 3, &[5_000_001]);
    let tensors = BTreeMap::from([("a".to_owned(), values.shallow_clone())]);
    safetensors::write(&path, &tensors, &BTreeMap::new()).unwrap();
    let dict = safetensors::open(&path).unwrap();
    for kind in [Kind::Float, Kind::BFloat16] {
        let target = Tensor::zeros([5_000_001], (kind, Device::Cpu));
        dict.get("a").unwrap().copy_into(&target).unwrap();
        assert_eq!(target, values.to_kind(kind));
    }
    // A target that is not contiguous is filled all the same.
    let wide = Tensor::zeros([2, 5_000_001], (Kind::Float, Device::Cpu)).transpose(0, 1);
    dict.get("a").unwrap().copy_into(&wide.select(1, 1)).unwrap();
    assert_eq!(wide.get(17).double_value(&[1]), values.double_value(&[17]));
}

#[test]
fn the_published_files_open_whatever_their_layout() {
    let reference = Checkpoint::open(&golden("var.pth")).unwrap();
    let reference = reference.part(Role::Transformer).unwrap().read_all().unwrap();
    for name in ["var_legacy.pth", "ar-ckpt-last.pth"] {
        let checkpoint = Checkpoint::open(&golden(name)).unwrap();
        same(checkpoint.part(Role::Transformer).unwrap(), &reference);
    }
    let both = Checkpoint::open(&golden("ar-ckpt-last.pth")).unwrap();
    assert_eq!(ScaleSchedule::stated_in(&both).unwrap().sides(), [1, 2, 4]);
    let config =
        TokenizerConfig::of(both.part(Role::Tokenizer).unwrap(), ScaleSchedule::stated_in(&both).as_ref())
            .unwrap();
    assert_eq!((config.channels, config.vocabulary, config.residual_blocks), (32, 64, 2));
    let message = Checkpoint::open(&golden("vae.pth")).unwrap().part(Role::Transformer).unwrap_err();
    assert!(message.to_string().contains("holds a tokenizer, not a transformer"), "{message}");
}

#[test]
fn all_that_does_not_fit_is_listed_at_once() {
    torch::start();
    let mut config = TokenizerConfig::of(
        Checkpoint::open(&golden("ar-ckpt-last.pth")).unwrap().part(Role::Tokenizer).unwrap(),
        Some(&"1,2,4".parse().unwrap()),
    )
    .unwrap();
    config.vocabulary = 32;
    config.residual_blocks = 3;
    let mut vae = VqVae::new(&config, Device::Cpu, None).unwrap();
    let file = Checkpoint::open(&golden("vae.pth")).unwrap();
    let error = vae.load_tensors(file.part(Role::Tokenizer).unwrap()).unwrap_err();
    // The message has the first and the last of them, and their number.
    let shape = "quantize.embedding.weight has shape [64, 8], expected [32, 8]";
    let message = error.to_string();
    for part in ["vae.pth: 29 tensors", "missing encoder.down.0.block.2.conv1.weight", "21 more", shape] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let Error::Weights { problems, .. } = error else { panic!("{message}") };
    assert_eq!(problems.len(), 29);
    for problem in ["missing decoder.up.0.block.3.norm1.bias", shape] {
        assert!(problems.iter().any(|found| found == problem), "{problem} is not in {problems:?}");
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    for name in ["var.pth", "var_legacy.pth"] {
        let bytes = std::fs::read(golden(name)).unwrap();
        let (length, step) = (bytes.len(), bytes.len() / 97);
        for cut in (0..length).step_by(step).chain(length - 30..length) {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let opened = Checkpoint::open(&path);
            assert!(opened.is_err(), "{name} cut to {cut} of {length}");
        }
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shrinks.pth");
    std::fs::copy(golden("vae.pth"), &path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let message = checkpoint.part(Role::Tokenizer).unwrap().read_all().unwrap_err().to_string();
    assert!(message.contains("cut short"), "{message}");
}

#[test]
fn other_files_are_named_for_what_they_are() {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Checkpoint::open(&path).unwrap_err().to_string()
    };
    assert!(write("text.pth", b"hello, this is no checkpoint").contains("neither a safetensors file"));
    assert!(write("empty.pth", b"").contains("is empty"));
    assert!(write("p.pth", b"\x80\x02}.").contains("is a plain pickle"));
    assert!(write("code.pth", b"\x80\x02cposix\nsystem\nX\x02\0\0\0id\x85R.").contains("posix.system"));
    let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("is a folder"), "{message}");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(folder.path().join("z.pth")).unwrap());
    zip.start_file("readme.txt", zip::write::FileOptions::default()).unwrap();
    zip.finish().unwrap();
    let message = Checkpoint::open(&folder.path().join("z.pth")).unwrap_err().to_string();
    assert!(message.contains("without data.pkl"), "{message}");
}
