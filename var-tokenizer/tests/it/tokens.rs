//! tokens.h5: nothing is lost by a kill, and nothing damaged passes for tokens.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use var_tokenizer::ScaleSchedule;
use var_tokenizer::h5::check::check_in_child_of;
use var_tokenizer::images::Split;
use var_tokenizer::random::Stream;
use var_tokenizer::tokens::{
    Ids, InputStatistics, Progress, Rows, TokenFile, TokenInfo, TokenWriter, partial_path,
};

use super::program::write_program;
use super::wait::ends_or_is_killed;

fn info(vocabulary: usize) -> TokenInfo {
    TokenInfo {
        schedule: ScaleSchedule::new(vec![1, 2, 3]).unwrap(),
        vocabulary,
        latent_channels: 4,
        tokenizer_sha256: "ab".repeat(32),
        image_side: 32,
        crop_policy: "centre, not mirrored".into(),
        source: "emoji".into(),
        pictures_sha256: "cd".repeat(32),
        precision: "f32".into(),
        class_names: vec!["cat".into(), "Käuzchen".into(), "犬".into()],
        input_statistics: None,
        shard: None,
    }
}

/// Rows whose content is a function of the position they stand at.
fn rows(info: &TokenInfo, begin: u64, count: usize) -> Rows {
    let stream = Stream::new("rows", 0);
    let length = info.length() as u64;
    let places = begin..begin + count as u64;
    Rows {
        tokens: (begin * length..(begin + count as u64) * length)
            .map(|i| stream.below(i, info.vocabulary as u64) as u32)
            .collect(),
        labels: places.clone().map(|i| stream.at(i).below(0, info.classes() as u64) as u32).collect(),
        sources: places.clone().map(|i| i as u32).collect(),
        crops: places.map(|i| (i % 3) as u16).collect(),
    }
}

/// Appends from the writer's position on, `step` at a time: every third batch is held out.
fn fill(writer: &mut TokenWriter, until: u64, step: usize) {
    let info = writer.info().clone();
    while writer.progress().position < until {
        let position = writer.progress().position;
        let split = if (position / step as u64) % 3 == 2 { Split::Val } else { Split::Train };
        writer.append(split, &rows(&info, position, step), position + step as u64).unwrap();
    }
}

fn written(path: &Path, info: &TokenInfo, until: u64, step: usize) {
    let mut writer = TokenWriter::create(path, info.clone()).unwrap();
    fill(&mut writer, until, step);
    writer.finish().unwrap();
}

fn everything(path: &Path) -> (TokenInfo, Vec<Rows>) {
    let file = TokenFile::open(path).unwrap();
    let parts = Split::ALL.map(|split| file.read_rows(split, 0..file.rows(split)).unwrap());
    (file.info().clone(), parts.to_vec())
}

#[test]
fn what_was_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    // 65,536 codes just fit 16 bits.
    for vocabulary in [2, 4096, 65_536, 65_537, 1 << 20] {
        let path = folder.path().join("tokens.h5");
        let info = info(vocabulary);
        written(&path, &info, 1200, 100);
        assert!(!partial_path(&path).exists());
        let file = TokenFile::open(&path).unwrap();
        assert_eq!(file.info(), &info);
        assert_eq!((file.rows(Split::Train), file.rows(Split::Val)), (800, 400));
        let held_out = file.read_rows(Split::Val, 100..400).unwrap();
        assert_eq!(held_out.sources, (500..600).chain(800..900).chain(1100..1200).collect::<Vec<u32>>());
        assert_eq!(held_out.tokens[..100 * 14], rows(&info, 500, 100).tokens);
        let whole = file.read_split(Split::Train).unwrap();
        assert_eq!(matches!(whole.ids, Ids::Narrow(_)), vocabulary <= 65_536);
        let all = file.read_rows(Split::Train, 0..800).unwrap();
        let mut row = Vec::new();
        assert!(whole.copy_row(799, &mut row));
        assert_eq!(row, all.tokens[799 * 14..].iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
        assert_eq!(whole.labels, all.labels);
        assert!(!whole.copy_row(800, &mut row));
        assert!(file.read_rows(Split::Train, 700..801).is_err());
        let none = std::ops::Range { start: 5, end: 4 };
        assert!(file.read_rows(Split::Train, none).is_err());
    }
}

#[test]
fn thousands_of_class_names_and_the_input_statistics_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    let mut info = info(512);
    info.class_names = (0..21_841).map(|i| format!("class number {i}")).collect();
    info.source = "ü".repeat(2048);
    info.crop_policy = "ß".repeat(100);
    let mut writer = TokenWriter::create(&path, info.clone()).unwrap();
    fill(&mut writer, 10, 5);
    let statistics =
        InputStatistics { mean: vec![0.1, -0.2, 1e-30, 3.0], deviation: vec![1.0, 2.0, 0.5, 1e-3] };
    let wrong = InputStatistics { mean: vec![0.0; 3], deviation: vec![1.0; 3] };
    assert!(TokenWriter::create(&path, TokenInfo { input_statistics: Some(wrong), ..info.clone() }).is_err());
    writer.finish_with(statistics.clone()).unwrap();
    let file = TokenFile::open(&path).unwrap();
    assert_eq!(file.info(), &TokenInfo { input_statistics: Some(statistics), ..info });
}

#[test]
fn rows_that_do_not_fit_are_refused_and_nothing_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = TokenWriter::create(&folder.path().join("t.h5"), info(100)).unwrap();
    let good = rows(&info(100), 0, 2);
    let mut id = good.clone();
    id.tokens[3] = 100;
    let mut label = good.clone();
    label.labels[1] = 3;
    let mut short = good.clone();
    short.tokens.pop();
    let mut crops = good.clone();
    crops.crops.pop();
    for (bad, words) in [(id, "id 100"), (label, "label 3"), (short, "27 ids"), (crops, "1 crops")] {
        let message = writer.append(Split::Train, &bad, 2).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(writer.progress(), Progress::default());
    assert!(writer.finish().unwrap_err().to_string().contains("no rows to train on"));
    for bad in [
        TokenInfo { tokenizer_sha256: "12".into(), ..info(100) },
        TokenInfo { source: "x".repeat(4097), ..info(100) },
        TokenInfo { class_names: vec!["a\0b".into()], ..info(100) },
        TokenInfo { class_names: Vec::new(), ..info(100) },
    ] {
        assert!(TokenWriter::create(&folder.path().join("t.h5"), bad).is_err());
    }
}

#[test]
fn a_second_writer_is_refused_while_the_first_lives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    let mut first = TokenWriter::create(&path, info(8)).unwrap();
    fill(&mut first, 30, 10);
    for second in [TokenWriter::create(&path, info(8)), TokenWriter::resume(&path, info(8))] {
        assert!(second.unwrap_err().to_string().contains("another process is writing it"));
    }
    drop(first);
    let again = TokenWriter::resume(&path, info(8)).unwrap();
    assert_eq!(again.progress(), Progress { train: 20, val: 10, position: 30 });
}

#[test]
fn a_journal_of_other_settings_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    drop(TokenWriter::create(&path, info(8)).unwrap());
    let message = TokenWriter::resume(&path, info(9)).unwrap_err().to_string();
    assert!(message.contains("vocabulary: 8 before, 9 now"), "{message}");
    std::fs::write(partial_path(&path), b"something else entirely").unwrap();
    assert!(TokenWriter::resume(&path, info(8)).unwrap_err().to_string().contains("not a journal"));
    assert_eq!(TokenWriter::create(&path, info(8)).unwrap().progress(), Progress::default());
}

#[test]
fn missing_unfinished_and_foreign_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    let message = || TokenFile::open(&path).unwrap_err().to_string();
    assert!(message().contains("no such file"), "{}", message());
    drop(TokenWriter::create(&path, info(8)).unwrap());
    assert!(message().contains("not finished"), "{}", message());
    std::fs::write(&path, b"text").unwrap();
    assert!(message().contains("is not an HDF5 file; encode it again"), "{}", message());
    let file = hdf5::File::with_options().with_fapl(|p| p.file_locking(false)).create(&path).unwrap();
    assert!(message().contains("no readable format_version") || message().contains("HDF5"), "{}", message());
    file.new_attr::<u32>().create("format_version").unwrap().write_scalar(&2_u32).unwrap();
    file.close().unwrap();
    assert!(message().contains("format version 2, but this program reads 1"), "{}", message());
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(message().contains("is a folder"), "{}", message());
}

/// Changes a finished file with the HDF5 library and gives the message it is refused with.
fn after(change: impl Fn(&hdf5::File)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    written(&path, &info(50), 600, 100);
    // Without the library's lock: processes that other tests start would inherit it.
    let file = hdf5::File::with_options().with_fapl(|p| p.file_locking(false)).open_rw(&path).unwrap();
    change(&file);
    file.close().unwrap();
    let opened = TokenFile::open(&path);
    let read = opened.and_then(|file| file.read_split(Split::Train).map(|_| ()));
    read.expect_err("must be refused").to_string()
}

#[test]
fn files_that_contradict_themselves_are_refused() {
    let set =
        |file: &hdf5::File, name: &str, value: u32| file.attr(name).unwrap().write_scalar(&value).unwrap();
    assert!(after(|f| set(f, "complete", 0)).contains("not complete"));
    assert!(after(|f| f.delete_attr("schedule").unwrap()).contains("schedule is missing"));
    assert!(after(|f| set(f, "vocabulary", 10)).contains("in a vocabulary of 10"));
    let wide = after(|f| set(f, "vocabulary", 1 << 17));
    assert!(wide.contains("number type"), "{wide}");
    assert!(after(|f| set(f, "vocabulary", 0)).contains("vocabulary 0"));
    assert!(after(|f| f.unlink("val/labels").unwrap()).contains("/val: no data set 'labels'"));
    assert!(
        after(|f| f.dataset("train/labels").unwrap().resize(399).unwrap())
            .contains("/train: labels has shape [399], expected [400]")
    );
    let grown = |f: &hdf5::File| {
        f.dataset("train/tokens").unwrap().resize((1_usize << 40, 14)).unwrap();
    };
    assert!(after(grown).contains("rows"), "{}", after(grown));
    let label = |f: &hdf5::File| f.dataset("train/labels").unwrap().write(&vec![7_u32; 400]).unwrap();
    assert!(after(label).contains("label 7 of 3 classes"));
}

/// A program that does as `script` says instead of checking a file.
fn program(folder: &Path, script: &str) -> std::path::PathBuf {
    let path = folder.join("program");
    write_program(&path, &format!("#!/bin/sh\n{script}\n"));
    path
}

#[test]
fn a_child_that_crashes_loops_or_says_nothing_is_an_error_about_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    written(&path, &info(50), 600, 100);
    for (script, words) in [
        ("kill -SEGV $$", "damaged: the HDF5 library crashes on it"),
        ("kill -XCPU $$", "never finishes reading it"),
        ("exit 1", "the HDF5 library fails on it"),
        ("echo '{\"File\":\"damaged: /val\"}'", "tokens.h5: damaged: /val"),
    ] {
        let e = check_in_child_of(&program(folder.path(), script), &path).unwrap_err();
        assert!(e.to_string().contains("tokens.h5: ") && e.to_string().contains(words), "{script}: {e}");
        assert_eq!(e.exit_code(), 2);
    }
    let stopped = check_in_child_of(&program(folder.path(), "kill -INT $$"), &path).unwrap_err();
    assert_eq!(stopped.exit_code(), 3);
    check_in_child_of(Path::new(env!("CARGO_BIN_EXE_var-tokenizer")), &path).unwrap();
    // What is no HDF5 file is for the function that opens it.
    check_in_child_of(&program(folder.path(), "exit 1"), &folder.path().join("program")).unwrap();
}

#[test]
fn the_check_finds_damage_anywhere_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    let info = info(60_000);
    written(&path, &info, 600, 100);
    let mut bytes = std::fs::read(&path).unwrap();
    // The last held-out row's ids as they lie in the file.
    let row: Vec<u8> = rows(&info, 599, 1).tokens.iter().flat_map(|&id| (id as u16).to_le_bytes()).collect();
    let at = bytes.windows(row.len()).position(|window| window == row).expect("the row lies in the file");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let e = check_in_child_of(Path::new(env!("CARGO_BIN_EXE_var-tokenizer")), &path).unwrap_err();
    assert!(e.to_string().contains("/val is damaged or truncated; encode it again"), "{e}");
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    written(&path, &info(50), 1500, 100);
    let whole = std::fs::read(&path).unwrap();
    for eighth in 0..8 {
        std::fs::write(&path, &whole[..whole.len() * eighth / 8]).unwrap();
        let message = TokenFile::open(&path).unwrap_err().to_string();
        assert!(message.contains("truncated") && message.contains("encode it again"), "{message}");
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(TokenFile::open(&path).is_err());
}

#[test]
fn a_flipped_bit_in_the_tokens_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    let info = info(60_000);
    written(&path, &info, 600, 100);
    let mut bytes = std::fs::read(&path).unwrap();
    // A row's ids as they lie in the file.
    let row: Vec<u8> = rows(&info, 150, 1).tokens.iter().flat_map(|&id| (id as u16).to_le_bytes()).collect();
    let at = bytes.windows(row.len()).position(|window| window == row).expect("the row lies in the file");
    bytes[at + 7] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let message = TokenFile::open(&path).unwrap().read_split(Split::Train).unwrap_err().to_string();
    assert!(message.contains("/train is damaged"), "{message}");
}

#[test]
fn tokens_of_another_tokenizer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    written(&path, &info(50), 10, 10);
    let file = TokenFile::open(&path).unwrap();
    file.require_tokenizer(&"AB".repeat(32)).unwrap();
    let message = file.require_tokenizer(&"cd".repeat(32)).unwrap_err().to_string();
    assert!(
        message.contains("another tokenizer (SHA-256 abababababab…) than the given one (cdcdcdcdcdcd…)"),
        "{message}"
    );
}

const KILLED: &str = "VAR_TOKENIZER_TEST_KILLED_WRITER";

/// Not a test: the process that the next test kills.
#[test]
#[ignore = "run by a_writer_that_is_killed_again_and_again_loses_nothing"]
fn the_writer_that_is_killed() {
    let Some(path) = std::env::var_os(KILLED) else {
        return eprintln!("nothing to do: {KILLED} is not set");
    };
    let mut writer = TokenWriter::resume(Path::new(&path), info(4096)).unwrap();
    fill(&mut writer, 30_000, 10);
    writer.finish().unwrap();
}

#[test]
fn a_writer_that_is_killed_again_and_again_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.h5");
    let stream = Stream::new("kill", 0);
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut kills = 0;
    for attempt in 0.. {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tokens::the_writer_that_is_killed", "--ignored", "--quiet"])
            .env(KILLED, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Killed when the journal has grown by so much, or when the HDF5 file has; at last left alone.
        let grown = length(&partial_path(&path)) + stream.below(attempt, 150_000);
        let finishing = folder.path().join("tokens.h5.writing");
        let finished = stream.below(attempt, 800_000);
        let due = || match attempt % 4 {
            3 => length(&finishing) > finished,
            _ => length(&partial_path(&path)) > grown,
        };
        let (killed, status) = ends_or_is_killed(&mut child, || attempt < 40 && due());
        kills += u32::from(killed);
        if path.exists() {
            TokenFile::open(&path).expect("a file that is there is whole");
        }
        if status.success() {
            break;
        }
        assert!(attempt < 40, "the last attempt was left alone, but failed");
    }
    let direct = folder.path().join("direct.h5");
    written(&direct, &info(4096), 30_000, 10);
    assert!(everything(&path) == everything(&direct), "after {kills} kills the rows differ");

    assert!(!partial_path(&path).exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn going_on_after_a_cut_equals_one_go(
        steps in 1..40_usize, cut in any::<prop::sample::Index>(), garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (path, direct) = (folder.path().join("tokens.h5"), folder.path().join("direct.h5"));
        let info = info(70_000);
        let (until, step) = (500, steps);
        let mut writer = TokenWriter::create(&path, info.clone()).unwrap();
        fill(&mut writer, until, step);
        drop(writer);
        // Any end that a kill or a loss of power can leave: cut short, rubbish behind.
        let mut bytes = std::fs::read(partial_path(&path)).unwrap();
        bytes.truncate(cut.index(bytes.len() + 1));
        if bytes.len() > 1000 {
            bytes.extend(garbage);
        }
        std::fs::write(partial_path(&path), bytes).unwrap();
        let mut writer = TokenWriter::resume(&path, info.clone()).unwrap();
        prop_assert_eq!(writer.progress().position % step as u64, 0);
        fill(&mut writer, until, step);
        writer.finish().unwrap();
        written(&direct, &info, until, step);
        prop_assert_eq!(everything(&path), everything(&direct));
    }

    #[test]
    fn a_damaged_file_is_refused_or_reads_the_same(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.h5");
        written(&path, &info(50), 30, 5);
        let before = everything(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        // Where there is something: most of the file is empty space.
        let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
        for (index, byte) in changes {
            bytes[*index.get(&places)] = byte;
        }
        std::fs::write(&path, bytes).unwrap();
        let after = TokenFile::open(&path).and_then(|file| {
            let parts = Split::ALL.map(|split| file.read_rows(split, 0..file.rows(split)));
            let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok((file.info().clone(), parts))
        });
        if let Ok(after) = after {
            prop_assert_eq!(after, before);
        }
    }
}
