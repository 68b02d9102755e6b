//! One column of a row group, page by page: compressed as it grows, with its place in the file settled at the end.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Encoding, Type};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::SampleFileError;
use super::schema::{ZSTD_LEVEL, compression};

/// Bytes of a bound in the page index. Labels of one metric often agree in their first hundred bytes; bounds cut there
/// would tell nothing apart.
const PAGE_BOUND_BYTES: usize = 1024;
/// Bytes of a bound in the footer, which is read whatever is wanted.
const CHUNK_BOUND_BYTES: usize = 64;

/// The smallest and the largest value of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    Times(i64, i64),
    Texts(Arc<str>, Arc<str>),
}

/// Compresses pages, one after another.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    packed: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> Result<Self, SampleFileError> {
        Ok(Self { compressor: Compressor::new(ZSTD_LEVEL)?, packed: Vec::new() })
    }

    fn pack(&mut self, plain: &[u8]) -> Result<Bytes, SampleFileError> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.compressor.compress_to_buffer(plain, &mut self.packed)?;
        Ok(Bytes::copy_from_slice(&self.packed))
    }
}

/// See the module.
pub(super) struct ChunkWriter {
    column: ColumnDescPtr,
    encoding: Encoding,
    /// The data pages so far, headers included.
    pages: Vec<u8>,
    /// What they have before they are compressed.
    plain_bytes: usize,
    rows: usize,
    places: Vec<Place>,
    bounds: Vec<Bounds>,
}

struct Place {
    offset: usize,
    bytes: usize,
    rows: usize,
}

/// A column as it will be in the file, the dictionary first where there is one.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

impl ChunkWriter {
    pub(super) fn new(column: ColumnDescPtr, encoding: Encoding) -> Self {
        let (pages, places, bounds) = Default::default();
        Self { column, encoding, pages, plain_bytes: 0, rows: 0, places, bounds }
    }

    /// Adds `rows` rows: levels, where the column has any, and values, encoded. Either all pages of a column have
    /// bounds or none.
    pub(super) fn page(
        &mut self,
        packer: &mut Packer,
        rows: usize,
        plain: &[u8],
        bounds: Option<Bounds>,
    ) -> Result<(), SampleFileError> {
        let page = Page::DataPage {
            buf: packer.pack(plain)?,
            num_values: small(rows)?,
            encoding: self.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let offset = self.pages.len();
        self.plain_bytes += write(page, plain.len(), &mut self.pages)?;
        self.places.push(Place { offset, bytes: self.pages.len() - offset, rows });
        self.bounds.extend(bounds);
        self.rows += rows;
        Ok(())
    }

    /// Ends the column. The dictionary is its entries, encoded, and how many they are.
    pub(super) fn finish(
        self,
        packer: &mut Packer,
        dictionary: Option<(&[u8], usize)>,
    ) -> Result<Chunk, SampleFileError> {
        let (mut bytes, mut plain_bytes) = (Vec::new(), self.plain_bytes);
        let mut encodings = vec![self.encoding, Encoding::RLE];
        if let Some((entries, count)) = dictionary {
            let (buf, num_values) = (packer.pack(entries)?, small(count)?);
            let page = Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
            plain_bytes += write(page, entries.len(), &mut bytes)?;
            encodings.push(Encoding::PLAIN);
        }
        let first_page = bytes.len();
        bytes.extend_from_slice(&self.pages);
        let mut offsets = OffsetIndexBuilder::new();
        for place in &self.places {
            offsets.append_row_count(place.rows as i64);
            offsets.append_offset_and_size((first_page + place.offset) as i64, small(place.bytes)?);
        }
        let mut metadata = ColumnChunkMetaData::builder(Arc::clone(&self.column))
            .set_encodings(encodings)
            .set_compression(compression())
            .set_num_values(self.rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(plain_bytes as i64)
            .set_data_page_offset(first_page as i64)
            .set_dictionary_page_offset(dictionary.map(|_| 0));
        if let Some(statistics) = statistics(&self.bounds) {
            metadata = metadata.set_statistics(statistics);
        }
        let index = match self.bounds.as_slice() {
            [] => None,
            bounds => Some(page_index(self.column.physical_type(), bounds).build()?),
        };
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: index,
            offset_index: Some(offsets.build()),
        };
        Ok(Chunk { bytes: bytes.into(), close })
    }
}

/// Parquet counts pages, their rows and their bytes in 31 bits.
fn small<N: TryFrom<i32>>(number: usize) -> Result<N, SampleFileError> {
    let small = i32::try_from(number).ok().and_then(|number| N::try_from(number).ok());
    small.ok_or_else(|| ParquetError::General(format!("a page must have less than 2 GiB, got {number}")).into())
}

/// Appends a page with its header, and says how many bytes that would be if it were not compressed.
fn write(page: Page, plain_bytes: usize, to: &mut Vec<u8>) -> Result<usize, SampleFileError> {
    let mut sink = TrackedWrite::new(to);
    let spec = SerializedPageWriter::new(&mut sink).write_page(CompressedPage::new(page, plain_bytes))?;
    std::io::Write::flush(&mut sink)?;
    Ok(spec.uncompressed_size)
}

/// The bounds of a whole column.
fn statistics(pages: &[Bounds]) -> Option<Statistics> {
    let all = pages.iter().cloned().reduce(|all, page| match (all, page) {
        (Bounds::Times(a, b), Bounds::Times(c, d)) => Bounds::Times(a.min(c), b.max(d)),
        (Bounds::Texts(a, b), Bounds::Texts(c, d)) => Bounds::Texts(a.min(c), b.max(d)),
        (all, _) => all,
    })?;
    Some(match all {
        Bounds::Times(min, max) => Statistics::int64(Some(min), Some(max), None, Some(0), false),
        Bounds::Texts(min, max) => {
            let (low, high) = (cut_down(&min, CHUNK_BOUND_BYTES), cut_up(&max, CHUNK_BOUND_BYTES));
            let exact = (low.len() == min.len(), high.len() == max.len());
            let bounds = ValueStatistics::new(Some(low.into()), Some(high.into()), None, Some(0), false);
            Statistics::ByteArray(bounds.with_min_is_exact(exact.0).with_max_is_exact(exact.1))
        }
    })
}

fn page_index(of: Type, pages: &[Bounds]) -> ColumnIndexBuilder {
    let mut index = ColumnIndexBuilder::new(of);
    for page in pages {
        let (min, max) = match page {
            Bounds::Times(min, max) => (min.to_le_bytes().to_vec(), max.to_le_bytes().to_vec()),
            Bounds::Texts(min, max) => (cut_down(min, PAGE_BOUND_BYTES), cut_up(max, PAGE_BOUND_BYTES)),
        };
        index.append(false, min, max, 0, None);
    }
    let ascend = |pair: &[Bounds]| match pair {
        [Bounds::Times(a, b), Bounds::Times(c, d)] => a <= c && b <= d,
        // Bounds that were cut between characters need not be in the order of the texts.
        [Bounds::Texts(a, b), Bounds::Texts(c, d)] => {
            a <= c && b <= d && [a, b, c, d].iter().all(|text| text.len() <= PAGE_BOUND_BYTES)
        }
        _ => false,
    };
    let order = if pages.windows(2).all(ascend) { BoundaryOrder::ASCENDING } else { BoundaryOrder::UNORDERED };
    index.set_boundary_order(order);
    index
}

/// At most `len` bytes, that sort no later than the text.
fn cut_down(text: &str, len: usize) -> Vec<u8> {
    text.as_bytes()[..text.floor_char_boundary(len)].to_vec()
}

/// Some bytes more than `len` at most, that sort no earlier than the text; the text itself where there are none.
fn cut_up(text: &str, len: usize) -> Vec<u8> {
    const LAST: char = char::MAX;
    let (kept, rest) = text.split_at(text.floor_char_boundary(len));
    if rest.is_empty() || rest.starts_with(LAST) {
        return text.as_bytes().to_vec();
    }
    [kept, LAST.encode_utf8(&mut [0; 4])].concat().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bounds_that_were_cut_are_bounds(text in "[a-cä-ü\u{10ffff}]{0,12}", len in 0_usize..8) {
            let (low, high) = (cut_down(&text, len), cut_up(&text, len));
            prop_assert!(low.as_slice() <= text.as_bytes() && text.as_bytes() <= high.as_slice());
            prop_assert!(low.len() <= len);
            prop_assert!(std::str::from_utf8(&low).is_ok() && std::str::from_utf8(&high).is_ok());
            prop_assert_eq!(low.len() == text.len(), low == text.as_bytes());
        }
    }
}
