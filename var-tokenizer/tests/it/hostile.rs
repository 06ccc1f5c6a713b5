//! Files made by strangers: nothing in them panics, aborts, or takes memory without bound.
//!
//! Valid files are damaged, often with their sums made right again, and then opened and read to the end.
//! HDF5 is a C library that crashes on some of them: it is called in a process of its own.

mod bombs;
mod h5;
mod memory;
mod mutate;
mod readers;
mod seeds;

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use mutate::{Seed, damage};

/// How a kind of file is read, and what it may cost.
struct Reader {
    /// Also the name of its fuzz target.
    name: &'static str,
    read: fn(&[u8]) -> bool,
    seeds: fn() -> Vec<Seed>,
    /// Memory that any file may take, in bytes; 16 times its size is added.
    memory: usize,
}

/// What is taken for small files of every kind.
const PLENTY: usize = 64 << 20;
/// An image may have 512 MB when decoded, and is then converted to RGB and turned upright.
const IMAGE: usize = 3 * (512 << 20);
/// A page of a Parquet file may have 2 GB when unpacked; its bytes are kept next to the image.
const PAGE: usize = IMAGE + (2 << 30);

const READERS: [Reader; 10] = [
    Reader { name: "npz", read: readers::npz, seeds: seeds::npz, memory: PLENTY },
    Reader { name: "parquet", read: readers::parquet, seeds: seeds::parquet, memory: PAGE },
    Reader { name: "list", read: readers::list, seeds: seeds::list, memory: PLENTY },
    Reader { name: "tar", read: readers::tar, seeds: seeds::tar, memory: IMAGE },
    Reader { name: "cifar", read: readers::cifar, seeds: seeds::cifar, memory: PLENTY },
    Reader { name: "image", read: readers::image, seeds: seeds::image, memory: IMAGE },
    Reader { name: "tokens_h5", read: readers::tokens_h5, seeds: seeds::tokens_h5, memory: PLENTY },
    Reader { name: "journal", read: readers::journal, seeds: seeds::journal, memory: PLENTY },
    Reader { name: "safetensors", read: readers::weights, seeds: seeds::safetensors, memory: PLENTY },
    Reader { name: "pickle", read: readers::weights, seeds: seeds::pickle, memory: PLENTY },
];

impl Reader {
    fn named(name: &str) -> &'static Self {
        READERS.iter().find(|reader| reader.name == name).unwrap()
    }

    /// Reads a file; an error when it took too much memory.
    fn check(&self, bytes: &[u8]) -> Result<bool, String> {
        let (peak, read) = memory::peak_of(|| (self.read)(bytes));
        let bound = self.memory + 16 * bytes.len();
        if peak > bound { Err(format!("took {peak} bytes of memory, {bound} are allowed")) } else { Ok(read) }
    }

    /// Reads the seeds as they are, then `cases` damaged ones.
    fn survives(&self, cases: u32) {
        let seeds = (self.seeds)();
        for seed in &seeds {
            assert_eq!(self.check(&seed.whole()), Ok(true), "{} is valid", seed.name);
        }
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&damage(), |(which, changes, sealed)| {
            let seed = which.get(&seeds);
            let outcome = self.check(&seed.damaged(&changes, sealed, &seeds));
            prop_assert!(outcome.is_ok(), "{}: {}", seed.name, outcome.unwrap_err());
            Ok(())
        });
        outcome.unwrap();
    }
}

/// Number of cases: `VAR_HOSTILE_CASES` or `usual`.
fn cases(usual: u32) -> u32 {
    std::env::var("VAR_HOSTILE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn damaged_npz_archives_are_read_or_refused() {
    Reader::named("npz").survives(cases(400));
}

#[test]
fn damaged_parquet_files_are_read_or_refused() {
    Reader::named("parquet").survives(cases(400));
}

#[test]
fn damaged_lists_are_read_or_refused() {
    Reader::named("list").survives(cases(200));
}

#[test]
fn damaged_tars_are_read_or_refused() {
    Reader::named("tar").survives(cases(400));
}

#[test]
fn damaged_cifar_batches_are_read_or_refused() {
    Reader::named("cifar").survives(cases(100));
}

#[test]
fn damaged_images_are_read_or_refused() {
    Reader::named("image").survives(cases(600));
}

#[test]
fn damaged_journals_are_gone_on_with_or_refused() {
    Reader::named("journal").survives(cases(150));
}

#[test]
fn damaged_token_files_are_read_or_refused() {
    Reader::named("tokens_h5").survives(cases(60));
}

#[test]
fn damaged_safetensors_are_read_or_refused() {
    Reader::named("safetensors").survives(cases(400));
}

#[test]
fn damaged_pickles_are_read_or_refused() {
    Reader::named("pickle").survives(cases(300));
}

/// Not a test: writes the seeds below the folder `VAR_FUZZ_CORPUS`, one folder a fuzz target.
#[test]
#[ignore = "makes the first corpus of the fuzz targets"]
fn the_seeds_are_written_for_fuzzing() {
    let Some(corpus) = std::env::var_os("VAR_FUZZ_CORPUS") else {
        return eprintln!("nothing to do: VAR_FUZZ_CORPUS is not set");
    };
    for reader in &READERS {
        let folder = Path::new(&corpus).join(reader.name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in (reader.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed.whole()).unwrap();
        }
    }
}
