//! The values that a pickle may build, in one arena: containers are filled after others refer to them.

use tch::Kind;

/// Place of a value in the arena.
pub(crate) type Id = usize;

/// Most values of an expanded tensor: none that can be used has as many.
const MOST_EXPANDED: i64 = 1 << 40;

/// Most values of one pickle. The checkpoint of a 2B model and its optimizer has some twenty thousand.
pub(crate) const MOST_VALUES: usize = 1 << 20;

/// The bytes that tensors are views of.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// Its name in the container.
    pub key: String,
    /// Type of its values.
    pub kind: Kind,
    /// How many there are.
    pub numel: u64,
}

/// A view of a storage, checked to lie within it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub storage: Storage,
    /// First value.
    pub offset: u64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// List, tuple or set.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A type of tensor storage.
    StorageType(Kind),
    /// A type of values.
    Type(&'static str),
    /// A tensor or array that is not read, in words: "a sparse tensor".
    Foreign(String),
    /// A function that puts something together.
    Global(super::globals::Known),
    Storage(Storage),
    Tensor(View),
    /// Plain data that nobody here looks into: bytes, large integers, numpy scalars, devices.
    Other,
}

/// All values of one pickle.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    values: Vec<Value>,
}

impl Arena {
    /// Adds a value.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn add(&mut self, value: Value) -> Result<Id, String> {
        if self.values.len() >= MOST_VALUES {
            return Err(format!("holds more than {MOST_VALUES} values"));
        }
        self.values.push(value);
        Ok(self.values.len() - 1)
    }

    pub(crate) fn get(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::None)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Value> {
        self.values.get_mut(id)
    }

    pub(crate) fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// A list of whole numbers.
    pub(crate) fn ints(&self, id: Id) -> Option<Vec<i64>> {
        self.list(id)?.iter().map(|&item| self.int(item)).collect()
    }
}

impl View {
    /// A view of `storage`.
    ///
    /// # Errors
    /// When it does not lie within the storage, or shows more values than there are other than by expanding, which
    /// repeats values along a dimension of stride 0.
    pub(crate) fn new(
        storage: Storage,
        offset: i64,
        shape: Vec<i64>,
        strides: Vec<i64>,
    ) -> Result<Self, String> {
        let wrong = || {
            format!(
                "a tensor of shape {shape:?}, strides {strides:?} from {offset} on does not lie within its \
                 storage of {} values",
                storage.numel
            )
        };
        let sane = shape.len() == strides.len()
            && shape.len() <= 16
            && shape.iter().chain(&strides).chain([&offset]).all(|&n| n >= 0);
        let numel = shape.iter().try_fold(1_i64, |all, &length| all.checked_mul(length));
        let last = shape.iter().zip(&strides).try_fold(offset, |at, (&length, &stride)| {
            at.checked_add(length.saturating_sub(1).max(0).checked_mul(stride)?)
        });
        let numel = numel.filter(|&numel| sane && numel <= MOST_EXPANDED.max(storage.numel as i64));
        let (Some(numel), Some(last)) = (numel, last) else { return Err(wrong()) };
        let view = Self {
            storage: storage.clone(),
            offset: offset as u64,
            shape: shape.clone(),
            strides: strides.clone(),
        };
        // More values than the storage has would be a small file that fills the memory.
        if numel > 0 && (last as u64 >= storage.numel || view.distinct() > storage.numel) {
            return Err(wrong());
        }
        Ok(view)
    }

    /// How many values there are without those that expanding repeats.
    pub(crate) fn distinct(&self) -> u64 {
        let lengths = self.shape.iter().zip(&self.strides);
        lengths.map(|(&length, &stride)| if stride == 0 { length.min(1) } else { length } as u64).product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(numel: u64) -> Storage {
        Storage { key: "0".into(), kind: Kind::Float, numel }
    }

    #[test]
    fn views_within_their_storage_are_taken() {
        assert!(View::new(storage(6), 0, vec![2, 3], vec![3, 1]).is_ok());
        assert!(View::new(storage(6), 0, vec![3, 2], vec![1, 3]).is_ok());
        assert!(View::new(storage(6), 5, vec![], vec![]).is_ok());
        assert!(View::new(storage(0), 0, vec![0, 7], vec![7, 1]).is_ok());
        // Expanded.
        let view = View::new(storage(6), 0, vec![1 << 20, 6], vec![0, 1]).unwrap();
        assert_eq!(view.distinct(), 6);
    }

    #[test]
    fn views_beyond_their_storage_are_refused() {
        for (offset, shape, strides) in [
            (0, vec![7], vec![1]),
            (1, vec![2, 3], vec![3, 1]),
            (0, vec![1 << 40, 1 << 40], vec![0, 0]),
            (0, vec![2, 1 << 40], vec![0, 0]),
            (0, vec![1 << 30, 7], vec![0, 1]),
            (-1, vec![2], vec![1]),
            (0, vec![2], vec![-1]),
            (i64::MAX, vec![2], vec![i64::MAX]),
            (0, vec![2, 3], vec![1]),
            (6, vec![], vec![]),
        ] {
            assert!(View::new(storage(6), offset, shape.clone(), strides).is_err(), "{offset} {shape:?}");
        }
    }
}
