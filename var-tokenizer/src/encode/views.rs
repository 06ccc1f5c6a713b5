//! The views of pictures that an encode makes, in their order.

use crate::data::images::{Partition, Split};

/// One view of one picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) split: Split,
    /// Of the picture in its source.
    pub(super) index: usize,
    /// Of the view.
    pub(super) number: usize,
}

/// All views in the order in which they are encoded; a position in it is where a resume goes on.
pub(super) fn views(parts: &Partition, crops: usize) -> Vec<Item> {
    let train = parts.train.iter().flat_map(|&index| (0..crops).map(move |number| (index, number)));
    let train = train.map(|(index, number)| Item { split: Split::Train, index, number });
    train.chain(parts.val.iter().map(|&index| Item { split: Split::Val, index, number: 0 })).collect()
}
