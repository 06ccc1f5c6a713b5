//! Which pictures are trained on and which are held out.

use std::collections::BTreeMap;
use std::fmt;

use super::source::Entry;
use crate::runtime::error::{Error, Result};
use crate::runtime::random::Stream;

/// The two parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// Trained on.
    Train,
    /// Held out for validation.
    Val,
}

impl Split {
    /// Both parts, in the order in which they are written.
    pub const ALL: [Self; 2] = [Self::Train, Self::Val];

    /// `train` or `val`: the name of the group in tokens.h5.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Indices of a source's pictures, each in one part; both lists rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// Pictures to train on.
    pub train: Vec<usize>,
    /// Pictures held out.
    pub val: Vec<usize>,
}

impl Partition {
    /// The indices of one part.
    pub fn part(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
        }
    }

    /// At most so many of each part, drawn by `seed`: a smaller data set of the same make-up.
    pub fn limited(mut self, train: usize, val: usize, seed: u64) -> Self {
        for (list, limit, name) in
            [(&mut self.train, train, "limit.train"), (&mut self.val, val, "limit.val")]
        {
            if list.len() > limit {
                let order = Stream::new(name, seed).permutation(list.len());
                let mut kept: Vec<usize> =
                    order.iter().take(limit).filter_map(|&i| list.get(i).copied()).collect();
                kept.sort_unstable();
                *list = kept;
            }
        }
        self
    }
}

/// Divides `entries` as the source says, or else holds out `fraction` of each class.
///
/// Pictures of one group (an emoji and its skin tones) stay together. In each class
/// `round(fraction · groups)` groups are held out, at least one when there are two or more and the
/// fraction is above 0, never all; which ones is a function of `seed` and the class alone.
///
/// # Errors
/// When `fraction` is not from 0 to 0.9.
pub(crate) fn partition(entries: &[Entry], fraction: f64, seed: u64) -> Result<Partition> {
    if !(0.0..=0.9).contains(&fraction) {
        return Err(Error::Config(format!("held-out fraction {fraction} is not from 0 to 0.9")));
    }
    let mut result = Partition::default();
    if entries.iter().any(|entry| entry.split.is_some()) {
        for (index, entry) in entries.iter().enumerate() {
            match entry.split {
                Some(Split::Val) => result.val.push(index),
                _ => result.train.push(index),
            }
        }
        return Ok(result);
    }
    let mut classes: BTreeMap<u32, BTreeMap<u32, Vec<usize>>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        classes.entry(entry.class).or_default().entry(entry.group).or_default().push(index);
    }
    for (class, groups) in classes {
        let groups: Vec<Vec<usize>> = groups.into_values().collect();
        let wanted = (fraction * groups.len() as f64).round() as usize;
        let least = usize::from(fraction > 0.0 && groups.len() > 1);
        let held_out = wanted.max(least).min(groups.len().saturating_sub(1));
        let order = Stream::new("split", seed).at(u64::from(class)).permutation(groups.len());
        for (rank, &group) in order.iter().enumerate() {
            let list = if rank < held_out { &mut result.val } else { &mut result.train };
            list.extend(groups.get(group).into_iter().flatten());
        }
    }
    result.train.sort_unstable();
    result.val.sort_unstable();
    Ok(result)
}
