//! Series entries: labels by symbol, and where the chunks are.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use forewarn_schema::LabelSet;

use super::{Index, SeriesRef, SeriesSet};
use crate::cursor::{Cursor, Stop, be_u32, uvarint};
use crate::{BlockError, ChunkRef};

/// A chunk of a series, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkMeta {
    /// The first time in it, in Unix milliseconds.
    pub start: i64,
    /// The last time in it.
    pub end: i64,
    /// Where it lies.
    pub at: ChunkRef,
}

/// A series of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// What postings and tombstones call it.
    pub reference: SeriesRef,
    /// Its labels, metric name included; without a producer's external labels.
    pub labels: LabelSet,
    /// Its chunks as the index lists them: by time, except in blocks with out-of-order chunks.
    pub chunks: Vec<ChunkMeta>,
}

/// The series of a set, in the order of their labels. Entries that lie near each other are read together.
pub struct SeriesIter {
    index: Arc<Index>,
    references: roaring::bitmap::IntoIter,
    /// The next references, taken from `references` to see how far a read should go.
    ahead: VecDeque<u32>,
    window: Bytes,
    window_at: u64,
    /// Where the last entry ended.
    end: u64,
    symbols: SymbolCache,
}

/// A series' names and values may have this many bytes together. One entry may name the same long symbol many times, so
/// that its own length bounds nothing.
const MAX_LABELS: usize = 256 << 10;

/// At most this much is read at once,
const WINDOW: u64 = 256 << 10;
/// skipping at most this much between two entries,
const GAP: u64 = 2 << 10;
/// and this much of the last one, whose length nobody knows.
const TAIL: u64 = 512;
const AHEAD: usize = 1024;

impl SeriesIter {
    pub(super) fn new(index: Arc<Index>, set: SeriesSet) -> Self {
        Self {
            index,
            references: set.0.into_iter(),
            ahead: VecDeque::new(),
            window: Bytes::new(),
            window_at: 0,
            end: 0,
            symbols: SymbolCache::default(),
        }
    }

    fn read(&mut self, reference: u32) -> Result<Series, BlockError> {
        let offset = self.index.series_offset(reference);
        if offset < self.end {
            return Err(self.corrupt(offset, "series that do not overlap wanted"));
        }
        if self.window_from(offset).is_none() {
            self.load(offset, self.stretch(offset))?;
        }
        loop {
            let bytes = self.window_from(offset).unwrap_or_default();
            match entry_len(&bytes) {
                Ok(len) if len <= bytes.len() as u64 => {
                    self.end = offset + len;
                    return self.parse(reference, offset, &bytes[..len as usize]);
                }
                Ok(len) if offset.saturating_add(len) <= self.index.file.size() => self.load(offset, len)?,
                Err(Stop::End) if offset.saturating_add(bytes.len() as u64) < self.index.file.size() => {
                    // So near the window's end that not even the length is in it.
                    self.load(offset, TAIL)?;
                }
                _ => return Err(self.corrupt(offset, "a series that ends in the file wanted, got a longer one")),
            }
        }
    }

    fn corrupt(&self, offset: u64, what: impl Into<String>) -> BlockError {
        BlockError::corrupt(self.index.file.name(), offset, what)
    }

    fn window_from(&self, offset: u64) -> Option<Bytes> {
        let skipped = usize::try_from(offset.checked_sub(self.window_at)?).ok()?;
        (skipped < self.window.len()).then(|| self.window.slice(skipped..))
    }

    /// How many bytes hold this entry and those that follow closely.
    fn stretch(&self, offset: u64) -> u64 {
        let mut end = offset;
        for reference in &self.ahead {
            let next = self.index.series_offset(*reference);
            if next - end.min(next) > GAP || next - offset.min(next) > WINDOW {
                break;
            }
            end = next;
        }
        end - offset + TAIL
    }

    fn load(&mut self, offset: u64, wanted: u64) -> Result<(), BlockError> {
        let left = self.index.file.size().saturating_sub(offset);
        if left == 0 {
            return Err(self.corrupt(offset, "a series inside the file wanted, got its end"));
        }
        // A file that fits no address space is read in windows all the same.
        self.window = self.index.file.read_at(offset, wanted.min(left) as usize)?;
        self.window_at = offset;
        Ok(())
    }

    /// From a whole entry: length, content, checksum.
    fn parse(&mut self, reference: u32, offset: u64, entry: &[u8]) -> Result<Series, BlockError> {
        let (_, varint) = uvarint(entry).unwrap_or_default();
        let Some((content, checksum)) = entry[varint..].split_last_chunk::<4>() else {
            return Err(self.corrupt(offset, "a checksum after the series wanted"));
        };
        let (wanted, got) = (be_u32(*checksum), crc32c::crc32c(content));
        if wanted != got {
            return Err(self.corrupt(offset, format!("checksum {wanted:08x} of a series wanted, got {got:08x}")));
        }
        let mut cursor = Cursor::new(content);
        let labels = self.labels(&mut cursor, offset)?;
        let chunks = chunks(&mut cursor).map_err(|what| self.corrupt(offset, what))?;
        Ok(Series { reference: SeriesRef(reference), labels, chunks })
    }

    fn labels(&mut self, cursor: &mut Cursor<'_>, offset: u64) -> Result<LabelSet, BlockError> {
        let mut labels = LabelSet::new();
        let mut last: Option<Arc<str>> = None;
        let mut len = 0;
        let stopped = |stop: Stop| BlockError::corrupt(self.index.file.name(), offset, stop.what());
        let count = cursor.uvarint().map_err(stopped)?;
        for _ in 0..count {
            let name = cursor.uvarint32().map_err(stopped)?;
            let value = cursor.uvarint32().map_err(stopped)?;
            let name = self.symbols.get(&self.index, name)?;
            let value = self.symbols.get(&self.index, value)?;
            if last.is_some_and(|last| last >= name) {
                return Err(
                    self.corrupt(offset, format!("label names in order wanted, got {name:?} after a later one"))
                );
            }
            len += name.len() + value.len();
            if len > MAX_LABELS {
                return Err(self.corrupt(offset, format!("labels of at most {MAX_LABELS} bytes wanted, got more")));
            }
            labels.insert(&*name, &*value);
            last = Some(name);
        }
        Ok(labels)
    }
}

/// How many bytes an entry has, length and checksum included.
fn entry_len(bytes: &[u8]) -> Result<u64, Stop> {
    let mut cursor = Cursor::new(bytes);
    let content = cursor.uvarint()?;
    content.checked_add(cursor.position() as u64 + 4).ok_or(Stop::Varint)
}

/// Times are differences to the chunk before, and wrap where chunks overlap.
fn chunks(cursor: &mut Cursor<'_>) -> Result<Vec<ChunkMeta>, &'static str> {
    let count = cursor.uvarint().map_err(Stop::what)?;
    // Three varints each.
    if count > cursor.rest().len() as u64 / 3 {
        return Err("as many chunks as the entry holds wanted, got more");
    }
    let mut chunks = Vec::with_capacity(count as usize);
    let (mut end, mut at) = (0_i64, 0_u64);
    for index in 0..count {
        let start = match index {
            0 => cursor.varint().map_err(Stop::what)?,
            _ => end.wrapping_add(cursor.uvarint().map_err(Stop::what)? as i64),
        };
        end = start.wrapping_add(cursor.uvarint().map_err(Stop::what)? as i64);
        if end < start {
            return Err("a chunk that does not end before it starts wanted, got the reverse");
        }
        at = match index {
            0 => cursor.uvarint().map_err(Stop::what)?,
            _ => at.wrapping_add_signed(cursor.varint().map_err(Stop::what)?),
        };
        chunks.push(ChunkMeta { start, end, at: ChunkRef(at) });
    }
    Ok(chunks)
}

impl Iterator for SeriesIter {
    type Item = Result<Series, BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ahead.is_empty() {
            self.ahead.extend(self.references.by_ref().take(AHEAD));
        }
        let reference = self.ahead.pop_front()?;
        Some(self.read(reference))
    }

    /// Exact: an entry that cannot be read is an error in its place.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let (low, high) = self.references.size_hint();
        (low + self.ahead.len(), high.map(|high| high + self.ahead.len()))
    }
}

/// Symbols that were looked up lately, each in the one place that its number gives it: neighbours share most of their
/// labels.
#[derive(Default)]
struct SymbolCache {
    places: Vec<Option<(u32, Arc<str>)>>,
}

impl SymbolCache {
    const PLACES: usize = 4096;

    fn get(&mut self, index: &Index, reference: u32) -> Result<Arc<str>, BlockError> {
        self.places.resize(Self::PLACES, None);
        let place = &mut self.places[reference as usize % Self::PLACES];
        if let Some((known, symbol)) = place
            && *known == reference
        {
            return Ok(symbol.clone());
        }
        let symbol: Arc<str> = index.symbols.get(reference)?.into();
        *place = Some((reference, symbol.clone()));
        Ok(symbol)
    }
}
