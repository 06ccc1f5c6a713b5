//! The programs that no cache of ours can bring: compilers and make.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// A program that has to be on the machine.
pub struct Tool {
    /// Name for messages.
    pub name: &'static str,
    /// The environment variable by which build scripts choose another one.
    variable: &'static str,
    /// What build scripts call where the variable is not set.
    program: &'static str,
    /// How to get it.
    pub advice: &'static str,
}

const COMPILERS: &str = "install the compilers (Debian, Ubuntu: `apt install g++ make`; Fedora: `dnf install \
                         gcc-c++ make`; Arch: `pacman -S gcc make`), or name yours in CXX and CC";

/// libtorch's bindings are C++, HDF5 is C and built by make.
pub const TOOLS: [Tool; 3] = [
    Tool { name: "C++ compiler", variable: "CXX", program: "c++", advice: COMPILERS },
    Tool { name: "C compiler", variable: "CC", program: "cc", advice: COMPILERS },
    Tool {
        name: "make",
        variable: "MAKE",
        program: "make",
        advice: "install it (Debian, Ubuntu: `apt install make`; Fedora: `dnf install make`; Arch: `pacman -S make`)",
    },
];

impl Tool {
    /// The program that a build would call, when there is one.
    pub fn find(&self) -> Option<String> {
        let chosen = std::env::var(self.variable).ok().filter(|text| !text.trim().is_empty());
        let command = chosen.unwrap_or_else(|| self.program.to_owned());
        // The variable may hold arguments, or a wrapper such as ccache before the compiler.
        let program = command.split_whitespace().next()?;
        on_path(program).map(|path| path.display().to_string())
    }
}

/// The C++ compiler, as build scripts call it, to be given arguments.
pub fn cxx() -> Command {
    let chosen = std::env::var("CXX").ok().filter(|text| !text.trim().is_empty());
    let command = chosen.unwrap_or_else(|| "c++".to_owned());
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("c++"));
    command.args(words);
    command
}

/// The file that starting `program` would run: itself when it names a folder, else looked up on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(runs);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(runs)
}
