//! The end of a process that joined other ranks.
#![allow(unsafe_code)]

use std::io::Write;
use std::sync::OnceLock;

/// The rank, once this process has begun to join others.
static RANK: OnceLock<usize> = OnceLock::new();

/// Notes that this process is `rank` among others.
pub(super) fn mark(rank: usize) {
    let _ = RANK.set(rank);
}

/// Whether this process tells what all ranks know: rank 0 does, and a single process.
pub fn speaks() -> bool {
    RANK.get().is_none_or(|rank| *rank == 0)
}

/// Whether this process is one of several ranks.
pub fn is_rank() -> bool {
    RANK.get().is_some()
}

/// Ends the process with `status` at once if it joined other ranks; otherwise returns.
///
/// An ordinary exit destroys data that c10d's threads still use, and waits for threads that hang in a call to a lost rank.
pub fn end(status: u8) {
    if RANK.get().is_none() {
        return;
    }
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    // SAFETY: ends the process; nothing of it is used afterwards. Files are written whole or line by line,
    // and nothing else waits in a buffer.
    unsafe { libc::_exit(i32::from(status)) }
}
