//! Damage, and sums that are right again after it.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;

/// A valid file from which damaged ones are made.
pub struct Seed {
    /// Which kind of file it is, for messages.
    pub name: &'static str,
    /// What is changed: the file, or what lies packed in it.
    pub bytes: Vec<u8>,
    /// Sums in `bytes` that are made right again after a change: whoever means harm does so too.
    pub seals: Vec<Seal>,
    /// Makes the file of the changed bytes.
    pub pack: fn(Vec<u8>) -> Vec<u8>,
}

/// A checksum over part of a file.
pub struct Seal {
    /// What it is taken over.
    pub over: Range<usize>,
    /// Where it lies; zeros or blanks stand there while it is taken, if it lies within `over`.
    pub at: usize,
    /// The sum's bytes for these bytes.
    pub sum: fn(&[u8]) -> Vec<u8>,
    /// What stands at `at` while the sum is taken.
    pub blank: u8,
}

impl Seed {
    /// A file without sums, or whose sums stay as they are.
    pub fn plain(name: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, bytes, seals: Vec::new(), pack: |bytes| bytes }
    }

    /// The file as it was.
    pub fn whole(&self) -> Vec<u8> {
        (self.pack)(self.bytes.clone())
    }

    /// The file after `changes`, its sums right again if `sealed`; `others` may be spliced in.
    pub fn damaged(&self, changes: &[Change], sealed: bool, others: &[Seed]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for change in changes {
            change.apply(&mut bytes, others);
        }
        if sealed {
            for seal in &self.seals {
                seal.apply(&mut bytes);
            }
        }
        (self.pack)(bytes)
    }
}

impl Seal {
    fn apply(&self, bytes: &mut [u8]) {
        let size = (self.sum)(&[]).len();
        if self.over.end > bytes.len() || self.at + size > bytes.len() {
            return;
        }
        if self.over.contains(&self.at) {
            bytes[self.at..self.at + size].fill(self.blank);
        }
        let sum = (self.sum)(&bytes[self.over.clone()]);
        bytes[self.at..self.at + size].copy_from_slice(&sum);
    }
}

/// One way to damage a file. Places are shares of its length.
#[derive(Debug, Clone)]
pub enum Change {
    /// Flips bits of a byte.
    Flip(Index, u8),
    /// Overwrites with a number of 1, 2, 4 or 8 bytes.
    Number(Index, u64, usize, bool),
    /// As `Number`, where something other than zero stands: most of some files is empty.
    Filled(Index, u64, usize, bool),
    /// Adds a little to a byte.
    Nudge(Index, i8),
    /// Cuts the file off.
    Cut(Index),
    /// Puts bytes in.
    Insert(Index, Vec<u8>),
    /// Repeats a piece behind itself.
    Repeat(Index, usize),
    /// Takes a piece out.
    Remove(Index, usize),
    /// Swaps two pieces.
    Swap(Index, Index, usize),
    /// Goes on with another file from there on.
    Splice(Index, Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, others: &[Seed]) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Self::Flip(at, bits) => bytes[at.index(length)] ^= bits,
            Self::Nudge(at, by) => {
                let at = at.index(length);
                bytes[at] = bytes[at].wrapping_add_signed(*by);
            }
            Self::Number(at, number, size, big) => write(bytes, at.index(length), *number, *size, *big),
            Self::Filled(at, number, size, big) => {
                let filled: Vec<usize> = (0..length).filter(|&i| bytes[i] != 0).collect();
                if !filled.is_empty() {
                    write(bytes, *at.get(&filled), *number, *size, *big);
                }
            }
            Self::Cut(at) => bytes.truncate(at.index(length)),
            Self::Insert(at, new) => {
                let at = at.index(length);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Repeat(at, size) => {
                let at = at.index(length);
                let piece = bytes[at..length.min(at + size)].to_vec();
                bytes.splice(at..at, piece);
            }
            Self::Remove(at, size) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + size));
            }
            Self::Swap(a, b, size) => {
                let (a, b) = (a.index(length), b.index(length));
                let size = (*size).min(a.abs_diff(b)).min(length - a.max(b));
                for i in 0..size {
                    bytes.swap(a + i, b + i);
                }
            }
            Self::Splice(at, which) => {
                if let Some(other) = (!others.is_empty()).then(|| which.get(others)) {
                    let at = at.index(length);
                    bytes.truncate(at);
                    bytes.extend(other.bytes.iter().skip(at));
                }
            }
        }
    }
}

fn write(bytes: &mut [u8], at: usize, number: u64, size: usize, big: bool) {
    let digits =
        if big { number.to_be_bytes()[8 - size..].to_vec() } else { number.to_le_bytes()[..size].to_vec() };
    for (to, digit) in bytes.iter_mut().skip(at).zip(digits) {
        *to = digit;
    }
}

/// Numbers on which readers stumble.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(0x7f),
        Just(0x80),
        Just(0xff),
        Just(0x7fff),
        Just(0xffff),
        Just(0x7fff_ffff),
        Just(0x8000_0000),
        Just(0xffff_ffff),
        Just(1 << 40),
        Just(0x7fff_ffff_ffff_ffff),
        Just(u64::MAX),
        any::<u64>(),
        0..5000_u64,
    ]
}

/// Any one change.
pub fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let size = || prop_oneof![Just(1_usize), Just(2), Just(4), Just(8)];
    prop_oneof![
        4 => (at(), 1..=255_u8).prop_map(|(at, bits)| Change::Flip(at, bits)),
        4 => (at(), number(), size(), any::<bool>()).prop_map(|(at, n, s, b)| Change::Number(at, n, s, b)),
        6 => (at(), number(), size(), any::<bool>()).prop_map(|(at, n, s, b)| Change::Filled(at, n, s, b)),
        3 => (at(), any::<i8>()).prop_map(|(at, by)| Change::Nudge(at, by)),
        1 => at().prop_map(Change::Cut),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, new)| Change::Insert(at, new)),
        1 => (at(), 1..600_usize).prop_map(|(at, size)| Change::Repeat(at, size)),
        1 => (at(), 1..600_usize).prop_map(|(at, size)| Change::Remove(at, size)),
        1 => (at(), at(), 1..600_usize).prop_map(|(a, b, size)| Change::Swap(a, b, size)),
        1 => (at(), at()).prop_map(|(at, which)| Change::Splice(at, which)),
    ]
}

/// What is done to one of several seeds: which, how, and whether its sums are made right again.
pub fn damage() -> impl Strategy<Value = (Index, Vec<Change>, bool)> {
    (any::<Index>(), prop::collection::vec(change(), 1..5), prop::bool::weighted(0.7))
}
