//! `features.h5`: what is written comes back, and damage is found.

use std::path::Path;

use proptest::prelude::*;
use var_eval::features::network::Identity;
use var_eval::features::store::{DIGEST, FeatureFile, FeatureWriter, Rows, StoreInfo, bad_path};
use var_eval::inputs::pixels::{PixelRule, TraitCounts};
use var_tokenizer::h5::check::check_in_child_of;
use var_tokenizer::images::Bad;

fn info(network: &str) -> StoreInfo {
    let network = Identity {
        network: network.into(),
        weights_sha256: "0".repeat(64),
        preprocessing: "none".into(),
        width: 3,
        classes: 2,
        spatial: 0,
    };
    StoreInfo {
        network,
        source: "somewhere".into(),
        source_sha256: "1".repeat(64),
        pixels: PixelRule::Stored,
        asked: 23,
        class_names: vec!["é".into(), "b".into()],
    }
}

/// `n` rows from number `begin` on.
fn rows(begin: usize, n: usize) -> Rows {
    let numbers = |width: usize| {
        let range = begin * width..(begin + n) * width;
        range.map(move |i| ((i * 2_654_435_761) % 1009) as f32 / 7.0)
    };
    Rows {
        features: numbers(3).collect(),
        logits: numbers(2).collect(),
        spatial: Vec::new(),
        labels: (begin..begin + n).map(|i| (i % 2) as u32).collect(),
        indices: (begin..begin + n).map(|i| i as u32).collect(),
        sizes: (begin..begin + n).flat_map(|i| [i as u32 + 1, 2]).collect(),
        traits: vec![9; n],
        digests: (begin * DIGEST..(begin + n) * DIGEST).map(|i| (i % 251) as u8).collect(),
    }
}

fn write(path: &Path, batches: &[usize]) {
    let mut writer = FeatureWriter::create(path, info("a")).unwrap();
    let mut at = 0;
    for &n in batches {
        writer.append(&rows(at, n), (at + n) as u64, &[]).unwrap();
        at += n;
    }
    writer.finish().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn rows_come_back_however_they_were_appended(batches in prop::collection::vec(1_usize..40, 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.h5");
        write(&path, &batches);
        let n = batches.iter().sum();
        let (file, all) = (FeatureFile::open(&path).unwrap(), rows(0, n));
        prop_assert_eq!(file.len(), n);
        prop_assert_eq!(file.features().unwrap().into_raw_vec_and_offset().0, all.features);
        prop_assert_eq!(file.logits().unwrap().unwrap().into_raw_vec_and_offset().0, all.logits);
        prop_assert_eq!(file.labels().unwrap(), all.labels);
        prop_assert_eq!(file.sizes().unwrap().into_raw_vec_and_offset().0, all.sizes);
        prop_assert_eq!(file.statistics().is_ok(), n > 1);
        // Bits 1 and 8.
        let n = n as u64;
        prop_assert_eq!(file.traits(), TraitCounts { jpegs: n, deep: n, ..TraitCounts::default() });
        prop_assert_eq!(file.info().pixels, PixelRule::Stored);
    }
}

#[test]
fn every_cut_of_a_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.h5");
    write(&path, &[20, 3]);
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let message = FeatureFile::open(&path).unwrap_err().to_string();
        assert!(message.contains("f.h5"), "{length}: {message}");
    }
}

#[test]
fn a_changed_number_is_found_by_its_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.h5");
    write(&path, &[23]);
    let mut bytes = std::fs::read(&path).unwrap();
    let mark: Vec<u8> = rows(0, 23).features.iter().take(6).flat_map(|x| x.to_le_bytes()).collect();
    let at = bytes.windows(mark.len()).position(|part| part == mark).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let message = FeatureFile::open(&path).unwrap().features().unwrap_err().to_string();
    assert!(message.contains("/features"), "{message}");
}

#[test]
fn the_child_that_checks_a_file_reads_all_of_it_and_finds_a_changed_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.h5");
    write(&path, &[23]);
    let program = Path::new(env!("CARGO_BIN_EXE_var-eval"));
    check_in_child_of(program, &path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let all = rows(0, 23);
    let logits: Vec<u8> = all.logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    let sizes: Vec<u8> = all.sizes.iter().flat_map(|x| x.to_le_bytes()).collect();
    for set in [logits, sizes, all.digests] {
        let at = whole.windows(set.len()).position(|window| window == set).expect("it lies in the file");
        let mut bytes = whole.clone();
        bytes[at + 5] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let e = check_in_child_of(program, &path).unwrap_err();
        assert!(e.to_string().contains("f.h5: damaged; extract the features again"), "{e}");
    }
}

#[test]
fn an_unfinished_file_of_another_network_is_refused_and_bad_pictures_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.h5");
    let mut writer = FeatureWriter::create(&path, info("a")).unwrap();
    let bad = Bad { index: 5, name: "x.png".into(), reason: "no\npicture".into() };
    writer.append(&rows(0, 4), 5, std::slice::from_ref(&bad)).unwrap();
    assert!(FeatureWriter::resume(&path, info("a")).unwrap_err().to_string().contains("another process"));
    drop(writer);
    let message = FeatureWriter::resume(&path, info("b")).unwrap_err().to_string();
    assert!(message.contains("network a, now b"), "{message}");
    let mut writer = FeatureWriter::resume(&path, info("a")).unwrap();
    assert_eq!((writer.progress().position, &writer.progress().bad), (5, &vec![bad]));
    // Rows that do not fit change nothing.
    let mut short = rows(4, 2);
    short.features.pop();
    assert!(writer.append(&short, 9, &[]).is_err());
    writer.append(&rows(4, 2), 7, &[]).unwrap();
    writer.finish().unwrap();
    let file = FeatureFile::open(&path).unwrap();
    assert_eq!((file.len(), file.bad()), (6, 1));
    assert!(std::fs::read_to_string(bad_path(&path)).unwrap().starts_with("x.png\tno"));
}

#[test]
fn a_file_of_version_one_is_read_as_made_from_shown_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.h5");
    write(&path, &[5]);
    let file = hdf5::File::open_rw(&path).unwrap();
    file.attr("format_version").unwrap().write_scalar(&1_u32).unwrap();
    file.delete_attr("pixels").unwrap();
    file.close().unwrap();
    let file = FeatureFile::open(&path).unwrap();
    assert_eq!((file.info().pixels, file.traits().jpegs, file.traits().deep), (PixelRule::Shown, 5, 0));
    drop(file);
    let file = hdf5::File::open_rw(&path).unwrap();
    file.attr("format_version").unwrap().write_scalar(&3_u32).unwrap();
    file.close().unwrap();
    assert!(FeatureFile::open(&path).unwrap_err().to_string().contains("format version 3"));
}
