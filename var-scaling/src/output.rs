//! Text for the person. A reader that goes away (`| head`) is no failure and no reason to stop.

use std::io::{ErrorKind, Write};

use crate::error::{Error, Result};

/// Writes to standard output.
///
/// # Errors
/// When it cannot be written, unless its reader has gone.
pub fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", e)),
        _ => Ok(()),
    }
}

/// Writes a line to standard error. Where that fails there is nobody left to tell.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
