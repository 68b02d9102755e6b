//! Segment files, `chunks/000001` and so on: chunks back to back, each in a frame of length, encoding, data, checksum.

use std::sync::Arc;

use bytes::Bytes;

use super::{Chunk, ChunkError, ChunkRef, Encoding, MAX_CHUNK_LEN};
use crate::cursor;
use crate::index::series::ChunkMeta;
use crate::{BlockError, ReadAt};

/// Bytes before the first chunk: magic, version, three zeros.
pub const SEGMENT_HEADER_LEN: usize = 8;

/// At most this many bytes of a frame are not data: a length of five, the encoding, the checksum.
pub const FRAME_OVERHEAD: usize = 5 + 1 + 4;

const MAGIC: [u8; 4] = [0x85, 0xbd, 0x40, 0xdd];

/// Checks the first bytes of a segment file named `file`.
pub fn check_segment_header(file: &str, bytes: &[u8]) -> Result<(), BlockError> {
    let Some(header) = bytes.first_chunk::<SEGMENT_HEADER_LEN>() else {
        return Err(BlockError::corrupt(file, 0, format!("a header of 8 bytes wanted, got {}", bytes.len())));
    };
    if header[..4] != MAGIC {
        return Err(BlockError::corrupt(file, 0, "the magic number of a segment file wanted, got another one"));
    }
    match header[4] {
        1 => Ok(()),
        other => Err(BlockError::Version { file: file.to_owned(), got: u64::from(other), known: "1" }),
    }
}

/// What [`parse_frame`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// A chunk, and how many bytes its frame has.
    Whole {
        /// The chunk, its checksum checked. It shares the bytes it was parsed from.
        chunk: Chunk,
        /// Length of the frame: where the next one begins.
        len: usize,
    },
    /// The frame goes on past the bytes.
    Partial {
        /// How many bytes from its start are needed at the least.
        needed: usize,
    },
}

/// Takes the chunk whose frame starts at the first of `bytes`; what follows it is left alone.
pub fn parse_frame(bytes: &Bytes) -> Result<Framed, ChunkError> {
    let Some((len, varint)) = cursor::uvarint(bytes) else {
        // Not even the length: five bytes of it and the rest of the smallest frame.
        return if bytes.len() < 5 {
            Ok(Framed::Partial { needed: FRAME_OVERHEAD })
        } else {
            Err(ChunkError::Length(u64::MAX))
        };
    };
    let data_len = usize::try_from(len).ok().filter(|len| *len <= MAX_CHUNK_LEN).ok_or(ChunkError::Length(len))?;
    let data_end = varint + 1 + data_len;
    let Some(frame) = bytes.get(..data_end + 4) else {
        return Ok(Framed::Partial { needed: data_end + 4 });
    };
    let (checked, checksum) = frame[varint..].split_at(1 + data_len);
    let wanted = checksum.first_chunk().map_or(0, |four| cursor::be_u32(*four));
    let got = crc32c::crc32c(checked);
    if wanted != got {
        return Err(ChunkError::Checksum { wanted, got });
    }
    let chunk = Chunk { encoding: Encoding::from_byte(checked[0]), data: bytes.slice(varint + 1..data_end) };
    Ok(Framed::Whole { chunk, len: data_end + 4 })
}

/// Reads chunks by reference through a window of bytes: neighbours, as the chunks of one series are, cost one read.
pub struct ChunkReader {
    segments: Vec<Arc<dyn ReadAt>>,
    readahead: usize,
    window: Option<Window>,
}

struct Window {
    segment: u32,
    offset: u64,
    bytes: Bytes,
}

impl ChunkReader {
    /// More than this is not read ahead for one series.
    const MAX_WINDOW: u64 = 4 << 20;
    /// What [`Self::new`] reads past a chunk's start where nothing says how long it is.
    const READAHEAD: usize = 64 << 10;

    /// Over the segment files of a block, in the order of their names.
    pub fn new(segments: Vec<Arc<dyn ReadAt>>) -> Self {
        Self { segments, readahead: Self::READAHEAD, window: None }
    }

    /// Reads `bytes` at once where nothing says how long a chunk is: many for a scan, few where each byte has a price.
    pub fn with_readahead(self, bytes: usize) -> Self {
        Self { readahead: bytes.max(FRAME_OVERHEAD), ..self }
    }

    /// Reads the chunks of one series in one go, if they lie together; [`Self::read`] then finds them. Only a hint: chunks
    /// elsewhere are read by themselves.
    pub fn prefetch(&mut self, chunks: &[ChunkMeta]) -> Result<(), BlockError> {
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Ok(()) };
        let (start, end) = (u64::from(first.at.offset()), u64::from(last.at.offset()));
        if first.at.segment() != last.at.segment() || end < start || end - start > Self::MAX_WINDOW {
            return Ok(());
        }
        if self.window_from(first.at).is_some_and(|bytes| bytes.len() as u64 > end - start + FRAME_OVERHEAD as u64) {
            return Ok(());
        }
        self.load(first.at, (end - start) as usize + self.readahead)
    }

    /// The chunk at `at`, its checksum checked.
    pub fn read(&mut self, at: ChunkRef) -> Result<Chunk, BlockError> {
        let mut wanted = self.readahead;
        if self.window_from(at).is_none() {
            self.load(at, wanted)?;
        }
        loop {
            let bytes = self.window_from(at).unwrap_or_default();
            match parse_frame(&bytes).map_err(|source| self.chunk_error(at, source))? {
                Framed::Whole { chunk, .. } => return Ok(chunk),
                Framed::Partial { needed } if needed <= self.bytes_from(at)? => {
                    wanted = wanted.max(needed);
                    self.load(at, wanted)?;
                }
                Framed::Partial { needed } => {
                    let what = format!("a chunk of {needed} bytes wanted, got {}", bytes.len());
                    return Err(BlockError::corrupt(self.segment(at)?.name(), u64::from(at.offset()), what));
                }
            }
        }
    }

    /// Wraps what went wrong with the chunk at `at`, so that the error names its place.
    pub fn chunk_error(&self, at: ChunkRef, source: ChunkError) -> BlockError {
        let file = self.segment(at).map_or_else(|_| "chunks".to_owned(), |segment| segment.name().to_owned());
        BlockError::Chunk { file, at: u64::from(at.offset()), source }
    }

    fn segment(&self, at: ChunkRef) -> Result<&Arc<dyn ReadAt>, BlockError> {
        let index = at.segment() as usize;
        self.segments.get(index).ok_or_else(|| {
            let what = format!("a chunk in one of {} segment files wanted, got number {index}", self.segments.len());
            BlockError::corrupt("chunks", u64::from(at.offset()), what)
        })
    }

    /// How many bytes the segment has from `at` on.
    fn bytes_from(&self, at: ChunkRef) -> Result<usize, BlockError> {
        let left = self.segment(at)?.size().saturating_sub(u64::from(at.offset()));
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn window_from(&self, at: ChunkRef) -> Option<Bytes> {
        let window = self.window.as_ref().filter(|window| window.segment == at.segment())?;
        let skipped = usize::try_from(u64::from(at.offset()).checked_sub(window.offset)?).ok()?;
        (skipped < window.bytes.len()).then(|| window.bytes.slice(skipped..))
    }

    fn load(&mut self, at: ChunkRef, wanted: usize) -> Result<(), BlockError> {
        let segment = self.segment(at)?;
        let len = self.bytes_from(at)?.min(wanted);
        let bytes = segment.read_at(u64::from(at.offset()), len)?;
        self.window = Some(Window { segment: at.segment(), offset: u64::from(at.offset()), bytes });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemory;

    /// A frame by hand: XOR, three bytes.
    fn frame(data: &[u8]) -> Vec<u8> {
        let mut checked = vec![1];
        checked.extend(data);
        let mut frame = vec![data.len() as u8];
        frame.extend(&checked);
        frame.extend(crc32c::crc32c(&checked).to_be_bytes());
        frame
    }

    #[test]
    fn a_frame_that_goes_on_says_how_far() {
        let bytes = Bytes::from(frame(b"abc"));
        for len in 0..bytes.len() {
            let Framed::Partial { needed } = parse_frame(&bytes.slice(..len)).unwrap() else { panic!("{len}") };
            assert!(needed > len && needed <= bytes.len().max(FRAME_OVERHEAD));
        }
        let Framed::Whole { chunk, len } = parse_frame(&bytes).unwrap() else { panic!() };
        assert_eq!((chunk.encoding, &chunk.data[..], len), (Encoding::Xor, &b"abc"[..], bytes.len()));
    }

    #[test]
    fn a_flipped_bit_fails_the_checksum() {
        let mut bytes = frame(b"abc");
        bytes[3] ^= 1;
        assert!(matches!(parse_frame(&bytes.into()), Err(ChunkError::Checksum { .. })));
    }

    #[test]
    fn chunks_are_found_whatever_is_read_ahead() {
        let mut file = vec![0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0];
        let mut metas = Vec::new();
        for i in 0..20_u8 {
            metas.push(ChunkMeta { start: 0, end: 0, at: ChunkRef::new(0, file.len() as u32) });
            file.extend(frame(&vec![i; usize::from(i) * 6]));
        }
        for readahead in [0, 11, 50, 10_000] {
            let mut reader =
                ChunkReader::new(vec![Arc::new(InMemory::new("x", file.clone()))]).with_readahead(readahead);
            reader.prefetch(&metas[3..9]).unwrap();
            for (i, meta) in metas.iter().enumerate().rev() {
                assert_eq!(reader.read(meta.at).unwrap().data, vec![i as u8; i * 6]);
            }
        }
    }

    #[test]
    fn a_reference_to_nowhere_names_itself() {
        let mut reader = ChunkReader::new(vec![Arc::new(InMemory::new("x", vec![0; 20]))]);
        assert!(matches!(reader.read(ChunkRef::new(1, 8)), Err(BlockError::Corrupt { .. })));
        assert!(matches!(reader.read(ChunkRef::new(0, 21)), Err(BlockError::Corrupt { .. } | BlockError::Read(_))));
    }
}
