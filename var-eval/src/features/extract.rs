//! The pass over a set of images: images → network → `features.h5`.
//!
//! A second thread decodes the next batches on all cores while the network computes. A killed extraction can be resumed;
//! with the same batch size, its file has the same bytes in each data set.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use image::RgbImage;
use serde_json::json;
use sha2::{Digest, Sha256};
use tch::Tensor;
use var_tokenizer::images::{Bad, Decoded};
use var_tokenizer::progress::Progress;
use var_tokenizer::torch::check_finite;

use super::network::{Activations, FeatureNetwork};
use super::store::{DIGEST, FeatureFile, FeatureWriter, Rows, StoreInfo, bad_path};
use crate::error::{Error, Result};
use crate::inputs::pixels::bits;
use crate::inputs::set::{PictureSet, Read};

/// Images that are computed at once by default.
pub const BATCH: usize = 64;
/// Decoded batches that wait for the network.
const AHEAD: usize = 2;
/// How often to check for a stop while waiting for a batch.
const GLANCE: Duration = Duration::from_millis(100);
/// How many bad images a message names.
const NAMED: usize = 5;

/// What to extract, and where to.
#[derive(Debug)]
pub struct Extraction {
    /// The images.
    pub pictures: Arc<PictureSet>,
    /// The file to write.
    pub out: PathBuf,
    /// Images that are decoded, computed and stored at once.
    pub batch: usize,
    /// Delete an unfinished file and start over.
    pub restart: bool,
    /// The file is temporary: no message may name it.
    pub temporary: bool,
    /// Set from outside to end early.
    pub stop: Arc<AtomicBool>,
}

impl Extraction {
    /// Runs `network` over the images, or returns the finished file of an earlier call with the same images and network.
    ///
    /// # Errors
    /// When the file has other images or another network, no image can be read, libtorch fails, the disk is full, or after
    /// a stop ([`var_tokenizer::Error::Interrupted`]; the same call then resumes).
    pub fn run(&self, network: &dyn FeatureNetwork, progress: &mut Progress) -> Result<FeatureFile> {
        if self.batch == 0 {
            return Err(Error::config("batch 0: compute at least 1 image at once"));
        }
        let found = self.run_named(network, progress);
        if !self.temporary {
            return found;
        }
        let label = self.pictures.label();
        match (found, self.out.parent()) {
            (Err(e), Some(folder)) => Err(e.outside(folder, Path::new(label))),
            (found, _) => found.map(|file| file.called(label)),
        }
    }

    fn run_named(&self, network: &dyn FeatureNetwork, progress: &mut Progress) -> Result<FeatureFile> {
        let set = &self.pictures;
        let info = StoreInfo {
            network: network.identity().clone(),
            source: set.label().to_owned(),
            source_sha256: set.fingerprint(),
            pixels: set.rule(),
            asked: set.len() as u64,
            class_names: set.class_names().to_vec(),
        };
        if self.out.exists() && !self.restart {
            let found = FeatureFile::open(&self.out)?;
            if let Some(difference) = found.info().difference(&info) {
                let message = format!(
                    "was made with {difference}; choose another folder, or replace it with the restart option"
                );
                return Err(Error::file(&self.out, message));
            }
            let last = found.len().checked_sub(1);
            let digests = found.digests()?;
            let (row, index) = match last {
                Some(last) => (digests.row(last).to_vec(), found.indices()?.get(last).copied()),
                None => (Vec::new(), None),
            };
            if let (Some(digest), Some(index)) = (row.first_chunk::<DIGEST>(), index) {
                self.check_same(&self.out, *digest, index)?;
            }
            progress.note(&format!("{} holds the features already", self.out.display()));
            return Ok(found);
        }
        let mut writer = if self.restart {
            FeatureWriter::create(&self.out, info)?
        } else {
            FeatureWriter::resume(&self.out, info)?
        };
        let begin = usize::try_from(writer.progress().position).unwrap_or(usize::MAX).min(set.len());
        if let Some((digest, index)) = writer.progress().last {
            self.check_same(&super::store::partial_path(&self.out), digest, index)?;
        }
        if begin > 0 {
            progress.note(&format!("resuming after {begin} of {} images", set.len()));
        }
        progress.start(begin as u64, set.len() as u64);
        let outcome = self.fill(network, &mut writer, begin, progress);
        progress.finish();
        if let Err(e) = outcome {
            writer.sync()?;
            return Err(e);
        }
        self.tell_bad(&writer.progress().bad, progress);
        writer.finish()?;
        FeatureFile::open(&self.out)
    }

    fn fill(
        &self,
        network: &dyn FeatureNetwork,
        writer: &mut FeatureWriter,
        begin: usize,
        progress: &mut Progress,
    ) -> Result<()> {
        let batches = decode_ahead(Arc::clone(&self.pictures), begin, self.batch);
        let mut position = begin;
        let (started, mut waited) = (Instant::now(), Duration::ZERO);
        while position < self.pictures.len() {
            let asked = Instant::now();
            let Some(read) = self.next(&batches)? else {
                return Err(Error::config("decoding ended early: its thread failed"));
            };
            waited += asked.elapsed();
            let (rows, bad) = self.rows(network, position, read)?;
            position = (position + self.batch).min(self.pictures.len());
            writer.append(&rows, position as u64, &bad)?;
            progress.advance(position as u64, "images");
        }
        let share = waited.as_secs_f64() / started.elapsed().as_secs_f64().max(1e-9);
        progress.note(&format!("the network waited for images {:.1}% of the time", 100.0 * share));
        progress.event(
            &json!({"event": "extracted", "out": self.out.display().to_string(), "waiting_share": share}),
        );
        Ok(())
    }

    /// The next batch; `None` if the decoding thread has ended.
    fn next(&self, batches: &Receiver<Vec<Read>>) -> Result<Option<Vec<Read>>> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                let next = if self.temporary {
                    "the features were temporary, and nothing is kept".to_owned()
                } else {
                    format!(
                        "the features so far are next to {}. Run the same command to resume.",
                        self.out.display()
                    )
                };
                return Err(var_tokenizer::Error::Interrupted(next).into());
            }
            match batches.recv_timeout(GLANCE) {
                Ok(batch) => return Ok(Some(batch)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// The rows of a batch that begins at `position`.
    fn rows(
        &self,
        network: &dyn FeatureNetwork,
        position: usize,
        read: Vec<Read>,
    ) -> Result<(Rows, Vec<Bad>)> {
        let (mut rows, mut bad, mut pictures) = (Rows::default(), Vec::new(), Vec::with_capacity(read.len()));
        for (offset, picture) in read.into_iter().enumerate() {
            match picture {
                Ok(Decoded { image: picture, traits }) => {
                    let (index, label) = self.pictures.place(position + offset);
                    rows.indices.push(index);
                    rows.labels.push(label);
                    rows.sizes.extend([picture.width(), picture.height()]);
                    rows.digests.extend(digest(&picture));
                    rows.traits.push(bits(traits));
                    pictures.push(picture);
                }
                Err(reason) => bad.push(reason),
            }
        }
        if !pictures.is_empty() {
            let Activations { features, logits, spatial } = network.activations(&pictures)?;
            rows.features = features.iter().copied().collect();
            rows.logits = logits.iter().flatten().copied().collect();
            rows.spatial = spatial.iter().flatten().copied().collect();
            for (what, values) in
                [("features", &rows.features), ("logits", &rows.logits), ("spatial features", &rows.spatial)]
            {
                let last = (position + self.batch).min(self.pictures.len()) - 1;
                check_finite(&Tensor::f_from_slice(values)?, || {
                    let network = &network.identity().network;
                    format!(
                        "{what} of images {position} to {last} of {}, by {network}",
                        self.pictures.label()
                    )
                })?;
            }
        }
        Ok((rows, bad))
    }

    /// Names the first bad images, and the file that lists all.
    fn tell_bad(&self, bad: &[Bad], progress: &Progress) {
        if bad.is_empty() {
            return;
        }
        let mut text = format!("{} bad images skipped:", bad.len());
        for bad in bad.iter().take(NAMED) {
            text.push_str(&format!("\n  {}", bad.reason));
        }
        if !self.temporary {
            text.push_str(&format!("\nall of them are listed in {}", bad_path(&self.out).display()));
        } else if bad.len() > NAMED {
            text.push_str(&format!(
                "\n  and {} more; keep the features in a folder to get a list of all",
                bad.len() - NAMED
            ));
        }
        progress.note(&text);
    }

    /// Fails if image `index` of the source has changed since its features were computed.
    fn check_same(&self, file: &Path, known: [u8; DIGEST], index: u32) -> Result<()> {
        let position = (0..self.pictures.len()).find(|&position| self.pictures.place(position).0 == index);
        let read =
            position.and_then(|p| self.pictures.read(p..p + 1).pop()).and_then(std::result::Result::ok);
        if read.is_some_and(|read| digest(&read.image) == known) {
            return Ok(());
        }
        let message = format!(
            "holds features of other images: number {index} of {} has changed; start over with the restart option",
            self.pictures.label()
        );
        Err(Error::file(file, message))
    }
}

/// Batches of images from `begin` on, decoded by a second thread. It ends when the receiver is dropped.
fn decode_ahead(set: Arc<PictureSet>, begin: usize, batch: usize) -> Receiver<Vec<Read>> {
    let (sender, receiver) = sync_channel(AHEAD);
    // Not joined: a read that blocks must not keep the program from ending.
    std::thread::spawn(move || {
        let mut position = begin;
        while position < set.len() {
            let end = position.saturating_add(batch);
            if sender.send(set.read(position..end)).is_err() {
                return;
            }
            position = end;
        }
    });
    receiver
}

/// First half of the SHA-256 of the size and pixels of an image.
fn digest(picture: &RgbImage) -> [u8; DIGEST] {
    let mut sum = Sha256::new();
    sum.update(picture.width().to_le_bytes());
    sum.update(picture.height().to_le_bytes());
    sum.update(picture.as_raw());
    sum.finalize().first_chunk::<DIGEST>().copied().unwrap_or_default()
}
