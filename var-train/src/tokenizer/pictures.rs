//! Batches of images for the tokenizer's training.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use tch::Tensor;
use var_tokenizer::images::{Bad, Batch, Framing, Report, Source, Split, View};

use crate::error::{Error, Result};
use crate::settings::TokenizerRun;

/// Largest data set that is kept decoded in memory, in bytes.
const LARGEST_CACHE: usize = 2 << 30;
/// Images decoded at once while the cache is filled.
const CHUNK: usize = 1024;
/// Images checked first: their sizes usually show whether cropping matters.
const FIRST: usize = 16;

/// One part of a source, framed to squares.
#[derive(Debug)]
pub(crate) struct Pictures {
    source: Arc<Source>,
    indices: Vec<usize>,
    framing: Framing,
    random_crop: bool,
    /// All images decoded, `3·S·S` bytes each, if no random crop applies and they fit into memory.
    cache: Option<Vec<u8>>,
    report: RefCell<Report>,
}

impl Pictures {
    /// Training and held-out part of `source`, as `var-tokenizer encode` divides it.
    ///
    /// # Errors
    /// When the source cannot be divided.
    pub(crate) fn split(source: Source, settings: &TokenizerRun) -> Result<(Self, Self)> {
        let parts = source.partition(var_tokenizer::encode::HELD_OUT, var_tokenizer::encode::SPLIT_SEED)?;
        let source = Arc::new(source);
        let side = settings.tokenizer.image_side();
        let make = |split: Split, random_crop: bool| {
            Self::new(Arc::clone(&source), parts.part(split).to_vec(), side, random_crop)
        };
        Ok((make(Split::Train, settings.recipe.random_crop)?, make(Split::Val, false)?))
    }

    fn new(source: Arc<Source>, indices: Vec<usize>, side: usize, random_crop: bool) -> Result<Self> {
        let framing = Framing::new(side)?;
        let mut pictures =
            Self { source, indices, framing, random_crop, cache: None, report: RefCell::default() };
        let bytes = pictures.indices.len().saturating_mul(3 * side * side);
        if bytes <= LARGEST_CACHE {
            pictures.fill_cache();
        }
        Ok(pictures)
    }

    /// Decodes all images, and removes unreadable ones from the list. Ends without a cache at the first image with room
    /// for a random crop.
    fn fill_cache(&mut self) {
        let mut cache =
            Vec::with_capacity(self.indices.len() * 3 * self.framing.side() * self.framing.side());
        let mut kept = Vec::with_capacity(self.indices.len());
        let mut report = Report::default();
        // A few images usually show whether cropping matters.
        let (few, rest) = self.indices.split_at(FIRST.min(self.indices.len()));
        for part in std::iter::once(few).chain(rest.chunks(CHUNK)) {
            let items: Vec<(usize, View)> = part.iter().map(|&i| (i, View::CENTRE)).collect();
            let batch = self.source.load_batch(&items, &self.framing);
            if self.random_crop && batch.framed > 0 {
                return;
            }
            report.add(&batch);
            kept.extend(batch.items.iter().filter_map(|&item| part.get(item).copied()));
            cache.extend(batch.pixels.iter().map(|&x| ((x + 1.0) * 127.5).round() as u8));
        }
        self.report = RefCell::new(report);
        self.indices = kept;
        self.cache = Some(cache);
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it has no images.
    pub(crate) fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Whether every image has the side of the training, so that a random crop has no effect.
    pub(crate) fn is_exact(&self) -> bool {
        self.random_crop && self.is_decoded()
    }

    /// Whether all images were decoded at the start, the same ones on every rank.
    pub(crate) fn is_decoded(&self) -> bool {
        self.cache.is_some()
    }

    /// Bytes of the images that are kept decoded.
    pub(crate) fn decoded_bytes(&self) -> usize {
        self.cache.as_ref().map_or(0, Vec::len)
    }

    /// Number of images in the source, unreadable ones and those of other parts included.
    pub(crate) fn of_source(&self) -> usize {
        self.source.entries().len()
    }

    /// Places in the source of the images skipped so far.
    pub(crate) fn left_out(&self) -> BTreeSet<usize> {
        self.report.borrow().bad.iter().map(|bad| bad.index).collect()
    }

    /// Notes the images that an earlier process skipped, by their places in the source.
    ///
    /// # Errors
    /// When all images are decoded at the start and other ones are skipped: the order of examples would change.
    pub(crate) fn recall(&self, earlier: &BTreeSet<usize>) -> Result<()> {
        let now = self.left_out();
        let name = |index: &usize| self.source.name(*index);
        if self.cache.is_some()
            && let Some(index) = now.symmetric_difference(earlier).next()
        {
            return Err(Error::config(format!(
                "{}: {} images could not be read when the run started, and {} cannot now (first change: {}); restore \
                 the files, or start another run",
                self.source.label(),
                earlier.len(),
                now.len(),
                name(index)
            )));
        }
        for index in earlier.difference(&now) {
            let items = [(*index, View::CENTRE)];
            let mut batch = self.source.load_batch(&items, &self.framing);
            if batch.bad.is_empty() {
                let reason = format!("{}: could not be read before the resume", name(index));
                batch.bad.push(Bad { index: *index, name: name(index).into_owned(), reason });
            }
            self.report.borrow_mut().add(&Batch { bad: batch.bad, ..Batch::default() });
        }
        Ok(())
    }

    /// Which images could be read so far, and which could not.
    pub(crate) fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Augmented images `[B, 3, S, S]` in [-1, 1] for `picks` = (position, epoch): random crops, and with `flip` half of
    /// them mirrored.
    ///
    /// # Errors
    /// When none of them can be read.
    pub(crate) fn batch(&self, picks: &[(usize, u64)], seed: u64, flip: bool) -> Result<Tensor> {
        let view = |index: usize, epoch: u64| {
            let view = View::random(seed, epoch, index, flip);
            if self.random_crop { view } else { View { placement: View::CENTRE.placement, ..view } }
        };
        self.load(picks, view)
    }

    /// Centred images `[B, 3, S, S]` in [-1, 1].
    ///
    /// # Errors
    /// When none of them can be read.
    pub(crate) fn centred(&self, picks: &[(usize, u64)]) -> Result<Tensor> {
        self.load(picks, |_, _| View::CENTRE)
    }

    fn load(&self, picks: &[(usize, u64)], view: impl Fn(usize, u64) -> View) -> Result<Tensor> {
        let side = self.framing.side();
        let size = 3 * side * side;
        let items: Vec<(usize, usize, View)> = picks
            .iter()
            .filter_map(|&(place, epoch)| {
                let index = *self.indices.get(place)?;
                Some((place, index, view(index, epoch)))
            })
            .collect();
        let mut pixels: Vec<f32> = Vec::with_capacity(items.len() * size);
        match &self.cache {
            Some(cache) => {
                for (place, _, view) in &items {
                    let Some(picture) = cache.get(place * size..(place + 1) * size) else { continue };
                    // The same bits as `to_unit`.
                    let unit = |b: &u8| f32::from(*b) / 255.0 * 2.0 - 1.0;
                    if view.mirrored {
                        picture.chunks(side).for_each(|row| pixels.extend(row.iter().rev().map(unit)));
                    } else {
                        pixels.extend(picture.iter().map(unit));
                    }
                }
            }
            None => {
                let views: Vec<(usize, View)> = items.iter().map(|&(_, index, view)| (index, view)).collect();
                let batch = self.source.load_batch(&views, &self.framing);
                self.report.borrow_mut().add(&batch);
                pixels = batch.pixels;
                // The first readable image replaces unreadable ones.
                if pixels.len() >= size {
                    let first: Vec<f32> = pixels.iter().take(size).copied().collect();
                    batch.bad.iter().for_each(|_| pixels.extend(&first));
                }
            }
        }
        if pixels.len() != items.len() * size || items.is_empty() {
            let report = self.report();
            return Err(Error::config(format!("no image of a batch is readable: {report}")));
        }
        let side = side as i64;
        Ok(Tensor::from_slice(&pixels).view([items.len() as i64, 3, side, side]))
    }
}
