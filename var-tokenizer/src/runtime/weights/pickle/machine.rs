//! The stack machine of Python's pickle, protocols 0 to 5, as far as data needs it.

use std::collections::HashMap;
use std::io::Read;

use super::globals;
use super::rebuild::{self, Built};
use super::values::{Arena, Id, Value};

/// Most bytes of one pickle.
const MOST_BYTES: u64 = 64 << 20;
/// Most values on the stack, and most that are remembered.
const MOST_STACKED: usize = 1 << 20;

/// What a pickle built.
#[derive(Debug)]
pub(crate) struct Unpickled {
    pub arena: Arena,
    pub root: Id,
}

/// Runs one pickle and leaves `source` behind its last byte.
///
/// # Errors
/// In words: what is damaged, unknown, or not allowed.
pub(crate) fn unpickle(source: &mut impl Read) -> Result<Unpickled, String> {
    let mut machine = Machine {
        source: source.take(MOST_BYTES),
        arena: Arena::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = machine.run()?;
    Ok(Unpickled { arena: machine.arena, root })
}

struct Machine<R> {
    source: R,
    arena: Arena,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

pub(super) type Step<T> = Result<T, String>;

impl<R: Read> Machine<R> {
    fn run(&mut self) -> Step<Id> {
        loop {
            let [operation] = self.array()?;
            match operation {
                b'.' => return self.pop(),
                // Protocol and frames say nothing that is needed.
                0x80 => drop(self.array::<1>()?),
                0x95 => drop(self.array::<8>()?),
                b'(' => self.mark()?,
                b'0' => self.pop_or_mark()?,
                b'1' => drop(self.items()?),
                b'2' => {
                    let top = self.top()?;
                    self.push_id(top)?;
                }
                b'N' => self.push(Value::None)?,
                0x88 => self.push(Value::Bool(true))?,
                0x89 => self.push(Value::Bool(false))?,
                b'I' | b'L' => self.decimal()?,
                b'F' => {
                    let value = self.line()?.parse().map_err(|_| damaged("a number"))?;
                    self.push(Value::Float(value))?;
                }
                b'G' => {
                    let value = f64::from_be_bytes(self.array()?);
                    self.push(Value::Float(value))?;
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.push(Value::Int(value.into()))?;
                }
                b'K' => {
                    let value = self.unsigned::<1>()?;
                    self.push(Value::Int(value as i64))?;
                }
                b'M' => {
                    let value = self.unsigned::<2>()?;
                    self.push(Value::Int(value as i64))?;
                }
                0x8a => self.long::<1>()?,
                0x8b => self.long::<4>()?,
                0x8c | b'U' => self.string::<1>()?,
                b'X' | b'T' => self.string::<4>()?,
                0x8d => self.string::<8>()?,
                b'C' => self.bytes::<1>()?,
                b'B' => self.bytes::<4>()?,
                0x8e | 0x96 => self.bytes::<8>()?,
                b'V' | b'S' => {
                    let text = self.line()?;
                    let text = if operation == b'S' { unquoted(&text).to_owned() } else { text };
                    self.push(Value::Text(text))?;
                }
                b']' | b')' | 0x8f => self.push(Value::List(Vec::new()))?,
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b'l' | b't' | 0x91 => {
                    let items = self.items()?;
                    self.push(Value::List(items))?;
                }
                b'd' => {
                    let pairs = pairs(&self.items()?)?;
                    self.push(Value::Dict(pairs))?;
                }
                0x85..=0x87 => {
                    let count = usize::from(operation - 0x84);
                    let at = self.stack.len().checked_sub(count).ok_or_else(|| damaged("the stack"))?;
                    self.check_floor(at)?;
                    let items = self.stack.split_off(at);
                    self.push(Value::List(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.items()?;
                    self.append(items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set(vec![(key, value)])?;
                }
                b'u' => {
                    let pairs = pairs(&self.items()?)?;
                    self.set(pairs)?;
                }
                b'q' => {
                    let index = self.unsigned::<1>()?;
                    self.remember(index)?;
                }
                b'r' => {
                    let index = self.unsigned::<4>()?;
                    self.remember(index)?;
                }
                b'p' => {
                    let index = self.index()?;
                    self.remember(index)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'h' => {
                    let index = self.unsigned::<1>()?;
                    self.recall(index)?;
                }
                b'j' => {
                    let index = self.unsigned::<4>()?;
                    self.recall(index)?;
                }
                b'g' => {
                    let index = self.index()?;
                    self.recall(index)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let text = |id| self.arena.text(id).map(str::to_owned);
                    let (Some(module), Some(name)) = (text(module), text(name)) else {
                        return Err(damaged("a name"));
                    };
                    self.global(&module, &name)?;
                }
                b'i' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let _ = self.items()?;
                    self.global(&module, &name)?;
                    let _ = self.pop()?;
                    self.push(Value::Other)?;
                }
                b'R' | 0x81 => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    self.call(function, arguments)?;
                }
                0x92 => {
                    let (_, arguments, function) = (self.pop()?, self.pop()?, self.pop()?);
                    self.call(function, arguments)?;
                }
                // The state of an object: an ordered dictionary's attributes, a parameter's hooks.
                b'b' => drop(self.pop()?),
                b'Q' => {
                    let id = self.pop()?;
                    let storage = rebuild::storage(&self.arena, id)?;
                    self.push(Value::Storage(storage))?;
                }
                other => {
                    return Err(format!("has operation 0x{other:02x}, which weights do not need"));
                }
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(|_| "ends in the middle".to_owned())?;
        Ok(bytes)
    }

    /// A little-endian number of `N` bytes.
    fn unsigned<const N: usize>(&mut self) -> Step<u64> {
        Ok(self.array::<N>()?.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte)))
    }

    /// A number of the memory in decimal.
    fn index(&mut self) -> Step<u64> {
        self.line()?.parse().map_err(|_| damaged("a reference"))
    }

    /// Bytes behind their number, which has `N` bytes; memory is taken as they come, not as they are
    /// announced.
    fn counted<const N: usize>(&mut self) -> Step<Vec<u8>> {
        let length = self.unsigned::<N>()?;
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(length).read_to_end(&mut bytes);
        if read.is_err() || bytes.len() as u64 != length {
            return Err("ends in the middle".into());
        }
        Ok(bytes)
    }

    fn line(&mut self) -> Step<String> {
        let mut bytes = Vec::new();
        loop {
            match self.array::<1>()? {
                [b'\n'] => break,
                [byte] if bytes.len() < 4096 => bytes.push(byte),
                _ => return Err(damaged("a line")),
            }
        }
        String::from_utf8(bytes).map_err(|_| damaged("a text"))
    }

    fn push(&mut self, value: Value) -> Step<()> {
        let id = self.arena.add(value)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Step<()> {
        if self.stack.len() + self.marks.len() >= MOST_STACKED {
            return Err(damaged("the stack"));
        }
        self.stack.push(id);
        Ok(())
    }

    fn mark(&mut self) -> Step<()> {
        if self.stack.len() + self.marks.len() >= MOST_STACKED {
            return Err(damaged("the stack"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Nothing may be taken from below the last mark.
    fn check_floor(&self, at: usize) -> Step<()> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if at < floor { Err(damaged("the stack")) } else { Ok(()) }
    }

    fn pop(&mut self) -> Step<Id> {
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err(damaged("the stack"));
        }
        self.stack.pop().ok_or_else(|| damaged("the stack"))
    }

    fn pop_or_mark(&mut self) -> Step<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    fn top(&self) -> Step<Id> {
        self.stack.last().copied().ok_or_else(|| damaged("the stack"))
    }

    /// Everything above the last mark.
    fn items(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(|| damaged("the stack"))?))
    }

    fn decimal(&mut self) -> Step<()> {
        let line = self.line()?;
        let value = match line.as_str() {
            "00" => Value::Bool(false),
            "01" => Value::Bool(true),
            number => number.trim_end_matches('L').parse().map_or(Value::Other, Value::Int),
        };
        self.push(value)
    }

    /// A whole number in two's complement of any length; those beyond 64 bits are only passed over.
    fn long<const N: usize>(&mut self) -> Step<()> {
        let bytes = self.counted::<N>()?;
        if bytes.len() > 8 {
            return self.push(Value::Other);
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        for (to, from) in wide.iter_mut().zip(&bytes) {
            *to = *from;
        }
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    fn string<const N: usize>(&mut self) -> Step<()> {
        let text = String::from_utf8(self.counted::<N>()?);
        self.push(text.map_or(Value::Other, Value::Text))
    }

    fn bytes<const N: usize>(&mut self) -> Step<()> {
        self.counted::<N>()?;
        self.push(Value::Other)
    }

    fn append(&mut self, items: Vec<Id>) -> Step<()> {
        let top = self.top()?;
        match self.arena.get_mut(top) {
            Some(Value::List(list)) => list.extend(items),
            Some(Value::Other) => {}
            _ => return Err(damaged("a list")),
        }
        Ok(())
    }

    fn set(&mut self, pairs: Vec<(Id, Id)>) -> Step<()> {
        let top = self.top()?;
        match self.arena.get_mut(top) {
            Some(Value::Dict(entries)) => entries.extend(pairs),
            Some(Value::Other) => {}
            _ => return Err(damaged("a dictionary")),
        }
        Ok(())
    }

    fn remember(&mut self, index: u64) -> Step<()> {
        let top = self.top()?;
        if self.memo.len() >= MOST_STACKED {
            return Err(damaged("the memory"));
        }
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> Step<()> {
        let id = self.memo.get(&index).copied().ok_or_else(|| damaged("a reference"))?;
        self.push_id(id)
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let value = globals::lookup(module, name).ok_or_else(|| {
            format!(
                "refused: it names {module}.{name}, for which Python would run code; only tensors and plain \
                 data are read. If it holds a whole model, save its state_dict() alone"
            )
        })?;
        self.push(value)
    }

    fn call(&mut self, function: Id, arguments: Id) -> Step<()> {
        match rebuild::call(&self.arena, function, arguments)? {
            Built::New(value) => self.push(value),
            Built::Present(id) => self.push_id(id),
        }
    }
}

pub(super) fn damaged(what: &str) -> String {
    format!("is damaged: {what} makes no sense")
}

fn pairs(items: &[Id]) -> Step<Vec<(Id, Id)>> {
    if !items.len().is_multiple_of(2) {
        return Err(damaged("a dictionary"));
    }
    Ok(items.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect())
}

/// The text between the quotes of Python's `repr`; escapes stay as they are.
fn unquoted(text: &str) -> &str {
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(pickle: &[u8]) -> Result<Value, String> {
        let unpickled = unpickle(&mut &pickle[..])?;
        Ok(unpickled.arena.get(unpickled.root).clone())
    }

    #[test]
    fn numbers_of_every_form_are_read() {
        for (pickle, expected) in [
            (&b"K\x05."[..], 5),
            (b"M\x01\x02.", 513),
            (b"J\xff\xff\xff\xff.", -1),
            (b"\x8a\x00.", 0),
            (b"\x8a\x02\x00\x80.", -32768),
            (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", i64::MAX),
            (b"I-7\n.", -7),
            (b"L12L\n.", 12),
        ] {
            assert_eq!(root(pickle), Ok(Value::Int(expected)), "{pickle:?}");
        }
        assert_eq!(root(b"I01\n."), Ok(Value::Bool(true)));
        assert_eq!(root(b"G\x3f\xf8\0\0\0\0\0\0."), Ok(Value::Float(1.5)));
    }

    #[test]
    fn code_is_refused_by_name() {
        let message = root(b"cos\nsystem\n(S'echo'\ntR.").unwrap_err();
        assert!(message.contains("os.system") && message.contains("refused"), "{message}");
        let message = root(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.").unwrap_err();
        assert!(message.contains("builtins.eval"), "{message}");
    }

    #[test]
    fn a_container_is_filled_after_it_was_remembered() {
        let unpickled = unpickle(&mut &b"}q\x00K\x01K\x02sh\x00\x86."[..]).unwrap();
        let pair = unpickled.arena.list(unpickled.root).unwrap();
        assert_eq!(pair[0], pair[1]);
        assert!(matches!(unpickled.arena.get(pair[1]), Value::Dict(entries) if entries.len() == 1));
    }

    #[test]
    fn damage_is_an_error() {
        for pickle in [
            &b""[..],
            b".",
            b"K",
            b"0.",
            b"t.",
            b"(K\x01u.",
            b"}(K\x01u.",
            b"h\x07.",
            b"(\x85.",
            b"X\xff\xff\xff\xffab.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab.",
            b"K\x01R.",
            b"K\x01K\x02R.",
            b"K\x01a.",
            b"\x00.",
            b"NQ.",
        ] {
            assert!(root(pickle).is_err(), "{pickle:?}");
        }
    }
}
