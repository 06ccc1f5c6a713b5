//! What a file is that is no file of weights, and how to get one.

use super::byte_source::ByteSource;
use crate::runtime::error::{Error, Result};

/// Bytes that are looked at.
const LOOK: u64 = 1024;
/// Characters of a text that a message quotes.
const QUOTED: usize = 80;
/// How numpy's arrays become tensors.
pub(super) const NUMPY: &str = "convert it in Python: torch.save({name: torch.from_numpy(array) for name, array \
                                in arrays.items()}, \"weights.pth\")";
/// What to do about a file that a server sent instead of the weights.
const AGAIN: &str = "download the file again: log in or accept its terms where the server asks for it, and take the \
                     address of the file itself";
/// Beginnings of packed files and others that are taken for weights.
const MAGICS: [(&[u8], &str); 7] = [
    (b"\x1f\x8b", "is compressed by gzip: unpack it with gunzip"),
    (b"BZh", "is compressed by bzip2: unpack it with bunzip2"),
    (b"\xfd7zXZ", "is compressed by xz: unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: unpack it with unzstd"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it, and name the file of weights in it"),
    (b"\x89HDF", "is an HDF5 file; weights are read from .safetensors files and from those of torch.save"),
    (b"GGUF", "is a GGUF file; weights are read from .safetensors files and from those of torch.save"),
];

/// The error about a file whose beginning is neither that of a safetensors file nor that of torch.save.
///
/// # Errors
/// When it cannot be read.
pub(super) fn refusal(source: &ByteSource) -> Result<Error> {
    let mut start = vec![0; source.length().min(LOOK) as usize];
    source.read(&mut start, 0)?;
    Ok(Error::file(&source.path, described(&start)))
}

fn described(start: &[u8]) -> String {
    if start.is_empty() {
        return "is empty; copy or download it again".into();
    }
    if let Some((_, what)) = MAGICS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return (*what).to_owned();
    }
    if start.get(257..262) == Some(b"ustar") {
        return "is a tar archive: unpack it, and name the file of weights in it".into();
    }
    let Some(text) = text(start) else {
        return "is neither a safetensors file nor one of torch.save; is it the right file?".into();
    };
    let lower = text.to_lowercase();
    if lower.starts_with("version https://git-lfs") {
        return "is a Git LFS pointer and not the weights themselves: run `git lfs pull` in its repository, or \
                download the file itself"
            .into();
    }
    let quoted: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTED).collect();
    let what = if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        "is a web page (HTML)"
    } else if lower.starts_with('<') {
        "is an XML text, as servers answer instead of a file"
    } else if lower.starts_with(['{', '[']) {
        "is a JSON text"
    } else {
        "is a text, neither a safetensors file nor one of torch.save"
    };
    format!("{what}: \"{quoted}\"; is it the right file? If a server sent it, {AGAIN}")
}

/// The beginning as text, if it is one.
fn text(start: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character is cut at the end of what is looked at.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(start.get(..e.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    let plain = text.chars().all(|c| !c.is_control() || c.is_whitespace());
    plain.then(|| text.trim_start_matches('\u{feff}').trim_start()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_and_tools_leave_instead_of_weights_is_named_with_the_next_step() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n";
        let page = b"\xef\xbb\xbf  <!DOCTYPE html><html><head><title>Access denied</title></head></html>";
        let cases: [(&[u8], &[&str]); 9] = [
            (pointer, &["Git LFS pointer", "git lfs pull"]),
            (page, &["web page", "Access denied", "log in"]),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", &["XML", "AccessDenied"]),
            (b"Access to model x is restricted", &["Access to model x is restricted", "accept its terms"]),
            (b"{\"error\": \"Not Found\"}", &["JSON", "Not Found"]),
            (b"\x1f\x8b\x08", &["gzip", "gunzip"]),
            (b"", &["is empty"]),
            (&[1; 300], &["neither a safetensors file"]),
            (&[[0; 257].as_slice(), b"ustar"].concat(), &["tar archive"]),
        ];
        for (start, parts) in cases {
            let message = described(start);
            assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} not in {message}");
        }
    }
}
