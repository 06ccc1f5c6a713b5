//! Names in folders and archives: one rule for both, so that packing a folder changes nothing.

use std::collections::{BTreeMap, BTreeSet};

/// Folders that systems and archivers make for themselves. Every name that begins with a dot is hidden as well.
const SYSTEM: [&str; 8] = [
    "__MACOSX",
    "@eaDir",
    "@Recycle",
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
];
/// Kinds of images that are not read.
const UNREAD: [&str; 17] = [
    "heic", "heif", "avif", "jp2", "j2k", "jxl", "tga", "psd", "svg", "dng", "cr2", "nef", "arw", "exr",
    "hdr", "ico", "pcx",
];
/// How many names a message gives.
const NAMED: usize = 3;

/// Whether a file or folder of this name is hidden, or the system's own.
pub(crate) fn is_hidden(base: &str) -> bool {
    base.starts_with('.') || SYSTEM.contains(&base)
}

/// The topmost hidden part of `name` and all above it: what is skipped with it.
pub(crate) fn hidden_part(name: &str) -> Option<&str> {
    let mut end = 0;
    for base in name.split('/') {
        end += base.len();
        if is_hidden(base) {
            return name.get(..end);
        }
        end += 1;
    }
    None
}

/// A name as text. Bytes that are not UTF-8 become `\xE9`, so that two different names stay different.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut name = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        name.push_str(part.valid());
        for byte in part.invalid() {
            name.push_str(&format!("\\x{byte:02X}"));
        }
    }
    name
}

/// The ending of `name` in lower case, if its last part has one.
pub(crate) fn ending(name: &str) -> Option<String> {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase())
}

/// A few of `names`, and how many more there are.
pub(crate) fn few<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = names.len();
    let shown: Vec<&str> = names.take(NAMED).collect();
    match count.saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A sentence on images among `names` of kinds that are not read; none where there are none.
pub(crate) fn unread<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for ending in names.filter_map(ending) {
        if UNREAD.contains(&ending.as_str()) {
            *kinds.entry(ending).or_default() += 1;
        }
    }
    let count: usize = kinds.values().sum();
    let list: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    (count > 0).then(|| {
        format!(
            "skips {count} images of kinds that are not read ({}); convert them to png or jpg",
            list.join(", ")
        )
    })
}

/// What a reader passes over, each by its name.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    /// Hidden, or the system's own.
    pub(crate) hidden: BTreeSet<String>,
    /// Neither files nor folders: pipes, sockets, devices.
    pub(crate) special: BTreeSet<String>,
    /// Links to a folder above them.
    pub(crate) circles: BTreeSet<String>,
    /// Names that an archive has several times.
    pub(crate) repeated: BTreeSet<String>,
    /// Names that are not UTF-8.
    pub(crate) foreign: BTreeSet<String>,
}

impl Skipped {
    /// A sentence for each kind that there is.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let kinds = [
            (&self.hidden, "skips hidden and system entries"),
            (&self.special, "skips pipes, sockets and devices"),
            (&self.circles, "skips links to a folder above them"),
            (&self.repeated, "the archive has these several times, the last one counts"),
            (&self.foreign, "names that are not UTF-8, shown with \\x for each such byte"),
        ];
        kinds
            .into_iter()
            .filter(|(names, _)| !names.is_empty())
            .map(|(names, what)| format!("{what}: {}", few(names.iter().map(String::as_str))))
            .collect()
    }

    /// Takes in what another reader skipped.
    pub(crate) fn join(&mut self, other: Self) {
        self.hidden.extend(other.hidden);
        self.special.extend(other.special);
        self.circles.extend(other.circles);
        self.repeated.extend(other.repeated);
        self.foreign.extend(other.foreign);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_and_system_parts_are_found_wherever_they_stand() {
        assert_eq!(hidden_part("cats/.ipynb_checkpoints/0.png"), Some("cats/.ipynb_checkpoints"));
        assert_eq!(hidden_part("__MACOSX/cats/._0.png"), Some("__MACOSX"));
        assert_eq!(hidden_part("cats/@eaDir/0.png/thumb.jpg"), Some("cats/@eaDir"));
        assert_eq!(hidden_part("cats/._0.png"), Some("cats/._0.png"));
        assert_eq!(hidden_part("cats/0.1.png"), None);
    }

    #[test]
    fn names_that_are_not_utf8_stay_different() {
        assert_eq!(text(b"caf\xe9"), "caf\\xE9");
        assert_ne!(text(b"caf\xe9"), text(b"caf\xe8"));
        assert_eq!(text("日本/ü".as_bytes()), "日本/ü");
    }
}
