//! The views of images that an encode makes, in order.

use crate::data::images::{Partition, Split};

/// One view of one image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) split: Split,
    /// Index of the image in its source.
    pub(super) index: usize,
    /// Number of the view.
    pub(super) number: usize,
}

/// Returns all views in the order in which they are encoded. A resume continues at a position of this list.
pub(super) fn views(parts: &Partition, crops: usize) -> Vec<Item> {
    let train = parts.train.iter().flat_map(|&index| (0..crops).map(move |number| (index, number)));
    let train = train.map(|(index, number)| Item { split: Split::Train, index, number });
    train.chain(parts.val.iter().map(|&index| Item { split: Split::Val, index, number: 0 })).collect()
}
