//! The fields of a protobuf message, one after the other, nothing copied: every length is checked before it is believed.

use prost::encoding::{WireType, decode_key, decode_varint};

/// What a field holds.
pub(crate) enum Value<'a> {
    /// A varint.
    Number(u64),
    /// Eight bytes, little-endian.
    Fixed64(u64),
    /// Bytes: a string, a message, packed numbers.
    Bytes(&'a [u8]),
    /// Four bytes; nothing here reads them.
    Other,
}

/// One field of a message.
pub(crate) struct Field<'a> {
    pub(crate) tag: u32,
    pub(crate) value: Value<'a>,
    /// Where it begins in the message, key included.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
}

/// Walks `message`; ends after the first error.
pub(crate) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    fn take(&mut self) -> Result<Field<'a>, String> {
        let start = self.at;
        let mut rest = &self.message[start..];
        let (tag, wire_type) = decode_key(&mut rest).map_err(|e| e.to_string())?;
        let value = match wire_type {
            WireType::Varint => Value::Number(decode_varint(&mut rest).map_err(|e| e.to_string())?),
            WireType::SixtyFourBit => {
                let (bytes, after) = rest.split_first_chunk::<8>().ok_or("8 bytes are wanted, the message ends")?;
                rest = after;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            WireType::ThirtyTwoBit => {
                rest = rest.get(4..).ok_or("4 bytes are wanted, the message ends")?;
                Value::Other
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(|e| e.to_string())?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > rest.len() {
                    return Err(format!("a field of {length} bytes, with {} left", rest.len()));
                }
                let (bytes, after) = rest.split_at(length);
                rest = after;
                Value::Bytes(bytes)
            }
            WireType::StartGroup | WireType::EndGroup => return Err("groups are not part of this format".to_owned()),
        };
        self.at = self.message.len() - rest.len();
        Ok(Field { tag, value, start, end: self.at })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.take();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

/// The numbers of a packed field.
pub(crate) fn packed(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, String>> + '_ {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let number = decode_varint(&mut bytes).map_err(|e| e.to_string());
        if number.is_err() {
            bytes = &[];
        }
        Some(number)
    })
}

/// The eight-byte numbers of a repeated field: one, or many packed.
pub(crate) fn fixed64s(value: &Value<'_>, into: &mut Vec<u64>) -> Result<(), String> {
    match value {
        Value::Fixed64(bits) => into.push(*bits),
        Value::Bytes(bytes) => {
            let (numbers, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(format!("packed numbers of 8 bytes each, got {} bytes", bytes.len()));
            }
            into.extend(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        }
        Value::Number(_) | Value::Other => return Err("numbers of 8 bytes are wanted".to_owned()),
    }
    Ok(())
}

/// The varints of a repeated field: one, or many packed.
pub(crate) fn varints(value: &Value<'_>, into: &mut Vec<u64>) -> Result<(), String> {
    match value {
        Value::Number(number) => into.push(*number),
        Value::Bytes(bytes) => {
            for number in packed(bytes) {
                into.push(number?);
            }
        }
        Value::Fixed64(_) | Value::Other => return Err("varints are wanted".to_owned()),
    }
    Ok(())
}

/// A signed varint (`sint32`, `sint64`).
pub(crate) fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// Appends a string field, as a sender writes it.
pub(crate) fn put_string(into: &mut Vec<u8>, tag: u8, text: &[u8]) {
    into.push(tag << 3 | 2);
    put_varint(into, text.len());
    into.extend_from_slice(text);
}

pub(crate) fn put_varint(into: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}
