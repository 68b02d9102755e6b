//! What the pages of a Parquet file declare, looked at before the library believes it: it makes room for as many
//! entries as a dictionary says to have, and for as many bytes as a page says to unpack into.
//!
//! A page header is a struct of Thrift's compact protocol
//! (<https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>,
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>).

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader;

/// A page that unpacks into more is refused: ours have a megabyte, dictionaries of labels nine.
const MAX_PAGE_BYTES: u64 = 64 << 20;
/// Nor may one have more values: 32,768 histograms of 160 buckets have a third of it.
const MAX_PAGE_VALUES: u64 = 1 << 24;
/// A header is some dozens of bytes: bounds are in the page index.
const MAX_HEADER_BYTES: u64 = 8 << 10;
/// Structs within structs: a page's, its statistics'.
const MAX_DEPTH: usize = 8;

/// Refuses a file in one of whose row groups `groups` a page declares what it cannot have. Reads the headers only.
pub(crate) fn check<R: ChunkReader>(
    file: &R,
    metadata: &ParquetMetaData,
    groups: impl IntoIterator<Item = usize>,
) -> Result<(), String> {
    for group in groups {
        let group = metadata.row_groups().get(group).ok_or_else(|| format!("row group {group} is not there"))?;
        let rows = u64::try_from(group.num_rows()).map_err(|_| "a row group with less than no rows".to_owned())?;
        for column in group.columns() {
            check_column(file, column, rows)?;
        }
    }
    Ok(())
}

fn check_column<R: ChunkReader>(file: &R, column: &ColumnChunkMetaData, rows: u64) -> Result<(), String> {
    let name = column.column_path().string();
    let wrong = |what: String| format!("a page of its column {name}: {what}");
    let starts = [Some(column.data_page_offset()), column.dictionary_page_offset()];
    if starts.into_iter().flatten().chain([column.compressed_size()]).any(|number| number < 0) {
        return Err(wrong("it lies before the file".to_owned()));
    }
    let (mut at, len) = column.byte_range();
    let end = at.checked_add(len).filter(|end| *end <= file.len());
    let end = end.ok_or_else(|| wrong("it ends after the file".to_owned()))?;
    while at < end {
        let len = usize::try_from((end - at).min(MAX_HEADER_BYTES)).unwrap_or(usize::MAX);
        let bytes = file.get_bytes(at, len).map_err(|e| wrong(e.to_string()))?;
        let (page, header_bytes) = PageHeader::read(&bytes).ok_or_else(|| wrong("its header is none".to_owned()))?;
        if page.plain_bytes > MAX_PAGE_BYTES {
            return Err(wrong(format!("at most {MAX_PAGE_BYTES} bytes unpacked wanted, got {}", page.plain_bytes)));
        }
        // An entry of a dictionary has four bytes at the least, and a page of a column that does not nest a value a
        // row.
        let cap = match (page.is_dictionary, column.column_descr().max_rep_level()) {
            (true, _) => page.plain_bytes / 4,
            (false, 0) => rows,
            (false, _) => u64::MAX,
        };
        if page.values > cap.min(MAX_PAGE_VALUES) {
            return Err(wrong(format!("at most {} values wanted, got {}", cap.min(MAX_PAGE_VALUES), page.values)));
        }
        at = at.saturating_add(header_bytes as u64).saturating_add(page.packed_bytes);
    }
    Ok(())
}

/// What a page declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PageHeader {
    plain_bytes: u64,
    packed_bytes: u64,
    values: u64,
    is_dictionary: bool,
}

impl PageHeader {
    /// The header at the start of the bytes, and how long it is; `None` where there is none.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut reader = Compact { bytes };
        let mut header = Self::default();
        let mut last = 0;
        while let Some((field, kind)) = reader.field(&mut last)? {
            match (field, kind) {
                (2, INT) => header.plain_bytes = u64::try_from(reader.int()?).ok()?,
                (3, INT) => header.packed_bytes = u64::try_from(reader.int()?).ok()?,
                // Of a data page, a dictionary and a data page of version 2 the first field is the number of values.
                (5 | 7 | 8, STRUCT) => {
                    header.is_dictionary |= field == 7;
                    let mut last = 0;
                    while let Some((field, kind)) = reader.field(&mut last)? {
                        match (field, kind) {
                            (1, INT) => header.values = header.values.max(u64::try_from(reader.int()?).ok()?),
                            (_, kind) => reader.skip(kind, MAX_DEPTH)?,
                        }
                    }
                }
                (_, kind) => reader.skip(kind, MAX_DEPTH)?,
            }
        }
        Some((header, bytes.len() - reader.bytes.len()))
    }
}

/// Kinds of fields.
const INT: u8 = 5;
const STRUCT: u8 = 12;

/// Thrift's compact protocol, as far as it takes to get past what is not wanted.
struct Compact<'a> {
    bytes: &'a [u8],
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// Zigzag.
    fn int(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// The next field's number and kind; the inner `None` at the end of a struct.
    #[allow(clippy::option_option, reason = "the end of a struct is not the end of the bytes")]
    fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *last = if head >> 4 == 0 { self.int()? } else { last.checked_add(i64::from(head >> 4))? };
        Some(Some((*last, head & 0x0f)))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // True and false are in the kind.
            1 | 2 => {}
            3 => self.take(1)?,
            4..=6 => {
                self.varint()?;
            }
            7 => self.take(8)?,
            8 => {
                let len = self.varint()?;
                self.take(len)?;
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                for _ in 0..count {
                    // In a list, a boolean has a byte.
                    if matches!(head & 0x0f, 1 | 2) { self.take(1)? } else { self.skip(head & 0x0f, depth)? }
                }
            }
            STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth)?;
                }
            }
            // Maps, of which a page header has none, and what is not known.
            _ => return None,
        }
        Some(())
    }

    fn take(&mut self, len: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(len).ok()?..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header of a dictionary page as the protocol spells it: fields 1 (kind), 2, 3 and 7.
    fn dictionary(plain: &[u8], packed: &[u8], values: &[u8]) -> Vec<u8> {
        [&[0x15, 4, 0x15][..], plain, &[0x15], packed, &[0x4c, 0x15], values, &[0x15, 0, 0x11, 0, 0]].concat()
    }

    #[test]
    fn a_header_is_read_and_what_follows_is_left() {
        let bytes = [dictionary(&[0xa0, 6], &[80], &[24]), vec![1, 2, 3]].concat();
        let header = PageHeader { plain_bytes: 400, packed_bytes: 40, values: 12, is_dictionary: true };
        assert_eq!(PageHeader::read(&bytes), Some((header, bytes.len() - 3)));
        assert_eq!(PageHeader::read(&bytes[..6]), None);
    }

    #[test]
    fn nothing_is_less_than_nothing() {
        assert_eq!(PageHeader::read(&dictionary(&[1], &[80], &[24])), None);
        assert_eq!(PageHeader::read(&dictionary(&[80], &[80], &[1])), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Some((_, len)) = PageHeader::read(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
