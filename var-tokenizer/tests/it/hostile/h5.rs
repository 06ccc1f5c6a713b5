//! HDF5 files for the tests: the sums of their metadata, and our format in the oldest layout, without sums.

use hdf5::types::FixedUnicode;
use hdf5::{File, H5Type};

use super::mutate::Seal;
use super::readers;

/// Marks of structures that end with a sum.
const MARKS: [&[u8; 4]; 13] = [
    b"\x89HDF", b"OHDR", b"OCHK", b"FRHP", b"FHIB", b"BTHD", b"BTLF", b"BTIN", b"FAHD", b"FADB", b"EAHD",
    b"EAIB", b"EADB",
];
/// Longest structure that is looked at.
const LONGEST: usize = 4096;

/// The sums over metadata in a whole file, found by trying every length.
pub fn seals(bytes: &[u8]) -> Vec<Seal> {
    let mut seals = Vec::new();
    for begin in 0..bytes.len().saturating_sub(8) {
        let rest = &bytes[begin..];
        if rest.starts_with(b"FHDB") {
            // Its sum stands in its head, and is taken over all of it.
            for (field, size) in [13, 14, 15, 16, 17, 18, 19, 20, 21]
                .into_iter()
                .flat_map(|f| [512, 1024, 2048, 4096].map(|s| (f, s)))
            {
                let Some(block) = rest.get(..size) else { continue };
                let mut blank = block.to_vec();
                blank[field..field + 4].fill(0);
                if lookup3(&blank) == block[field..field + 4] {
                    seals.push(Seal { over: begin..begin + size, at: begin + field, sum: lookup3, blank: 0 });
                }
            }
        } else if MARKS.iter().any(|mark| rest.starts_with(*mark)) {
            let longest = LONGEST.min(rest.len() - 4);
            let found = (8..longest).find(|&length| lookup3(&rest[..length]) == rest[length..length + 4]);
            seals.extend(found.map(|length| Seal {
                over: begin..begin + length,
                at: begin + length,
                sum: lookup3,
                blank: 0,
            }));
        }
    }
    seals
}

/// The sum that HDF5 takes of its metadata: Jenkins' lookup3.
fn lookup3(bytes: &[u8]) -> Vec<u8> {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let word = |piece: &[u8], i: usize| {
        (0..4).map(|j| u32::from(piece.get(4 * i + j).copied().unwrap_or(0)) << (8 * j)).sum::<u32>()
    };
    let mut rest = bytes;
    while rest.len() > 12 {
        (a, b, c) =
            (a.wrapping_add(word(rest, 0)), b.wrapping_add(word(rest, 1)), c.wrapping_add(word(rest, 2)));
        for (x, y, z, turn) in
            [(0, 2, 1, 4), (1, 0, 2, 6), (2, 1, 0, 8), (0, 2, 1, 16), (1, 0, 2, 19), (2, 1, 0, 4)]
        {
            let mut v = [a, b, c];
            v[x] = v[x].wrapping_sub(v[y]) ^ v[y].rotate_left(turn);
            v[y] = v[y].wrapping_add(v[z]);
            [a, b, c] = v;
        }
        rest = &rest[12..];
    }
    if !rest.is_empty() {
        (a, b, c) =
            (a.wrapping_add(word(rest, 0)), b.wrapping_add(word(rest, 1)), c.wrapping_add(word(rest, 2)));
        for (x, y, turn) in
            [(2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24)]
        {
            let mut v = [a, b, c];
            v[x] = (v[x] ^ v[y]).wrapping_sub(v[y].rotate_left(turn));
            [a, b, c] = v;
        }
    }
    c.to_le_bytes().to_vec()
}

/// A token file as h5py writes it unless told otherwise: B-trees and heaps without sums.
pub fn oldest_layout() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.h5");
    let info = readers::info();
    let file =
        File::with_options().with_fapl(|p| p.libver_earliest().file_locking(false)).create(&path).unwrap();
    let number =
        |name: &str, value: u32| file.new_attr::<u32>().create(name).unwrap().write_scalar(&value).unwrap();
    number("format_version", 1);
    number("complete", 1);
    number("vocabulary", info.vocabulary as u32);
    number("latent_channels", info.latent_channels as u32);
    number("image_side", info.image_side as u32);
    file.new_attr_builder().with_data(&[1_u32, 2]).create("schedule").unwrap();
    let text = |text: &str| text.parse::<FixedUnicode<64>>().unwrap();
    for (name, value) in [
        ("tokenizer_sha256", &info.tokenizer_sha256),
        ("crop_policy", &info.crop_policy),
        ("source", &info.source),
    ] {
        file.new_attr::<FixedUnicode<64>>().create(name).unwrap().write_scalar(&text(value)).unwrap();
    }
    let names: Vec<_> = info.class_names.iter().map(|name| text(name)).collect();
    file.new_attr_builder().with_data(&names).create("class_names").unwrap();
    for part in ["train", "val"] {
        let group = file.create_group(part).unwrap();
        let rows = readers::rows(&info, 40);
        let tokens: Vec<u16> = rows.tokens.iter().map(|&id| id as u16).collect();
        let tokens = ndarray::Array2::from_shape_vec((40, info.length()), tokens).unwrap();
        group
            .new_dataset_builder()
            .with_data(&tokens)
            .chunk((16, info.length()))
            .deflate(4)
            .create("tokens")
            .unwrap();
        column(&group, "labels", &rows.labels);
        column(&group, "source", &rows.sources);
        column(&group, "crop", &rows.crops);
    }
    file.close().unwrap();
    std::fs::read(&path).unwrap()
}

fn column<T: H5Type>(group: &hdf5::Group, name: &str, values: &[T]) {
    group.new_dataset_builder().with_data(values).create(name).unwrap();
}

#[test]
fn the_sums_of_our_files_are_found() {
    let bytes = super::seeds::token_file(300);
    let found = seals(&bytes);
    let marks: Vec<_> = found
        .iter()
        .map(|seal| String::from_utf8_lossy(&bytes[seal.over.start..seal.over.start + 4]))
        .collect();
    for mark in ["OHDR", "FHDB", "BTLF"] {
        assert!(marks.iter().any(|found| found == mark), "{mark}: {marks:?}");
    }
    assert!(found.len() >= 12, "{marks:?}");
}
