//! A file of weights of any of the layouts that people have, and the part of it that is wanted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::byte_source::ByteSource;
use super::kinds::{Layout, Role};
use super::pickle::torch_file;
use super::state_dict::StateDict;
use super::{foreign, names, safetensors};
use crate::runtime::error::{Error, Result};
use crate::runtime::nearest::did_you_mean;

/// How the outermost part is called where a name is needed.
const OUTERMOST: &str = ".";
/// What a part is that is neither.
const NO_NETWORK: &str = "neither a tokenizer nor a transformer";

/// An opened file of weights; the values are still in it.
#[derive(Debug)]
pub struct Checkpoint {
    /// How it is laid out.
    pub layout: Layout,
    /// Its sets of tensors by the keys that lead to them, joined by `/`; "" is the outermost.
    pub parts: BTreeMap<String, StateDict>,
    /// Sides of the token maps, where the file says them (trainers' checkpoints do).
    pub sides: Option<Vec<usize>>,
    pub(super) name: String,
}

impl Checkpoint {
    /// As [`Checkpoint::open`], for one file, with the names that are in it.
    pub(super) fn open_file(path: &Path) -> Result<Self> {
        Self::open_in(&ByteSource::open(path)?)
    }

    /// As [`Checkpoint::open`] for the bytes of a file, which is called `path` in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn in_memory(bytes: impl Into<Cow<'static, [u8]>>, path: &Path) -> Result<Self> {
        Self::open_in(&ByteSource::in_memory(bytes, path)).map(Self::with_own_names)
    }

    fn open_in(source: &Arc<ByteSource>) -> Result<Self> {
        let (path, length) = (&source.path, source.length());
        let mut start = [0; 16];
        let known = length.min(16) as usize;
        source.read(start.get_mut(..known).unwrap_or_default(), 0)?;
        let layout = match start {
            [b'P', b'K', 3, 4, ..] => Layout::TorchZip,
            [0x80, 1..=5, ..] => Layout::TorchLegacy,
            // The length of the header, which is below 4 GB; no text has zeros.
            [_, _, _, _, 0, 0, 0, 0, b'{', ..] => Layout::Safetensors,
            _ => return Err(foreign::refusal(source)?),
        };
        let name = path.display().to_string();
        let mut sides = None;
        let mut parts = BTreeMap::new();
        if layout == Layout::Safetensors {
            parts.insert(String::new(), safetensors::open_in(source)?);
        } else {
            let (found, stated) = torch_file::open(source, layout)?;
            sides = stated;
            for (key, mut dict) in found {
                dict.name = if key.is_empty() { name.clone() } else { format!("{name} ({key})") };
                parts.insert(key, dict);
            }
        }
        Ok(Self { layout, parts, sides, name })
    }

    /// Gives every network its own names, and a part of its own.
    pub(super) fn with_own_names(mut self) -> Self {
        self.parts = std::mem::take(&mut self.parts)
            .into_iter()
            .flat_map(|(key, dict)| names::split(key, dict))
            .collect();
        self
    }

    /// The tensors of `role`, wherever they are nested.
    ///
    /// # Errors
    /// When there are none, or several sets of them; says what there is.
    pub fn part(&self, role: Role) -> Result<&StateDict> {
        let key = self.key(role)?;
        self.parts.get(&key).ok_or_else(|| self.lacks(role))
    }

    /// As [`Checkpoint::part`], taken out.
    ///
    /// # Errors
    /// As [`Checkpoint::part`].
    pub fn take(&mut self, role: Role) -> Result<StateDict> {
        let key = self.key(role)?;
        let mut dict = self.parts.remove(&key).ok_or_else(|| self.lacks(role))?;
        dict.note_skipped();
        Ok(dict)
    }

    /// Leaves of all parts of one role only the one at the key `part`, of which the last word will do (`.` is the
    /// outermost), and of the other role the part next to it. The words `model` and `tokenizer` mean the only part of
    /// that role, unless a key is called so.
    ///
    /// # Errors
    /// When there is no such part, or it holds no network; lists the parts.
    pub fn choose(&mut self, part: &str) -> Result<Role> {
        let part = if part == OUTERMOST { "" } else { part };
        let ends = |key: &&String| key.rsplit('/').next() == Some(part);
        let keys: Vec<&String> = match self.parts.get_key_value(part) {
            Some((key, _)) => vec![key],
            None => self.parts.keys().filter(ends).collect(),
        };
        let (chosen, role) = match (keys.as_slice(), Role::named(part)) {
            ([key], _) => match self.parts.get(*key).and_then(Role::of) {
                Some(role) => ((*key).clone(), role),
                None => return Err(Error::file(&self.name, format!("part '{key}': {NO_NETWORK}"))),
            },
            (_, Some(role)) => return self.key(role).map(|_| role),
            (_, None) => {
                let known = self.parts.iter().filter(|(_, dict)| Role::of(dict).is_some());
                let hint = did_you_mean(part, known.map(|(key, _)| key.as_str()));
                let hint = if hint.is_empty() { "." } else { &hint };
                let why = format!("has no part '{part}'{hint} It holds {}", self.listed(None));
                return Err(Error::file(&self.name, why));
            }
        };
        let parent = |key: &str| key.rsplit_once('/').map(|(parent, _)| parent.to_owned());
        let beside = |key: &str| parent(key) == parent(&chosen);
        let others = |key: &str, dict: &StateDict| Role::of(dict).is_some_and(|of| of != role) && beside(key);
        let one_beside = self.parts.iter().filter(|(key, dict)| others(key, dict)).count() == 1;
        self.parts.retain(|key, dict| match Role::of(dict) {
            Some(of) if of == role => *key == chosen,
            Some(_) => !one_beside || beside(key),
            None => true,
        });
        Ok(role)
    }

    /// The key of the only part of `role`.
    fn key(&self, role: Role) -> Result<String> {
        let mut keys = self.parts.iter().filter(|(_, dict)| Role::of(dict) == Some(role)).map(|(key, _)| key);
        match (keys.next(), keys.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => Err(self.lacks(role)),
            _ => Err(Error::file(
                &self.name,
                format!(
                    "holds several {role}s: {}. Write one to its own file: `var-model convert FILE OUT.safetensors \
                     --part NAME`",
                    self.listed(Some(role))
                ),
            )),
        }
    }

    /// The parts of `role`, or of any, by name and size.
    pub fn listed(&self, role: Option<Role>) -> String {
        let listed: Vec<String> = self
            .parts
            .iter()
            .filter_map(|(key, dict)| Some((key, dict, Role::of(dict)?)))
            .filter(|(_, _, of)| role.is_none_or(|role| role == *of))
            .map(|(key, dict, of)| {
                let values: usize = dict.tensors.values().map(|tensor| tensor.numel()).sum();
                let name = if key.is_empty() { OUTERMOST } else { key };
                format!("'{name}' ({of}, {} tensors, {values} parameters)", dict.tensors.len())
            })
            .collect();
        if listed.is_empty() { NO_NETWORK.into() } else { listed.join(", ") }
    }

    fn lacks(&self, role: Role) -> Error {
        let other = self.parts.values().find_map(Role::of);
        Error::file(
            &self.name,
            match other {
                Some(other) => format!("holds a {other}, not a {role}; name the {role}'s file"),
                None if self.is_numpy() => format!("holds numpy arrays and no tensors: {}", foreign::NUMPY),
                None => {
                    format!(
                        "holds no {role}: no tensor is called {}, {}; is it the right file?",
                        role.marker(),
                        self.summary()
                    )
                }
            },
        )
    }

    /// Whether it holds no tensors, but arrays of numpy.
    fn is_numpy(&self) -> bool {
        let all = |of: fn(&StateDict) -> usize| self.parts.values().map(of).sum::<usize>();
        all(|dict| dict.tensors.len()) == 0 && all(|dict| dict.skipped.len()) > 0
    }

    /// What is in it, in a few words.
    fn summary(&self) -> String {
        let count: usize = self.parts.values().map(|dict| dict.tensors.len()).sum();
        let first: Vec<&str> =
            self.parts.values().flat_map(|dict| dict.tensors.keys()).map(String::as_str).take(3).collect();
        if first.is_empty() {
            "it holds no tensors".into()
        } else {
            format!("it has {count} tensors: {}, …", first.join(", "))
        }
    }
}
