//! The images below a folder of a stock, in order of their names.

use super::name_list::NameList;

/// Images whose names begin alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Below<'a> {
    names: &'a NameList,
    /// Positions in the stock, sorted by name.
    positions: &'a [u32],
    /// Length of the folder that they share, with the slash.
    shared: usize,
}

impl<'a> Below<'a> {
    /// Takes the images at `positions`, which are sorted by name, below their first `shared` letters.
    pub(crate) fn new(names: &'a NameList, positions: &'a [u32], shared: usize) -> Self {
        Self { names, positions, shared }
    }

    /// Returns the number of images.
    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Returns the positions in the stock.
    pub(crate) fn positions(&self) -> &'a [u32] {
        self.positions
    }

    /// Returns the whole names.
    pub(crate) fn whole(self) -> impl ExactSizeIterator<Item = &'a str> {
        self.positions.iter().map(move |&position| self.names.get(position as usize))
    }

    /// Returns the names below the folder.
    pub(crate) fn iter(self) -> impl ExactSizeIterator<Item = &'a str> {
        self.whole().map(move |name| name.get(self.shared..).unwrap_or_default())
    }

    /// Returns the folder of each image, the first part of its name; `None` for an image without a folder.
    pub(crate) fn folders(self) -> impl Iterator<Item = Option<&'a str>> {
        self.iter().map(|name| name.split_once('/').map(|(folder, _)| folder))
    }

    /// Returns the images in `folder`.
    pub(crate) fn part(self, folder: &str) -> Self {
        let folder = format!("{folder}/");
        let name = |&position: &u32| self.names.get(position as usize).get(self.shared..).unwrap_or_default();
        let begin = self.positions.partition_point(|position| name(position) < folder.as_str());
        let rest = self.positions.get(begin..).unwrap_or_default();
        let count = rest.partition_point(|position| name(position).starts_with(&folder));
        Self {
            names: self.names,
            positions: rest.get(..count).unwrap_or_default(),
            shared: self.shared + folder.len(),
        }
    }
}
