//! Opens the page in the user's browser, if there is one.

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use var_tokenizer::progress::tell;

/// Programs that open an address, with their first arguments.
const OPENERS: &[&[&str]] = if cfg!(target_os = "macos") {
    &[&["open"]]
} else if cfg!(windows) {
    &[&["cmd", "/c", "start", ""]]
} else {
    &[&["xdg-open"]]
};

/// Opens `url`. If that is not possible, says so: the user can open it by hand.
pub(super) fn open(url: &str) {
    for words in OPENERS {
        let Some((program, first)) = words.split_first() else { continue };
        let mut command = Command::new(program);
        command.args(first).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(mut child) => {
                // Some openers end only with the browser.
                std::thread::spawn(move || {
                    if child.wait().is_ok_and(|status| !status.success()) {
                        tell("note: no browser was opened; open the address above yourself");
                    }
                });
                return;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => tell(format_args!("note: {program}: {e}")),
        }
    }
    tell("note: no program to open a browser with is here; open the address above yourself");
}
