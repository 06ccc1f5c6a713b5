//! The output files of `var-model edit`, checked before any computation.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use var_tokenizer::files::{check_place, with_suffix};

use super::request::{AreaRequest, EditRequest, MOST_VARIANTS, MOST_ZOOM};
use crate::error::{Error, Result};

/// The output files.
pub(super) struct Places {
    /// One file per variant; none without `--out`.
    pub(super) results: Vec<PathBuf>,
    /// The settings, next to the result, or without a result next to the strip.
    pub(super) record: PathBuf,
}

impl Places {
    /// The output files of `request`. Checks its numbers too.
    pub(super) fn of(request: &EditRequest) -> Result<Self> {
        request.options.validate()?;
        if !(1..=MOST_VARIANTS).contains(&request.variants) {
            return Err(Error::Config(format!(
                "--variants is {}; it must be from 1 to {MOST_VARIANTS}",
                request.variants
            )));
        }
        if !(1..=MOST_ZOOM).contains(&request.strip_zoom) {
            return Err(Error::Config(format!(
                "--strip-zoom is {}; it must be from 1 to {MOST_ZOOM}",
                request.strip_zoom
            )));
        }
        let results = match &request.out {
            None => Vec::new(),
            Some(out) if request.variants == 1 => vec![out.clone()],
            Some(out) => (0..request.variants).map(|n| numbered(out, n)).collect(),
        };
        let Some(first) = request.out.as_ref().or(request.strip.as_ref()) else {
            return Err(Error::Config("no place for the result; give --out, --strip or both".into()));
        };
        let record = with_suffix(first, ".json");
        let mut inputs = vec![&request.image];
        if let AreaRequest::Mask { path, .. } = &request.area {
            inputs.push(path);
        }
        for place in results.iter().chain(&request.strip) {
            if place.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
                let why = "a result is a PNG file; choose a name that ends in .png";
                return Err(Error::file(place, why));
            }
            check_place(place)?;
            let same = |input: &&PathBuf| matches!((input.canonicalize(), place.canonicalize()), (Ok(a), Ok(b)) if a == b);
            if inputs.iter().any(same) {
                let why = "would be overwritten by the result; choose another name";
                return Err(Error::file(place, why));
            }
        }
        if results.iter().any(|place| Some(place) == request.strip.as_ref()) {
            return Err(Error::Config("--out and --strip name the same file; name two".into()));
        }
        check_place(&record)?;
        Ok(Self { results, record })
    }
}

/// `edited.png` as `edited-3.png`.
fn numbered(out: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(out.file_stem().unwrap_or_default());
    name.push(format!("-{number}"));
    if let Some(ending) = out.extension() {
        name.push(".");
        name.push(ending);
    }
    out.with_file_name(name)
}
