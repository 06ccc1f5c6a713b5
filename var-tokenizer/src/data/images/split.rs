//! Which images are trained on and which are held out.

use std::fmt;

use crate::runtime::random::Stream;

/// The two parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// Training.
    Train,
    /// Held out for validation.
    Val,
}

impl Split {
    /// Both parts, in their order in files.
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

/// Indices of the images of a source, each in one part. Both lists are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// Training images.
    pub train: Vec<usize>,
    /// Held-out images.
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

    /// Keeps at most `train` and `val` images, drawn by `seed`.
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
