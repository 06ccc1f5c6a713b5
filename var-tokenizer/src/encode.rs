//! Pictures to a token file: resumable, with several views a picture where asked for.

mod statistics;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use crate::builtin;
use crate::error::{Error, Result};
use crate::files::hexadecimal;
use crate::images::{Bad, Framing, Report, Source, Split, View};
use crate::progress::Progress;
use crate::schedule::ScaleSchedule;
use crate::signals;
use crate::tokens::{Rows, TokenInfo, TokenWriter};
use crate::torch::{DeviceChoice, Precision};
use crate::vqvae::VqVae;

/// Share of each class that is held out where a source does not say.
pub const HELD_OUT: f64 = 0.1;
/// Seed of that division: the same for every run, so that a tokenizer never trains on what is scored.
pub const SPLIT_SEED: u64 = 0;

/// What `var-tokenizer encode` is told.
#[derive(Debug)]
pub struct EncodeRequest {
    /// Pictures: a path or `emoji`.
    pub data: String,
    /// Tokenizer file or `builtin`.
    pub tokenizer: String,
    /// Sides of the token maps, where the tokenizer's own are not meant.
    pub schedule: Option<ScaleSchedule>,
    /// Token file to write.
    pub out: PathBuf,
    /// Views of each training picture.
    pub crops: usize,
    /// Every other view is a mirror image.
    pub flip: bool,
    /// Most training pictures; 0: all.
    pub limit: usize,
    /// Most held-out pictures; 0: all.
    pub limit_held_out: usize,
    /// Seed of crops and limits.
    pub seed: u64,
    /// Pictures encoded at once.
    pub batch: usize,
    /// Start again instead of going on with an unfinished file.
    pub restart: bool,
    /// Where to compute.
    pub device: DeviceChoice,
    /// In what precision.
    pub precision: Precision,
}

/// Encodes, and returns the summary that `--json` prints: `train` and `val` (rows), `bad` (pictures left
/// out by this call), `images_per_second`, `out`. The bad pictures are listed in `OUT.bad.txt`.
///
/// # Errors
/// When the source or the tokenizer cannot be read, pictures do not fit, the disk is full, or a signal
/// asked to stop; the same call then goes on.
pub fn encode(request: &EncodeRequest, progress: &mut Progress) -> Result<Value> {
    if request.crops == 0 || request.batch == 0 || request.crops > usize::from(u16::MAX) {
        return Err(Error::Config("--crops and --batch must be at least 1, --crops at most 65535".into()));
    }
    let stop = signals::stop()?;
    let device = request.device.resolve()?;
    let opened = builtin::open(&request.tokenizer, request.schedule.as_ref(), device)?;
    opened.notes.iter().for_each(|note| progress.note(&format!("note: {}: {note}", request.tokenizer)));
    let mut vae = opened.tokenizer;
    let source = Source::open(&request.data)?;
    let limit = |n: usize| if n == 0 { usize::MAX } else { n };
    let parts = source.partition(HELD_OUT, SPLIT_SEED)?.limited(
        limit(request.limit),
        limit(request.limit_held_out),
        request.seed,
    );
    let compute = request.precision.resolve(device, typical_product(&vae, request.batch))?;
    vae.set_compute_kind(compute);
    vae.freeze();
    let config = vae.config().clone();
    let framing = Framing::new(config.image_side())?;
    // All views in the order in which they are encoded; a position in it is where a resume goes on.
    let mut views: Vec<(Split, usize, usize)> = Vec::new();
    for &index in &parts.train {
        views.extend((0..request.crops).map(|number| (Split::Train, index, number)));
    }
    views.extend(parts.val.iter().map(|&index| (Split::Val, index, 0)));
    let info = TokenInfo {
        schedule: config.schedule.clone(),
        vocabulary: config.vocabulary,
        latent_channels: config.latent_channels,
        tokenizer_sha256: opened.sha256,
        image_side: config.image_side(),
        crop_policy: format!(
            "{} of each training picture{}, seed {}; held out: centre",
            if request.crops == 1 { "centre".to_owned() } else { format!("{} views", request.crops) },
            if request.flip { ", odd ones mirrored" } else { "" },
            request.seed
        ),
        source: source.label().to_owned(),
        pictures_sha256: fingerprint(&source, &views),
        precision: Precision::name_of(compute).into(),
        class_names: source.classes().to_vec(),
        input_statistics: None,
    };
    let mut writer = if request.restart {
        TokenWriter::create(&request.out, info)?
    } else {
        TokenWriter::resume(&request.out, info)?
    };
    let mut position = writer.progress().position as usize;
    if position > 0 {
        progress.note(&format!("going on after {position} of {} pictures", views.len()));
    }
    progress.start(position as u64, views.len() as u64);
    let mut report = Report::default();
    let list = with_bad_suffix(&request.out);
    if position == 0 && list.exists() {
        std::fs::remove_file(&list).map_err(|e| Error::io(&list, e))?;
    }
    while position < views.len() {
        if stop.load(Ordering::Relaxed) {
            progress.finish();
            writer.sync()?;
            return Err(Error::Interrupted(format!(
                "{position} of {} views are safe beside {}; the same command goes on",
                views.len(),
                request.out.display()
            )));
        }
        let rest = views.get(position..).unwrap_or_default();
        let split = rest.first().map_or(Split::Train, |v| v.0);
        let part: Vec<(Split, usize, usize)> =
            rest.iter().take(request.batch).take_while(|v| v.0 == split).copied().collect();
        let items: Vec<(usize, View)> = part
            .iter()
            .map(|&(_, index, number)| (index, View::numbered(request.seed, index, number, request.flip)))
            .collect();
        let batch = source.load_batch(&items, &framing);
        let known = report.bad.len();
        report.add(&batch);
        append_bad(&list, report.bad.get(known..).unwrap_or_default())?;
        position += part.len();
        let mut rows = Rows { labels: batch.labels.clone(), ..Rows::default() };
        for &item in &batch.items {
            let (_, index, number) = part.get(item).copied().unwrap_or((split, 0, 0));
            rows.sources.push(index as u32);
            rows.crops.push(number as u16);
        }
        if !batch.is_empty() {
            let side = config.image_side() as i64;
            let images = Tensor::from_slice(&batch.pixels).view([batch.len() as i64, 3, side, side]);
            let ids = vae.encode(&images)?.to_kind(Kind::Int).flatten(0, -1);
            let ids: Vec<i32> = Vec::try_from(ids)?;
            rows.tokens = ids.into_iter().map(|id| id as u32).collect();
        }
        writer.append(split, &rows, position as u64)?;
        progress.advance(position as u64, "images");
    }
    let rate = progress.rate();
    progress.finish();
    let rows = writer.progress();
    progress.note("measuring mean and deviation of the transformer's input vectors");
    match statistics::measure(&vae, &writer, &parts.train, request.seed)? {
        Some(statistics) => writer.finish_with(statistics)?,
        None => writer.finish()?,
    }
    if !report.bad.is_empty() {
        progress.note(&format!("{report}\nall of them are listed in {}", list.display()));
    }
    Ok(json!({
        "event": "done", "train": rows.train, "val": rows.val, "bad": report.bad.len(),
        "images_per_second": rate, "out": request.out.display().to_string(),
    }))
}

/// `OUT.bad.txt`: name and reason of every picture left out, separated by a tab.
fn with_bad_suffix(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".bad.txt");
    name.into()
}

/// Adds bad pictures to the list, as they are met.
fn append_bad(list: &Path, bad: &[Bad]) -> Result<()> {
    if bad.is_empty() {
        return Ok(());
    }
    let lines: String = bad.iter().map(|bad| format!("{}\t{}\n", bad.name, bad.reason)).collect();
    let open = std::fs::OpenOptions::new().create(true).append(true).open(list);
    open.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(|e| Error::io(list, e))
}

/// SHA-256 over the list of pictures and which views of which of them are encoded.
fn fingerprint(source: &Source, views: &[(Split, usize, usize)]) -> String {
    let mut sum = Sha256::new();
    sum.update(source.fingerprint());
    for &(split, index, number) in views {
        sum.update([u8::from(split == Split::Val)]);
        sum.update((index as u64).to_le_bytes());
        sum.update((number as u64).to_le_bytes());
    }
    hexadecimal(&sum.finalize())
}

/// A matrix product `[rows, inner, columns]` like those of the first level's convolutions for `batch`
/// pictures, to measure precisions on.
pub fn typical_product(vae: &VqVae, batch: usize) -> [i64; 3] {
    let side = vae.config().image_side() as i64;
    let width = vae.config().channels as i64;
    [(batch as i64 * side * side).min(65_536), 9 * width, width]
}

/// Reconstructs `count` pictures out of `pixels`, `[count, 3, S, S]` in [-1, 1].
///
/// Gives `[count, 1 + K, 3, S, S]` on the CPU, the original before the picture after each scale, and the
/// scores of the last: `psnr` (dB, mean over pictures) and `l1` (mean absolute error).
///
/// # Errors
/// When the pictures do not have the tokenizer's side, or libtorch fails.
pub fn reconstruct(
    vae: &VqVae,
    pixels: &[f32],
    count: usize,
) -> Result<(Tensor, BTreeMap<&'static str, f64>)> {
    let side = vae.config().image_side() as i64;
    let images = Tensor::from_slice(pixels).view([count as i64, 3, side, side]);
    let scales = vae.decode_scales(&vae.encode(&images)?)?.to_device(tch::Device::Cpu);
    let last = scales.select(1, vae.config().schedule.scales() as i64 - 1);
    let squares = (&last - &images).square().mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Double);
    let psnr = ((squares.clamp_min(1e-12).reciprocal() * 4.0).log10() * 10.0).mean(Kind::Double);
    let l1 = (&last - &images).abs().mean(Kind::Double).double_value(&[]);
    let scores = BTreeMap::from([("psnr", psnr.double_value(&[])), ("l1", l1)]);
    // Original first, then after each scale: [B, 1 + K, 3, S, S].
    Ok((Tensor::cat(&[images.unsqueeze(1), scales], 1), scores))
}
