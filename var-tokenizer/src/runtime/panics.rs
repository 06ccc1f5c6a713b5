//! Panics that are not mistakes of this program: they are caught, and a program does not print them.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Whether a panic with this payload is expected.
type Expected = fn(&(dyn Any + Send)) -> bool;

thread_local! {
    /// Which panics the innermost [`caught`] of this thread expects.
    static EXPECTED: Cell<Option<Expected>> = const { Cell::new(None) };
}

/// Runs `f` and catches its panic. A program that called [`silence_expected`] does not print those that are
/// `expected`.
pub(crate) fn caught<T>(expected: Expected, f: impl FnOnce() -> T) -> std::thread::Result<T> {
    let before = EXPECTED.replace(Some(expected));
    // The caller drops what `f` worked on.
    let outcome = catch_unwind(AssertUnwindSafe(f));
    EXPECTED.set(before);
    outcome
}

/// Runs foreign code on foreign data; `None` if it panics.
pub(crate) fn contained<T>(f: impl FnOnce() -> T) -> Option<T> {
    caught(|_| true, f).ok()
}

/// For programs: installs a panic hook that prints nothing for panics that this crate expects and turns into errors.
pub(crate) fn silence_expected() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !EXPECTED.get().is_some_and(|expected| expected(info.payload())) {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_nothing_and_one_outside_still_is_one() {
        assert_eq!(contained(|| 7), Some(7));
        assert_eq!(contained(|| -> u8 { panic!("inside") }), None);
        assert!(EXPECTED.get().is_none());
        assert!(catch_unwind(|| panic!("outside")).is_err());
    }
}
