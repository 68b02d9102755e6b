//! Writing a day. The settings are fixed, so the same rows give the same bytes. A part (a Parquet row group) ends where
//! a service does, so that who wants one service reads little else.

use std::sync::Arc;

use arrow::array::TimestampMillisecondArray;
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::footer::{PARTS_KEY, PartNote};
use super::{BATCH_ROWS, MAX_ROWS, schema};
use crate::manifest::{Footer, sha256};
use crate::table::{DayTable, Point, SeriesKey};

/// A part holds at least as many rows before the next service starts another: 12 series a minute apart. Smaller parts
/// would cost more in the footer than they save.
const MIN_PART_ROWS: usize = 16_384;
/// And never more.
const MAX_PART_ROWS: usize = 1 << 20;
/// Distinct values of a part that still go into a dictionary; more are written plainly, which is smaller then.
const MAX_DICTIONARY_BYTES: usize = 64 << 10;

/// A file's bytes, and what the manifest says of their end.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) footer: Footer,
}

/// The file of a table. The error says what is too much.
pub(crate) fn encode(table: &DayTable) -> Result<Encoded, String> {
    if table.rows() as u64 > MAX_ROWS.unsigned_abs() {
        return Err(format!("a day must have at most {MAX_ROWS} rows, got {}; use a longer step", table.rows()));
    }
    write(table).map_err(|e| e.to_string())
}

fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(3).expect("3 is a level of zstd");
    let ascending = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
    let plain = |name: &str| ColumnPath::from(name);
    WriterProperties::builder()
        .set_created_by("forewarn dataset format 2".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(MAX_PART_ROWS))
        .set_sorting_columns(Some((0..5).map(ascending).collect()))
        .set_statistics_enabled(EnabledStatistics::Page)
        // Nobody looks for a value, and labels are sorted within service and signal only.
        .set_column_statistics_enabled(plain("value"), EnabledStatistics::Chunk)
        .set_column_statistics_enabled(plain("labels"), EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(plain("at"), false)
        .set_column_encoding(plain("at"), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_page_size_limit(plain("value"), MAX_DICTIONARY_BYTES)
        .build()
}

fn write(table: &DayTable) -> Result<Encoded, ParquetError> {
    let mut file = PartWriter::new()?;
    for (key, points) in &table.series {
        file.starts(&key.service)?;
        for chunk in points.chunks(BATCH_ROWS) {
            file.push(key, chunk)?;
        }
    }
    file.finish()
}

/// A file on its way, part by part.
struct PartWriter {
    writer: ArrowWriter<Vec<u8>>,
    batch: Batch,
    /// Rows of this part, those of `batch` included.
    rows: usize,
    /// Where this part starts.
    start: usize,
    services: Vec<String>,
    notes: Vec<PartNote>,
}

impl PartWriter {
    fn new() -> Result<Self, ParquetError> {
        let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties()))?;
        writer.sync()?;
        let start = writer.inner().len();
        Ok(Self { writer, batch: Batch::default(), rows: 0, start, services: Vec::new(), notes: Vec::new() })
    }

    /// Another service may start another part.
    fn starts(&mut self, service: &str) -> Result<(), ParquetError> {
        if self.services.last().is_some_and(|last| last == service) {
            return Ok(());
        }
        if self.rows >= MIN_PART_ROWS {
            self.end_part()?;
        }
        self.services.push(service.to_owned());
        Ok(())
    }

    fn push(&mut self, key: &SeriesKey, chunk: &[Point]) -> Result<(), ParquetError> {
        if self.rows + chunk.len() > MAX_PART_ROWS {
            self.end_part()?;
            self.services.push(key.service.to_string());
        }
        if self.batch.rows() + chunk.len() > BATCH_ROWS {
            self.write_batch()?;
        }
        self.batch.push(key, chunk);
        self.rows += chunk.len();
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), ParquetError> {
        if self.batch.rows() > 0 {
            self.writer.write(&std::mem::take(&mut self.batch).finish()?)?;
        }
        Ok(())
    }

    fn end_part(&mut self) -> Result<(), ParquetError> {
        self.write_batch()?;
        if self.rows == 0 {
            return Ok(());
        }
        self.writer.flush()?;
        self.writer.sync()?;
        let written = self.writer.inner();
        let services = std::mem::take(&mut self.services);
        self.notes.push(PartNote::new(written.get(self.start..).unwrap_or_default(), services));
        self.start = written.len();
        self.rows = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Encoded, ParquetError> {
        self.end_part()?;
        let notes = serde_json::to_string(&self.notes).map_err(|e| ParquetError::General(e.to_string()))?;
        self.writer.append_key_value_metadata(KeyValue::new(PARTS_KEY.to_owned(), notes));
        let bytes = self.writer.into_inner()?;
        let footer = bytes.get(self.start..).unwrap_or_default();
        let footer = Footer { bytes: footer.len() as u64, sha256: sha256(footer) };
        Ok(Encoded { bytes, footer })
    }
}

/// Rows on their way into the file.
#[derive(Default)]
struct Batch {
    services: Column,
    signals: Column,
    roles: Column,
    labels: Column,
    at: Vec<i64>,
    values: Vec<f64>,
}

impl Batch {
    fn rows(&self) -> usize {
        self.at.len()
    }

    fn push(&mut self, key: &SeriesKey, points: &[Point]) {
        self.services.push(&key.service, points.len());
        self.signals.push(&key.signal, points.len());
        self.roles.push(key.role, points.len());
        self.labels.push(&key.labels, points.len());
        self.at.extend(points.iter().map(|p| p.0));
        self.values.extend(points.iter().map(|p| p.1));
    }

    fn finish(self) -> Result<RecordBatch, ParquetError> {
        let columns: Vec<ArrayRef> = vec![
            self.services.finish()?,
            self.signals.finish()?,
            self.roles.finish()?,
            self.labels.finish()?,
            Arc::new(TimestampMillisecondArray::from(self.at).with_timezone("UTC")),
            Arc::new(Float64Array::from(self.values)),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

/// Repeated texts: each run of one text has one entry in the dictionary.
#[derive(Default)]
struct Column {
    keys: Vec<i32>,
    texts: Vec<String>,
}

impl Column {
    fn push(&mut self, text: &str, times: usize) {
        if self.texts.last().is_none_or(|last| last != text) {
            self.texts.push(text.to_owned());
        }
        // At most one text a row, and a batch has fewer rows than i32 has numbers.
        let key = i32::try_from(self.texts.len() - 1).unwrap_or(i32::MAX);
        self.keys.resize(self.keys.len() + times, key);
    }

    fn finish(self) -> Result<ArrayRef, ParquetError> {
        let texts = StringArray::from(self.texts);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(self.keys), Arc::new(texts))?))
    }
}
