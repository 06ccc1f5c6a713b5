//! Panics that are no mistake of this program: caught, and not printed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many `contained` calls this thread is inside.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs other people's code on other people's data; nothing when it panics. Nothing is printed for it.
pub(crate) fn contained<T>(f: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    hush(&HOOK, |_| DEPTH.with(Cell::get) > 0);
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    // What `f` was working on is dropped with it.
    let outcome = catch_unwind(AssertUnwindSafe(f));
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    outcome.ok()
}

/// Puts a panic hook before the present one, once, that stays silent for what is `ours`.
pub(crate) fn hush(once: &Once, ours: fn(&PanicHookInfo<'_>) -> bool) {
    once.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !ours(info) {
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
        assert_eq!(DEPTH.with(Cell::get), 0);
        assert!(catch_unwind(|| panic!("outside")).is_err());
    }
}
