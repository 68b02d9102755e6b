//! An index of any bytes: opened, asked and walked through. Its first byte says how much of it is kept in memory.
//!
//! Checksums are made right before it is read, or the fuzzer would never get behind them.
#![no_main]

use std::sync::Arc;

use forewarn_schema::{LabelMatcher, MatchOp};
use forewarn_testkit::tsdb::crc32c;
use forewarn_tsdb::{BlockError, InMemory, Index, IndexOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((options, index)) = bytes.split_first() else { return };
    let mut index = index.to_vec();
    mend(&mut index);
    let _ = walk(index, u64::from(*options % 2) << 20);
});

fn walk(bytes: Vec<u8>, section_in_memory: u64) -> Result<(), BlockError> {
    let file = Arc::new(InMemory::new("index", bytes));
    let index = Arc::new(Index::open_with(file, IndexOptions { section_in_memory })?);
    for name in index.label_names() {
        index.for_each_label_value(&name, |_| ())?;
    }
    let matcher = |name: &str, op, value: &str| LabelMatcher { name: name.into(), op, value: value.into() };
    for selector in [
        vec![],
        vec![matcher("__name__", MatchOp::Equal, "up"), matcher("pod", MatchOp::NotEqual, "")],
        vec![matcher("job", MatchOp::NotRegex, "a.*"), matcher("pod", MatchOp::Regex, "b|c")],
    ] {
        index.series(index.select(&[selector])?).for_each(drop);
    }
    Ok(())
}

/// Makes right the checksums of the table of contents, of the sections and lists it leads to, and of the series.
fn mend(index: &mut [u8]) {
    let Some(toc) = index.len().checked_sub(52) else { return };
    let place = |index: &[u8], i: usize| {
        let eight = index[toc + i * 8..].first_chunk().copied().unwrap_or_default();
        usize::try_from(u64::from_be_bytes(eight)).unwrap_or(usize::MAX)
    };
    // Where a place lies behind the end, there is nothing to mend.
    let (series, postings, table) = (place(index, 1).min(toc), place(index, 4).min(toc), place(index, 5));
    for section in [place(index, 0), table] {
        mend_section(index, section);
    }
    // Lists lie back to back, with padding to four bytes.
    let mut list = postings;
    while list > 0 && list < table.min(toc) {
        match mend_section(index, list) {
            Some(end) => list = end.next_multiple_of(4),
            None => break,
        }
    }
    // Series too, with padding to sixteen; version 1 has none, and its checksums stay wrong.
    let mut entry = series.next_multiple_of(16);
    while entry > 0 && entry < postings.min(toc) {
        let Some((len, varint)) = uvarint(&index[entry..]) else { break };
        let (start, end) = (entry + varint, entry.saturating_add(varint).saturating_add(len));
        if end.saturating_add(4) > toc {
            break;
        }
        let checksum = crc32c(&index[start..end]).to_be_bytes();
        index[end..end + 4].copy_from_slice(&checksum);
        entry = (end + 4).next_multiple_of(16);
    }
    let checksum = crc32c(&index[toc..toc + 48]).to_be_bytes();
    index[toc + 48..].copy_from_slice(&checksum);
}

/// Gives the section's end.
fn mend_section(index: &mut [u8], at: usize) -> Option<usize> {
    let len = u32::from_be_bytes(*index.get(at..)?.first_chunk()?) as usize;
    let (start, end) = (at + 4, at.checked_add(4)?.checked_add(len)?);
    let checksum = crc32c(index.get(start..end)?).to_be_bytes();
    index.get_mut(end..end + 4)?.copy_from_slice(&checksum);
    Some(end + 4)
}

fn uvarint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}
