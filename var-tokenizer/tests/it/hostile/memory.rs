//! How much memory a thread takes: the test binary's allocator counts.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread has taken and not given back; below 0 when it gave back another's.
    static PRESENT: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counted. Memory that is asked for counts, touched or not.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    // Fails only while a thread ends.
    let _ = PRESENT.try_with(|present| {
        present.set(present.get().wrapping_add(bytes));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(present.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new live side by side while the bytes are moved.
        count(size as isize);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(place, layout, size) };
        count(-(layout.size() as isize));
        moved
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

/// The most bytes that `f` held at a time on this thread, and what it gave.
pub fn peak_of<T>(f: impl FnOnce() -> T) -> (usize, T) {
    let before = PRESENT.get();
    PEAK.set(before);
    let result = f();
    ((PEAK.get() - before).max(0) as usize, result)
}

#[test]
fn memory_that_is_asked_for_counts_even_if_nothing_touches_it() {
    let (peak, ()) = peak_of(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 26))));
    assert!((1 << 26..1 << 27).contains(&peak), "{peak}");
    let (peak, ()) = peak_of(|| drop(std::hint::black_box(vec![1_u8; 1000])));
    assert!(peak < 4096, "{peak}");
}
