//! Several networks in one file, prefixes of trainers, weights in several files.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tch::Tensor;
use var_tokenizer::torch;
use var_tokenizer::weights::pickle::writer;
use var_tokenizer::weights::{Checkpoint, Role, safetensors, shards};

use super::{golden, same};

type Tensors = BTreeMap<String, Tensor>;

fn read(name: &str, role: Role) -> Tensors {
    torch::start();
    Checkpoint::open(&golden(name)).unwrap().part(role).unwrap().read_all().unwrap()
}

/// Tensors, and what each of their names becomes.
type Renamed<'a> = (&'a Tensors, &'a dyn Fn(&str) -> String);

/// Writes the tensors of several networks under changed names and opens the file.
fn written(folder: &Path, sets: &[Renamed]) -> Checkpoint {
    let path = folder.join("x.pth");
    let all: Vec<(String, Tensor)> =
        sets.iter().flat_map(|(set, name)| set.iter().map(|(n, t)| (name(n), t.shallow_clone()))).collect();
    writer::write(&path, &all).unwrap();
    Checkpoint::open(&path).unwrap()
}

#[test]
fn prefixes_of_trainers_are_taken_off_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let model = read("var.pth", Role::Transformer);
    for prefix in [
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "var.",
        "var_wo_ddp.",
        "_forward_module.",
        "model._orig_mod.",
        "module.model.",
        "_fsdp_wrapped_module.",
    ] {
        let mut checkpoint = written(folder.path(), &[(&model, &|name| format!("{prefix}{name}"))]);
        let dict = checkpoint.take(Role::Transformer).unwrap();
        same(&dict, &model);
        for word in prefix.split_terminator('.') {
            assert!(dict.notes.iter().any(|note| note.contains(word)), "{prefix}: {:?}", dict.notes);
        }
    }
    let inside = |name: &str| name.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module.");
    let mut checkpoint = written(folder.path(), &[(&model, &inside)]);
    same(&checkpoint.take(Role::Transformer).unwrap(), &model);
    // Its own names need no words.
    let mut plain = written(folder.path(), &[(&model, &|name| name.to_owned())]);
    assert!(plain.take(Role::Transformer).unwrap().notes.is_empty());
}

#[test]
fn names_that_would_become_the_same_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let model = read("var.pth", Role::Transformer);
    let checkpoint =
        written(folder.path(), &[(&model, &|n| n.to_owned()), (&model, &|n| format!("module.{n}"))]);
    let message = checkpoint.part(Role::Transformer).unwrap_err().to_string();
    assert!(message.contains("several transformers") && message.contains("'module'"), "{message}");
}

#[test]
fn several_models_in_one_file_need_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = read("var.pth", Role::Transformer);
    let average: Tensors =
        model.iter().map(|(n, t)| (n.clone(), if t.is_floating_point() { t * 0.5 } else { t * 1 })).collect();
    let tokenizer = read("vae.pth", Role::Tokenizer);
    let open = || {
        written(
            folder.path(),
            &[
                (&model, &|name| name.to_owned()),
                (&average, &|name| format!("ema.{name}")),
                (&tokenizer, &|name| format!("vae.{name}")),
            ],
        )
    };
    let message = open().take(Role::Transformer).unwrap_err().to_string();
    let values: usize = model.values().map(Tensor::numel).sum();
    for part in
        ["x.pth: holds several transformers", "'.'", "'ema'", "--part", &format!("{values} parameters")]
    {
        assert!(message.contains(part), "'{part}' is not in {message}");
    }
    for (name, expected) in [("ema", &average), (".", &model)] {
        let mut checkpoint = open();
        assert_eq!(checkpoint.choose(name).unwrap(), Role::Transformer);
        same(&checkpoint.take(Role::Transformer).unwrap(), expected);
        same(&checkpoint.take(Role::Tokenizer).unwrap(), &tokenizer);
    }
    assert_eq!(open().choose("tokenizer").unwrap(), Role::Tokenizer);
    // Not one of several by a word that means all of them.
    assert!(open().choose("model").is_err());
    let message = open().choose("emaa").unwrap_err().to_string();
    assert!(
        message.contains("no part 'emaa'; did you mean 'ema'?") && message.contains("'vae'"),
        "{message}"
    );
}

#[test]
fn a_part_of_the_released_layout_needs_no_name_and_goes_by_its_last_word() {
    let mut checkpoint = Checkpoint::open(&golden("ar-ckpt-last.pth")).unwrap();
    checkpoint.part(Role::Transformer).unwrap();
    assert_eq!(checkpoint.choose("var_wo_ddp").unwrap(), Role::Transformer);
    assert_eq!(checkpoint.choose("trainer/vae_local").unwrap(), Role::Tokenizer);
    checkpoint.part(Role::Tokenizer).unwrap();
}

#[test]
fn weights_in_several_files_are_read_by_index_folder_or_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = read("var.pth", Role::Transformer);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut halves = [Tensors::new(), Tensors::new()];
    let mut map = serde_json::Map::new();
    for (i, (name, tensor)) in model.iter().enumerate() {
        halves[i % 2].insert(name.clone(), tensor.shallow_clone());
        map.insert(name.clone(), names[i % 2].into());
    }
    for (name, half) in names.iter().zip(&halves) {
        safetensors::write(&path(name), half, &BTreeMap::new()).unwrap();
    }
    let message = Checkpoint::open(&path(names[0])).unwrap_err().to_string();
    assert!(message.contains("is file 1 of 2 of one model") && message.contains("index"), "{message}");

    let index = path("model.safetensors.index.json");
    std::fs::write(&index, json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string()).unwrap();
    let mut digests = Vec::new();
    for place in [index.as_path(), folder.path(), &path(names[1])] {
        let dict = Checkpoint::open(place).unwrap().take(Role::Transformer).unwrap();
        same(&dict, &model);
        assert!(dict.notes.iter().any(|note| note.contains("reads 2 files")), "{:?}", dict.notes);
        digests.push(shards::digest(place).unwrap());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);

    std::fs::remove_file(path(names[0])).unwrap();
    let message = Checkpoint::open(&index).unwrap_err().to_string();
    assert!(message.contains(names[0]) && message.contains("missing"), "{message}");
    map.insert("word_embed.weight".into(), "../elsewhere".into());
    std::fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    assert!(Checkpoint::open(&index).unwrap_err().to_string().contains("outside its folder"));
}
