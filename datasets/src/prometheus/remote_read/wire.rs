//! Protocol buffers as they go over the wire (<https://protobuf.dev/programming-guides/encoding/>), for the few messages of
//! remote read: fields are looked at where they lie, so that a hostile message makes nothing grow.

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WireError(pub(super) &'static str);

impl WireError {
    pub(super) fn text(self) -> String {
        self.0.to_owned()
    }
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError("a field with a length was wanted")),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError("a text must be UTF-8"))
    }

    pub(super) fn varint(self) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(WireError("a varint was wanted")),
        }
    }

    /// Two's complement, as `int64` is.
    pub(super) fn int64(self) -> Result<i64, WireError> {
        self.varint().map(u64::cast_signed)
    }

    /// Zigzag, as `sint64` is.
    pub(super) fn sint64(self) -> Result<i64, WireError> {
        self.varint().map(unzigzag)
    }

    /// Zigzag, as `sint32` is.
    pub(super) fn sint32(self) -> Result<i32, WireError> {
        i32::try_from(self.sint64()?).map_err(|_| WireError("an integer must fit 32 bits"))
    }

    pub(super) fn double(self) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError("a double was wanted")),
        }
    }

    /// Appends the doubles of a repeated field, packed or one by one.
    pub(super) fn doubles(self, out: &mut Vec<f64>) -> Result<(), WireError> {
        let Self::Bytes(bytes) = self else {
            out.push(self.double()?);
            return Ok(());
        };
        let (values, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(WireError("packed doubles must be a multiple of 8 bytes"));
        }
        out.extend(values.iter().map(|value| f64::from_le_bytes(*value)));
        Ok(())
    }

    /// Appends the `sint64`s of a repeated field, packed or one by one.
    pub(super) fn sint64s(self, out: &mut Vec<i64>) -> Result<(), WireError> {
        let Self::Bytes(mut bytes) = self else {
            out.push(self.sint64()?);
            return Ok(());
        };
        while !bytes.is_empty() {
            out.push(unzigzag(take_varint(&mut bytes)?));
        }
        Ok(())
    }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// The fields of a message, in the order they lie there. Over after an error.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), WireError> {
        let key = take_varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Varint(take_varint(&mut self.0)?),
            1 => Value::Fixed64(u64::from_le_bytes(take_array(&mut self.0)?)),
            2 => {
                let length = take_varint(&mut self.0)?;
                let length = usize::try_from(length).map_err(|_| WireError("a field is longer than its message"))?;
                let (bytes, rest) =
                    self.0.split_at_checked(length).ok_or(WireError("a field is longer than its message"))?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(take_array(&mut self.0)?)),
            _ => return Err(WireError("a wire type must be 0, 1, 2 or 5")),
        };
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (array, rest) = bytes.split_first_chunk().ok_or(WireError("a message ends within a field"))?;
    *bytes = rest;
    Ok(*array)
}

/// At most ten bytes, of which the last may hold one bit.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(WireError("a message ends within a varint"))?;
        *bytes = rest;
        if shift == 63 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError("a varint must fit 64 bits"))
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A varint field. Zero is written, too: it means the same.
pub(super) fn put_int(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

/// A field with a length: text, bytes, a message.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_that_ends_early_or_says_the_impossible_is_refused() {
        for message in [&[0x80][..], &[0x08], &[0x0a, 5, 1], &[0x09, 1], &[0x0b], &[0xff; 11]] {
            assert!(Fields::of(message).any(|field| field.is_err()), "{message:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(number in 1_u64..1000, value: u64, bytes: Vec<u8>) {
            let mut message = Vec::new();
            put_int(&mut message, number, value);
            put_bytes(&mut message, number, &bytes);
            let fields: Vec<_> = Fields::of(&message).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(fields, [(number, Value::Varint(value)), (number, Value::Bytes(&bytes))]);
        }

        #[test]
        fn zigzag_is_undone(value: i64) {
            prop_assert_eq!(unzigzag((value << 1 ^ value >> 63).cast_unsigned()), value);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            for (_, value) in Fields::of(&bytes).flatten() {
                let _ = (value.text(), value.sint32(), value.doubles(&mut Vec::new()), value.sint64s(&mut Vec::new()));
            }
        }
    }
}
