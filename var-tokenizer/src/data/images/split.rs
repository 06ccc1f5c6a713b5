//! Which pictures are trained on and which are held out.

use std::fmt;

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
