//! The frames of a streamed answer: the message's length as a varint, the CRC-32C of the message in four bytes, big end
//! first, the message; again and again until the body ends.

use bytes::Bytes;

use super::super::answer::shorten;
use super::wire::take_varint;

/// Prometheus fills frames up to 1 MiB.
const MAX_FRAME: u64 = 64 << 20;

/// The messages of a body, in order. Over after an error, which says in which frame it is.
pub(super) struct Frames {
    rest: Bytes,
    number: usize,
}

impl Frames {
    pub(super) fn of(body: Bytes) -> Self {
        Self { rest: body, number: 0 }
    }

    fn frame(&mut self) -> Result<Bytes, String> {
        let mut bytes = &self.rest[..];
        let length = take_varint(&mut bytes).map_err(|e| e.0.to_owned())?;
        if length > MAX_FRAME {
            return Err(format!("a frame must be at most {MAX_FRAME} bytes, got {length}"));
        }
        let (checksum, bytes) = bytes.split_first_chunk().ok_or("the body ends within a frame")?;
        let message = bytes.get(..length as usize).ok_or("the body ends within a frame")?;
        let (wanted, got) = (u32::from_be_bytes(*checksum), crc32c::crc32c(message));
        if wanted != got {
            return Err(format!("checksum {wanted:08x} wanted, got {got:08x}"));
        }
        let message = self.rest.slice_ref(message);
        let end = self.rest.len() - (bytes.len() - message.len());
        self.rest = self.rest.slice(end..);
        Ok(message)
    }
}

impl Iterator for Frames {
    type Item = Result<Bytes, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let frame = self.frame();
        Some(frame.map_err(|reason| {
            // A server that fails half-way writes its words where the next frame would be.
            let rest = std::mem::take(&mut self.rest);
            let words = shorten(&String::from_utf8_lossy(&rest[..rest.len().min(200)]));
            format!("frame {}: {reason}; the rest starts with {words:?}", self.number)
        }))
    }
}

#[cfg(test)]
pub(super) fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    super::wire::put_varint(&mut out, message.len() as u64);
    out.extend(crc32c::crc32c(message).to_be_bytes());
    out.extend(message);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: Vec<u8>) -> Result<Vec<Bytes>, String> {
        Frames::of(body.into()).collect()
    }

    #[test]
    fn a_servers_last_words_are_in_the_error() {
        let body = [frame(b"one"), b"query timed out\n".to_vec()].concat();
        let error = read(body).unwrap_err();
        assert!(error.starts_with("frame 2: ") && error.ends_with("\"query timed out\""), "{error}");
    }

    #[test]
    fn a_length_is_checked_before_anything_else() {
        let body = [0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0].to_vec();
        assert!(read(body).unwrap_err().contains("at most"));
    }

    proptest! {
        #[test]
        fn messages_come_back(messages: Vec<Vec<u8>>) {
            let body: Vec<u8> = messages.iter().flat_map(|m| frame(m)).collect();
            prop_assert_eq!(read(body).unwrap(), messages);
        }

        #[test]
        fn a_changed_bit_or_a_lost_end_is_noticed(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 1..5),
            at: proptest::sample::Index, bit in 0_u8..8, cut: bool,
        ) {
            let mut body: Vec<u8> = messages.iter().flat_map(|m| frame(m)).collect();
            let at = at.index(body.len());
            if cut { body.truncate(at) } else { body[at] ^= 1 << bit }
            // A body that ends between two frames cannot be told from a whole one; HTTP can.
            if let Ok(read) = read(body) {
                prop_assert!(cut && messages.starts_with(&read.iter().map(|m| m.to_vec()).collect::<Vec<_>>()));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = read(body);
        }
    }
}
