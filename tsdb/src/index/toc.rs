//! The table of contents: the last 52 bytes of an index.

use crate::BlockError;
use crate::cursor::be_u32;

/// How many bytes it has: six offsets and a checksum.
pub const TOC_LEN: usize = 52;

/// Where the parts of an index begin, in bytes from its start; 0 where a part is absent. The two legacy parts are not
/// read by anyone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toc {
    /// Symbols: every label name and value, once.
    pub symbols: u64,
    /// Series: their labels and chunks.
    pub series: u64,
    /// Label indices (legacy).
    pub label_indices: u64,
    /// Table of the label indices (legacy).
    pub label_indices_table: u64,
    /// Postings: for each label pair, the series that have it.
    pub postings: u64,
    /// Table of the postings: where each list begins.
    pub postings_table: u64,
}

impl Toc {
    /// From the last bytes of an index named `file` that has `size` bytes.
    pub fn parse(file: &str, size: u64, bytes: &[u8; TOC_LEN]) -> Result<Self, BlockError> {
        let at = size.saturating_sub(TOC_LEN as u64);
        let (offsets, checksum) = bytes.split_at(TOC_LEN - 4);
        let wanted = checksum.first_chunk().map_or(0, |four| be_u32(*four));
        let got = crc32c::crc32c(offsets);
        if wanted != got {
            let what = format!("checksum {wanted:08x} of the table of contents wanted, got {got:08x}");
            return Err(BlockError::corrupt(file, size.saturating_sub(4), what));
        }
        let (offsets, _) = offsets.as_chunks::<8>();
        let [symbols, series, label_indices, label_indices_table, postings, postings_table] = *offsets else {
            return Err(BlockError::corrupt(file, at, "six offsets wanted"));
        };
        let toc = Self {
            symbols: u64::from_be_bytes(symbols),
            series: u64::from_be_bytes(series),
            label_indices: u64::from_be_bytes(label_indices),
            label_indices_table: u64::from_be_bytes(label_indices_table),
            postings: u64::from_be_bytes(postings),
            postings_table: u64::from_be_bytes(postings_table),
        };
        // In the order in which writers lay them; the legacy parts may lie anywhere.
        let mut end = 5;
        for (name, offset) in [
            ("symbols", toc.symbols),
            ("series", toc.series),
            ("postings", toc.postings),
            ("the table of postings", toc.postings_table),
        ] {
            if offset != 0 && (offset < end || offset > at) {
                let what = format!("{name} between bytes {end} and {at} wanted, got {offset}");
                return Err(BlockError::corrupt(file, at, what));
            }
            end = end.max(offset);
        }
        Ok(toc)
    }
}
