//! Parts of a token file: encoded by separate processes, joined, compared with what one process writes.

use std::path::{Path, PathBuf};
use std::process::Output;

use var_tokenizer::images::Split;
use var_tokenizer::tokens::{Rows, TokenFile, TokenInfo};

use crate::cli::{interrupt, message, prepare, refused, run};
use crate::encode::sorted_by_class;
use crate::images::formats::copies;

/// Encodes with `more` flags into `out`.
fn encode(data: &str, tokenizer: &str, out: &Path, more: &[&str]) -> Output {
    let out = out.display().to_string();
    let fixed = ["encode", "--data", data, "--tokenizer", tokenizer, "--device", "cpu", "--out", &out];
    run(&[&fixed, more].concat())
}

fn encoded(data: &str, tokenizer: &str, out: &Path, more: &[&str]) {
    let output = encode(data, tokenizer, out, more);
    assert!(output.status.success(), "{}", message(&output));
}

fn join(parts: &[&Path], tokenizer: &str, out: &Path) -> Output {
    let parts: Vec<String> = parts.iter().map(|part| part.display().to_string()).collect();
    let mut arguments = vec!["join", "--tokenizer", tokenizer, "--device", "cpu", "--out"];
    let out = out.display().to_string();
    arguments.push(&out);
    arguments.extend(parts.iter().map(String::as_str));
    run(&arguments)
}

/// All that a token file holds.
fn contents(path: &Path) -> (TokenInfo, Vec<Rows>) {
    let file = TokenFile::open(path).unwrap();
    let rows = Split::ALL.map(|split| file.read_rows(split, 0..file.rows(split)).unwrap());
    (file.info().clone(), rows.into())
}

#[test]
fn joined_parts_are_what_one_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, _) = prepare(folder.path());
    let images = folder.path().join("sorted.npz");
    // More training images than the statistics are taken over.
    sorted_by_class(&images, 6000);
    let images = images.display().to_string();
    let (whole, joined) = (folder.path().join("whole.h5"), folder.path().join("joined.h5"));
    let flags = ["--crops", "2", "--flip", "--limit", "4999", "--seed", "5"];
    encoded(&images, &tokenizer, &whole, &[&flags[..], &["--batch", "256"]].concat());
    let parts = folder.path().join("parts");
    std::fs::create_dir(&parts).unwrap();
    for (part, batch) in [("1/3", "100"), ("2/3", "64"), ("3/3", "37")] {
        let out = parts.join(format!("{}.h5", &part[..1]));
        encoded(&images, &tokenizer, &out, &[&flags[..], &["--shard", part, "--batch", batch]].concat());
    }
    let output = join(&[&parts], &tokenizer, &joined);
    assert!(output.status.success(), "{}", message(&output));
    let (found, expected) = (contents(&joined), contents(&whole));
    assert_eq!((expected.1[0].len(), expected.1[1].len()), (9998, 600));
    assert!(expected.0.input_statistics.is_some());
    assert_eq!(found, expected);
    // In any order, by a pattern, over a file that is there.
    let pattern = parts.join("{3..1}.h5");
    refused(&join(&[&pattern], &tokenizer, &joined), &["smaller one first"]);
    let pattern = parts.join("{2,3,1}.h5");
    assert!(join(&[&pattern], &tokenizer, &joined).status.success());
    assert_eq!(contents(&joined), expected);
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains(".partial")), "{names:?}");
}

#[test]
fn a_killed_part_resumes_and_joins_to_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let flags = ["--limit", "600", "--limit-held-out", "9"];
    let first = [&flags[..], &["--shard", "1/2"]].concat();
    let output = interrupt(&place("1.h5"), &first, "-KILL");
    assert_eq!(output.status.code(), None, "{}", message(&output));
    let unfinished = join(&[&place("1.h5")], "builtin", &place("joined.h5"));
    refused(&unfinished, &["1.h5", "is not finished"]);
    let other = encode("emoji", "builtin", &place("1.h5"), &[&flags[..], &["--shard", "2/2"]].concat());
    refused(&other, &["1.h5.partial", "shard"]);
    let output = encode("emoji", "builtin", &place("1.h5"), &first);
    assert!(output.status.success() && message(&output).contains("resuming after"), "{}", message(&output));
    encoded("emoji", "builtin", &place("2.h5"), &[&flags[..], &["--shard", "2/2"]].concat());
    encoded("emoji", "builtin", &place("whole.h5"), &flags);
    let output = join(&[&place("2.h5"), &place("1.h5")], "builtin", &place("joined.h5"));
    assert!(output.status.success(), "{}", message(&output));
    assert_eq!(contents(&place("joined.h5")), contents(&place("whole.h5")));
}

#[test]
fn parts_that_do_not_belong_together_are_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    let place = |name: &str| folder.path().join(name);
    let part = |name: &str, more: &[&str]| -> PathBuf {
        let out = place(name);
        encoded(&images, &tokenizer, &out, more);
        out
    };
    let (first, second) = (part("1.h5", &["--shard", "1/3"]), part("2.h5", &["--shard", "2/3"]));
    let third = part("3.h5", &["--shard", "3/3"]);
    let out = place("joined.h5");
    let joined = |parts: &[&Path]| join(parts, &tokenizer, &out);
    refused(&joined(&[&first, &third]), &["is part 1/3, but these parts are missing: 2"]);
    refused(&joined(&[&first, &second, &second, &third]), &["is part 2/3, as", "2.h5 is"]);
    refused(
        &joined(&[&first, &second, &part("of2.h5", &["--shard", "2/2"])]),
        &["is part 2/2, but", "one of 3 parts"],
    );
    let limited = part("limited.h5", &["--shard", "3/3", "--limit", "11"]);
    refused(
        &joined(&[&first, &second, &limited]),
        &["limited.h5", "list of images, views or limits differs"],
    );
    let mirrored = part("mirrored.h5", &["--shard", "3/3", "--flip"]);
    refused(
        &joined(&[&first, &second, &mirrored]),
        &["mirrored.h5", "crop_policy differs", "odd ones mirrored"],
    );
    let whole = part("whole.h5", &[]);
    refused(&joined(&[&first, &whole]), &["whole.h5", "is a whole token file"]);
    refused(&join(&[&first, &second, &third], "builtin", &out), &["made with another tokenizer"]);
    refused(&joined(&[&first, &second, &place("4.h5")]), &["4.h5", "no such file"]);
    refused(&join(&[&first, &second, &third], &tokenizer, &place("images")), &["is a folder"]);
    std::fs::write(place("joined.h5.partial"), b"rows of an encode").unwrap();
    refused(&joined(&[&first, &second, &third]), &["joined.h5.partial", "unfinished encode"]);
    std::fs::remove_file(place("joined.h5.partial")).unwrap();
    assert!(!out.exists());
    refused(&join(&[&first, &second, &third], &tokenizer, &first), &["1.h5", "name another output"]);
    // A part is not taken for the whole.
    let text = TokenFile::open(&first).unwrap_err().to_string();
    assert!(text.contains("is part 1/3") && text.contains("join all parts first"), "{text}");
    let described = run(&["inspect", &first.display().to_string()]);
    assert!(String::from_utf8_lossy(&described.stdout).contains("part        1/3"));
    for wrong in ["0/3", "4/3", "1", "x/3"] {
        let output = encode(&images, &tokenizer, &place("x.h5"), &["--shard", wrong]);
        assert!(output.status.code() == Some(2) && message(&output).contains("I/N"), "{}", message(&output));
    }
    // What a killed join leaves is in nobody's way.
    std::fs::write(place("joined.h5.partial"), b"").unwrap();
    std::fs::write(place("joined.h5.writing"), b"half a file").unwrap();
    assert!(joined(&[&first, &second, &third]).status.success());
    assert_eq!(contents(&out), contents(&whole));
    assert!(!place("joined.h5.partial").exists() && !place("joined.h5.writing").exists());
}

#[test]
fn parts_without_a_readable_image_join_with_the_list_of_all_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    for i in 0..12 {
        std::fs::write(Path::new(&images).join(format!("blue/{i}.png")), b"").unwrap();
    }
    let place = |name: &str| folder.path().join(name);
    let parts: Vec<PathBuf> = (1..=4).map(|i| place(&format!("{i}.h5"))).collect();
    for (part, i) in parts.iter().zip(1..) {
        encoded(&images, &tokenizer, part, &["--shard", &format!("{i}/4")]);
    }
    let parts: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
    let output = join(&parts, &tokenizer, &place("joined.h5"));
    assert!(
        output.status.success() && message(&output).contains("left out 12 images"),
        "{}",
        message(&output)
    );
    encoded(&images, &tokenizer, &place("whole.h5"), &[]);
    assert_eq!(contents(&place("joined.h5")), contents(&place("whole.h5")));
    let lines = |name: &str| {
        let text = std::fs::read_to_string(place(name)).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines("joined.h5.bad.txt"), lines("whole.h5.bad.txt"));
    assert_eq!(lines("joined.h5.bad.txt").len(), 12);
}

#[test]
fn a_finished_file_is_replaced_by_the_same_part_only() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    let (part, whole) = (folder.path().join("t.h5"), folder.path().join("tokens.h5"));
    encoded(&images, &tokenizer, &part, &["--shard", "1/8"]);
    encoded(&images, &tokenizer, &whole, &[]);
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    let before = (bytes(&part), bytes(&whole));
    let other = |out: &Path, more: &[&str], words: &[&str]| {
        let words = [words, &["name another output, or start over with --restart"]].concat();
        refused(&encode(&images, &tokenizer, out, more), &words);
    };
    other(&part, &["--shard", "2/8"], &["t.h5", "part 1/8", "replaced by part 2/8"]);
    other(&part, &["--shard", "1/7"], &["part 1/8", "replaced by part 1/7"]);
    other(&part, &[], &["part 1/8", "replaced by a whole one"]);
    other(&whole, &["--shard", "1/8"], &["tokens.h5", "a whole one", "replaced by part 1/8"]);
    refused(&join(&[&whole], &tokenizer, &part), &["t.h5", "is part 1/8", "name another output"]);
    assert!((bytes(&part), bytes(&whole)) == before);
    encoded(&images, &tokenizer, &part, &["--shard", "1/8"]);
    encoded(&images, &tokenizer, &whole, &[]);
    encoded(&images, &tokenizer, &whole, &["--shard", "1/8", "--restart"]);
    let text = TokenFile::open(&whole).unwrap_err().to_string();
    assert!(text.contains("is part 1/8"), "{text}");
    // What cannot be read is not replaced unseen.
    std::fs::write(&part, &before.0[..before.0.len() / 2]).unwrap();
    refused(
        &encode(&images, &tokenizer, &part, &["--shard", "1/8"]),
        &["t.h5", "cannot be read", "Delete it"],
    );
}

#[test]
fn parts_whose_lists_are_lost_join_with_the_right_number_of_bad_images() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    for i in 0..12 {
        std::fs::write(Path::new(&images).join(format!("blue/{i}.png")), b"").unwrap();
    }
    let place = |name: &str| folder.path().join(name);
    let parts: Vec<PathBuf> = (1..=3).map(|i| place(&format!("{i}.h5"))).collect();
    for (part, i) in parts.iter().zip(1..) {
        let output = encode(&images, &tokenizer, part, &["--shard", &format!("{i}/3")]);
        assert!(output.status.success(), "{}", message(&output));
        // Another part may have images of the class.
        assert!(!message(&output).contains("no image can be read of"), "{}", message(&output));
    }
    let parts: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
    let list = place("joined.h5.bad.txt");
    let joined = || {
        let output = join(&parts, &tokenizer, &place("joined.h5"));
        assert!(output.status.success(), "{}", message(&output));
        assert!(message(&output).contains("left out 12 images"), "{}", message(&output));
        (message(&output), std::fs::read_to_string(&list).ok())
    };
    let (text, whole) = joined();
    assert!(text.contains("all listed in") && !text.contains("are missing"), "{text}");
    assert!(text.contains("these classes have no image in the file: 'blue'"), "{text}");
    assert_eq!(whole.as_ref().unwrap().lines().count(), 12);
    // One list is lost: the joined one stays.
    let lists = parts.iter().map(|part| PathBuf::from(format!("{}.bad.txt", part.display())));
    let lists: Vec<PathBuf> = lists.filter(|list| list.exists()).collect();
    assert!(lists.len() > 1, "{lists:?}");
    std::fs::remove_file(&lists[0]).unwrap();
    let (text, after) = joined();
    assert!(text.matches("lists of unreadable images are missing").count() == 1, "{text}");
    assert!(text.contains("joined.h5.bad.txt stays as it is") && !text.contains("all listed"), "{text}");
    assert_eq!(after, whole);
    std::fs::remove_file(&list).unwrap();
    let (text, after) = joined();
    let count = after.unwrap().lines().count();
    assert!(text.contains("has only the others") && (1..12).contains(&count), "{count}: {text}");
    // All are lost.
    std::fs::write(&list, "of an earlier file\n").unwrap();
    lists.iter().skip(1).for_each(|list| std::fs::remove_file(list).unwrap());
    assert_eq!(joined().1.as_deref(), Some("of an earlier file\n"));
    std::fs::remove_file(&list).unwrap();
    let (text, after) = joined();
    assert!(text.contains("is not written") && after.is_none(), "{text}");
}

#[test]
fn parts_have_a_precision_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    let out = folder.path().join("1.h5");
    let output = encode(&images, &tokenizer, &out, &["--shard", "1/2", "--precision", "auto"]);
    refused(&output, &["precision auto", "name f32 or bf16, the same for all parts"]);
    assert!(!out.exists());
    encoded(&images, &tokenizer, &out, &["--precision", "auto"]);
}

#[test]
fn parts_are_found_in_folders_with_signs_of_patterns_and_the_output_is_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    let parts = folder.path().join("run {1,2} *?");
    std::fs::create_dir(&parts).unwrap();
    assert_eq!(join(&[&parts], &tokenizer, &parts.join("all.h5")).status.code(), Some(2));
    for i in 1..=2 {
        encoded(&images, &tokenizer, &parts.join(format!("{i}.h5")), &["--shard", &format!("{i}/2")]);
    }
    let out = parts.join("all.h5");
    for _ in 0..2 {
        // The second time the output is in the folder, too.
        let output = join(&[&parts], &tokenizer, &out);
        assert!(output.status.success(), "{}", message(&output));
    }
    let (first, second) = (parts.join("1.h5"), parts.join("2.h5"));
    refused(&join(&[&first, &second], &tokenizer, &first), &["1.h5", "as a part and as the output"]);
    refused(&join(&[&parts], &tokenizer, &first), &["1.h5", "is part 1/2", "name another output"]);
    let output = encode(&images, &tokenizer, &first, &["--shard", "1/513"]);
    assert!(message(&output).contains("at most 512 parts"), "{}", message(&output));
}

#[test]
fn the_emoji_give_the_same_tokens_from_every_layout() {
    let folder = tempfile::tempdir().unwrap();
    let copies = copies(20);
    let tokens = |data: &str, name: &str| {
        let out = folder.path().join(name);
        encoded(data, "builtin", &out, &["--crops", "2"]);
        let (info, rows) = contents(&out);
        (info.class_names, info.input_statistics, rows)
    };
    let expected = tokens(&copies.folder.display().to_string(), "folder.h5");
    assert!(expected.2[0].len() > 300 && expected.2[1].len() > 10);
    let glob = copies.parquet.join("data/*.parquet").display().to_string();
    let list = copies.list.display().to_string();
    for (data, name) in [(glob, "parquet.h5"), (copies.shards.clone(), "shards.h5"), (list, "list.h5")] {
        assert!(tokens(&data, name) == expected, "{name} differs");
    }
}
