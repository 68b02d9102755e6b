//! A day's table as Parquet and back: what both directions share. Writing is in `encode`, reading in `decode`, and what
//! lets one service be read without the rest in `footer` and `sparse`.

mod decode;
mod encode;
mod footer;
mod sparse;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use forewarn_schema::LabelSet;

pub(crate) use decode::{decode, decode_parts};
pub(crate) use encode::{Encoded, encode};
pub(crate) use footer::{Part, Parts, parts};

/// A file larger than this is not read.
pub(crate) const MAX_BYTES: u64 = 1 << 30;
/// Nor a footer: 20,000 parts have one of 10 MiB.
pub(crate) const MAX_FOOTER_BYTES: u64 = 64 << 20;
/// Nor a file with more rows, nor is one written: 70,000 series a minute apart have as many in a day.
const MAX_ROWS: i64 = 100_000_000;
/// Nor one with more labels on a series.
const MAX_LABELS_BYTES: usize = 64 << 10;

const BATCH_ROWS: usize = 65_536;

/// The columns of format 2; format 1 has no `service`.
fn schema() -> Arc<Schema> {
    let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Arc::new(Schema::new(vec![
        Field::new("service", text(), false),
        Field::new("signal", text(), false),
        Field::new("role", text(), false),
        Field::new("labels", text(), false),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("value", DataType::Float64, false),
    ]))
}

/// The labels of a file's row.
pub(crate) fn labels_of(text: &str) -> Result<LabelSet, String> {
    serde_json::from_str(text).map_err(|e| format!("labels must be a JSON object of texts, got {text:?} ({e})"))
}
