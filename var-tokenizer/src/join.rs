//! Joins the parts that `encode` wrote with a shard: the result is what one process writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::data::images::{Split, pattern};
use crate::data::tokens::{InputStatistics, JoinedWriter, TokenFile, TokenInfo, difference};
use crate::encode::{self, Measure, named};
use crate::runtime::error::{Error, Result};
use crate::runtime::files::write_atomically;
use crate::runtime::progress::Progress;
use crate::runtime::torch::{DeviceChoice, Precision};
use crate::{builtin, signals};

/// Rows that are copied in one go.
const STRIP: usize = 4096;
/// Numbers of parts that a message gives.
const NAMED: usize = 8;

/// Request of `var-tokenizer join`.
#[derive(Debug)]
pub struct JoinRequest {
    /// All parts, in any order.
    pub parts: Vec<PathBuf>,
    /// Tokenizer file or `builtin`: the one that made the parts. The statistics of the input vectors need it.
    pub tokenizer: String,
    /// Token file to write.
    pub out: PathBuf,
    /// Device to compute the statistics on.
    pub device: DeviceChoice,
}

/// What a join did: the `done` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "done")]
pub struct JoinSummary {
    /// Number of parts.
    pub parts: usize,
    /// Training rows in the file.
    pub train: usize,
    /// Held-out rows in the file.
    pub val: usize,
    /// Images that cannot be read, of all parts.
    pub bad: usize,
    /// How many of them this join wrote to `OUT.bad.txt`: all, if all lists are next to their parts.
    pub listed: usize,
    /// The token file.
    pub out: String,
}

/// Returns the token files that `inputs` stand for: files, folders with `.h5` files, and patterns. Skips `out` in folders
/// and among the files that match a pattern.
///
/// # Errors
/// When a folder has no such file or cannot be read, a pattern matches nothing, or `out` is named.
pub fn parts(inputs: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let target = place(out);
    let mut parts = Vec::new();
    for input in inputs {
        let spec = input.to_str().unwrap_or_default();
        let found = if input.is_dir() {
            in_folder(input)?
        } else if !input.exists() && pattern::is_pattern(spec) {
            // A folder among them is an error when it is opened.
            let found = pattern::files(spec)?;
            [found.files, found.folders].concat()
        } else {
            if place(input) == target {
                return Err(Error::file(input, "is named as a part and as the output; name another output"));
            }
            vec![input.clone()]
        };
        parts.extend(found.into_iter().filter(|part| place(part) != target));
    }
    Ok(parts)
}

/// Returns the `.h5` files of `folder`, sorted, without hidden ones.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io(folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|ending| ending == "h5") {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Error::file(folder, "holds no token files (*.h5)"));
    }
    found.sort_unstable();
    Ok(found)
}

/// Joins the parts of a token file.
///
/// # Errors
/// When a part is missing, unfinished or there twice, or was made from other images or with other settings; when the
/// tokenizer is another one; when the disk is full, or a signal asks to stop. `out` is then as it was.
pub fn join(request: &JoinRequest, progress: &mut Progress) -> Result<JoinSummary> {
    encode::check_target(&request.out)?;
    if let Some(Some(shard)) = encode::found_at(&request.out)? {
        return Err(Error::file(
            &request.out,
            format!("is part {shard} of a token file; name another output"),
        ));
    }
    let stop = signals::stop()?;
    let files = in_order(&request.parts)?;
    let Some(first) = files.first() else { return Err(Error::Config("no parts to join".into())) };
    let mut info = TokenInfo { shard: None, ..first.info().clone() };
    first.require_tokenizer(&builtin::digest(&request.tokenizer)?)?;
    info.input_statistics = statistics(request, &info, &files)?;
    let rows = Split::ALL.map(|split| files.iter().map(|file| file.rows(split)).sum::<usize>());
    let mut writer = JoinedWriter::create(&request.out, &info, rows)?;
    progress.start(0, rows.iter().sum::<usize>() as u64);
    let mut done = 0;
    let mut present = vec![false; info.classes()];
    for split in Split::ALL {
        for file in &files {
            let count = file.rows(split);
            for begin in (0..count).step_by(STRIP) {
                if stop.load(Ordering::Relaxed) {
                    progress.finish();
                    return Err(Error::Interrupted("nothing was written; the parts are as they were".into()));
                }
                let strip = file.read_rows(split, begin..count.min(begin + STRIP))?;
                writer.append(split, &strip)?;
                for &label in &strip.labels {
                    present.get_mut(label as usize).into_iter().for_each(|class| *class = true);
                }
                done += strip.len() as u64;
                progress.advance(done, "rows");
            }
        }
    }
    progress.finish();
    writer.finish()?;
    let bad = files.iter().map(TokenFile::unreadable).sum();
    let listed = join_lists(&files, &request.out, progress)?;
    let names = info.class_names.iter().zip(present).filter(|(_, present)| !present);
    let lost: Vec<String> = names.map(|(name, _)| format!("'{name}'")).collect();
    if bad > 0 && !lost.is_empty() {
        progress.warn(&format!("warning: these classes have no image in the file: {}", some(lost)));
    }
    let [train, val] = rows;
    Ok(JoinSummary { parts: files.len(), train, val, bad, listed, out: request.out.display().to_string() })
}

/// Returns some of `names`, and how many more there are.
fn some(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let list = names.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

/// Measures the input vectors of the samples of all parts, in their order, as one encode does.
fn statistics(
    request: &JoinRequest,
    info: &TokenInfo,
    files: &[TokenFile],
) -> Result<Option<InputStatistics>> {
    let device = request.device.resolve()?;
    let mut vae = builtin::open(&request.tokenizer, Some(&info.schedule), device)?.tokenizer;
    let precision: Precision = info.precision.parse()?;
    vae.set_compute_kind(precision.resolve(device, encode::typical_product(&vae, 1))?);
    vae.freeze();
    let mut measure = Measure::new(&vae);
    for file in files {
        for row in file.sample()? {
            let row = row as usize;
            measure.add(&file.read_rows(Split::Train, row..row + 1)?.tokens)?;
        }
    }
    measure.finish().map_err(|e| named(e, &request.tokenizer))
}

/// Opens the parts and sorts them by their numbers.
///
/// # Errors
/// When they are not all parts of one token file, each once.
fn in_order(paths: &[PathBuf]) -> Result<Vec<TokenFile>> {
    let mut found: BTreeMap<u32, TokenFile> = BTreeMap::new();
    for path in paths {
        let file = TokenFile::open_part(path)?;
        let shard = file.info().shard.ok_or_else(|| {
            Error::file(
                path,
                "is a whole token file, not a part; give only files that encode wrote with a shard",
            )
        })?;
        if let Some(first) = found.values().next() {
            let of = first.info().shard.map_or(0, |shard| shard.of());
            if shard.of() != of {
                let message = format!("is part {shard}, but {} is one of {of} parts", first.path().display());
                return Err(Error::file(path, message));
            }
            // The same images may be at another place on each machine: their hash tells.
            let own = TokenInfo {
                shard: first.info().shard,
                source: first.info().source.clone(),
                ..file.info().clone()
            };
            if let Some((what, before, now)) = difference(first.info(), &own) {
                let message = format!(
                    "does not belong to {}: {what} differs ({before} there, {now} here)",
                    first.path().display()
                );
                return Err(Error::file(path, message));
            }
        }
        if let Some(twice) = found.insert(shard.index(), file) {
            let message = format!("is part {shard}, as {} is; name each part once", twice.path().display());
            return Err(Error::file(path, message));
        }
    }
    let Some(shard) = found.values().next().and_then(|file| file.info().shard) else { return Ok(Vec::new()) };
    let missing: Vec<String> =
        (1..=shard.of()).filter(|index| !found.contains_key(index)).map(|index| index.to_string()).collect();
    if !missing.is_empty() {
        let list = some(missing);
        let first = found.into_values().next().map(|file| file.path().to_owned()).unwrap_or_default();
        return Err(Error::file(
            first,
            format!("is part {shard}, but these parts are missing: {list}; encode them first"),
        ));
    }
    Ok(found.into_values().collect())
}

/// Joins the lists of unreadable images next to the parts, and returns how many images it wrote. Unless all lists are
/// there, a list that is already next to `out` stays.
fn join_lists(files: &[TokenFile], out: &Path, progress: &Progress) -> Result<usize> {
    let (mut all, mut wrong) = (String::new(), Vec::new());
    for file in files {
        let list = encode::list_of(file.path());
        let lines = match std::fs::read(&list) {
            Ok(lines) => String::from_utf8_lossy(&lines).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(list, e)),
        };
        let (found, expected) = (lines.lines().count(), file.unreadable());
        if found != expected {
            wrong.push(format!("{} ({found} of {expected} images)", list.display()));
        }
        all.push_str(&lines);
    }
    let list = encode::list_of(out);
    if !wrong.is_empty() {
        let stays = list.exists();
        let result = match (stays, all.is_empty()) {
            (true, _) => format!("{} stays as it is", list.display()),
            (false, true) => format!("{} is not written", list.display()),
            (false, false) => format!("{} has only the others", list.display()),
        };
        progress.warn(&format!(
            "warning: lists of unreadable images are missing or do not fit their parts: {}. {result}; copy the lists \
             next to the parts and join again for all names",
            some(wrong)
        ));
        if stays {
            return Ok(0);
        }
    }
    if all.is_empty() {
        match std::fs::remove_file(&list) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(list, e)),
            _ => return Ok(0),
        }
    }
    write_atomically(&list, all.as_bytes())?;
    Ok(all.lines().count())
}
