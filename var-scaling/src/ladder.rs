//! Sizes of a ladder: depth, width and heads, by name.
//!
//! The name of a published size is its depth (`d16`: width `64·d`, `d` heads). The name of a nano size, for CPUs, is its
//! number of blocks and its width (`3x96`, with heads of 32 channels).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use var_tokenizer::nearest::nearest;

/// Channels per head of the nano sizes.
const NANO_HEAD: usize = 32;

/// One model size.
///
/// ```
/// use var_scaling::ladder::Size;
/// let size: Size = "3x96".parse()?;
/// assert_eq!((size.depth, size.width, size.heads), (3, 96, 3));
/// let size: Size = "d16".parse()?;
/// assert_eq!((size.depth, size.width, size.heads), (16, 1024, 16));
/// # Ok::<(), var_scaling::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size {
    /// Name; also the name of its run folder.
    pub name: String,
    /// Blocks.
    pub depth: usize,
    /// Channels of a token.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
}

impl Size {
    /// The published size with this depth.
    pub(crate) fn published(depth: usize) -> Self {
        Self { name: format!("d{depth}"), depth, width: 64 * depth, heads: depth }
    }

    /// A size of `depth` blocks and `width` channels, a multiple of 32.
    pub(crate) fn nano(depth: usize, width: usize) -> Self {
        Self { name: format!("{depth}x{width}"), depth, width, heads: width / NANO_HEAD }
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Err(Error::config(format!(
                "size '{text}': {why}; expected a published depth (d16), blocks and width (3x96), or a ladder ({})",
                names().join(", ")
            )))
        };
        let text = text.trim();
        if let Some(depth) = text.strip_prefix('d').and_then(|d| d.parse::<usize>().ok()) {
            return if (1..=64).contains(&depth) {
                Ok(Self::published(depth))
            } else {
                bad("expected a depth of 1 to 64")
            };
        }
        let parts = text.split_once('x').and_then(|(d, w)| Some((d.parse().ok()?, w.parse().ok()?)));
        match parts {
            Some((depth, width)) if (1..=256).contains(&depth) && (NANO_HEAD..=8192).contains(&width) => {
                if width % NANO_HEAD == 0 {
                    Ok(Self::nano(depth, width))
                } else {
                    bad("the width must be a multiple of 32")
                }
            }
            Some(_) => bad("expected 1 to 256 blocks of 32 to 8192 channels"),
            None => bad("unknown size"),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl TryFrom<String> for Size {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.name
    }
}

/// The ladders: name, sizes and purpose.
const LADDERS: [(&str, &str, &str); 5] = [
    ("nano", "1x32,2x64,3x96,4x128,5x160,6x192", "one shape at every size; minutes on a CPU"),
    ("nano-long", "1x32,2x64,3x96,4x128,5x160,6x192,7x224,8x256", "the same, up to 10M parameters"),
    ("small", "d4,d6,d8,d10,d12", "hours on one GPU; the published shape"),
    ("published", "d16,d20,d24,d30", "the released models"),
    ("paper", "d6,d8,d10,d12,d14,d16,d18,d20,d22,d24,d26,d28,d30", "thirteen depths, 18M to 2B parameters"),
];

/// Names of the ladders.
pub(crate) fn names() -> Vec<&'static str> {
    LADDERS.iter().map(|l| l.0).collect()
}

/// Name, sizes and purpose of every ladder, for a help text.
pub fn describe() -> String {
    LADDERS.iter().map(|(name, sizes, about)| format!("  {name:<10} {sizes} ({about})\n")).collect()
}

/// The sizes of a comma-separated list of sizes and ladders, each once, in the order of the list.
///
/// # Errors
/// When a name is unknown, or the list is empty.
pub(crate) fn parse(list: &str) -> Result<Vec<Size>> {
    let mut sizes: Vec<Size> = Vec::new();
    for word in names_in(list) {
        let size = word.parse().map_err(|e| suggest(&word, e))?;
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    if sizes.is_empty() {
        return Err(Error::config("no sizes; name sizes, for example 1x32,2x64,3x96,4x192"));
    }
    Ok(sizes)
}

/// The names of the sizes in a list, with the sizes of its ladders; repeated names are repeated.
pub(crate) fn names_in(list: &str) -> Vec<String> {
    let words = list.split([',', ' ']).filter(|w| !w.is_empty());
    words
        .flat_map(|word| match LADDERS.iter().find(|l| l.0 == word) {
            Some(ladder) => ladder.1.split(',').map(str::to_owned).collect(),
            None => vec![word.to_owned()],
        })
        .collect()
}

fn suggest(word: &str, error: Error) -> Error {
    match nearest(word, names()) {
        Some(meant) => Error::config(format!("{error}; did you mean {meant}?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ladder_parses_and_rises() {
        for (name, ..) in LADDERS {
            let sizes = parse(name).unwrap();
            assert!(sizes.len() >= 4, "{name}");
            assert!(sizes.iter().all(|s| s.width % s.heads == 0), "{name}");
            let volume: Vec<usize> = sizes.iter().map(|s| s.depth * s.width * s.width).collect();
            assert!(volume.windows(2).all(|w| w[0] < w[1]), "{name}");
        }
    }

    #[test]
    fn bad_sizes_are_refused_with_the_way_to_write_them() {
        for bad in ["", "d0", "d65", "3x", "x96", "0x32", "3x100", "3x16", "big", "nanno"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("3x96"), "{bad}: {error}");
        }
        assert!(parse("nanno").unwrap_err().to_string().contains("did you mean nano"));
    }

    #[test]
    fn a_list_names_each_size_once() {
        let names: Vec<String> = parse("2x64,nano").unwrap().into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["2x64", "1x32", "3x96", "4x128", "5x160", "6x192"]);
    }
}
