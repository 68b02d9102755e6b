//! A section of an index: its length, its content, its checksum. Kept in memory where that is cheap, and otherwise read
//! again in pieces.

use std::sync::Arc;

use bytes::Bytes;

use crate::cursor::{Cursor, Stop, be_u32};
use crate::{BlockError, InMemory, ReadAt};

/// What is read first of a section whose size nobody knows; pieces double from there.
const FIRST_PIECE: u64 = 1 << 10;
const LARGEST_PIECE: u64 = 256 << 10;

/// Walks through a stretch of a file from its start to its end, in pieces, and adds up the checksum on the way.
pub(crate) struct Walk<'a> {
    file: &'a dyn ReadAt,
    /// Bytes that were read and not yet parsed.
    buffer: Bytes,
    /// Where in the file the buffer ends.
    read_to: u64,
    end: u64,
    piece: u64,
    checksum: u32,
}

impl<'a> Walk<'a> {
    /// From `start` to `end`, which must lie inside the file.
    pub(crate) fn new(file: &'a dyn ReadAt, start: u64, end: u64) -> Self {
        Self { file, buffer: Bytes::new(), read_to: start, end, piece: FIRST_PIECE, checksum: 0 }
    }

    /// Where in the file the next byte lies.
    pub(crate) fn position(&self) -> u64 {
        self.read_to - self.buffer.len() as u64
    }

    /// Whether everything was parsed.
    pub(crate) fn is_done(&self) -> bool {
        self.position() >= self.end
    }

    /// Parses one entry. Where the buffer ends inside it, `entry` is called again with more, so that what it does
    /// besides parsing must come after its last read.
    pub(crate) fn parse<T>(
        &mut self,
        mut entry: impl FnMut(&mut Cursor<'_>) -> Result<T, Stop>,
    ) -> Result<T, BlockError> {
        loop {
            let mut cursor = Cursor::new(&self.buffer);
            match entry(&mut cursor) {
                Ok(value) => {
                    let parsed = cursor.position();
                    self.buffer = self.buffer.slice(parsed..);
                    return Ok(value);
                }
                Err(Stop::End) if self.read_to < self.end => self.read_more()?,
                Err(stop) => return Err(self.corrupt(stop.what())),
            }
        }
    }

    /// An error at the next byte.
    pub(crate) fn corrupt(&self, what: impl Into<String>) -> BlockError {
        BlockError::corrupt(self.file.name(), self.position(), what)
    }

    /// Reads to the end and compares the checksum of all with the one written after it.
    pub(crate) fn finish(mut self) -> Result<(), BlockError> {
        while self.read_to < self.end {
            self.buffer = Bytes::new();
            self.read_more()?;
        }
        let wanted = self.file.read_at(self.end, 4)?;
        let wanted = wanted.first_chunk().map_or(0, |four| be_u32(*four));
        if wanted != self.checksum {
            let what = format!("checksum {wanted:08x} wanted, got {:08x}", self.checksum);
            return Err(BlockError::corrupt(self.file.name(), self.end, what));
        }
        Ok(())
    }

    fn read_more(&mut self) -> Result<(), BlockError> {
        // At least as much as is there, so that a long entry is parsed a few times and not once a piece.
        let len = self.piece.max(self.buffer.len() as u64).min(self.end - self.read_to);
        let more = self.file.read_at(self.read_to, len as usize)?;
        self.piece = (self.piece * 2).min(LARGEST_PIECE);
        self.checksum = crc32c::crc32c_append(self.checksum, &more);
        self.read_to += len;
        self.buffer = if self.buffer.is_empty() { more } else { [&self.buffer[..], &more[..]].concat().into() };
        Ok(())
    }
}

/// Where a section's content lies, its length checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Extent {
    /// Reads the length at `offset` and checks that content and checksum lie inside the file.
    pub(crate) fn read(file: &dyn ReadAt, offset: u64) -> Result<Self, BlockError> {
        let outside = |len: u64| {
            let what = format!("a section inside the file's {} bytes wanted, got a length of {len}", file.size());
            BlockError::corrupt(file.name(), offset, what)
        };
        let start = offset.checked_add(4).filter(|start| *start <= file.size()).ok_or_else(|| outside(4))?;
        let len = file.read_at(offset, 4)?.first_chunk().map_or(0, |four| be_u32(*four));
        let end = start.saturating_add(u64::from(len));
        if end.saturating_add(4) > file.size() {
            return Err(outside(u64::from(len)));
        }
        Ok(Self { start, end })
    }

    pub(crate) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Walks through the content.
    pub(crate) fn walk<'a>(&self, file: &'a dyn ReadAt) -> Walk<'a> {
        Walk::new(file, self.start, self.end)
    }
}

/// A section that is read again and again: from the file, or from a copy of it.
pub(crate) struct Kept {
    source: Arc<dyn ReadAt>,
    /// Its content, in the source.
    extent: Extent,
    /// What must be added to a place in the source to have the one in the file.
    shift: u64,
}

impl Kept {
    /// Copies the section that begins at `offset` if its content has at most `in_memory` bytes.
    pub(crate) fn open(file: &Arc<dyn ReadAt>, offset: u64, in_memory: u64) -> Result<Self, BlockError> {
        let extent = Extent::read(file.as_ref(), offset)?;
        if extent.len() > in_memory {
            return Ok(Self { source: file.clone(), extent, shift: 0 });
        }
        let copy = file.read_at(extent.start, extent.len() as usize + 4)?;
        let source = Arc::new(InMemory::new(file.name(), copy));
        Ok(Self { source, extent: Extent { start: 0, end: extent.len() }, shift: extent.start })
    }

    /// A section that is not there.
    pub(crate) fn absent(file: &Arc<dyn ReadAt>) -> Self {
        Self { source: file.clone(), extent: Extent { start: 0, end: 0 }, shift: 0 }
    }

    /// Whether it was copied.
    pub(crate) fn is_copy(&self) -> bool {
        self.shift > 0
    }

    /// How long its content is.
    pub(crate) fn len(&self) -> u64 {
        self.extent.len()
    }

    /// Walks through the content.
    pub(crate) fn walk(&self) -> Walk<'_> {
        self.extent.walk(self.source.as_ref())
    }

    /// Walks through a part of it, between two places of which [`Self::place`] told.
    pub(crate) fn walk_part(&self, start: u64, end: u64) -> Walk<'_> {
        Walk::new(self.source.as_ref(), self.extent.start + start, self.extent.start + end)
    }

    /// Where in the content the walk stands.
    pub(crate) fn place(&self, walk: &Walk<'_>) -> u64 {
        walk.position() - self.extent.start
    }

    /// `len` bytes of the content.
    pub(crate) fn read(&self, place: u64, len: u64) -> Result<Bytes, BlockError> {
        Ok(self.source.read_at(self.extent.start + place, len as usize)?)
    }

    /// The place in the content of a byte of the file.
    pub(crate) fn place_of(&self, in_file: u64) -> Option<u64> {
        in_file.checked_sub(self.extent.start + self.shift).filter(|place| *place < self.extent.len())
    }

    /// An error at a place in the content.
    pub(crate) fn corrupt(&self, place: u64, what: impl Into<String>) -> BlockError {
        BlockError::corrupt(self.source.name(), self.extent.start + self.shift + place, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemory;

    fn section(content: &[u8]) -> InMemory {
        let mut bytes = vec![9; 3];
        bytes.extend((content.len() as u32).to_be_bytes());
        bytes.extend(content);
        bytes.extend(crc32c::crc32c(content).to_be_bytes());
        InMemory::new("index", bytes)
    }

    #[test]
    fn entries_longer_than_a_piece_are_parsed_and_the_checksum_is_of_all() {
        let mut content = Vec::new();
        let long = vec![7_u8; 5000];
        for _ in 0..40 {
            content.extend([0x88, 0x27]);
            content.extend(&long);
        }
        let file = section(&content);
        let mut walk = Extent::read(&file, 3).unwrap().walk(&file);
        for _ in 0..40 {
            assert_eq!(walk.parse(|c| c.string().map(<[u8]>::len)).unwrap(), 5000);
        }
        assert!(walk.is_done());
        assert!(walk.parse(|c| c.byte()).is_err());
        walk.finish().unwrap();
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        let file = InMemory::new("index", vec![0, 0, 0, 9, 1, 2, 3]);
        assert!(Extent::read(&file, 0).is_err());
        assert!(Extent::read(&file, u64::MAX - 1).is_err());
        assert!(Extent::read(&file, 6).is_err());
    }

    #[test]
    fn a_wrong_checksum_is_seen_even_where_nothing_was_parsed() {
        let good = section(b"abc");
        let mut bytes = good.read_at(0, 14).unwrap().to_vec();
        bytes[8] ^= 1;
        let file = InMemory::new("index", bytes);
        assert!(Extent::read(&file, 3).unwrap().walk(&file).finish().is_err());
        Extent::read(&good, 3).unwrap().walk(&good).finish().unwrap();
    }
}
