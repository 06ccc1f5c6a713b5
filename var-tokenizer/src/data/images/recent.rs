//! The values that were used last, shared by all threads: open files, unpacked pages.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::runtime::error::Result;

/// Values by key. Each has a weight; the oldest go when all together weigh more than the limit.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    limit: u64,
    kept: Mutex<VecDeque<Kept<V>>>,
}

#[derive(Debug)]
struct Kept<V> {
    key: u64,
    weight: u64,
    slot: Slot<V>,
}

/// A value, or nothing while it is made. The thread that makes it holds the lock, others wait for it.
type Slot<V> = Arc<Mutex<Option<Arc<V>>>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V> Recent<V> {
    /// Makes an empty store that keeps values up to the weight `limit`, and always the last one.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, kept: Mutex::new(VecDeque::new()) }
    }

    /// Returns the value of `key`. Calls `make` for the value and its weight when it is not kept.
    ///
    /// # Errors
    /// Those of `make`. They are not kept.
    pub(crate) fn get(&self, key: u64, make: impl FnOnce() -> Result<(V, u64)>) -> Result<Arc<V>> {
        let slot = self.slot(key);
        let mut held = locked(&slot);
        if let Some(value) = &*held {
            return Ok(Arc::clone(value));
        }
        let (value, weight) = make()?;
        let value = Arc::new(value);
        *held = Some(Arc::clone(&value));
        drop(held);
        self.weigh(key, weight);
        Ok(value)
    }

    /// Returns the slot of `key`, now the youngest.
    fn slot(&self, key: u64) -> Slot<V> {
        let mut kept = locked(&self.kept);
        let place = kept.iter().position(|one| one.key == key);
        let found = place.and_then(|place| kept.remove(place));
        let one = found.unwrap_or_else(|| Kept { key, weight: 0, slot: Slot::default() });
        let slot = Arc::clone(&one.slot);
        kept.push_back(one);
        slot
    }

    fn weigh(&self, key: u64, weight: u64) {
        let mut kept = locked(&self.kept);
        if let Some(one) = kept.iter_mut().find(|one| one.key == key) {
            one.weight = weight;
        }
        let mut all: u64 = kept.iter().map(|one| one.weight).sum();
        while all > self.limit && kept.len() > 1 {
            all -= kept.pop_front().map_or(0, |oldest| oldest.weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::error::Error;

    #[test]
    fn the_oldest_values_go_first_and_failures_are_not_kept() {
        let store = Recent::new(2);
        let made = std::cell::Cell::new(0);
        let get = |key: u64| {
            let value = store.get(key, || {
                made.set(made.get() + 1);
                Ok((key * 10, 1))
            });
            *value.unwrap()
        };
        assert_eq!([1, 2, 1, 3, 1].map(get), [10, 20, 10, 30, 10]);
        assert_eq!(made.get(), 3);
        assert_eq!((get(2), made.get()), (20, 4));
        assert!(store.get(7, || Err(Error::config("no"))).is_err());
        assert_eq!((get(7), made.get()), (70, 5));
    }
}
