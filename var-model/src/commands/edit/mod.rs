//! `var-model edit`: generates parts of a photo.

mod places;
mod record;
mod request;

use std::time::Instant;

use image::RgbImage;
use places::Places;
use serde_json::json;
use var_tokenizer::images::resize::{Filter, resize};
use var_tokenizer::images::{Grid, read_image, write_png};
use var_tokenizer::progress::Progress;
use var_tokenizer::torch::Precision;

pub(crate) use record::{AreaRecord, EditRecord, EditSummary, ResultRecord};
pub use request::{AreaRequest, EditRequest, MOST_VARIANTS, MOST_ZOOM};

use crate::classes::{self, ClassNames};
use crate::commands::sample::options_notes;
use crate::edit::{Area, EditPlan, Generation, Region, generate};
use crate::error::{Error, Result};
use crate::outputs::settings;
use crate::sampling::{check_edits, check_pair, unwatched};
use crate::source::{FileDigest, Loaded};

/// Maximum width of a strip: viewers open no wider PNG.
const MOST_WIDTH: u32 = 1 << 16;

/// Edits a photo.
///
/// # Errors
/// When a file is missing, damaged or does not fit, the class is unknown, an option is out of range, or a result cannot
/// be written (all of this is checked before weights are loaded); when a value is not finite.
pub fn edit(request: &EditRequest, progress: &mut Progress) -> Result<EditSummary> {
    let places = Places::of(request)?;
    let photo = read_image(&request.image)?;
    let mut notes = Vec::new();
    let area = read_area(&request.area, &photo, &mut notes)?;
    let opened = request.source.open()?;
    opened.notes().iter().for_each(|note| progress.note(note));
    let label = class_label(request.class.as_deref(), &opened.names)?;
    let config = &opened.config;
    check_pair(config, &opened.tokenizer_config)?;
    check_edits(config.order)?;
    request.options.check_model(config)?;
    let side = opened.tokenizer_config.image_side();
    let plan = EditPlan::new(photo, &area, side as u32, config.schedule.last_side())?;
    let blends = request.blend.unwrap_or(request.feather.is_some() || !plan.is_native());
    describe(&plan, blends, side, &mut notes);
    let unconditional = label == config.classes as i64;
    notes.extend(options_notes(&request.options, &request.given, config.vocabulary, unconditional));
    for note in &notes {
        progress.note(&format!("note: {note}"));
    }
    let square = plan.square()?;
    let mut strip = request.strip.as_ref().map(|_| begun_strip(&plan, &square, request)).transpose()?;
    let weights = blends.then(|| plan.weights(request.feather));

    let device = request.source.device.resolve()?;
    let kind = request.source.compute_kind(&opened, device, request.variants)?;
    let Loaded { model, tokenizer } = opened.load(device, kind)?;
    let sampler = opened.sampler(&model, &tokenizer)?;
    let began = Instant::now();
    let generation = Generation {
        label,
        options: request.options.clone(),
        seed: request.seed,
        variants: request.variants,
    };
    let mut results = Vec::new();
    progress.start(0, request.variants as u64);
    generate(
        &sampler,
        &tokenizer,
        &square,
        plan.mask(),
        &generation,
        &mut unwatched,
        |number, generated| {
            let result = match &weights {
                Some(weights) => plan.blended(&generated, weights)?,
                None => generated,
            };
            if let Some(strip) = &mut strip {
                let shown = if blends { plan.square_of(&result)? } else { result.clone() };
                strip.put_image(0, number + 2, &shown)?;
            }
            if let Some(path) = places.results.get(number) {
                write_png(&result, path)?;
                results.push(ResultRecord { picture: number, file: FileDigest::of(path)? });
            }
            progress.advance(number as u64 + 1, "images");
            Ok(())
        },
    )?;
    progress.finish();
    let seconds = began.elapsed().as_secs_f64();
    if let (Some(path), Some(strip)) = (&request.strip, &strip) {
        let zoom = request.strip_zoom;
        let (width, height) = strip.image().dimensions();
        write_png(&resize(strip.image(), width * zoom, height * zoom, Filter::Nearest)?, path)?;
    }
    let class = usize::try_from(label).ok().filter(|&n| n < config.classes);
    let (model_file, tokenizer_file) = opened.fingerprints()?;
    let record = EditRecord {
        program: concat!("var-model ", env!("CARGO_PKG_VERSION")).to_owned(),
        image: FileDigest::of(&request.image)?,
        area: AreaRecord::of(&request.area)?,
        window: *plan.window(),
        generated_pixels: plan.region().count(),
        generated_cells: plan.mask().generated(),
        cells: plan.mask().side().pow(2),
        class,
        class_name: class.map(|_| opened.names.name(label).to_owned()),
        options: request.options.clone(),
        seed: request.seed,
        blend: blends,
        feather: blends.then(|| request.feather.unwrap_or_else(|| plan.feather())),
        model: model_file,
        tokenizer: tokenizer_file,
        precision: Precision::name_of(model.compute_kind()).to_owned(),
        device: format!("{:?}", model.device()).to_lowercase(),
        results,
        strip: request.strip.as_deref().map(FileDigest::of).transpose()?,
        notes: notes.clone(),
    };
    settings::write(&places.record, &json!(record))?;
    let (pictures, strip) = (request.variants, request.strip.clone());
    Ok(EditSummary { pictures, seconds, out: places.results, strip, record: places.record, notes })
}

/// A row with the square, the square with the part to generate marked, and room for all variants.
fn begun_strip(plan: &EditPlan, square: &RgbImage, request: &EditRequest) -> Result<Grid> {
    let mut strip = Grid::new(1, request.variants + 2, square.width() as usize)?;
    let width = strip.image().width().saturating_mul(request.strip_zoom);
    if width > MOST_WIDTH {
        return Err(Error::Config(format!(
            "the strip would be {width} pixels wide; at most {MOST_WIDTH} are possible. Lower --strip-zoom or \
             --variants."
        )));
    }
    strip.put_image(0, 0, square)?;
    strip.put_image(0, 1, &plan.hatched()?)?;
    Ok(strip)
}

/// The part of `photo` to generate. Reads the mask, and resizes it to the photo.
fn read_area(request: &AreaRequest, photo: &RgbImage, notes: &mut Vec<String>) -> Result<Area> {
    match request {
        AreaRequest::Box { bounds, outpaint: false } => Ok(Area::Box(*bounds)),
        AreaRequest::Box { bounds, outpaint: true } => Ok(Area::Outside(*bounds)),
        AreaRequest::Mask { path, invert } => {
            let region = Region::of_mask(&read_image(path)?, *invert);
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

/// Notes for the user about the plan.
pub(crate) fn describe(plan: &EditPlan, blends: bool, side: usize, notes: &mut Vec<String>) {
    let (generated, cells) = (plan.mask().generated(), plan.mask().side());
    if plan.sticks_out() {
        let window = plan.window().side;
        notes.push(format!(
            "the generated part needs a square of {window} × {window} pixels, more than the photo has: outside \
             the photo, its edge pixels are repeated"
        ));
    }
    if generated == 0 {
        let result = if blends { "the photo itself" } else { "its reconstruction" };
        notes.push(format!(
            "nothing to generate: all {cells} × {cells} cells are kept, and the result is {result}"
        ));
    } else if generated == cells * cells {
        notes.push(
            "everything is generated; only the scales with at most 3 positions are those of the photo".into(),
        );
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

/// The label of the class `asked`; without it, of "no class".
fn class_label(asked: Option<&str>, names: &ClassNames) -> Result<i64> {
    match names.label(asked.unwrap_or(classes::NONE))?.as_slice() {
        [label] => Ok(*label),
        several => Err(Error::Config(format!(
            "--class {}: {} classes; name one",
            asked.unwrap_or_default(),
            several.len()
        ))),
    }
}
