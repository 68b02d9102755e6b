//! The index file, in versions 1, 2 and 3.

use std::collections::{BTreeMap, BTreeSet};

use forewarn_schema::LabelSet;

use super::bits::{uvarint, varint};
use super::crc::crc32c;

/// Which index is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexVersion {
    /// Symbols and series by byte offset, the table of postings unsorted (Prometheus 2.0 and 2.1).
    V1,
    /// What Prometheus writes since.
    V2,
    /// As 2, with another number.
    V3,
}

/// Where a chunk lies and what it spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// The first time in it.
    pub start: i64,
    /// The last time in it.
    pub end: i64,
    /// Segment file (from 0) in the upper half, byte offset in the lower.
    pub reference: u64,
}

/// A series of the index.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesEntry {
    /// Its labels.
    pub labels: LabelSet,
    /// Its chunks.
    pub chunks: Vec<ChunkPlace>,
}

/// The bytes of an index of `series`, which must be sorted by labels, and the reference of each.
pub fn write_index(series: &[SeriesEntry], version: IndexVersion) -> (Vec<u8>, Vec<u32>) {
    let mut index = IndexBytes::start(version);
    let symbols = index.put_symbols(series);
    let series_start = index.bytes.len() as u64;
    let references: Vec<u32> = series.iter().map(|entry| index.put_series(entry, &symbols)).collect();
    let postings_start = index.bytes.len() as u64;
    let lists = index.put_postings(series, &references);
    let table = index.put_postings_table(lists);
    // Symbols, series, the two legacy parts, postings, their table.
    index.put_toc([5, series_start, 0, 0, postings_start, table]);
    (index.bytes, references)
}

/// Where each label pair's list lies, in the order of the table.
type Lists = Vec<((String, String), u64)>;

struct IndexBytes {
    bytes: Vec<u8>,
    version: IndexVersion,
}

impl IndexBytes {
    fn start(version: IndexVersion) -> Self {
        let number = match version {
            IndexVersion::V1 => 1,
            IndexVersion::V2 => 2,
            IndexVersion::V3 => 3,
        };
        Self { bytes: vec![0xba, 0xaa, 0xd7, 0x00, number], version }
    }

    /// Length, content, checksum; says where it begins.
    fn put_section(&mut self, content: &[u8]) -> u64 {
        let at = self.bytes.len() as u64;
        self.bytes.extend((content.len() as u32).to_be_bytes());
        self.bytes.extend(content);
        self.bytes.extend(crc32c(content).to_be_bytes());
        at
    }

    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    /// By what each symbol is named.
    fn put_symbols(&mut self, series: &[SeriesEntry]) -> BTreeMap<String, u32> {
        let all: BTreeSet<&str> = series.iter().flat_map(|s| s.labels.iter().flat_map(|(n, v)| [n, v])).collect();
        let mut names = BTreeMap::new();
        let mut content = (all.len() as u32).to_be_bytes().to_vec();
        for (ordinal, symbol) in all.into_iter().enumerate() {
            let place = self.bytes.len() + 4 + content.len();
            let name = if self.version == IndexVersion::V1 { place } else { ordinal };
            names.insert(symbol.to_owned(), name as u32);
            content.extend(uvarint(symbol.len() as u64));
            content.extend(symbol.as_bytes());
        }
        self.put_section(&content);
        names
    }

    fn put_series(&mut self, entry: &SeriesEntry, symbols: &BTreeMap<String, u32>) -> u32 {
        let unit = if self.version == IndexVersion::V1 { 1 } else { 16 };
        self.pad(unit);
        let reference = (self.bytes.len() / unit) as u32;
        let mut content = uvarint(entry.labels.len() as u64);
        for (name, value) in entry.labels.iter() {
            content.extend(uvarint(u64::from(symbols[name])));
            content.extend(uvarint(u64::from(symbols[value])));
        }
        content.extend(uvarint(entry.chunks.len() as u64));
        let mut before: Option<ChunkPlace> = None;
        for chunk in &entry.chunks {
            let duration = chunk.end.wrapping_sub(chunk.start) as u64;
            match before {
                None => {
                    content.extend(varint(chunk.start));
                    content.extend(uvarint(duration));
                    content.extend(uvarint(chunk.reference));
                }
                Some(before) => {
                    content.extend(uvarint(chunk.start.wrapping_sub(before.end) as u64));
                    content.extend(uvarint(duration));
                    content.extend(varint(chunk.reference.wrapping_sub(before.reference) as i64));
                }
            }
            before = Some(*chunk);
        }
        self.bytes.extend(uvarint(content.len() as u64));
        self.bytes.extend(&content);
        self.bytes.extend(crc32c(&content).to_be_bytes());
        reference
    }

    fn put_postings(&mut self, series: &[SeriesEntry], references: &[u32]) -> Lists {
        let mut having: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
        having.insert(("", ""), references.to_vec());
        for (entry, reference) in series.iter().zip(references) {
            for pair in entry.labels.iter() {
                having.entry(pair).or_default().push(*reference);
            }
        }
        let mut lists = Lists::new();
        for ((name, value), list) in having {
            self.pad(4);
            let mut content = (list.len() as u32).to_be_bytes().to_vec();
            content.extend(list.iter().flat_map(|reference| reference.to_be_bytes()));
            lists.push(((name.to_owned(), value.to_owned()), self.put_section(&content)));
        }
        lists
    }

    fn put_postings_table(&mut self, mut lists: Lists) -> u64 {
        if self.version == IndexVersion::V1 {
            // Nothing promises an order there.
            lists.reverse();
        }
        let mut content = (lists.len() as u32).to_be_bytes().to_vec();
        for ((name, value), at) in lists {
            content.push(2);
            for text in [name, value] {
                content.extend(uvarint(text.len() as u64));
                content.extend(text.as_bytes());
            }
            content.extend(uvarint(at));
        }
        self.put_section(&content)
    }

    fn put_toc(&mut self, offsets: [u64; 6]) {
        let toc: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect();
        self.bytes.extend(&toc);
        self.bytes.extend(crc32c(&toc).to_be_bytes());
    }
}
