//! One of several parts in which processes encode a data set.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::runtime::error::{Error, Result};

/// Maximum number of parts. A join has all of them open, and a process may usually have 1024 open files.
const MAX_PARTS: u32 = 512;

/// Part `I` of `N`, from 1 to `N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// Part `index` of `of`.
    ///
    /// # Errors
    /// When `index` is not from 1 to `of`, or there are more than 512 parts.
    pub fn new(index: u32, of: u32) -> Result<Self> {
        if of > MAX_PARTS {
            let message = format!("part {index}/{of}: at most {MAX_PARTS} parts can be joined; use fewer");
            return Err(Error::Config(message));
        }
        if (1..=of).contains(&index) {
            return Ok(Self { index, of });
        }
        Err(Error::Config(format!("part {index}/{of}: expected I/N with I from 1 to N, as in 2/8")))
    }

    /// Returns the number of this part, from 1 on.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Returns the number of all parts.
    pub fn of(self) -> u32 {
        self.of
    }

    /// Returns the part's share of a list of `count`: the shares of all parts follow one another.
    pub fn share(self, count: usize) -> Range<usize> {
        let border = |index: u32| (count as u128 * u128::from(index) / u128::from(self.of)) as usize;
        border(self.index - 1)..border(self.index)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl TryFrom<String> for Shard {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers =
            text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        let (index, of) =
            numbers.ok_or_else(|| Error::Config(format!("part '{text}': expected I/N, as in 2/8")))?;
        Self::new(index, of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_parts_are_the_list() {
        for (count, of) in [(0, 3), (2, 5), (1000, 7), (1_281_167, 64)] {
            let shares: Vec<Range<usize>> =
                (1..=of).map(|index| Shard::new(index, of).unwrap().share(count)).collect();
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start), "{count} {of}");
            assert_eq!((shares[0].start, shares[shares.len() - 1].end), (0, count));
        }
        assert_eq!("2/8".parse::<Shard>().unwrap(), Shard::new(2, 8).unwrap());
        assert!("1/512".parse::<Shard>().is_ok());
        assert!("1/513".parse::<Shard>().unwrap_err().to_string().contains("at most 512 parts"));
        for text in ["0/8", "9/8", "2", "2/", "a/b", "1/0", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
