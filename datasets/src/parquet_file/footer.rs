//! What a file's end says of its parts: where each lies, which services it has, and the digest of its bytes. The manifest
//! has the footer's digest, so that a part that was read alone is as sure as a whole file.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use serde::{Deserialize, Serialize};

use super::sparse::Sparse;
use super::{MAX_ROWS, schema};
use crate::manifest::sha256;

/// The key in Parquet's own metadata under which the notes are, one a part.
pub(super) const PARTS_KEY: &str = "forewarn.parts";
/// Enough of a digest against damage.
const DIGITS: usize = 16;

/// What the footer notes of a part.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartNote {
    /// The first 16 digits of the SHA-256 of its bytes.
    sha256: String,
    /// Its services in the order of rows.
    services: Vec<String>,
}

impl PartNote {
    pub(super) fn new(bytes: &[u8], services: Vec<String>) -> Self {
        Self { sha256: digest(bytes), services }
    }
}

fn digest(bytes: &[u8]) -> String {
    let mut text = sha256(bytes);
    text.truncate(DIGITS);
    text
}

/// A part of a file: one Parquet row group.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Which.
    pub(super) index: usize,
    /// Its bytes within the file.
    pub(crate) range: Range<u64>,
    /// Its services in the order of rows.
    pub(crate) services: Vec<String>,
    sha256: String,
}

impl Part {
    /// Whether these are the bytes that were written.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), String> {
        let got = digest(bytes);
        if got == self.sha256 {
            return Ok(());
        }
        let (at, wanted) = (self.range.start, &self.sha256);
        Err(format!("the SHA-256 of its part at byte {at} must start with {wanted}, got {got}"))
    }
}

/// A file's parts, and what it takes to decode them.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(super) metadata: ArrowReaderMetadata,
    pub(super) file_bytes: u64,
    pub(crate) parts: Vec<Part>,
}

/// The parts of a file of `file_bytes` that ends with `footer`, or what is wrong with it. The Parquet library may panic
/// on bytes that someone made to fit their digest; call it where a panic is caught.
pub(crate) fn parts(footer: Bytes, file_bytes: u64) -> Result<Parts, String> {
    let start = file_bytes.checked_sub(footer.len() as u64).ok_or("its footer is longer than the file")?;
    let end = Sparse::new(file_bytes, vec![(start, footer)]);
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
    let metadata = ArrowReaderMetadata::load(&end, options).map_err(|e| e.to_string())?;
    if metadata.schema().fields() != schema().fields() {
        return Err(format!("its columns must be those of format 2, got {}", metadata.schema()));
    }
    let parquet: &Arc<ParquetMetaData> = metadata.metadata();
    check_rows(parquet)?;
    let notes = notes_of(parquet)?;
    if notes.len() != parquet.num_row_groups() {
        return Err(format!("it must have a note for each of {} parts, got {}", parquet.num_row_groups(), notes.len()));
    }
    let mut parts = Vec::with_capacity(notes.len());
    let mut before = 0;
    for (index, note) in notes.into_iter().enumerate() {
        let range = range_of(parquet, index)?;
        if range.start < before || range.end > start {
            return Err(format!("part {index} must lie after the one before and before the footer"));
        }
        before = range.end;
        parts.push(Part { index, range, services: note.services, sha256: note.sha256 });
    }
    Ok(Parts { metadata, file_bytes, parts })
}

/// Refuses more rows than a day may have.
pub(super) fn check_rows(metadata: &ParquetMetaData) -> Result<(), String> {
    let rows = metadata.file_metadata().num_rows();
    if (0..=MAX_ROWS).contains(&rows) {
        return Ok(());
    }
    Err(format!("it must have at most {MAX_ROWS} rows, got {rows}"))
}

fn notes_of(metadata: &ParquetMetaData) -> Result<Vec<PartNote>, String> {
    let pairs = metadata.file_metadata().key_value_metadata();
    let notes = pairs.into_iter().flatten().find(|pair| pair.key == PARTS_KEY).and_then(|pair| pair.value.as_deref());
    let notes = notes.ok_or_else(|| format!("its footer has no {PARTS_KEY}"))?;
    serde_json::from_str(notes).map_err(|e| format!("its {PARTS_KEY} cannot be read ({e})"))
}

/// From the first byte of a row group's first column to the last of its last.
fn range_of(metadata: &ParquetMetaData, index: usize) -> Result<Range<u64>, String> {
    let wrong = || format!("part {index} has no place in the file");
    let mut range: Option<Range<u64>> = None;
    for column in metadata.row_group(index).columns() {
        let (start, len) = column.byte_range();
        let end = start.checked_add(len).ok_or_else(wrong)?;
        range = Some(range.map_or(start..end, |r| r.start.min(start)..r.end.max(end)));
    }
    range.ok_or_else(wrong)
}
