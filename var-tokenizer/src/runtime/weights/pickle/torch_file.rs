//! The two containers of `torch.save`: a zip archive, and before PyTorch 1.6 pickles in a row.
//!
//! Both hold a pickle that says which tensors there are, and the bytes of their storages apart from it.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Read};
use std::sync::Arc;

use tch::Kind;

use super::machine::{Unpickled, unpickle};
use super::tree::{self, Found};
use super::values::{Storage, Value, View};
use crate::runtime::error::{Error, Result};
use crate::runtime::weights::byte_source::ByteSource;
use crate::runtime::weights::foreign::NUMPY;
use crate::runtime::weights::kinds::Layout;
use crate::runtime::weights::state_dict::{StateDict, Stored};
use crate::runtime::zips;

/// Each dictionary of tensors by the keys that lead to it, and the schedule where one is written down.
pub(crate) type Parts = (BTreeMap<String, StateDict>, Option<Vec<usize>>);

/// How many times its own size a file's tensors may have in all.
const MOST_SHARED: u64 = 8;

/// Where a storage lies in the file, and how many bytes it has.
type Extents = HashMap<String, (u64, u64)>;

/// Reads which tensors the file holds and where.
///
/// # Errors
/// When it is damaged, would run code, or was written on a machine of the other byte order.
pub(crate) fn open(source: &Arc<ByteSource>, layout: Layout) -> Result<Parts> {
    let wrong = |message: String| Error::file(&source.path, message);
    let (unpickled, extents) =
        if layout == Layout::TorchZip { zipped(source)? } else { legacy(source).map_err(wrong)? };
    let Found { parts, schedule } = tree::explore(&unpickled);
    let mut placed = BTreeMap::new();
    let claimed: u64 = parts
        .values()
        .flat_map(|part| part.tensors.values())
        .map(|view| view.distinct() * view.storage.kind.elt_size_in_bytes() as u64)
        .fold(0, u64::saturating_add);
    // A few tensors share their values in honest files; thousands over the same would fill the memory.
    if claimed > source.length().saturating_mul(MOST_SHARED) {
        return Err(wrong(format!("is damaged: tensors of {claimed} bytes in {} bytes", source.length())));
    }
    for (path, part) in parts {
        let tensors = part
            .tensors
            .into_iter()
            .map(|(name, view)| place(source, &extents, &name, view).map(|stored| (name, stored)))
            .collect::<std::result::Result<_, _>>()
            .map_err(wrong)?;
        placed.insert(path, StateDict { tensors, skipped: part.skipped, ..StateDict::default() });
    }
    Ok((placed, schedule))
}

fn place(
    source: &Arc<ByteSource>,
    extents: &Extents,
    name: &str,
    view: View,
) -> std::result::Result<Stored, String> {
    let View { storage, offset, shape, strides } = view;
    let &(begin, bytes) =
        extents.get(&storage.key).ok_or_else(|| format!("is damaged: the values of {name} are not in it"))?;
    let size = storage.kind.elt_size_in_bytes() as u64;
    if storage.numel * size > bytes {
        return Err(format!("is damaged: {bytes} bytes for the {} values of {name}", storage.numel));
    }
    Ok(Stored::new(source, begin + offset * size, storage.kind, shape, Some(strides)))
}

fn zipped(source: &ByteSource) -> Result<(Unpickled, Extents)> {
    let wrong = |message: String| Error::file(&source.path, message);
    let entries = zips::directory(source)?;
    let folder = entries
        .iter()
        .find_map(|entry| entry.name.strip_suffix("data.pkl").filter(|folder| folder.ends_with('/')))
        .ok_or_else(|| wrong(other_archive(&entries)))?;
    let mut extents = HashMap::new();
    let mut pickle = None;
    for entry in &entries {
        let Some(name) = entry.name.strip_prefix(folder) else { continue };
        let key = name.strip_prefix("data/");
        let wanted = key.is_some() || matches!(name, "data.pkl" | "byteorder");
        if wanted && !entry.plain {
            return Err(wrong(format!(
                "{name} is compressed in it, which torch.save never does: unpack it and save it again"
            )));
        }
        match (name, key) {
            ("constants.pkl", _) => {
                return Err(wrong("is a TorchScript module; save the model's state_dict() instead".into()));
            }
            ("byteorder", _) => {
                let mut order = [0; 3];
                if entry.length == 3 {
                    source.read(&mut order, entry.begin)?;
                }
                if &order == b"big" {
                    return Err(wrong("was written on a big-endian machine; save it on this one".into()));
                }
            }
            ("data.pkl", _) => pickle = Some(entry),
            (_, Some(key)) => drop(extents.insert(key.to_owned(), (entry.begin, entry.length))),
            _ => {}
        }
    }
    let pickle = pickle.ok_or_else(|| wrong("has no data.pkl".into()))?;
    let pickle = source.section(pickle.begin, pickle.length);
    let unpickled = unpickle(&mut BufReader::new(pickle)).map_err(wrong)?;
    Ok((unpickled, extents))
}

/// What an archive is that is not one of torch.save.
fn other_archive(entries: &[zips::Entry]) -> String {
    let ends = |endings: &[&str]| {
        let entry = |entry: &&zips::Entry| endings.iter().any(|ending| entry.name.ends_with(ending));
        entries.iter().find(entry).map(|entry| &entry.name)
    };
    if ends(&[".npy"]).is_some() {
        return format!("is an archive of numpy arrays (.npz): {NUMPY}");
    }
    let not = "is a zip archive without data.pkl: not a file of torch.save";
    match ends(&[".pth", ".pt", ".ckpt", ".bin", ".safetensors"]) {
        Some(name) => format!("{not}. It holds {name}: unpack it, and name that file"),
        None => format!("{not}; is it the right file?"),
    }
}

/// A reader that knows how far it has come.
struct Counted<R> {
    reader: R,
    position: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Magic number, version, and machine as a pickle each, then the data, the order of the storages, and the
/// storages, each behind the number of its values.
fn legacy(source: &ByteSource) -> std::result::Result<(Unpickled, Extents), String> {
    let length = source.length();
    let mut reader = Counted { reader: BufReader::new(source.section(0, length)), position: 0 };
    let magic = unpickle(&mut reader)?;
    // The magic number has more than 64 bits.
    if *magic.arena.get(magic.root) != Value::Other {
        let numpy = magic.arena.values().any(|value| matches!(value, Value::Foreign(_)));
        let advice = if numpy { format!(": {NUMPY}") } else { "; is it the right file?".into() };
        return Err(format!("is a plain pickle, not a file of torch.save{advice}"));
    }
    let version = unpickle(&mut reader)?;
    if version.arena.int(version.root) != Some(1001) {
        return Err("is a pickle, but not one of torch.save".into());
    }
    let machine = unpickle(&mut reader)?;
    if let Value::Dict(entries) = machine.arena.get(machine.root) {
        let is = |id, text| machine.arena.text(id) == Some(text);
        let little = entries.iter().find(|(key, _)| is(*key, "little_endian"));
        if little.is_some_and(|(_, value)| *machine.arena.get(*value) == Value::Bool(false)) {
            return Err("was written on a big-endian machine; save it on this one".into());
        }
    }
    let unpickled = unpickle(&mut reader)?;
    let kinds: HashMap<String, Kind> = unpickled
        .arena
        .values()
        .filter_map(|value| match value {
            Value::Storage(Storage { key, kind, .. }) => Some((key.clone(), *kind)),
            _ => None,
        })
        .collect();
    let keys = unpickle(&mut reader)?;
    let order = keys.arena.list(keys.root).ok_or("is damaged: the order of its storages is missing")?;
    let mut at = reader.position;
    let mut extents = HashMap::new();
    for &id in order {
        let key = keys.arena.text(id).ok_or("is damaged: a storage without a name")?;
        let kind = kinds.get(key).ok_or("is damaged: a storage that no tensor has")?;
        let mut count = [0; 8];
        source.read(&mut count, at).map_err(|_| "is cut short; copy it again".to_owned())?;
        let bytes = u64::from_le_bytes(count).checked_mul(kind.elt_size_in_bytes() as u64);
        let begin = at + count.len() as u64;
        let end = bytes.and_then(|bytes| begin.checked_add(bytes)).filter(|&end| end <= length);
        let end = end.ok_or("is cut short; copy it again")?;
        extents.insert(key.to_owned(), (begin, end - begin));
        at = end;
    }
    Ok((unpickled, extents))
}
