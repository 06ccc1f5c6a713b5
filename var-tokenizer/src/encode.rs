//! Encodes images into a token file, with one or more views per image. An interrupted encode resumes.

mod omissions;
mod statistics;
mod views;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use omissions::Omissions;
use views::{Item, views};

pub(crate) use omissions::list_of;
pub(crate) use statistics::Measure;

use crate::data::images::{Framing, Partition, Source, Split, View};
use crate::data::schedule::ScaleSchedule;
use crate::data::tokens::{Rows, START_OVER, Shard, TokenFile, TokenInfo, TokenWriter, partial_path};
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{check_lasting_place, hexadecimal};
use crate::runtime::progress::Progress;
use crate::runtime::torch::{DeviceChoice, Precision};
use crate::vqvae::VqVae;
use crate::{builtin, h5, signals};

/// Share of each class that is held out when the source has no parts of its own.
pub const HELD_OUT: f64 = 0.1;
/// Seed of that division. It is the same for every run, so that a tokenizer never trains on held-out images.
pub const SPLIT_SEED: u64 = 0;

/// Request of `var-tokenizer encode`.
#[derive(Debug)]
pub struct EncodeRequest {
    /// Images: a path or `emoji`.
    pub data: String,
    /// Tokenizer file or `builtin`.
    pub tokenizer: String,
    /// Sides of the token maps, if not those of the tokenizer.
    pub schedule: Option<ScaleSchedule>,
    /// Token file to write.
    pub out: PathBuf,
    /// Views of each training image.
    pub crops: usize,
    /// Mirror every second view.
    pub flip: bool,
    /// Maximum number of training images; 0: all.
    pub limit: usize,
    /// Maximum number of held-out images; 0: all.
    pub limit_held_out: usize,
    /// Seed of crops and limits.
    pub seed: u64,
    /// Number of images encoded together.
    pub batch: usize,
    /// Part of the images that this call encodes, into a token file of its own; none: all.
    pub shard: Option<Shard>,
    /// Delete an unfinished file and start again.
    pub restart: bool,
    /// Device to compute on.
    pub device: DeviceChoice,
    /// Precision to compute in.
    pub precision: Precision,
}

impl EncodeRequest {
    /// Encodes one view of every image of `data` with `tokenizer` into the token file `out`, in f32 on the processor.
    pub fn new(data: impl AsRef<Path>, tokenizer: impl AsRef<Path>, out: impl AsRef<Path>) -> Self {
        Self {
            data: data.as_ref().display().to_string(),
            tokenizer: tokenizer.as_ref().display().to_string(),
            schedule: None,
            out: out.as_ref().to_owned(),
            crops: 1,
            flip: false,
            limit: 0,
            limit_held_out: 0,
            seed: 0,
            batch: 64,
            shard: None,
            restart: false,
            device: DeviceChoice::Cpu,
            precision: Precision::F32,
        }
    }
}

/// What an encode did: the `done` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "done")]
pub struct EncodeSummary {
    /// Training rows in the file.
    pub train: usize,
    /// Held-out rows in the file.
    pub val: usize,
    /// Images that cannot be read and are not in the file. `OUT.bad.txt` lists them.
    pub bad: usize,
    /// Images per second of this call.
    pub images_per_second: f64,
    /// The token file.
    pub out: String,
}

/// Encodes the images of a source into a token file.
///
/// # Errors
/// When the source or the tokenizer cannot be read, the images do not fit, a computed value is not finite, the disk is
/// full, the files of an earlier call are missing or belong to another request, or a signal asks to stop. The same call
/// then resumes.
pub fn encode(request: &EncodeRequest, progress: &mut Progress) -> Result<EncodeSummary> {
    check_settings(request)?;
    check_out(request)?;
    let stop = signals::stop()?;
    let device = request.device.resolve()?;
    let opened = builtin::open(&request.tokenizer, request.schedule.as_ref(), device)?;
    opened.notes.iter().for_each(|note| progress.note(&format!("note: {}: {note}", request.tokenizer)));
    let mut vae = opened.tokenizer;
    let framing = Framing::new(vae.config().image_side())?;
    vae.set_compute_kind(request.precision.resolve(device, typical_product(&vae, request.batch))?);
    vae.freeze();
    let source = Source::open(&request.data)?;
    for note in source.notes() {
        progress.warn(&format!("{}: {note}", source.label()));
    }
    let limit = |n: usize| if n == 0 { usize::MAX } else { n };
    let parts = source.partition(HELD_OUT, SPLIT_SEED)?.limited(
        limit(request.limit),
        limit(request.limit_held_out),
        request.seed,
    );
    if parts.train.is_empty() {
        return Err(Error::file(source.label(), "has no training images, only held-out ones"));
    }
    let all = views(&parts, request.crops);
    let info = info(request, &vae, opened.sha256, &source, &all);
    let views = match request.shard {
        None => all,
        Some(shard) => views(&share(&parts, shard), request.crops),
    };
    let (mut writer, mut omissions) = begin(request, info, &source, &views, progress)?;
    let mut position = writer.progress().position as usize;
    progress.start(position as u64, views.len() as u64);
    while position < views.len() {
        if stop.load(Ordering::Relaxed) {
            progress.finish();
            writer.sync()?;
            return Err(Error::Interrupted(format!(
                "{position} of {} views are saved next to {}; the same command resumes",
                views.len(),
                request.out.display()
            )));
        }
        let rest = views.get(position..).unwrap_or_default();
        let split = rest.first().map_or(Split::Train, |view| view.split);
        let part: Vec<Item> =
            rest.iter().take(request.batch).take_while(|view| view.split == split).copied().collect();
        let items: Vec<(usize, View)> = part
            .iter()
            .map(|view| (view.index, View::numbered(request.seed, view.index, view.number, request.flip)))
            .collect();
        let batch = source.load_batch(&items, &framing);
        omissions.add(&source, &part, &batch)?;
        position += part.len();
        let mut rows = Rows { labels: batch.labels.clone(), ..Rows::default() };
        for view in batch.items.iter().filter_map(|&item| part.get(item)) {
            rows.sources.push(view.index as u32);
            rows.crops.push(view.number as u16);
        }
        if !batch.is_empty() {
            let side = framing.side() as i64;
            let images = Tensor::from_slice(&batch.pixels).view([batch.len() as i64, 3, side, side]);
            let ids = vae.encode(&images).map_err(|e| named(e, &request.tokenizer))?;
            let ids: Vec<i32> = Vec::try_from(ids.to_kind(Kind::Int).flatten(0, -1))?;
            rows.tokens = ids.into_iter().map(|id| id as u32).collect();
        }
        writer.append(split, &rows, position as u64)?;
        progress.advance(position as u64, "images");
    }
    let rate = progress.rate();
    progress.finish();
    if let Some(sentence) = omissions.sentence() {
        progress.warn(&sentence);
    }
    let rows = writer.progress();
    if rows.train == 0 && request.shard.is_none() {
        let message = format!(
            "no training image can be read; {} lists the reasons. Repair the images, then run the same command again",
            omissions.list().display()
        );
        return Err(Error::file(source.label(), message));
    }
    // Other parts may have images of a class: the join knows.
    if request.shard.is_none()
        && let Some(sentence) = omissions.lost_classes(&source, &views)
    {
        progress.warn(&sentence);
    }
    finish(request, writer, &vae, &parts.train, omissions.count(), progress)?;
    Ok(EncodeSummary {
        train: rows.train,
        val: rows.val,
        bad: omissions.count(),
        images_per_second: rate,
        out: request.out.display().to_string(),
    })
}

/// Makes the token file of the rows in `writer`. `train` has all training images, also those of other parts; `bad` is the
/// number of images that cannot be read.
fn finish(
    request: &EncodeRequest,
    writer: TokenWriter,
    vae: &VqVae,
    train: &[usize],
    bad: usize,
    progress: &Progress,
) -> Result<()> {
    let chosen = statistics::chosen(train, request.seed);
    if request.shard.is_some() {
        let mut sample = Vec::new();
        statistics::visit(&writer, &chosen, |row, _| {
            sample.push(row);
            Ok(())
        })?;
        return writer.finish_part(&sample, bad);
    }
    progress.note("measuring mean and deviation of the transformer's input vectors");
    let mut measure = Measure::new(vae);
    let measured = statistics::visit(&writer, &chosen, |_, ids| measure.add(ids));
    match measured.and_then(|()| measure.finish()).map_err(|e| named(e, &request.tokenizer))? {
        Some(statistics) => writer.finish_with(statistics),
        None => writer.finish(),
    }
}

/// Returns a part's share of the images.
fn share(parts: &Partition, shard: Shard) -> Partition {
    let of = |list: &[usize]| list.get(shard.share(list.len())).unwrap_or_default().to_vec();
    Partition { train: of(&parts.train), val: of(&parts.val) }
}

/// Refuses settings that are out of range or do not fit together.
fn check_settings(request: &EncodeRequest) -> Result<()> {
    if request.crops == 0 || request.batch == 0 || request.crops > usize::from(u16::MAX) {
        return Err(Error::Config("crops must be from 1 to 65535, and batch at least 1".into()));
    }
    if request.shard.is_some() && request.precision == Precision::Auto {
        let message = "precision auto may choose another one for each part, and such parts never join; name f32 or \
                       bf16, the same for all parts";
        return Err(Error::Config(message.into()));
    }
    Ok(())
}

/// Checks that a token file may be written at `request.out`.
fn check_out(request: &EncodeRequest) -> Result<()> {
    check_target(&request.out)?;
    if request.restart {
        return Ok(());
    }
    if let Some(found) = found_at(&request.out)?.filter(|found| *found != request.shard) {
        let what = |shard: Option<Shard>| shard.map_or("a whole one".into(), |shard| format!("part {shard}"));
        let message = format!(
            "is a finished token file, {}, and would be replaced by {}; name another output, or {START_OVER}",
            what(found),
            what(request.shard)
        );
        return Err(Error::file(&request.out, message));
    }
    omissions::check_fresh(&request.out)
}

/// Returns which part the token file at `out` is, if there is one.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn found_at(out: &Path) -> Result<Option<Option<Shard>>> {
    if !holds(out) {
        return Ok(None);
    }
    let file = TokenFile::open_part(out).map_err(in_the_way)?;
    Ok(Some(file.info().shard))
}

/// Says of a file at the output that cannot be read what to do.
#[doc(hidden)]
pub fn in_the_way(e: Error) -> Error {
    match e {
        Error::File { path, message } => {
            let message = format!("exists and cannot be read ({message}). Delete it or name another output");
            Error::file(path, message)
        }
        other => other,
    }
}

/// Whether a file with content is at `out`.
fn holds(out: &Path) -> bool {
    std::fs::metadata(out).is_ok_and(|found| found.is_file() && found.len() > 0)
}

/// Checks that `out` may be replaced by a token file.
///
/// # Errors
/// When it is a folder or another kind of file, or its folder cannot be written.
pub(crate) fn check_target(out: &Path) -> Result<()> {
    check_lasting_place(out)?;
    // A mistyped name must not overwrite images or weights.
    if holds(out) && !h5::is_hdf5(out)? {
        return Err(Error::file(out, "exists and is not a token file; name another output"));
    }
    Ok(())
}

/// Returns the attributes of the token file.
fn info(request: &EncodeRequest, vae: &VqVae, sha256: String, source: &Source, views: &[Item]) -> TokenInfo {
    let config = vae.config();
    TokenInfo {
        schedule: config.schedule.clone(),
        vocabulary: config.vocabulary,
        latent_channels: config.latent_channels,
        tokenizer_sha256: sha256,
        image_side: config.image_side(),
        crop_policy: format!(
            "{} of each training picture{}, seed {}; held out: centre",
            if request.crops == 1 { "centre".to_owned() } else { format!("{} views", request.crops) },
            if request.flip { ", odd ones mirrored" } else { "" },
            request.seed
        ),
        source: source.label().to_owned(),
        pictures_sha256: fingerprint(source, views),
        precision: Precision::name_of(vae.compute_kind()).into(),
        class_names: source.classes().to_vec(),
        input_statistics: None,
        shard: request.shard,
    }
}

/// Returns the writer at the place where an earlier call stopped, and the images that this call could not read.
fn begin(
    request: &EncodeRequest,
    info: TokenInfo,
    source: &Source,
    views: &[Item],
    progress: &Progress,
) -> Result<(TokenWriter, Omissions)> {
    let mut writer = if request.restart {
        TokenWriter::create(&request.out, info)?
    } else {
        TokenWriter::resume(&request.out, info)?
    };
    let at = writer.progress();
    let dealt = views.get(..at.position as usize).ok_or_else(|| {
        Error::file(partial_path(&request.out), format!("has more views than the images give; {START_OVER}"))
    })?;
    if dealt.len() == views.len() && at.train == 0 && request.shard.is_none() {
        // This journal can never become a token file.
        progress.warn("an earlier call could not read any training image; this call starts over");
        writer.clear()?;
    } else if !dealt.is_empty() {
        progress.note(&format!("resuming after {} of {} images", dealt.len(), views.len()));
        let omissions = Omissions::resume(&request.out, source, dealt, &writer)?;
        return Ok((writer, omissions));
    }
    let omissions = Omissions::start(&request.out)?;
    Ok((writer, omissions))
}

/// Adds the name of the tokenizer to an error about values that are not finite.
pub(crate) fn named(e: Error, tokenizer: &str) -> Error {
    match e {
        Error::NotFinite { what, found } => Error::NotFinite { what: format!("{tokenizer}: {what}"), found },
        other => other,
    }
}

/// Returns the SHA-256 over the list of images and the encoded views.
fn fingerprint(source: &Source, views: &[Item]) -> String {
    let mut sum = Sha256::new();
    sum.update(source.fingerprint());
    for view in views {
        sum.update([u8::from(view.split == Split::Val)]);
        sum.update((view.index as u64).to_le_bytes());
        sum.update((view.number as u64).to_le_bytes());
    }
    hexadecimal(&sum.finalize())
}

/// Returns the size `[rows, inner, columns]` of a matrix product like those in the convolutions of the first level for
/// `batch` images, to measure precisions with.
pub(crate) fn typical_product(vae: &VqVae, batch: usize) -> [i64; 3] {
    let side = vae.config().image_side() as i64;
    let width = vae.config().channels as i64;
    [(batch as i64 * side * side).min(65_536), 9 * width, width]
}
