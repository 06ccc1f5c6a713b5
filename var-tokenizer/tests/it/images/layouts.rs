//! Data sets as people have them: the right classes, or a refusal that names the cause.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use var_tokenizer::images::{Source, Split};

use super::sources::{contents, gzip, npz_of, refusal, tar_of};
use super::{folder, png, tree};

/// Images per class and part.
fn counts(source: &Source) -> BTreeMap<(String, &'static str), usize> {
    let mut counts = BTreeMap::new();
    for entry in source.entries() {
        let class = source.classes()[entry.class as usize].clone();
        *counts.entry((class, entry.split.map_or("", Split::name))).or_insert(0) += 1;
    }
    counts
}

fn expect(path: &Path, expected: &[(&str, &'static str, usize)]) -> Source {
    let source = Source::open(path).unwrap();
    let expected = expected.iter().map(|&(class, part, count)| ((class.to_owned(), part), count)).collect();
    assert_eq!(counts(&source), expected, "{}", path.display());
    source
}

fn notes(source: &Source) -> String {
    source.notes().join("\n")
}

/// The tar that `tar` makes of a folder.
fn packed(folder: &Path, to: &Path) {
    assert!(
        Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(to).arg(".").status().unwrap().success()
    );
}

#[test]
fn a_folder_and_its_tar_give_the_same_images_and_skip_the_same_entries() {
    let root = tree(&[
        ("cats/0.png", png([1; 3])),
        ("cats/1.png", png([2; 3])),
        ("dogs/0.png", png([3; 3])),
        (".ipynb_checkpoints/0-checkpoint.png", png([4; 3])),
        ("cats/.thumbnails/0.png", png([5; 3])),
        ("cats/._0.png", png([6; 3])),
        ("__MACOSX/cats/0.png", png([7; 3])),
        ("cats/@eaDir/0.png/THUMB.jpg", png([8; 3])),
        ("elsewhere/2.png", png([9; 3])),
    ]);
    symlink("../cats/1.png", root.path().join("dogs/link.png")).unwrap();
    symlink("cats", root.path().join("tigers")).unwrap();
    std::fs::hard_link(root.path().join("cats/0.png"), root.path().join("dogs/hard.png")).unwrap();
    let place = folder();
    let tar = place.path().join("x.tar");
    packed(root.path(), &tar);
    let expected = [("cats", "", 2), ("dogs", "", 3), ("elsewhere", "", 1), ("tigers", "", 2)];
    let (a, b) = (expect(root.path(), &expected), expect(&tar, &expected));
    assert_eq!(contents(&a), contents(&b));
    assert_eq!(a.notes(), b.notes());
    for name in [".ipynb_checkpoints", "__MACOSX"] {
        assert!(notes(&a).contains(name), "{}", notes(&a));
    }
}

#[test]
fn order_and_fingerprint_of_a_folder_are_those_of_its_sorted_names() {
    // A slash sorts after a space, a hyphen and a dot; folders are listed next to files, and many at once.
    let folders = ["a", "a b", "a-b", "a.b", "ab", "a/b", "a/b-c", "Z", "\u{e9}", "long"];
    let mut names: Vec<String> = folders
        .iter()
        .flat_map(|folder| (0..3).map(move |i| format!("{folder}/{}.png", i * 7)))
        .chain((0..150).map(|i| format!("long/{i}/x.png")))
        .collect();
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), png([1; 3]))).collect();
    let root = tree(&files);
    let place = folder();
    let tar = place.path().join("x.tar");
    packed(root.path(), &tar);
    names.sort();
    let mut classes: Vec<&str> = names.iter().map(|name| name.split('/').next().unwrap()).collect();
    let of: Vec<&str> = classes.clone();
    classes.sort();
    classes.dedup();
    let mut hashed = Vec::new();
    for class in &classes {
        hashed.extend([class.as_bytes(), &[0]].concat());
    }
    for (name, class) in names.iter().zip(of) {
        let number = classes.iter().position(|known| *known == class).unwrap() as u32;
        hashed.extend([name.as_bytes(), &[0], &number.to_le_bytes()].concat());
    }
    for path in [root.path(), &tar] {
        let source = Source::open(path).unwrap();
        let listed: Vec<String> = (0..source.len()).map(|i| source.name(i).into_owned()).collect();
        assert_eq!(listed, names);
        assert_eq!(source.fingerprint(), var_tokenizer::files::sha256(&hashed));
    }
}

#[test]
fn a_tar_whose_links_leave_it_is_refused_by_name_and_a_folder_follows_them() {
    let outside = tree(&[("7.png", png([1; 3]))]);
    let root = tree(&[("cats/0.png", png([1; 3])), ("dogs/0.png", png([2; 3]))]);
    symlink(outside.path().join("7.png"), root.path().join("cats/out.png")).unwrap();
    symlink(outside.path(), root.path().join("birds")).unwrap();
    expect(root.path(), &[("birds", "", 1), ("cats", "", 2), ("dogs", "", 1)]);
    let place = folder();
    let tar = place.path().join("x.tar");
    packed(root.path(), &tar);
    let text = refusal(&tar);
    assert!(text.contains("birds, cats/out.png") && text.contains("--dereference"), "{text}");
}

#[test]
fn pipes_sockets_devices_and_circles_are_named_and_never_opened() {
    let root = tree(&[("cats/0.png", png([1; 3])), ("dogs/0.png", png([2; 3]))]);
    let pipe = root.path().join("cats/pipe.png");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("dogs/socket.png")).unwrap();
    symlink("/dev/zero", root.path().join("dogs/zero.png")).unwrap();
    symlink(&pipe, root.path().join("dogs/pipe.png")).unwrap();
    symlink("..", root.path().join("dogs/up")).unwrap();
    symlink("self.png", root.path().join("dogs/self.png")).unwrap();
    let source = Source::open(root.path()).unwrap();
    for name in ["cats/pipe.png", "dogs/pipe.png", "and 1 more", "a folder above them: dogs/up"] {
        assert!(notes(&source).contains(name), "'{name}' is not in {}", notes(&source));
    }
    // A link to itself is a bad image, as one that points nowhere is.
    let loaded: Vec<bool> = (0..source.len()).map(|i| source.load(i).is_ok()).collect();
    assert_eq!(loaded, [true, true, false]);
    assert!(refusal(&pipe).contains("is a pipe"));
    assert!(refusal(Path::new("/dev/zero")).contains("is a device"));
    std::fs::remove_file(root.path().join("dogs/socket.png")).unwrap();
    std::fs::remove_file(root.path().join("dogs/self.png")).unwrap();
    std::fs::remove_file(root.path().join("dogs/zero.png")).unwrap();
    let place = folder();
    let tar = place.path().join("x.tar");
    std::fs::remove_file(root.path().join("dogs/pipe.png")).unwrap();
    packed(root.path(), &tar);
    let source = expect(&tar, &[("cats", "", 1), ("dogs", "", 1)]);
    assert!(
        notes(&source).contains("cats/pipe.png") && notes(&source).contains("dogs/up"),
        "{}",
        notes(&source)
    );
}

#[test]
fn parts_are_found_under_all_their_names_in_any_case() {
    for (train, held_out) in [
        ("train", "val"),
        ("Train", "Val"),
        ("TRAIN", "TEST"),
        ("training", "testing"),
        ("train", "dev"),
        ("Training", "validation"),
    ] {
        let (one, other, third) =
            (format!("{train}/cats/0.png"), format!("{train}/dogs/0.png"), format!("{held_out}/dogs/1.png"));
        let files = [(&*one, png([1; 3])), (&*other, png([2; 3])), (&*third, png([3; 3]))];
        let expected = [("cats", "train", 1), ("dogs", "train", 1), ("dogs", "val", 1)];
        expect(tree(&files).path(), &expected);
        let place = tree(&[("x.tar", tar_of(&files))]);
        expect(&place.path().join("x.tar"), &expected);
    }
}

#[test]
fn flat_held_out_folders_are_refused_with_a_layout_that_works() {
    for held_out in ["val/ILSVRC2012_val_00000001.png", "test/1.png", "val/images/val_0.png"] {
        let root = tree(&[
            ("train/n01/0.png", png([1; 3])),
            ("train/n02/0.png", png([2; 3])),
            (held_out, png([3; 3])),
        ]);
        let text = refusal(root.path());
        assert!(text.contains("have no class folders") && text.contains("/CLASS/"), "{text}");
        // What it advises works.
        expect(&root.path().join("train"), &[("n01", "", 1), ("n02", "", 1)]);
    }
}

#[test]
fn tiny_imagenets_table_gives_the_held_out_classes() {
    let files = [
        ("tiny/train/n01/images/n01_0.png", png([1; 3])),
        ("tiny/train/n02/images/n02_0.png", png([2; 3])),
        ("tiny/val/images/val_0.png", png([3; 3])),
        ("tiny/val/images/val_1.png", png([4; 3])),
        (
            "tiny/val/val_annotations.txt",
            b"val_0.png\tn02\t0\t0\t9\t9\nval_1.png\tn01\t0\t0\t9\t9\n".to_vec(),
        ),
        ("tiny/test/images/test_0.png", png([5; 3])),
    ];
    let place = tree(&[("x.tar", tar_of(&files))]);
    for path in [tree(&files).path(), &place.path().join("x.tar")] {
        let source = Source::open(path).unwrap();
        let class = |i: usize| source.classes()[source.entries()[i].class as usize].as_str();
        assert_eq!([0, 1, 2, 3].map(class), ["n01", "n02", "n02", "n01"]);
        assert!(
            notes(&source).contains("skips 1 images next to train and val: in test"),
            "{}",
            notes(&source)
        );
    }
    let mut cut = files.to_vec();
    cut[4].1.truncate(20);
    assert!(refusal(tree(&cut).path()).contains("has no line for val_1.png"));
}

#[test]
fn one_part_next_to_other_folders_is_not_taken_for_a_class() {
    let root = tree(&[("train/cats/0.png", png([1; 3])), ("unlabelled/0.png", png([2; 3]))]);
    assert!(refusal(root.path()).contains("train looks like one part"));
    // A class may be called so.
    let trains = tree(&[("train/0.png", png([1; 3])), ("ship/0.png", png([2; 3]))]);
    expect(trains.path(), &[("ship", "", 1), ("train", "", 1)]);
}

#[test]
fn classes_without_images_and_kinds_that_are_not_read_are_named() {
    let root = tree(&[
        ("train/cats/0.png", png([1; 3])),
        ("train/birds/a.heic", vec![1; 100]),
        ("val/cats/0.png", png([1; 3])),
    ]);
    let source = expect(root.path(), &[("cats", "train", 1), ("cats", "val", 1)]);
    let text = notes(&source);
    assert!(text.contains("skips folder train/birds") && text.contains("1 heic"), "{text}");
    let bare = tree(&[("cats/0", png([1; 3])), ("dogs/0.png", png([1; 3]))]);
    assert!(notes(&Source::open(bare.path()).unwrap()).contains("skips folder cats"));
}

#[test]
fn names_in_other_encodings_stay_apart_and_accents_of_both_forms_are_one_class() {
    let root = folder();
    for name in [b"caf\xe9", b"caf\xe8"] {
        let path = root.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("0.png"), png([1; 3])).unwrap();
    }
    let source = expect(root.path(), &[("caf\\xE8", "", 1), ("caf\\xE9", "", 1)]);
    assert!(notes(&source).contains("not UTF-8"), "{}", notes(&source));
    let (composed, apart) = ("train/caf\u{e9}/0.png", "val/cafe\u{301}/0.png");
    let root = tree(&[(composed, png([1; 3])), ("train/th\u{e9}/0.png", png([2; 3])), (apart, png([3; 3]))]);
    let expected = [("caf\u{e9}", "train", 1), ("th\u{e9}", "train", 1), ("caf\u{e9}", "val", 1)];
    expect(root.path(), &expected);
}

fn shard(first: usize, label: impl Fn(usize) -> (&'static str, Vec<u8>)) -> Vec<u8> {
    let files: Vec<(String, Vec<u8>)> = (first..first + 4)
        .flat_map(|i| {
            let (ending, label) = label(i);
            [(format!("{i:06}.png"), png([i as u8; 3])), (format!("{i:06}.{ending}"), label)]
        })
        .collect();
    let borrowed: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    tar_of(&borrowed)
}

#[test]
fn webdataset_shards_have_their_labels() {
    // Two sorts before ten as a number, not as text.
    let number = |i: usize| ("cls", [b"2".as_slice(), b"10"][i % 2].to_vec());
    let json = |i: usize| ("json", format!("{{\"label\": {}}}", [2, 10][i % 2]).into_bytes());
    let name = |i: usize| ("json", format!("{{\"class\": \"{}\"}}", ["cat", "dog"][i % 2]).into_bytes());
    for (label, classes) in
        [(&number as &dyn Fn(usize) -> _, ["2", "10"]), (&json, ["2", "10"]), (&name, ["cat", "dog"])]
    {
        let place = tree(&[("train-000000.tar", shard(0, label)), ("train-000001.tar", shard(4, label))]);
        let single =
            expect(&place.path().join("train-000000.tar"), &[(classes[0], "", 2), (classes[1], "", 2)]);
        assert_eq!(single.load(1).unwrap().get_pixel(0, 0).0, [1; 3]);
        let source = expect(place.path(), &[(classes[0], "", 4), (classes[1], "", 4)]);
        let said: Vec<&String> = source.notes().iter().filter(|note| note.contains("from the key")).collect();
        let bytes = label(0).1;
        let key = ["label", "class"].into_iter().find(|key| String::from_utf8_lossy(&bytes).contains(key));
        assert_eq!(said.len(), usize::from(key.is_some()));
        assert!(said.iter().all(|note| note.ends_with(key.unwrap_or("none"))), "{said:?}");
    }
    let both = tree(&[("train-0.tar", shard(0, json)), ("val-0.tar", shard(0, json))]);
    assert_eq!(notes(&Source::open(both.path()).unwrap()).matches("from the key label").count(), 1);
    let place = tree(&[("train-0.tar", shard(0, number)), ("val-0.tar", shard(0, number))]);
    expect(place.path(), &[("10", "train", 2), ("10", "val", 2), ("2", "train", 2), ("2", "val", 2)]);
    let source = Source::open(place.path()).unwrap();
    assert_eq!((source.classes().len(), source.entries()[1].class), (11, 10));
    let text = |i: usize| ("txt", vec![i as u8]);
    let place = tree(&[("a-000.tar", shard(0, text)), ("a-001.tar", shard(4, text))]);
    assert!(refusal(place.path()).contains("shards without labels"));
    let torn = |i: usize| (if i == 2 { "txt" } else { "cls" }, b"1".to_vec());
    let place = tree(&[("a.tar", shard(0, torn))]);
    assert!(refusal(&place.path().join("a.tar")).contains("1 have none, e.g. 000002.png"));
}

#[test]
fn a_tar_of_tars_and_a_folder_of_tars_have_a_class_per_tar() {
    let (cats, dogs) =
        (tar_of(&[("0.png", png([1; 3])), ("1.png", png([2; 3]))]), tar_of(&[("./0.png", png([3; 3]))]));
    let files = [("n01440764.tar", cats), ("n01443537.tar", dogs)];
    let expected = [("n01440764", "", 2), ("n01443537", "", 1)];
    expect(tree(&files).path(), &expected);
    let place = tree(&[("ILSVRC2012_img_train.tar", tar_of(&files)), ("packed", gzip(&tar_of(&files)))]);
    let source = expect(&place.path().join("ILSVRC2012_img_train.tar"), &expected);
    assert_eq!(source.load(2).unwrap().get_pixel(0, 0).0, [3; 3]);
    expect(&place.path().join("packed"), &expected);
    let folders = || tar_of(&[("cats/0.png", png([1; 3])), ("dogs/0.png", png([1; 3]))]);
    let place = tree(&[("a.tar", folders()), ("b.tar", folders())]);
    assert!(refusal(place.path()).contains("several tars with class folders: a, b"));
}

#[test]
fn tars_of_all_ages_are_known_by_their_content() {
    let root = tree(&[("cats/0.png", png([1; 3])), ("dogs/0.png", png([2; 3]))]);
    let place = folder();
    for (name, format) in [("old", "v7"), ("x.jpg", "ustar"), ("gnu", "gnu"), ("pax", "pax")] {
        let path = place.path().join(name);
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(root.path())
            .arg(format!("--format={format}"))
            .arg("-cf")
            .arg(&path)
            .args(["cats", "dogs"]);
        assert!(tar.status().unwrap().success());
        expect(&path, &[("cats", "", 1), ("dogs", "", 1)]);
    }
}

#[test]
fn tars_whose_images_would_be_lost_are_refused_or_said() {
    let one = tar_of(&[("cats/0.png", png([1; 3])), ("dogs/0.png", png([1; 3]))]);
    let place = tree(&[
        ("joined.tar", [one.clone(), one].concat()),
        ("twice.tar", tar_of(&[("cats/0.png", png([1; 3])), ("cats/0.png", png([2; 3]))])),
    ]);
    assert!(refusal(&place.path().join("joined.tar")).contains("more after its end mark"));
    let source = Source::open(place.path().join("twice.tar")).unwrap();
    assert!(source.len() == 1 && notes(&source).contains("several times, the last one counts: cats/0.png"));
    assert_eq!(source.load(0).unwrap().get_pixel(0, 0).0, [2; 3]);
    let root: TempDir = folder();
    std::fs::create_dir(root.path().join("cats")).unwrap();
    let file = std::fs::File::create(root.path().join("cats/0.png")).unwrap();
    file.set_len(1 << 20).unwrap();
    let tar = place.path().join("sparse.tar");
    let mut command = Command::new("tar");
    command.arg("-C").arg(root.path()).args(["-S", "-cf"]).arg(&tar).arg("cats");
    assert!(command.status().unwrap().success());
    assert!(refusal(&tar).contains("cats/0.png is stored as a sparse file"));
}

#[test]
fn what_is_not_read_is_named_with_what_to_do() {
    let zip = {
        let mut writer = npyz::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.start_file("cats/0.png", npyz::zip::write::FileOptions::default()).unwrap();
        writer.finish().unwrap().into_inner()
    };
    let cases: [(&[u8], &[&str]); 9] = [
        (b"BZh91AY", &["bzip2", "unpack"]),
        (b"\xfd7zXZ\0\0", &["xz archive", "unpack"]),
        (b"\x28\xb5\x2f\xfd000", &["zstd", "unpack"]),
        (b"PAR1000", &["Parquet", "copy it again"]),
        (b"\x93NUMPY\x01\0", &["numpy array", "savez"]),
        (b"\x89HDF\r\n\x1a\n", &["HDF5", "npz"]),
        (b"\x80\x04\x95", &["pickle", "binary version"]),
        (b"version https://git-lfs.github.com/spec/v1\n", &["Git LFS", "git lfs pull"]),
        (&zip, &["zip archive of 1 files", "unpack"]),
    ];
    for (bytes, parts) in cases {
        let place = tree(&[("x", bytes.to_vec())]);
        let text = refusal(&place.path().join("x"));
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let parquet = tree(&[("data/train-00000-of-00001.parquet", b"PAR1".to_vec())]);
    let text = refusal(parquet.path());
    assert!(text.contains("00001.parquet: truncated or damaged Parquet file"), "{text}");
    let python = tree(&[("cifar-10-batches-py/data_batch_1", vec![0x80, 4])]);
    assert!(refusal(python.path()).contains("binary version"));
    let npz = npz_of(0, None, npyz::zip::CompressionMethod::Stored);
    let place = tree(&[("empty.npz", npz)]);
    assert!(refusal(&place.path().join("empty.npz")).contains("holds no images"));
}
