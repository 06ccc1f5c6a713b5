//! How the pixels of image files are read, and traits of files that readers treat differently.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use var_tokenizer::images::{Pixels, Traits};

use crate::error::{Error, Result};
use crate::features::preprocess::unknown;

/// How pixels are read. Features compare only under the same rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelRule {
    /// As the usual evaluation tools read them: [`Pixels::Stored`].
    #[default]
    Stored,
    /// As a viewer shows them: [`Pixels::Shown`].
    Shown,
    /// As the encoder of a token file saw them: shown, resized and cropped. Compares with both other rules.
    Encoded,
}

impl PixelRule {
    /// The word in files and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Shown => "shown",
            Self::Encoded => "encoded",
        }
    }

    /// What it does.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Stored => {
                "8-bit RGB as stored (Pillow's convert(\"RGB\"): no EXIF orientation, alpha dropped, 16-bit grey cut at 255)"
            }
            Self::Shown => "8-bit RGB as shown (EXIF orientation applied, on white, 16 bits rounded)",
            Self::Encoded => "8-bit RGB as encoded (shown, resized and cropped to the tokenizer's side)",
        }
    }

    /// The rule with this word.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Stored, Self::Shown, Self::Encoded].into_iter().find(|rule| rule.name() == name)
    }

    /// How the decoder reads.
    pub(crate) fn pixels(self) -> Pixels {
        match self {
            Self::Stored => Pixels::Stored,
            Self::Shown | Self::Encoded => Pixels::Shown,
        }
    }

    /// Whether features under both rules compare.
    pub(crate) fn compares_with(self, other: Self) -> bool {
        self == other || self == Self::Encoded || other == Self::Encoded
    }
}

impl fmt::Display for PixelRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PixelRule {
    type Err = Error;

    /// The rule that a user can request.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "stored" => Ok(Self::Stored),
            "shown" => Ok(Self::Shown),
            _ => Err(unknown("pixel rule", text, &["stored", "shown"])),
        }
    }
}

/// How many images of a set have each trait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraitCounts {
    /// JPEG content, whatever the file name.
    pub jpegs: u64,
    /// An EXIF orientation other than upright.
    pub turned: u64,
    /// Pixels that are not opaque.
    pub transparent: u64,
    /// Grey of 16 bits.
    pub deep: u64,
}

impl TraitCounts {
    /// Counts an image by its [`bits`].
    pub(crate) fn add(&mut self, bits: u8) {
        let counts = [&mut self.jpegs, &mut self.turned, &mut self.transparent, &mut self.deep];
        for (place, count) in counts.into_iter().enumerate() {
            *count += u64::from(bits >> place & 1);
        }
    }

    /// The images that `stored` and `shown` read differently; `None` if there are none.
    pub(crate) fn differ(&self) -> Option<String> {
        let kinds = [
            (self.turned, "with an EXIF orientation"),
            (self.transparent, "with transparent pixels"),
            (self.deep, "with 16-bit grey"),
        ];
        let parts: Vec<String> =
            kinds.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// The traits of an image in one byte: JPEG 1, turned 2, transparent 4, deep 8.
pub(crate) fn bits(traits: Traits) -> u8 {
    let Traits { jpeg, turned, transparent, deep } = traits;
    u8::from(jpeg) | u8::from(turned) << 1 | u8::from(transparent) << 2 | u8::from(deep) << 3
}
