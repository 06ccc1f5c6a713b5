//! Many names in one piece of memory: a million of them take their letters and eight bytes each.

/// A list of names.
#[derive(Debug, Default)]
pub(crate) struct NameList {
    letters: String,
    /// Where each name ends in `letters`. It begins where the one before it ends.
    ends: Vec<usize>,
}

impl NameList {
    /// Adds a name at the end.
    pub(crate) fn push(&mut self, name: &str) {
        self.letters.push_str(name);
        self.ends.push(self.letters.len());
    }

    /// Adds the names of another list at the end.
    pub(crate) fn append(&mut self, other: &Self) {
        let before = self.letters.len();
        self.letters.push_str(&other.letters);
        self.ends.extend(other.ends.iter().map(|end| before + end));
    }

    /// Returns the number of names.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns name `index`, or an empty text when there is none.
    pub(crate) fn get(&self, index: usize) -> &str {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(0));
        self.ends.get(index).and_then(|&end| self.letters.get(begin..end)).unwrap_or_default()
    }

    /// Returns the names in their order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Gives back the memory that was taken for names to come.
    pub(crate) fn shrink(&mut self) {
        self.letters.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_in_their_order_from_joined_lists() {
        let (mut one, mut two) = (NameList::default(), NameList::default());
        one.push("a");
        one.push("");
        two.push("ä/b");
        two.push("c");
        one.append(&two);
        assert_eq!(one.iter().collect::<Vec<_>>(), ["a", "", "ä/b", "c"]);
        assert_eq!((one.len(), one.get(2), one.get(4)), (4, "ä/b", ""));
    }
}
