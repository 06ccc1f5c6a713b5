//! Sources of images: what is read, what is refused, and with which words.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

use image::ImageFormat;
use npyz::WriterBuilder;
use npyz::zip::CompressionMethod;
use npyz::zip::write::FileOptions;
use proptest::prelude::*;
use var_tokenizer::images::{Source, Split};

use super::{encoded, flat, folder, png, tree};

pub(super) fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What can be seen of a source: names, classes, splits and pixels.
pub(super) fn contents(source: &Source) -> Vec<(String, String, Option<Split>, Vec<u8>)> {
    (0..source.len())
        .map(|i| {
            let entry = &source.entries()[i];
            let class = source.classes()[entry.class as usize].clone();
            (source.name(i).into_owned(), class, entry.split, source.load(i).unwrap().into_raw())
        })
        .collect()
}

pub(super) fn refusal(path: &Path) -> String {
    Source::open(path).expect_err("must be refused").to_string()
}

fn cats_and_dogs() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("dog/1.png", png([1, 2, 3])),
        ("cat/b.png", png([10, 20, 30])),
        ("cat/a.bmp", encoded(flat([40, 50, 60]), ImageFormat::Bmp)),
        ("cat/deep/c.PNG", png([7, 7, 7])),
        ("cat/notes.txt", b"not an image".to_vec()),
        ("cat/.hidden.png", b"nor this".to_vec()),
    ]
}

#[test]
fn the_built_in_emoji_are_all_there() {
    let emoji = Source::open("emoji").unwrap();
    assert_eq!((emoji.len(), emoji.classes().len()), (3781, 9));
    let mut counts = BTreeMap::new();
    for entry in emoji.entries() {
        *counts.entry(emoji.classes()[entry.class as usize].as_str()).or_insert(0) += 1;
    }
    assert_eq!((counts["people-body"], counts["flags"], counts["activities"]), (2261, 270, 85));
    for index in (0..emoji.len()).step_by(97) {
        let image = emoji.load(index).unwrap();
        let name = emoji.name(index);
        assert_eq!(image.dimensions(), (32, 32));
        assert!(image.pixels().any(|p| p.0 != [255; 3]), "{name} is blank");
    }
    assert!(emoji.load(3781).is_err());
}

#[test]
fn no_skin_tone_of_a_training_emoji_is_held_out() {
    let emoji = Source::open("emoji").unwrap();
    let parts = emoji.partition(0.1, 0).unwrap();
    let base = |&i: &usize| {
        let name = emoji.name(i);
        let mut parts = name.split('/');
        format!("{}/{}", parts.next().unwrap(), parts.next().unwrap())
    };
    let train: std::collections::BTreeSet<String> = parts.train.iter().map(base).collect();
    assert!(parts.val.iter().map(base).all(|base| !train.contains(&base)));
    assert!((250..550).contains(&parts.val.len()), "{} images held out", parts.val.len());
    // Every class is scored.
    let classes: std::collections::BTreeSet<u32> =
        parts.val.iter().map(|&i| emoji.entries()[i].class).collect();
    assert_eq!(classes.len(), 9);
}

#[test]
fn class_folders_tars_and_packed_tars_hold_the_same() {
    let files = cats_and_dogs();
    let root = tree(&files);
    let from_folder = contents(&Source::open(root.path()).unwrap());
    let names: Vec<_> = from_folder.iter().map(|(name, class, ..)| (name.as_str(), class.as_str())).collect();
    assert_eq!(
        names,
        [("cat/a.bmp", "cat"), ("cat/b.png", "cat"), ("cat/deep/c.PNG", "cat"), ("dog/1.png", "dog")]
    );
    assert_eq!(&from_folder[1].3[..3], [10, 20, 30]);
    let place = folder();
    let tar = tar_of(&files);
    for (name, bytes) in [("x.tar", tar.clone()), ("x.tar.gz", gzip(&tar)), ("no-ending", gzip(&tar))] {
        let path = place.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(contents(&Source::open(&path).unwrap()), from_folder, "{name}");
    }
}

#[test]
fn a_folder_around_everything_does_not_count() {
    let files = [("data/cat/1.png", png([1; 3])), ("data/dog/2.png", png([2; 3]))];
    let root = tree(&files);
    assert_eq!(Source::open(root.path()).unwrap().classes(), ["cat", "dog"]);
}

#[test]
fn loose_images_are_one_class_named_by_their_folder() {
    let root = tree(&[("birds/1.png", png([1; 3])), ("birds/2.png", png([2; 3]))]);
    let source = Source::open(root.path().join("birds")).unwrap();
    assert_eq!((source.classes(), source.len()), (["birds".to_owned()].as_slice(), 2));
}

#[test]
fn train_and_val_folders_are_the_split() {
    for held_out in ["val", "test", "valid"] {
        let val = format!("{held_out}/cat/2.png");
        let root =
            tree(&[("train/cat/1.png", png([1; 3])), ("train/dog/1.png", png([2; 3])), (&val, png([3; 3]))]);
        let source = Source::open(root.path()).unwrap();
        let parts = source.partition(0.5, 0).unwrap();
        assert_eq!((parts.train, parts.val), (vec![0, 1], vec![2]));
        assert_eq!(source.classes(), ["cat", "dog"]);
    }
}

#[test]
fn two_tars_in_a_folder_are_the_split() {
    let train = tar_of(&[("cat/1.png", png([1; 3])), ("dog/2.png", png([2; 3]))]);
    let test = tar_of(&[("dog/3.png", png([3; 3]))]);
    let root = tree(&[("train.tar", train), ("test.tar", test), ("README.txt", vec![b'x'])]);
    let source = Source::open(root.path()).unwrap();
    let parts = source.partition(0.1, 0).unwrap();
    assert_eq!((parts.train.len(), parts.val), (2, vec![2]));
    assert_eq!(source.entries()[2].class, 1);
    assert_eq!(source.load(2).unwrap().get_pixel(0, 0).0, [3; 3]);
}

#[test]
fn unclear_and_empty_sources_are_refused_in_plain_words() {
    let missing = folder().path().join("nowhere");
    assert!(refusal(&missing).contains("no such file or folder"));
    assert!(refusal(folder().path()).contains("holds no images"));
    let loose = tree(&[("cat/1.png", png([1; 3])), ("2.png", png([2; 3]))]);
    assert!(refusal(loose.path()).contains("next to the class folders, e.g. 2.png"));
    let classes = tree(&[
        ("train/cat/1.png", png([1; 3])),
        ("val/cat/1.png", png([1; 3])),
        ("val/mouse/1.png", png([1; 3])),
    ]);
    assert!(refusal(classes.path()).contains("'mouse'"));
    let single = tree(&[("x.png", png([1; 3]))]);
    assert!(refusal(&single.path().join("x.png")).contains("single image"));
    let empty = tree(&[("x.tar", Vec::new())]);
    assert!(refusal(&empty.path().join("x.tar")).contains("empty"));
    assert!(Source::open("emoji").unwrap().partition(0.95, 0).is_err());
}

#[test]
fn a_tar_cut_anywhere_is_refused() {
    let tar = tar_of(&cats_and_dogs());
    let place = folder();
    let path = place.path().join("x.tar");
    // The builder pads with two zero blocks; the first alone marks the end.
    let content = tar.len() - 2 * 512;
    for length in (0..=content).step_by(64).chain([content - 1, content, content + 511]) {
        std::fs::write(&path, &tar[..length]).unwrap();
        let message = refusal(&path);
        assert!(length == 0 || message.contains("truncated"), "{length}: {message}");
    }
    std::fs::write(&path, &tar[..content + 512]).unwrap();
    assert_eq!(Source::open(&path).unwrap().len(), 4);
    let packed = gzip(&tar);
    std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
    assert!(refusal(&path).contains("truncated or damaged gzip"));
}

pub(super) fn npz_of(count: u64, labels: Option<Vec<i64>>, method: CompressionMethod) -> Vec<u8> {
    let mut writer = npyz::npz::NpzWriter::new(Cursor::new(Vec::new()));
    let options = FileOptions::default().compression_method(method);
    let array = writer.array::<u8>("arr_0", options).unwrap();
    let mut array = array.default_dtype().shape(&[count, 4, 6, 3]).begin_nd().unwrap();
    array.extend((0..count * 72).map(|i| (i % 251) as u8)).unwrap();
    array.finish().unwrap();
    if let Some(labels) = labels {
        let array = writer.array::<i64>("arr_1", options).unwrap();
        let mut array = array.default_dtype().shape(&[labels.len() as u64]).begin_nd().unwrap();
        array.extend(labels).unwrap();
        array.finish().unwrap();
    }
    writer.zip_writer().finish().unwrap().into_inner()
}

#[test]
fn npz_archives_are_read_stored_and_compressed() {
    let place = folder();
    let path = place.path().join("samples.npz");
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        std::fs::write(&path, npz_of(5, Some(vec![2, 0, 1, 2, 2]), method)).unwrap();
        let source = Source::open(&path).unwrap();
        assert_eq!((source.len(), source.classes()), (5, ["0", "1", "2"].map(str::to_owned).as_slice()));
        assert_eq!(source.entries().iter().map(|e| e.class).collect::<Vec<_>>(), [2, 0, 1, 2, 2]);
        let image = source.load(4).unwrap();
        assert_eq!(image.dimensions(), (6, 4));
        assert!(image.as_raw().iter().zip(4 * 72..).all(|(&byte, i)| byte == (i % 251) as u8));
    }
    std::fs::write(&path, npz_of(3, None, CompressionMethod::Stored)).unwrap();
    assert_eq!(Source::open(&path).unwrap().classes(), ["0"]);
    for (labels, words) in [(vec![0, 1], "shape [2] for 3 images"), (vec![0, -1, 0], "label -1")] {
        std::fs::write(&path, npz_of(3, Some(labels), CompressionMethod::Stored)).unwrap();
        assert!(refusal(&path).contains(words), "{}", refusal(&path));
    }
    let whole = npz_of(3, None, CompressionMethod::Stored);
    std::fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    assert!(refusal(&path).contains("npz"));
}

fn cifar_files() -> Vec<(&'static str, Vec<u8>)> {
    let record = |label: u8, shade: u8| {
        let planes = [[shade; 1024], [shade + 1; 1024], [shade + 2; 1024]].concat();
        [vec![label], planes].concat()
    };
    vec![
        ("cifar-10-batches-bin/batches.meta.txt", b"plane\ncar\nbird\n\n".to_vec()),
        ("cifar-10-batches-bin/data_batch_1.bin", [record(2, 10), record(0, 20)].concat()),
        ("cifar-10-batches-bin/data_batch_2.bin", record(1, 30)),
        ("cifar-10-batches-bin/data_batch_3.bin", record(1, 40)),
        ("cifar-10-batches-bin/data_batch_4.bin", record(1, 50)),
        ("cifar-10-batches-bin/data_batch_5.bin", record(1, 60)),
        ("cifar-10-batches-bin/test_batch.bin", record(0, 70)),
    ]
}

#[test]
fn cifars_binary_version_is_read_packed_and_unpacked() {
    let files = cifar_files();
    let root = tree(&files);
    std::fs::write(root.path().join("cifar-10-binary.tar.gz"), gzip(&tar_of(&files))).unwrap();
    for place in ["", "cifar-10-batches-bin", "cifar-10-binary.tar.gz"] {
        let source = Source::open(root.path().join(place)).unwrap();
        assert_eq!(source.classes(), ["plane", "car", "bird"], "{place}");
        let parts = source.partition(0.1, 0).unwrap();
        assert_eq!((parts.train.len(), parts.val), (6, vec![6]));
        assert_eq!((source.entries()[0].class, source.entries()[1].class), (2, 0));
        assert_eq!(source.load(1).unwrap().get_pixel(31, 31).0, [20, 21, 22]);
        assert_eq!(source.load(6).unwrap().get_pixel(0, 0).0, [70, 71, 72]);
    }
}

#[test]
fn damaged_and_foreign_cifar_is_refused() {
    let mut files = cifar_files();
    files[3].1.pop();
    assert!(refusal(tree(&files).path()).contains("data_batch_3.bin is truncated"));
    let mut files = cifar_files();
    files[2].1[0] = 3;
    assert!(refusal(tree(&files).path()).contains("label 3"));
    let mut files = cifar_files();
    files.pop();
    assert!(refusal(tree(&files).path()).contains("test_batch.bin is missing"));
    let python = tree(&[("x.tar", tar_of(&[("cifar-10-batches-py/data_batch_1", vec![1])]))]);
    assert!(refusal(&python.path().join("x.tar")).contains("binary version"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_partition_is_disjoint_complete_stratified_and_repeatable(
        sizes in prop::collection::vec(1..30_usize, 1..6), fraction in 0.0..0.9, seed: u64,
    ) {
        let files: Vec<(String, Vec<u8>)> = sizes.iter().enumerate()
            .flat_map(|(class, &n)| (0..n).map(move |i| (format!("class{class}/{i:03}.png"), vec![0])))
            .collect();
        let borrowed: Vec<(&str, Vec<u8>)> = files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
        let place = tree(&[("x.tar", tar_of(&borrowed))]);
        let source = Source::open(place.path().join("x.tar")).unwrap();
        let parts = source.partition(fraction, seed).unwrap();
        prop_assert_eq!(&parts, &source.partition(fraction, seed).unwrap());
        let mut all = [parts.train.clone(), parts.val.clone()].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..files.len()).collect::<Vec<_>>());
        for (class, &size) in sizes.iter().enumerate() {
            let held_out = parts.val.iter().filter(|&&i| source.entries()[i].class as usize == class).count();
            prop_assert!(held_out < size);
            let wanted = fraction * size as f64;
            prop_assert!((held_out as f64 - wanted).abs() <= 1.0, "{held_out} of {size}, wanted {wanted}");
        }
        let fewer = parts.clone().limited(3, 1, seed);
        prop_assert_eq!((fewer.train.len(), fewer.val.len()), (parts.train.len().min(3), parts.val.len().min(1)));
        prop_assert!(fewer.train.iter().all(|i| parts.train.contains(i)));
    }

    #[test]
    fn damaged_archives_never_panic(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = match which {
            0 => tar_of(&cats_and_dogs()),
            1 => npz_of(3, Some(vec![0, 1, 2]), CompressionMethod::Stored),
            2 => npz_of(3, Some(vec![0, 1, 2]), CompressionMethod::Deflated),
            _ => gzip(&tar_of(&cifar_files())),
        };
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let place = tree(&[("x", bytes)]);
        if let Ok(source) = Source::open(place.path().join("x")) {
            for i in 0..source.len() {
                let _ = source.load(i);
            }
        }
    }
}
