//! Rows of tokens in memory, in as few bytes as the vocabulary needs.

/// Some rows as they lie in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) ids: Ids,
    pub(super) labels: Vec<u32>,
    pub(super) sources: Vec<u32>,
    pub(super) crops: Vec<u16>,
}

/// Ids in as few bytes as the vocabulary needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// For vocabularies up to 65,536.
    Narrow(Vec<u16>),
    /// For larger ones.
    Wide(Vec<u32>),
}

/// The tokens and labels of a whole part, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitTokens {
    /// Tokens of a row, `L`.
    pub length: usize,
    /// `[N, L]`
    pub ids: Ids,
    /// `[N]`
    pub labels: Vec<u32>,
}

impl Ids {
    pub(super) fn largest(&self) -> u32 {
        match self {
            Self::Narrow(ids) => ids.iter().copied().max().map_or(0, u32::from),
            Self::Wide(ids) => ids.iter().copied().max().unwrap_or(0),
        }
    }
}

impl SplitTokens {
    /// Number of rows `N`.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Appends the `L` ids of row `index` to `out`. Returns false when the row does not exist.
    pub fn copy_row(&self, index: usize, out: &mut Vec<i64>) -> bool {
        if index >= self.len() {
            return false;
        }
        let range = index * self.length..(index + 1) * self.length;
        match &self.ids {
            Ids::Narrow(ids) => {
                out.extend(ids.get(range).unwrap_or_default().iter().map(|&id| i64::from(id)))
            }
            Ids::Wide(ids) => out.extend(ids.get(range).unwrap_or_default().iter().map(|&id| i64::from(id))),
        }
        true
    }
}
