//! An encoded chunk, and its frame in a segment file.

use super::bits::uvarint;
use super::crc::crc32c;

/// A chunk as the index and a segment file know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The byte that says how `data` is encoded.
    pub encoding: u8,
    /// The first time in it, Unix milliseconds.
    pub start: i64,
    /// The last time in it.
    pub end: i64,
    /// How many samples it has.
    pub samples: u64,
    /// What comes after the encoding byte.
    pub data: Vec<u8>,
}

impl Chunk {
    /// A downsampled chunk (encoding 255) of up to five others, in the order count, sum, min, max, counter. Its times are
    /// those of all of them.
    pub fn aggregate(slots: [Option<Chunk>; 5]) -> Self {
        let mut data = Vec::new();
        for slot in &slots {
            match slot {
                None => data.push(0),
                Some(chunk) => {
                    data.extend(uvarint(chunk.data.len() as u64));
                    data.push(chunk.encoding);
                    data.extend(&chunk.data);
                }
            }
        }
        let present = || slots.iter().flatten();
        Self {
            encoding: 255,
            start: present().map(|c| c.start).min().unwrap_or(0),
            end: present().map(|c| c.end).max().unwrap_or(0),
            samples: present().map(|c| c.samples).max().unwrap_or(0),
            data,
        }
    }

    /// Length, encoding, data, checksum.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = uvarint(self.data.len() as u64);
        let checked = frame.len();
        frame.push(self.encoding);
        frame.extend(&self.data);
        let checksum = crc32c(&frame[checked..]);
        frame.extend(checksum.to_be_bytes());
        frame
    }
}
