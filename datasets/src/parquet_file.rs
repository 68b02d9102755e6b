//! A day's table as Parquet and back. The writer's settings are fixed, so the same rows give the same bytes; the reader
//! takes nothing on trust but the caps.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use bytes::Bytes;
use forewarn_schema::LabelSet;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::table::{DayTable, Point, SeriesKey, role_of, role_text};

/// A file larger than this is not read.
pub(crate) const MAX_BYTES: u64 = 1 << 30;
/// Nor one with more rows, nor is one written: 70,000 series a minute apart have as many in a day.
const MAX_ROWS: i64 = 100_000_000;
/// Nor one with more labels on a series.
const MAX_LABELS_BYTES: usize = 64 << 10;

const BATCH_ROWS: usize = 65_536;
const ROW_GROUP_ROWS: usize = 1 << 20;

fn schema() -> Arc<Schema> {
    let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Arc::new(Schema::new(vec![
        Field::new("signal", text(), false),
        Field::new("role", text(), false),
        Field::new("labels", text(), false),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("value", DataType::Float64, false),
    ]))
}

fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(3).expect("3 is a level of zstd");
    WriterProperties::builder()
        .set_created_by("forewarn dataset format 1".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(ColumnPath::from("at"), false)
        .set_column_encoding(ColumnPath::from("at"), Encoding::DELTA_BINARY_PACKED)
        .build()
}

/// The file's bytes.
pub(crate) fn encode(table: &DayTable) -> Result<Vec<u8>, String> {
    if table.rows() as u64 > MAX_ROWS.unsigned_abs() {
        return Err(format!("a day must have at most {MAX_ROWS} rows, got {}; use a longer step", table.rows()));
    }
    write(table).map_err(|e| e.to_string())
}

fn write(table: &DayTable) -> Result<Vec<u8>, parquet::errors::ParquetError> {
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties()))?;
    let mut batch = Batch::default();
    for (key, points) in &table.series {
        for chunk in points.chunks(BATCH_ROWS) {
            if batch.rows() + chunk.len() > BATCH_ROWS {
                writer.write(&std::mem::take(&mut batch).finish()?)?;
            }
            batch.push(key, chunk);
        }
    }
    if batch.rows() > 0 {
        writer.write(&batch.finish()?)?;
    }
    writer.into_inner()
}

/// Rows on their way into the file.
#[derive(Default)]
struct Batch {
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
        self.signals.push(&key.signal, points.len());
        self.roles.push(key.role, points.len());
        self.labels.push(&key.labels, points.len());
        self.at.extend(points.iter().map(|p| p.0));
        self.values.extend(points.iter().map(|p| p.1));
    }

    fn finish(self) -> Result<RecordBatch, parquet::errors::ParquetError> {
        let columns: Vec<ArrayRef> = vec![
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

    fn finish(self) -> Result<ArrayRef, parquet::errors::ParquetError> {
        let texts = StringArray::from(self.texts);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(self.keys), Arc::new(texts))?))
    }
}

/// The table in the file's bytes, or what is wrong with them.
///
/// The Parquet library may panic on bytes that are not what their digest says; call it where a panic is caught.
pub(crate) fn decode(bytes: Bytes) -> Result<DayTable, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| e.to_string())?;
    if builder.schema().fields() != schema().fields() {
        return Err(format!("its columns must be signal, role, labels, at, value, got {}", builder.schema()));
    }
    let rows = builder.metadata().file_metadata().num_rows();
    if !(0..=MAX_ROWS).contains(&rows) {
        return Err(format!("it must have at most {MAX_ROWS} rows, got {rows}"));
    }
    let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(|e| e.to_string())?;
    let mut table = DayTable::default();
    let mut run: Option<(SeriesKey, Vec<Point>)> = None;
    for batch in reader {
        decode_batch(&batch.map_err(|e| e.to_string())?, &mut table, &mut run)?;
    }
    close(&mut table, run)?;
    Ok(table)
}

fn decode_batch(
    batch: &RecordBatch,
    table: &mut DayTable,
    run: &mut Option<(SeriesKey, Vec<Point>)>,
) -> Result<(), String> {
    let column = |i: usize| batch.columns().get(i).ok_or("a column is missing");
    let (signals, roles, labels) = (Texts::of(column(0)?)?, Texts::of(column(1)?)?, Texts::of(column(2)?)?);
    let at = column(3)?.as_any().downcast_ref::<TimestampMillisecondArray>().ok_or("`at` is not a time")?;
    let values = column(4)?.as_any().downcast_ref::<Float64Array>().ok_or("`value` is not a number")?;
    if at.null_count() + values.null_count() > 0 {
        return Err("it must have no nulls".to_owned());
    }
    let mut previous = None;
    for row in 0..batch.num_rows() {
        let ids = (signals.id(row), roles.id(row), labels.id(row));
        if previous != Some(ids) {
            previous = Some(ids);
            let (signal, role, labels) = (signals.text(ids.0)?, roles.text(ids.1)?, labels.text(ids.2)?);
            let role = role_text(role_of(role).ok_or_else(|| format!("unknown role {role:?}"))?);
            let goes_on =
                run.as_ref().is_some_and(|(k, _)| &*k.signal == signal && k.role == role && &*k.labels == labels);
            if !goes_on {
                close(table, run.take())?;
                if labels.len() > MAX_LABELS_BYTES {
                    return Err(format!("labels must be at most {MAX_LABELS_BYTES} bytes, got {}", labels.len()));
                }
                *run = Some((SeriesKey { signal: signal.into(), role, labels: labels.into() }, Vec::new()));
            }
        }
        let Some((key, points)) = run.as_mut() else { continue };
        let time = at.value(row);
        if points.last().is_some_and(|last| last.0 >= time) {
            return Err(format!("times must go up, {time} ms does not (series {} {})", key.signal, key.labels));
        }
        points.push((time, values.value(row)));
    }
    Ok(())
}

fn close(table: &mut DayTable, run: Option<(SeriesKey, Vec<Point>)>) -> Result<(), String> {
    let Some((key, points)) = run else { return Ok(()) };
    if table.series.last_key_value().is_some_and(|(last, _)| *last >= key) {
        return Err(format!("rows must be sorted, {} {} is out of order", key.signal, key.labels));
    }
    table.series.insert(key, points);
    Ok(())
}

/// A dictionary column, checked to hold texts.
struct Texts<'a> {
    keys: &'a [i32],
    texts: &'a StringArray,
}

impl<'a> Texts<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self, String> {
        let column = column.as_any().downcast_ref::<DictionaryArray<Int32Type>>().ok_or("a text column is not one")?;
        let texts = column.values().as_any().downcast_ref::<StringArray>().ok_or("a text column is not one")?;
        if column.null_count() > 0 {
            return Err("it must have no nulls".to_owned());
        }
        Ok(Self { keys: column.keys().values(), texts })
    }

    fn id(&self, row: usize) -> i32 {
        self.keys[row]
    }

    fn text(&self, id: i32) -> Result<&'a str, String> {
        let index = usize::try_from(id).ok().filter(|i| *i < self.texts.len());
        index.map(|i| self.texts.value(i)).ok_or_else(|| format!("text {id} is not in its dictionary"))
    }
}

/// The labels of a file's row.
pub(crate) fn labels_of(text: &str) -> Result<LabelSet, String> {
    serde_json::from_str(text).map_err(|e| format!("labels must be a JSON object of texts, got {text:?} ({e})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::labels_text;
    use forewarn_features::Role;
    use forewarn_schema::{Sample, Series, Timestamp};
    use proptest::prelude::*;

    fn table(series: usize, rows: i64) -> DayTable {
        let mut table = DayTable::default();
        for i in 0..series {
            let labels = LabelSet::from([("pod", format!("cart-{i}\"é")), ("service", "cart".to_owned())]);
            let value = |k: i64| if k == 3 { f64::NAN } else { k as f64 * 0.1 + i as f64 };
            let samples = (0..rows).map(|k| Sample { at: Timestamp::from_seconds(k * 60), value: value(k) }).collect();
            let role = if i % 2 == 0 { Role::Value } else { Role::Limit };
            table.add(&Arc::from("memory"), role, vec![Series { labels, samples }]);
        }
        table
    }

    fn bits(table: &DayTable) -> Vec<(SeriesKey, Vec<(i64, u64)>)> {
        let points = |p: &[Point]| p.iter().map(|(at, v)| (*at, v.to_bits())).collect();
        table.series.iter().map(|(k, p)| (k.clone(), points(p))).collect()
    }

    #[test]
    fn reads_back_to_the_bit_and_writes_the_same_bytes() {
        // More rows than a batch has, so that runs cross batches.
        let table = table(7, 30_000);
        let bytes = encode(&table).unwrap();
        assert_eq!(bytes, encode(&table).unwrap());
        assert_eq!(bits(&decode(bytes.into()).unwrap()), bits(&table));
        assert_eq!(decode(encode(&DayTable::default()).unwrap().into()).unwrap(), DayTable::default());
    }

    #[test]
    fn the_form_on_disk_stays_the_same() {
        let pinned = include_bytes!("../tests/fixtures/day-v1.parquet");
        assert_eq!(bits(&decode(Bytes::from_static(pinned)).unwrap()), bits(&table(4, 10)));
    }

    #[test]
    #[ignore = "writes the fixture: for a new format version only"]
    fn write_the_fixture() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/day-v1.parquet");
        std::fs::write(path, encode(&table(4, 10)).unwrap()).unwrap();
    }

    #[test]
    fn labels_read_back() {
        let labels = LabelSet::from([("a", "x\"\\\n"), ("b", "é")]);
        assert_eq!(labels_of(&labels_text(&labels)).unwrap(), labels);
        assert_eq!(labels_text(&LabelSet::from([("b", "2"), ("a", "1")])), r#"{"a":"1","b":"2"}"#);
        assert!(labels_of("[]").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damaged_bytes_are_an_error_or_a_table(at in 0_usize..2000, byte: u8, cut in 0_usize..4000) {
            let mut bytes = encode(&table(4, 40)).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut.min(bytes.len()) / 4);
            // The library may panic; what calls this catches it. Only our own code must not loop or abort.
            let _ = std::panic::catch_unwind(|| decode(bytes.into()));
        }
    }
}
