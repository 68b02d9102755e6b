//! The symbol table of a 2.0 message, and labels that refer to it.

use crate::fields::{Fields, Value, put_string, put_varint};

/// Strings of one message; its labels refer to them by number.
pub(super) struct Symbols<'a>(Vec<&'a [u8]>);

/// A message has at most so many.
const MAX_SYMBOLS: usize = 1 << 20;

impl<'a> Symbols<'a> {
    /// Reads the table (tag 4) out of the whole message, wherever in it the strings stand.
    pub(super) fn of(message: &'a [u8]) -> Result<Self, String> {
        let mut symbols = Vec::new();
        for field in Fields::of(message) {
            let field = field?;
            if let (4, Value::Bytes(text)) = (field.tag, field.value) {
                if symbols.len() == MAX_SYMBOLS {
                    return Err(format!("a message must have at most {MAX_SYMBOLS} symbols, got more"));
                }
                symbols.push(text);
            }
        }
        match symbols.first() {
            Some(first) if !first.is_empty() => Err("the first symbol must be the empty string".to_owned()),
            _ => Ok(Self(symbols)),
        }
    }

    /// Appends what `refs` refer to as label fields of a 1.0 message, so that both versions have one fingerprint; at most `room` bytes.
    pub(super) fn unfold(&self, refs: &[u64], into: &mut Vec<u8>, room: usize) -> Result<(), String> {
        if !refs.len().is_multiple_of(2) {
            return Err(format!("labels_refs must be pairs of a name and a value, got {}", refs.len()));
        }
        let end = into.len() + room;
        for pair in refs.chunks_exact(2) {
            let [name, value] = [self.get(pair[0])?, self.get(pair[1])?];
            if name.is_empty() {
                return Err("a label must have a name".to_owned());
            }
            let mut lengths = Vec::with_capacity(8);
            put_varint(&mut lengths, name.len());
            let name_field = 1 + lengths.len() + name.len();
            lengths.clear();
            put_varint(&mut lengths, value.len());
            let length = name_field + 1 + lengths.len() + value.len();
            if into.len() + length + 8 > end {
                return Err("the labels unfold to too many bytes".to_owned());
            }
            into.push(1 << 3 | 2);
            put_varint(into, length);
            put_string(into, 1, name);
            put_string(into, 2, value);
        }
        Ok(())
    }

    fn get(&self, number: u64) -> Result<&'a [u8], String> {
        let symbol = usize::try_from(number).ok().and_then(|n| self.0.get(n));
        symbol.copied().ok_or_else(|| format!("labels_refs must lie below {}, got {number}", self.0.len()))
    }
}
