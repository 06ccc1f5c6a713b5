//! Held-out images through the tokenizer and back: a grid to look at, or a folder to score.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use image::RgbImage;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::data::images::{Batch, Framing, Grid, Report, Source, Split, View, from_tensor, write_png};
use crate::data::schedule::ScaleSchedule;
use crate::encode::{HELD_OUT, SPLIT_SEED, named};
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{check_place, sync_folder_of, write_atomically};
use crate::runtime::progress::Progress;
use crate::runtime::signals;
use crate::runtime::torch::{DeviceChoice, Precision};
use crate::vqvae::VqVae;

/// Folder of the images as the tokenizer sees them.
pub(crate) const ORIGINALS: &str = "originals";
/// Folder of their reconstructions, under the same names.
pub(crate) const RECONSTRUCTIONS: &str = "reconstructions";

/// Request of `var-tokenizer reconstruct`.
#[derive(Debug)]
pub struct ReconstructRequest {
    /// Images: a path or `emoji`. The held-out ones are used.
    pub data: String,
    /// Tokenizer file or `builtin`.
    pub tokenizer: String,
    /// Sides of the token maps, if not those of the tokenizer.
    pub schedule: Option<ScaleSchedule>,
    /// Grid file (PNG).
    pub out: Option<PathBuf>,
    /// New folder for every held-out image and its reconstruction.
    pub folder: Option<PathBuf>,
    /// Number of images in the grid.
    pub count: usize,
    /// Number of images reconstructed together for the folder.
    pub batch: usize,
    /// Device to compute on.
    pub device: DeviceChoice,
    /// Precision to compute in.
    pub precision: Precision,
}

/// Scores over values in [−1, 1].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Peak signal-to-noise ratio in dB, mean over images.
    pub psnr: f64,
    /// Absolute error, mean over images.
    #[serde(default)]
    pub l1: f64,
}

/// What a reconstruction did: the `done` event. Numbers are those of the folder, or of the grid when there is no
/// folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "done")]
pub struct ReconstructSummary {
    /// Scores of the images.
    pub scores: Scores,
    /// Number of images.
    pub images: usize,
    /// Number of images that cannot be read.
    #[serde(default)]
    pub bad: usize,
    /// The grid.
    pub out: Option<String>,
    /// The folder.
    pub folder: Option<String>,
}

/// Name of the [`ReconstructionRecord`] in the folder.
pub const RECORD: &str = "reconstruction.json";

/// What made the images of a folder; `var-eval` reads it for its warnings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReconstructionRecord {
    /// The tokenizer: a file, or `builtin`.
    pub tokenizer: String,
    /// SHA-256 of its file.
    pub tokenizer_sha256: String,
    /// The network of the perceptual loss that it was trained with; `None` if its file names none.
    pub perceptual_network: Option<String>,
}

/// The opened tokenizer and data set.
struct Work<'a> {
    request: &'a ReconstructRequest,
    record: ReconstructionRecord,
    vae: VqVae,
    source: Source,
    held_out: Vec<usize>,
    framing: Framing,
}

/// Writes what `request` asks for: a grid, a folder, or both. Names images that cannot be read through `progress`.
///
/// # Errors
/// When a place cannot be written or the folder is not empty, the data set or the tokenizer cannot be read, no held-out
/// image can be read, the tokenizer computes numbers that are not finite, or a signal asks to stop.
pub fn reconstruct(request: &ReconstructRequest, progress: &mut Progress) -> Result<ReconstructSummary> {
    if let Some(out) = &request.out {
        if out.extension().is_some_and(|ending| !ending.eq_ignore_ascii_case("png")) {
            return Err(Error::file(out, "a grid is a PNG image; end its name with .png"));
        }
        check_place(out)?;
    }
    if let Some(folder) = &request.folder {
        check_folder(folder)?;
    }
    let work = Work::open(request, progress)?;
    let mut done = Done::default();
    if let Some(out) = &request.out {
        done = work.grid(out, progress)?;
    }
    if let Some(folder) = &request.folder {
        done = work.folder(folder, progress)?;
    }
    let name = |place: &Option<PathBuf>| place.as_ref().map(|path| path.display().to_string());
    Ok(ReconstructSummary {
        scores: done.scores,
        images: done.images,
        bad: done.bad,
        out: name(&request.out),
        folder: name(&request.folder),
    })
}

/// Checks that a new folder can be made at `path`.
fn check_folder(path: &Path) -> Result<()> {
    match std::fs::read_dir(path).map(|entries| entries.count()) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Error::file(path, "is not empty; name a new folder, or delete it first")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => check_place(path),
        Err(e) => Err(Error::io(path, e)),
    }
}

impl<'a> Work<'a> {
    fn open(request: &'a ReconstructRequest, progress: &Progress) -> Result<Self> {
        let device = request.device.resolve()?;
        let opened = crate::builtin::open(&request.tokenizer, request.schedule.as_ref(), device)?;
        opened.notes.iter().for_each(|note| progress.note(&format!("note: {}: {note}", request.tokenizer)));
        let record = ReconstructionRecord {
            tokenizer: request.tokenizer.clone(),
            tokenizer_sha256: opened.sha256,
            perceptual_network: opened.perceptual_network,
        };
        let mut vae = opened.tokenizer;
        let framing = Framing::new(vae.config().image_side())?;
        let product = crate::encode::typical_product(&vae, request.batch);
        vae.set_compute_kind(request.precision.resolve(device, product)?);
        vae.freeze();
        let source = Source::open(&request.data)?;
        for note in source.notes() {
            progress.warn(&format!("{}: {note}", source.label()));
        }
        let held_out = source.partition(HELD_OUT, SPLIT_SEED)?.part(Split::Val).to_vec();
        if held_out.is_empty() {
            let message =
                "holds no held-out images: each class has only one image, and there is no folder val";
            return Err(Error::file(source.label(), message));
        }
        Ok(Self { request, record, vae, source, held_out, framing })
    }

    fn load(&self, indices: &[usize]) -> Batch {
        let items: Vec<(usize, View)> = indices.iter().map(|&index| (index, View::CENTRE)).collect();
        self.source.load_batch(&items, &self.framing)
    }

    /// Names the images that cannot be read. An error when none can be read.
    fn tell(&self, report: &Report, progress: &Progress) -> Result<()> {
        if !report.bad.is_empty() {
            progress.warn(&report.to_string());
        }
        if report.read > 0 {
            return Ok(());
        }
        Err(Error::file(self.source.label(), "holds no held-out image that can be read"))
    }

    /// Writes a grid. Each row shows an image, then its reconstruction after each scale.
    fn grid(&self, out: &Path, progress: &Progress) -> Result<Done> {
        let batch = self.load(&spread(&self.held_out, self.request.count));
        let mut report = Report::default();
        report.add(&batch);
        self.tell(&report, progress)?;
        let images = self.tensor(&batch);
        let ids = self.vae.encode(&images).map_err(|e| named(e, &self.request.tokenizer))?;
        let scales = self.vae.decode_scales(&ids).map_err(|e| named(e, &self.request.tokenizer))?;
        let scales = scales.to_device(Device::Cpu);
        let mut sums = Sums::default();
        sums.add(&images, &scales.select(1, self.vae.config().schedule.scales() as i64 - 1))?;
        let rows = Tensor::cat(&[images.unsqueeze(1), scales], 1);
        let columns = self.vae.config().schedule.scales() + 1;
        let mut grid = Grid::new(batch.len(), columns, self.framing.side())?;
        for (row, cells) in rows.unbind(0).iter().enumerate() {
            for (column, image) in from_tensor(cells)?.iter().enumerate() {
                grid.put_image(row, column, image)?;
            }
        }
        grid.write(out)?;
        Ok(sums.done(&report))
    }

    /// Writes all held-out images as the tokenizer sees them, and their reconstructions under the same names. The name
    /// of the folder ends with `.partial` until it is complete.
    fn folder(&self, folder: &Path, progress: &mut Progress) -> Result<Done> {
        let stop = signals::stop()?;
        let partial = crate::runtime::files::with_suffix(folder, ".partial");
        remove_own(&partial)?;
        let files = file_names(&self.source, &self.held_out);
        let (mut report, mut sums) = (Report::default(), Sums::default());
        let mut done = 0;
        progress.start(0, self.held_out.len() as u64);
        for part in self.held_out.chunks(self.request.batch.max(1)) {
            if stop.load(Ordering::Relaxed) {
                progress.finish();
                let message = format!(
                    "{done} of {} images are in {}; the same command starts again",
                    self.held_out.len(),
                    partial.display()
                );
                return Err(Error::Interrupted(message));
            }
            let batch = self.load(part);
            report.add(&batch);
            if !batch.is_empty() {
                let images = self.tensor(&batch);
                let ids = self.vae.encode(&images).map_err(|e| named(e, &self.request.tokenizer))?;
                let decoded = self.vae.decode(&ids).map_err(|e| named(e, &self.request.tokenizer))?;
                let decoded = decoded.to_device(Device::Cpu);
                sums.add(&images, &decoded)?;
                let pairs = from_tensor(&images)?.into_iter().zip(from_tensor(&decoded)?);
                for (&item, (original, reconstruction)) in batch.items.iter().zip(pairs) {
                    let file = part.get(item).and_then(|index| files.get(index));
                    let file = file.ok_or_else(|| Error::Config(format!("no image {item}")))?;
                    write_below(&partial.join(ORIGINALS), file, &original)?;
                    write_below(&partial.join(RECONSTRUCTIONS), file, &reconstruction)?;
                }
            }
            done += part.len();
            progress.advance(done as u64, "images");
        }
        progress.finish();
        self.tell(&report, progress)?;
        let text = serde_json::to_string_pretty(&self.record).map_err(|e| Error::Config(e.to_string()))?;
        std::fs::create_dir_all(&partial).map_err(|e| Error::io(&partial, e))?;
        write_atomically(&partial.join(RECORD), text.as_bytes())?;
        std::fs::rename(&partial, folder).map_err(|e| Error::io(folder, e))?;
        sync_folder_of(folder);
        Ok(sums.done(&report))
    }

    fn tensor(&self, batch: &Batch) -> Tensor {
        let side = self.framing.side() as i64;
        Tensor::from_slice(&batch.pixels).view([batch.len() as i64, 3, side, side])
    }
}

/// Returns `count` indices, evenly spread over `list`.
fn spread(list: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(list.len());
    (0..count).filter_map(|i| list.get((2 * i + 1) * list.len() / (2 * count)).copied()).collect()
}

/// The images of a grid or folder.
#[derive(Default)]
struct Done {
    scores: Scores,
    images: usize,
    bad: usize,
}

/// Sums of scores over images.
#[derive(Default)]
struct Sums {
    psnr: f64,
    l1: f64,
}

impl Sums {
    /// Adds originals and reconstructions, both `[B, 3, S, S]` in [−1, 1].
    fn add(&mut self, originals: &Tensor, reconstructions: &Tensor) -> Result<()> {
        let difference = (reconstructions - originals).flatten(1, -1);
        let mean = |t: Tensor| t.mean_dim([1_i64].as_slice(), false, Kind::Double);
        let psnr = (mean(difference.square()).clamp_min(1e-12).reciprocal() * 4.0).log10() * 10.0;
        self.psnr += psnr.sum(Kind::Double).f_double_value(&[])?;
        self.l1 += mean(difference.abs()).sum(Kind::Double).f_double_value(&[])?;
        Ok(())
    }

    fn done(&self, report: &Report) -> Done {
        let count = report.read.max(1) as f64;
        let scores = Scores { psnr: self.psnr / count, l1: self.l1 / count };
        Done { scores, images: report.read, bad: report.bad.len() }
    }
}

/// Returns a file name per image of `indices`: the folder of its class, then the rest of its name, with the ending
/// `png`. All names are different, and none leads out of the folder.
fn file_names(source: &Source, indices: &[usize]) -> BTreeMap<usize, PathBuf> {
    let mut taken = BTreeSet::new();
    let mut files = BTreeMap::new();
    for &index in indices {
        let Some(entry) = source.entries().get(index) else { continue };
        let class = source.classes().get(entry.class as usize).map_or("", String::as_str);
        let name = source.name(index);
        let parts: Vec<&str> = name.split('/').collect();
        let below = match parts.iter().position(|part| *part == class) {
            Some(place) if place + 1 < parts.len() => parts.get(place + 1..).unwrap_or_default().join("/"),
            _ => parts.join("-"),
        };
        let whole: PathBuf = std::iter::once(class).chain(below.split('/')).map(plain).collect();
        let mut file = whole.with_extension("png");
        if !taken.insert(file.clone()) {
            // `0.jpg` next to `0.png`.
            let mut longer = whole.into_os_string();
            longer.push(format!("-{index}.png"));
            file = longer.into();
            taken.insert(file.clone());
        }
        files.insert(index, file);
    }
    files
}

/// Changes a part of a path so that it is not hidden and does not lead elsewhere.
fn plain(part: &str) -> String {
    let part = part.replace(['/', '\0'], "-");
    if part.is_empty() || part.starts_with('.') { format!("_{part}") } else { part }
}

fn write_below(folder: &Path, file: &Path, image: &RgbImage) -> Result<()> {
    let path = folder.join(file);
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).map_err(|e| Error::io(above, e))?;
    }
    write_png(image, &path)
}

/// Removes the folder that an earlier call left at `partial`, unless it holds other files.
fn remove_own(partial: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(partial) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| Error::io(partial, e))?,
    };
    for entry in entries {
        let name = entry.map_err(|e| Error::io(partial, e))?.file_name();
        if ![ORIGINALS, RECONSTRUCTIONS, RECORD].iter().any(|own| name == *own) {
            let message = format!("holds {}, which reconstruct did not write; move it away", name.display());
            return Err(Error::file(partial, message));
        }
    }
    std::fs::remove_dir_all(partial).map_err(|e| Error::io(partial, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_a_grid_are_spread_over_the_whole_list() {
        let list: Vec<usize> = (0..15).collect();
        assert_eq!(spread(&list, 10), [0, 2, 3, 5, 6, 8, 9, 11, 12, 14]);
        assert_eq!(spread(&list, 3), [2, 7, 12]);
        assert_eq!(spread(&list, 100), list);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for part in ["..", ".", "", ".hidden", "a/b"] {
            let part = plain(part);
            assert!(!part.starts_with('.') && !part.contains('/') && !part.is_empty(), "{part}");
        }
    }
}
