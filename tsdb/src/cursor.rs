//! A position in bytes that are not trusted: every read may find the end.

/// Reads integers and byte strings, big-endian, one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What a read found instead of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The end: more bytes may help, if there are any.
    End,
    /// A varint of more than ten bytes, or one that does not fit its type.
    Varint,
}

impl Stop {
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::End => "more bytes wanted, got the end",
            Self::Varint => "a varint of at most 10 bytes that fits its type wanted, got a longer one",
        }
    }
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let end = self.at.checked_add(len).ok_or(Stop::End)?;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::End)?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn be_u32(&mut self) -> Result<u32, Stop> {
        self.bytes(4)?.first_chunk().map(|four| u32::from_be_bytes(*four)).ok_or(Stop::End)
    }

    pub(crate) fn uvarint(&mut self) -> Result<u64, Stop> {
        let rest = self.rest();
        // Most have one byte.
        if let Some(byte) = rest.first().filter(|byte| **byte < 0x80) {
            self.at += 1;
            return Ok(u64::from(*byte));
        }
        match uvarint(rest) {
            Some((value, len)) => {
                self.at += len;
                Ok(value)
            }
            None if rest.len() < 10 => Err(Stop::End),
            None => Err(Stop::Varint),
        }
    }

    pub(crate) fn varint(&mut self) -> Result<i64, Stop> {
        let zigzag = self.uvarint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// A uvarint that must fit into 32 bits.
    pub(crate) fn uvarint32(&mut self) -> Result<u32, Stop> {
        u32::try_from(self.uvarint()?).map_err(|_| Stop::Varint)
    }

    /// As many bytes as a uvarint before them says.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Stop> {
        let len = usize::try_from(self.uvarint()?).map_err(|_| Stop::Varint)?;
        self.bytes(len)
    }
}

/// A uvarint at the start of `bytes` and how many bytes it has; `None` where the bytes end inside it or it has more than
/// 64 bits.
pub(crate) fn uvarint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        let group = u64::from(byte & 0x7f);
        if index == 9 && *byte > 1 {
            return None;
        }
        value |= group << (7 * index);
        if *byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

/// The big-endian u32 at the start of four bytes.
pub(crate) fn be_u32(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_read_as_go_writes_them() {
        assert_eq!(Cursor::new(&[0xac, 0x02]).uvarint(), Ok(300));
        assert_eq!(Cursor::new(&[0x01]).varint(), Ok(-1));
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).uvarint(), Ok(u64::MAX));
    }

    #[test]
    fn an_end_and_an_overlong_varint_are_told_apart() {
        assert_eq!(Cursor::new(&[0x80]).uvarint(), Err(Stop::End));
        assert_eq!(Cursor::new(&[0xff; 11]).uvarint(), Err(Stop::Varint));
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x7f]).uvarint32(), Err(Stop::Varint));
        assert_eq!(Cursor::new(&[5, 1, 2]).string(), Err(Stop::End));
    }
}
