//! `var-model edit`: parts of a photo generated anew.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use image::RgbImage;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use var_tokenizer::files::{check_place, sha256_of, write_atomically};
use var_tokenizer::images::{Grid, from_unit, read_picture, resize, to_unit, write_png};
use var_tokenizer::progress::Progress;
use var_tokenizer::torch::Precision;
use var_tokenizer::{VqVae, builtin};

use crate::edit::{Area, FractionBox, Plan, Region};
use crate::error::{Error, Result};
use crate::sampling::{Draws, Sampler, SamplingOptions};
use crate::source::{Loaded, ModelSource};

/// Most variants of one call.
pub const MOST_VARIANTS: usize = 64;
/// Largest enlargement of a strip.
pub const MOST_ZOOM: u32 = 16;
/// Most logits of one scale that are drawn from at once: 1 GiB.
const MOST_LOGITS: usize = 1 << 28;

/// What is to be generated, as a person names it.
#[derive(Debug, Clone)]
pub enum AreaRequest {
    /// A box, its inside or with `outpaint` its outside.
    Box {
        /// The box.
        bounds: FractionBox,
        /// Whether the outside is generated.
        outpaint: bool,
    },
    /// A picture whose white pixels are generated, with `invert` all others.
    Mask {
        /// The picture.
        path: PathBuf,
        /// Whether white keeps.
        invert: bool,
    },
}

/// What `var-model edit` is told.
#[derive(Debug)]
pub struct EditRequest {
    /// Model, tokenizer and class names.
    pub source: ModelSource,
    /// The photo.
    pub image: PathBuf,
    /// What of it is generated.
    pub area: AreaRequest,
    /// Class by number or name; none for "no class".
    pub class: Option<String>,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// Seed; variant `n` is picture number `n` under it.
    pub seed: u64,
    /// How many results, 1 to [`MOST_VARIANTS`].
    pub variants: usize,
    /// Whether the generated part is put into the photo; by default unless the photo has the model's side.
    pub blend: Option<bool>,
    /// Pixels over which the border is soft.
    pub feather: Option<u32>,
    /// Result (PNG); numbered where there are several.
    pub out: Option<PathBuf>,
    /// All in one row (PNG).
    pub strip: Option<PathBuf>,
    /// How many times the strip is enlarged, 1 to [`MOST_ZOOM`].
    pub strip_zoom: u32,
}

/// Edits a photo; what was done, as the `done` event of `--json`.
///
/// # Errors
/// When a file is missing, damaged or does not fit, the class is unknown, an option is out of range, or a
/// result cannot be written; whether its folder can be is looked at first.
pub fn edit(request: &EditRequest, progress: &mut Progress) -> Result<Value> {
    let places = Places::of(request)?;
    let photo = read_picture(&request.image)?;
    let mut notes = Vec::new();
    let area = read_area(&request.area, &photo, &mut notes)?;
    let Loaded { model, tokenizer, names } = request.source.load(request.variants)?;
    let config = model.config();
    let label = class_label(request.class.as_deref(), &names, config.classes)?;
    let sampler = Sampler::new(&model, &tokenizer)?;
    let side = tokenizer.config().image_side();
    let plan = Plan::new(photo, &area, side as u32, config.schedule.last_side())?;
    let blends = request.blend.unwrap_or(request.feather.is_some() || !plan.is_native());
    describe(&plan, blends, side, &mut notes);
    for note in &notes {
        progress.note(&format!("note: {note}"));
    }
    let mut strip = Grid::new(1, request.variants + 2, side)?;
    let square = plan.square()?;
    strip.put_picture(0, 0, &square)?;
    strip.put_picture(0, 1, &plan.hatched()?)?;
    let weights = blends.then(|| plan.weights(request.feather));

    let began = Instant::now();
    let ids = encode(&tokenizer, &square)?;
    let kept = plan.mask().kept(ids, &config.schedule)?;
    let last_scale = config.schedule.range(config.schedule.scales() - 1).len();
    let at_once = (MOST_LOGITS / (last_scale * config.vocabulary)).clamp(1, MOST_VARIANTS);
    let numbers: Vec<u64> = (0..request.variants as u64).collect();
    let mut results = Vec::new();
    progress.start(0, request.variants as u64);
    for chunk in numbers.chunks(at_once) {
        let draws = Draws::new(request.seed, chunk.to_vec());
        let labels = vec![label; chunk.len()];
        let sample = sampler.sample_around(&labels, &draws, &request.options, Some(&kept))?;
        for (number, generated) in chunk.iter().zip(pictures(&sample.images, side)?) {
            let (result, shown) = match &weights {
                Some(weights) => {
                    let result = plan.blended(&generated, weights)?;
                    let shown = plan.square_of(&result)?;
                    (result, shown)
                }
                None => (generated.clone(), generated),
            };
            strip.put_picture(0, *number as usize + 2, &shown)?;
            if let Some(path) = places.results.get(*number as usize) {
                write_png(&result, path)?;
                results.push(json!({"picture": number, "file": file(path)?}));
            }
            progress.advance(number + 1, "pictures");
        }
    }
    progress.finish();
    let seconds = began.elapsed().as_secs_f64();
    if let Some(path) = &request.strip {
        let (width, height) = strip.picture().dimensions();
        let (width, height) = (width * request.strip_zoom, height * request.strip_zoom);
        write_png(&resize::resize(strip.picture(), width, height, resize::Filter::Nearest)?, path)?;
    }
    let class = usize::try_from(label).ok().filter(|&n| n < config.classes);
    let record = json!({
        "program": concat!("var-model ", env!("CARGO_PKG_VERSION")),
        "image": file(&request.image)?,
        "area": area_record(&request.area)?,
        "window": plan.window(),
        "generated_pixels": plan.region().count(),
        "generated_cells": plan.mask().generated(),
        "cells": plan.mask().side().pow(2),
        "class": class,
        "class_name": class.and_then(|n| names.get(n)),
        "options": request.options,
        "seed": request.seed,
        "blend": blends,
        "feather": blends.then(|| request.feather.unwrap_or_else(|| plan.feather())),
        "model": weights_record(&request.source)?,
        "precision": Precision::name_of(model.compute_kind()),
        "device": format!("{:?}", model.device()).to_lowercase(),
        "results": results,
        "strip": request.strip.as_deref().map(file).transpose()?,
        "notes": notes,
    });
    let text = serde_json::to_vec_pretty(&record).map_err(|e| Error::Config(e.to_string()))?;
    write_atomically(&places.record, &text)?;
    let shown = |path: &PathBuf| path.display().to_string();
    Ok(json!({
        "event": "done", "pictures": request.variants, "seconds": seconds,
        "out": places.results.iter().map(shown).collect::<Vec<_>>(),
        "strip": request.strip.as_ref().map(shown), "record": shown(&places.record), "notes": notes,
    }))
}

/// Where everything goes.
struct Places {
    /// One file a variant; none without `--out`.
    results: Vec<PathBuf>,
    /// The settings, beside the result or else the strip.
    record: PathBuf,
}

impl Places {
    /// The places of `request`, whose numbers are checked on the way.
    fn of(request: &EditRequest) -> Result<Self> {
        request.options.validate()?;
        if !(1..=MOST_VARIANTS).contains(&request.variants) {
            return Err(Error::Config(format!("--variants {}: 1 to {MOST_VARIANTS}", request.variants)));
        }
        if !(1..=MOST_ZOOM).contains(&request.strip_zoom) {
            return Err(Error::Config(format!("--strip-zoom {}: 1 to {MOST_ZOOM}", request.strip_zoom)));
        }
        let results = match &request.out {
            None => Vec::new(),
            Some(out) if request.variants == 1 => vec![out.clone()],
            Some(out) => (0..request.variants).map(|n| numbered(out, n)).collect(),
        };
        let Some(first) = request.out.as_ref().or(request.strip.as_ref()) else {
            return Err(Error::Config("give --out, --strip or both: where the result goes".into()));
        };
        let mut record = first.clone().into_os_string();
        record.push(".json");
        let record = PathBuf::from(record);
        let mut inputs = vec![&request.image];
        if let AreaRequest::Mask { path, .. } = &request.area {
            inputs.push(path);
        }
        for place in results.iter().chain(&request.strip) {
            if place.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
                let why = "results are PNG files; let the name end with .png";
                return Err(var_tokenizer::Error::file(place, why).into());
            }
            check_place(place)?;
            let same = |input: &&PathBuf| matches!((input.canonicalize(), place.canonicalize()), (Ok(a), Ok(b)) if a == b);
            if inputs.iter().any(same) {
                let why = "would be overwritten by the result; choose another name";
                return Err(var_tokenizer::Error::file(place, why).into());
            }
        }
        if results.iter().any(|place| Some(place) == request.strip.as_ref()) {
            return Err(Error::Config("--out and --strip name the same file".into()));
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

/// What is to be generated of `photo`; a mask is read and fitted to it.
fn read_area(request: &AreaRequest, photo: &RgbImage, notes: &mut Vec<String>) -> Result<Area> {
    match request {
        AreaRequest::Box { bounds, outpaint: false } => Ok(Area::Box(*bounds)),
        AreaRequest::Box { bounds, outpaint: true } => Ok(Area::Outside(*bounds)),
        AreaRequest::Mask { path, invert } => {
            let region = Region::of_mask(&read_picture(path)?, *invert);
            let (width, height) = photo.dimensions();
            if (region.width(), region.height()) == (width, height) {
                return Ok(Area::Pixels(region));
            }
            notes.push(format!(
                "the mask has {} × {} pixels and is stretched over the photo's {width} × {height}",
                region.width(),
                region.height()
            ));
            Ok(Area::Pixels(region.resized(width, height)))
        }
    }
}

/// What a person should know about the plan before seeing the result.
fn describe(plan: &Plan, blends: bool, side: usize, notes: &mut Vec<String>) {
    let (generated, cells) = (plan.mask().generated(), plan.mask().side());
    if plan.sticks_out() {
        let window = plan.window().side;
        notes.push(format!(
            "what is generated needs a square of {window} × {window} pixels, more than the photo has: beyond it \
             its edge pixels are repeated"
        ));
    }
    if generated == 0 {
        let result = if blends { "the photo itself" } else { "its reconstruction" };
        notes.push(format!(
            "nothing to generate: all {cells} × {cells} cells are kept, and the result is {result}"
        ));
    } else if generated == cells * cells {
        notes.push("everything is generated: of the photo only its first token is kept".into());
    }
    if !blends && !plan.is_native() {
        let window = plan.window();
        notes.push(format!(
            "the result is not put into the photo: it shows {0} × {0} pixels from column {1}, row {2} on, at {side} × \
             {side}",
            window.side, window.left, window.top
        ));
    }
}

/// Number of the class that `asked` names, by number or by name; without it that of "no class".
fn class_label(asked: Option<&str>, names: &[String], classes: usize) -> Result<i64> {
    let Some(asked) = asked.map(str::trim) else { return Ok(classes as i64) };
    let found = match asked.parse::<usize>() {
        Ok(number) => Some(number).filter(|&n| n < classes),
        Err(_) => names.iter().position(|name| name == asked),
    };
    found.map(|n| n as i64).ok_or_else(|| {
        let known = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        Error::Config(format!(
            "class '{asked}': the model has classes 0 to {}{known}; leave --class away for no class",
            classes.saturating_sub(1)
        ))
    })
}

/// Ids `[1, L]` of a square picture.
fn encode(tokenizer: &VqVae, square: &RgbImage) -> Result<Tensor> {
    let side = i64::from(square.width());
    Ok(tokenizer.encode(&Tensor::from_slice(&to_unit(square)).view([1, 3, side, side]))?)
}

/// Pictures `[B, 3, side, side]` in [-1, 1] as bytes.
fn pictures(images: &Tensor, side: usize) -> Result<Vec<RgbImage>> {
    let of = |picture: &Tensor| {
        let flat = picture.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]);
        let pixels = Vec::<f32>::try_from(flat).map_err(var_tokenizer::Error::from)?;
        Ok(from_unit(&pixels, side)?)
    };
    images.unbind(0).iter().map(of).collect()
}

/// A file, for the record.
fn file(path: &Path) -> Result<Value> {
    Ok(json!({"path": path.display().to_string(), "sha256": sha256_of(path)?}))
}

fn area_record(area: &AreaRequest) -> Result<Value> {
    Ok(match area {
        AreaRequest::Box { bounds, outpaint } => json!({"box": bounds, "outpaint": outpaint}),
        AreaRequest::Mask { path, invert } => json!({"mask": file(path)?, "inverted": invert}),
    })
}

/// The files that the model came from.
fn weights_record(source: &ModelSource) -> Result<Value> {
    let model = source.run.as_ref().map(|run| run.join("model.safetensors")).or_else(|| source.model.clone());
    let own = source.run.as_ref().map(|run| run.join("tokenizer.safetensors").display().to_string());
    let tokenizer = source.tokenizer.clone().or(own).unwrap_or_else(|| builtin::NAME.into());
    let sum = var_tokenizer::files::sha256(&builtin::bytes(&tokenizer)?);
    Ok(json!({
        "transformer": model.as_deref().map(file).transpose()?,
        "tokenizer": {"path": tokenizer, "sha256": sum},
    }))
}
