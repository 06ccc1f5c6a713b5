//! A look at the footer of a Parquet file before the library reads it.
//!
//! The library takes memory for as many row groups as the footer announces. A damaged number would end the process. This
//! walks over all values of the footer, which are encoded by Thrift's compact protocol, and believes no number that the
//! bytes behind it cannot hold.

/// Values nested deeper than this are damage.
const MAX_DEPTH: usize = 32;

/// Whether `footer` is a whole struct whose lists, maps and texts are not longer than the bytes behind them.
pub(super) fn is_whole(footer: &[u8]) -> bool {
    Cursor(footer).value(STRUCT, MAX_DEPTH).is_some()
}

/// Kinds of values.
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    /// A number of up to 64 bits, seven in each byte.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << place;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// Passes over a number of values of one kind. Each takes at least a byte.
    fn values(&mut self, count: u64, kinds: &[u8], depth: usize) -> Option<()> {
        if count > self.0.len() as u64 {
            return None;
        }
        for _ in 0..count {
            for &kind in kinds {
                // Outside a struct, a truth value takes a byte.
                if matches!(kind, 1 | 2) { self.skip(1) } else { self.value(kind, depth) }?;
            }
        }
        Some(())
    }

    /// Passes over a value; nothing when it is not whole.
    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // Truth values of a struct lie in the head of the field.
            1 | 2 => Some(()),
            3 => self.skip(1),
            4..=6 => self.number().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            LIST | SET => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
                self.values(count, &[head & 15], depth)
            }
            MAP => match self.number()? {
                0 => Some(()),
                count => {
                    let kinds = self.byte()?;
                    self.values(count, &[kinds >> 4, kinds & 15], depth)
                }
            },
            STRUCT => loop {
                match self.byte()? {
                    0 => return Some(()),
                    head => {
                        if head >> 4 == 0 {
                            self.number()?;
                        }
                        self.value(head & 15, depth)?;
                    }
                }
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_longer_than_the_footer_are_damage() {
        // Field 1, a list of three numbers.
        let whole = [0x19, 0x35, 1, 2, 3, 0];
        assert!(is_whole(&whole));
        assert!((0..whole.len()).all(|length| !is_whole(&whole[..length])));
        assert!(!is_whole(&[0x19, 0xf5, 0xff, 0xff, 0xff, 0x7f, 1, 0]), "two hundred million numbers");
        assert!(!is_whole(&[0x18, 9, b'x', 0]), "a text of nine letters");
        assert!(!is_whole(&[0x1c; 100]), "structs in structs");
        assert!(is_whole(&[0x1b, 0, 0x11, 0]), "an empty map and a truth value");
    }
}
