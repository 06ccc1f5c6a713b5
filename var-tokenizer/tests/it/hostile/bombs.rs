//! Files that are made to do harm: each asks for far more memory than it is long.

use npyz::zip::CompressionMethod::{Deflated, Stored};
use var_tokenizer::images::Source;

use super::{Reader, seeds};

/// Holds `reader` to refusing `bytes`, within the memory of any small file.
fn refused(reader: &str, bytes: &[u8]) {
    let reader = Reader { memory: super::PLENTY, ..*Reader::named(reader) };
    assert_eq!(reader.check(bytes), Ok(false));
}

/// An npz with one array of this header and data.
fn array(header: &str, data: &[u8]) -> Vec<u8> {
    let mut npy = b"\x93NUMPY\x01\0".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend(data);
    seeds::zip(&[("arr_0.npy", npy)], Deflated)
}

#[test]
fn a_header_of_four_gigabytes_is_refused() {
    let npy = b"\x93NUMPY\x02\0\xff\xff\xff\xff{}".to_vec();
    refused("npz", &seeds::zip(&[("arr_0.npy", npy.clone())], Stored));
    let images = seeds::npy(&[0_u8; 27], &[1, 3, 3, 3]);
    refused("npz", &seeds::zip(&[("arr_0.npy", images), ("labels.npy", npy)], Stored));
}

#[test]
fn a_header_that_nests_without_end_is_refused() {
    // The parser would try every way of reading it, for hours.
    refused("npz", &array(&format!("{}1{}", "{1:".repeat(10_000), "}".repeat(10_000)), b""));
    refused("npz", &array(&format!("{}1{}", "{1:".repeat(100), "}".repeat(100)), b""));
}

#[test]
fn an_archive_that_names_millions_of_arrays_is_refused() {
    // The 64-bit end, its locator, the end, behind nothing that counts.
    let count = 1_000_000_u64;
    let mut bytes = b"PK".to_vec();
    bytes.resize(count as usize + 1, 0);
    let place = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44_u64.to_le_bytes());
    bytes.extend([0; 12]);
    for number in [count, count, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(place.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([0xff; 12]);
    bytes.extend([0; 2]);
    refused("npz", &bytes);
}

#[test]
fn millions_of_images_of_one_pixel_in_a_small_npz_are_refused() {
    let count = 20_000_000;
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, 1, 1), }}\n");
    let bytes = array(&header, &vec![0; count]);
    assert!(bytes.len() < 100_000);
    refused("npz", &bytes);
}

#[test]
fn a_name_of_a_hundred_megabytes_is_refused() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    let name = vec![b'a'; 100 << 20];
    refused("tar", &seeds::gzip(&seeds::tar_of(header, &[("x", name)])));
}

#[test]
fn a_batch_of_cifar_that_unpacks_to_much_takes_little_memory() {
    let names =
        ["data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"];
    let mut files = vec![("data_batch_1.bin", vec![0; 3073 * 40_000])];
    files.extend(names.map(|name| (name, vec![0; 3073])));
    let bytes = seeds::gzip(&seeds::tar_of(tar::Header::new_ustar(), &files));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar.gz");
    std::fs::write(&path, bytes).unwrap();
    let (peak, source) = super::memory::peak_of(|| Source::open(&path).unwrap());
    assert_eq!(source.len(), 40_005);
    assert!(peak < super::PLENTY, "{peak}");
}

#[test]
fn a_block_that_claims_a_gigabyte_ends_the_journal() {
    let mut bytes = seeds::journal().swap_remove(0).bytes;
    let rows = 50_000_000_u32;
    let per_row = 2 * super::readers::info().length() as u32 + 10;
    bytes.extend((rows * per_row).to_le_bytes());
    bytes.push(0);
    bytes.extend(rows.to_le_bytes());
    bytes.extend([0; 100]);
    assert_eq!(Reader::named("journal").check(&bytes), Ok(true));
}
