//! What the Parquet library reads a file through.

use std::io::BufReader;
use std::io::Read;

use ::bytes::Bytes;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};

use super::super::blob::Blob;

/// Bytes that are read for the header of a page.
const HEADER: usize = 1 << 12;

/// The bytes of a file.
#[derive(Debug)]
pub(super) struct Chunks(pub(super) Blob);

/// The bytes of a file from a place on.
pub(super) struct Rest {
    blob: Blob,
    at: u64,
}

impl Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.blob.read_some(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.length()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Rest>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::with_capacity(HEADER, Rest { blob: self.0.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.0.read(start, length as u64);
        bytes.map(Bytes::from).map_err(|e| ParquetError::External(Box::new(e)))
    }
}
