//! TensorBoard event files: length-framed records with masked CRC-32C around small protobuf messages.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// Writes scalars and images to a new `events.out.tfevents.*` file.
#[derive(Debug)]
pub(crate) struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Creates a file in `folder`, and the folder if it is missing.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let seconds = now();
        let process = std::process::id();
        let path = folder.join(format!("events.out.tfevents.{:.6}.{process}", seconds));
        let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
        let mut writer = Self { path, file: BufWriter::new(file) };
        // Event { wall_time = 1 (double), file_version = 3 (string) }
        let mut event = fixed64(1, seconds.to_bits());
        event.extend(bytes(3, b"brain.Event:2"));
        writer.record(&event)?;
        Ok(writer)
    }

    /// Appends named scalars at `step`.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn scalars(&mut self, step: u64, values: &[(String, f32)]) -> Result<()> {
        // Event { wall_time = 1, step = 2 (int64), summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = bytes(1, tag.as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend(value.to_le_bytes());
            summary.extend(bytes(1, &entry));
        }
        self.summary(step, &summary)
    }

    /// Appends the PNG file `png`, of `width` × `height` pixels, as the image `tag` at `step`.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn image(
        &mut self,
        step: u64,
        tag: &str,
        (width, height): (u32, u32),
        png: &[u8],
    ) -> Result<()> {
        // Value { tag = 1, image = 4 { height = 1, width = 2, colorspace = 3 (RGB is 3), encoded_image_string = 4 } }
        let mut image = Vec::new();
        for (field, value) in [(1_u8, height), (2, width), (3, 3)] {
            image.push(field << 3);
            image.extend(varint(u64::from(value)));
        }
        image.extend(bytes(4, png));
        let mut entry = bytes(1, tag.as_bytes());
        entry.extend(bytes(4, &image));
        self.summary(step, &bytes(1, &entry))
    }

    fn summary(&mut self, step: u64, summary: &[u8]) -> Result<()> {
        let mut event = fixed64(1, now().to_bits());
        event.push(2 << 3);
        event.extend(varint(step));
        event.extend(bytes(5, summary));
        self.record(&event)
    }

    /// Writes buffered records to the file.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| Error::io(&self.path, e))
    }

    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut frame = Vec::with_capacity(data.len() + 16);
        frame.extend(length);
        frame.extend(masked_crc(&length).to_le_bytes());
        frame.extend(data);
        frame.extend(masked_crc(data).to_le_bytes());
        self.file.write_all(&frame).map_err(|e| Error::io(&self.path, e))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn bytes(field: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    out.extend(varint(data.len() as u64));
    out.extend(data);
    out
}

fn fixed64(field: u8, bits: u64) -> Vec<u8> {
    let mut out = vec![field << 3 | 1];
    out.extend(bits.to_le_bytes());
    out
}

/// CRC-32C (Castagnoli) of `data`, bit by bit: the records are small, and images are rare.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// The format stores the sum rotated and shifted by a constant.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_equals_the_published_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_file_starts_with_a_whole_version_record() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path()).unwrap();
        writer.scalars(7, &[("train/loss".into(), 1.5)]).unwrap();
        writer.flush().unwrap();
        let bytes = std::fs::read(&writer.path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(masked_crc(&bytes[..8]).to_le_bytes(), bytes[8..12]);
        assert_eq!(masked_crc(&bytes[12..12 + length]).to_le_bytes(), bytes[12 + length..16 + length]);
        assert!(bytes.windows(10).any(|w| w == b"train/loss"));
    }
}
