//! The built-in data set: Noto Emoji at 32 pixels, on white, with all skin tones.
//!
//! 3,781 images of 1,906 emoji in nine classes. `assets/emoji/README.md` says where they come from and how the sheet
//! was made. The first use decodes the sheet, in a fraction of a second.

use std::borrow::Cow;
use std::sync::OnceLock;

use image::RgbImage;

use super::decode::{Decoded, Pixels, decode};
use super::listing::{Entry, Images, Listing};
use super::name_list::NameList;
use crate::runtime::error::{Error, Result};

/// Side of the images.
pub(crate) const SIDE: u32 = 32;
/// Images in a row of the sheet.
const COLUMNS: u32 = 32;

/// Name of the images that come with this crate.
pub const EMOJI: &str = "emoji";
static SHEET: &[u8] = include_bytes!("../../../assets/emoji/sheet-32.png");
static TABLE: &str = include_str!("../../../assets/emoji/emoji.tsv");

/// The decoded sheet, or why it cannot be decoded.
fn sheet() -> &'static std::result::Result<RgbImage, String> {
    static DECODED: OnceLock<std::result::Result<RgbImage, String>> = OnceLock::new();
    DECODED.get_or_init(|| decode(SHEET))
}

fn broken(message: &str) -> Error {
    Error::file(EMOJI, format!("the built-in images are damaged: {message}"))
}

/// The names of the images, in the order of the sheet.
#[derive(Debug)]
struct Sheet(NameList);

impl Images for Sheet {
    fn name(&self, index: usize) -> Cow<'_, str> {
        self.0.get(index).into()
    }

    fn image(&self, index: usize, _: Pixels) -> Result<Decoded> {
        let sheet = sheet().as_ref().map_err(|reason| broken(reason))?;
        let index = u32::try_from(index).map_err(|_| broken("no such image"))?;
        let (left, top) = (index % COLUMNS * SIDE, index / COLUMNS * SIDE);
        if top + SIDE > sheet.height() || left + SIDE > sheet.width() {
            return Err(broken("the sheet is too small"));
        }
        Ok(image::imageops::crop_imm(sheet, left, top, SIDE, SIDE).to_image().into())
    }
}

/// Lists the built-in images. A row of the table holds `class`, `emoji` and `tone` (empty for the emoji itself). Row
/// `i` is place `i` of the sheet. The tones of an emoji follow it.
pub(crate) fn open() -> Result<Listing> {
    let mut classes: Vec<String> = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    let mut names = NameList::default();
    let mut group = 0;
    for line in TABLE.lines().skip(1) {
        let mut fields = line.split('\t');
        let (Some(class), Some(emoji), Some(tone)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(broken("a row of the table lacks a field"));
        };
        let number = match classes.iter().position(|known| known == class) {
            Some(number) => number,
            None => {
                classes.push(class.to_owned());
                classes.len() - 1
            }
        };
        if tone.is_empty() {
            group = entries.len() as u32;
        }
        let name =
            if tone.is_empty() { format!("{class}/{emoji}") } else { format!("{class}/{emoji}/{tone}") };
        names.push(&name);
        entries.push(Entry { class: number as u32, split: None, group });
    }
    Ok(Listing { entries, classes, images: Box::new(Sheet(names)), notes: Vec::new() })
}
