//! What the page asks for, checked against the model before it waits in the queue.

use image::RgbImage;
use serde::Deserialize;

use super::answers::Refusal;
use super::command::{Line, class_list, class_name};
use super::facts::Facts;
use super::limits::{
    MOST_CLASSES, MOST_IMAGES, MOST_PHOTO_PIXELS, MOST_VARIANTS, PHOTO_PIXELS_PER_PLACE, PIXELS_PER_PLACE,
};
use super::upload::image_in_base64;
use crate::commands::edit::describe;
use crate::edit::{Area, EditPlan, FractionBox, Region};
use crate::sampling::{SamplingOptions, check_edits};

/// How tokens are chosen, as the page sends it.
#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    cfg: f64,
    top_k: usize,
    top_p: f64,
    more_smooth: bool,
}

impl Choice {
    fn options(&self, facts: &Facts) -> Result<SamplingOptions, Refusal> {
        let options = SamplingOptions {
            cfg: self.cfg,
            top_k: self.top_k,
            top_p: self.top_p,
            more_smooth: self.more_smooth,
            ..SamplingOptions::default()
        };
        options.validate()?;
        options.check_model(&facts.config)?;
        Ok(options)
    }
}

/// A request for images of classes. A class is its number, or null for "no class".
#[derive(Debug, Deserialize)]
pub(super) struct SampleBody {
    classes: Vec<Option<usize>>,
    per_class: usize,
    seed: u64,
    /// Whether images after each scale are wanted.
    scales: bool,
    #[serde(flatten)]
    choice: Choice,
}

/// A request for parts of a photo.
#[derive(Debug, Deserialize)]
pub(super) struct EditBody {
    /// The file, in base64.
    photo: String,
    /// Its name, for the command line.
    name: String,
    /// Mask image, in base64.
    mask: Option<String>,
    /// A box instead: top, left, bottom and right edge in fractions of the photo.
    #[serde(rename = "box")]
    bounds: Option<[f64; 4]>,
    /// Whether the outside of the area is generated.
    outside: bool,
    /// Class of the generated content; null for "no class".
    class: Option<usize>,
    variants: usize,
    feather: Option<u32>,
    seed: u64,
    /// Whether images after each scale are wanted.
    scales: bool,
    #[serde(flatten)]
    choice: Choice,
}

/// Work for the thread that samples.
#[derive(Debug)]
pub(super) enum Work {
    Sample(SampleJob),
    Edit(Box<EditJob>),
}

/// Images of classes.
#[derive(Debug)]
pub(super) struct SampleJob {
    /// The class of each image.
    pub labels: Vec<i64>,
    pub options: SamplingOptions,
    pub seed: u64,
    pub scales: bool,
    pub command: String,
    /// Pixels of all images that its reader gets.
    pixels: u64,
}

/// Parts of a photo.
#[derive(Debug)]
pub(super) struct EditJob {
    pub plan: EditPlan,
    /// What the model sees.
    pub square: RgbImage,
    pub label: i64,
    pub options: SamplingOptions,
    pub seed: u64,
    pub variants: usize,
    pub feather: Option<u32>,
    pub scales: bool,
    pub notes: Vec<String>,
    pub command: String,
}

impl Work {
    /// Number of places that it takes in the queue.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Sample(job) => 1 + (job.pixels / PIXELS_PER_PLACE) as usize,
            Self::Edit(job) => {
                let (width, height) = (job.plan.region().width(), job.plan.region().height());
                1 + (u64::from(width) * u64::from(height) / PHOTO_PIXELS_PER_PLACE) as usize
            }
        }
    }
}

/// The label of `class`.
fn label(facts: &Facts, class: Option<usize>) -> Result<i64, Refusal> {
    let classes = facts.config.classes;
    match class {
        None => Ok(classes as i64),
        Some(number) if number < classes => Ok(number as i64),
        Some(number) => Err(Refusal::bad(format!("class {number}: there are classes 0 to {}", classes - 1))),
    }
}

fn within(what: &str, number: usize, most: usize) -> Result<(), Refusal> {
    if (1..=most).contains(&number) {
        return Ok(());
    }
    Err(Refusal::bad(format!("{number} {what}: 1 to {most} are possible")))
}

impl SampleBody {
    /// The work that it asks for.
    pub(super) fn check(self, facts: &Facts) -> Result<Work, Refusal> {
        within("classes", self.classes.len(), MOST_CLASSES)?;
        within("images", self.classes.len().saturating_mul(self.per_class), MOST_IMAGES)?;
        let options = self.choice.options(facts)?;
        let classes =
            self.classes.iter().map(|&class| label(facts, class)).collect::<Result<Vec<i64>, Refusal>>()?;
        let command = Line::new("sample", &facts.flags)
            .with("--classes", class_list(&facts.names, &classes))
            .with("--per-class", self.per_class)
            .options(&options, self.seed)
            .flag("--more-smooth", options.more_smooth)
            .with("--out", "images.png")
            .text();
        let labels: Vec<i64> = classes.iter().flat_map(|&l| std::iter::repeat_n(l, self.per_class)).collect();
        let Self { seed, scales, .. } = self;
        let frames = if scales { facts.config.schedule.scales() } else { 1 };
        let pixels = (labels.len() * frames * facts.side * facts.side) as u64;
        Ok(Work::Sample(SampleJob { labels, options, seed, scales, command, pixels }))
    }
}

impl EditBody {
    /// The work that it asks for. Decodes images: takes a while.
    pub(super) fn check(self, facts: &Facts) -> Result<Work, Refusal> {
        check_edits(facts.config.order)?;
        within("results", self.variants, MOST_VARIANTS)?;
        let options = self.choice.options(facts)?;
        let label = label(facts, self.class)?;
        let photo = image_in_base64(&self.photo, "the photo", MOST_PHOTO_PIXELS)?;
        let mut notes = Vec::new();
        let (area, line) = self.area(Line::new("edit", &facts.flags), &photo)?;
        let plan = EditPlan::new(photo, &area, facts.side as u32, facts.config.schedule.last_side())?;
        describe(&plan, true, facts.side, &mut notes);
        let mut line = line.options(&options, self.seed);
        if label < facts.config.classes as i64 {
            line = line.with("--class", class_name(&facts.names, label));
        }
        line = line.flag("--no-more-smooth", !options.more_smooth).with("--variants", self.variants);
        line = match self.feather {
            Some(feather) => line.with("--feather", feather),
            None => line.flag("--blend", true),
        };
        let command = line.with("--out", "edited.png").text();
        let square = plan.square()?;
        let Self { seed, variants, feather, scales, .. } = self;
        let job = EditJob { plan, square, label, options, seed, variants, feather, scales, notes, command };
        Ok(Work::Edit(Box::new(job)))
    }

    /// The area, and `line` with the flags for photo and area.
    fn area(&self, line: Line, photo: &RgbImage) -> Result<(Area, Line), Refusal> {
        let line = line.with("--image", file_name(&self.name));
        match (&self.mask, self.bounds) {
            (Some(mask), None) => {
                let mask = image_in_base64(mask, "the mask", MOST_PHOTO_PIXELS)?;
                let region = Region::of_mask(&mask, self.outside);
                let line = line.with("--mask", "mask.png").flag("--invert-mask", self.outside);
                let same = mask.dimensions() == photo.dimensions();
                let region = if same { region } else { region.resized(photo.width(), photo.height()) };
                Ok((Area::Pixels(region), line))
            }
            (None, Some([y0, x0, y1, x1])) => {
                let bounds = FractionBox::new(y0, x0, y1, x1)?;
                let line = line.with("--box", bounds).flag("--outpaint", self.outside);
                Ok((if self.outside { Area::Outside(bounds) } else { Area::Box(bounds) }, line))
            }
            _ => Err(Refusal::bad("give either a mask or a box: the area to generate")),
        }
    }
}

/// The last part of `name`, as the name of a file in the present folder that is neither the mask nor a result.
fn file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).take(200).collect();
    match clean.as_str() {
        "" | "." | ".." => "photo.png".to_owned(),
        name if name.starts_with("mask") || name.starts_with("edited") => format!("photo-{name}"),
        // Not a flag.
        name if name.starts_with('-') => format!("./{name}"),
        _ => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_photos_stay_names_of_files_here() {
        assert_eq!(file_name("my photo.jpg"), "my photo.jpg");
        assert_eq!(file_name("../../etc/passwd"), "passwd");
        assert_eq!(file_name("--out=x.png"), "./--out=x.png");
        assert_eq!(file_name("a\0b\n.png"), "ab.png");
        assert_eq!(file_name(""), "photo.png");
        assert_eq!(file_name("edited-0.png"), "photo-edited-0.png");
    }
}
