//! Labels and what the data settled as one Parquet file, for whoever wants to count, plot or learn with it: one row a label,
//! one row a settlement. Written, never read back here; the columns are in `docs/formats/labels.md`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use forewarn_schema::{BreachKind, Judge, Timestamp, Verdict};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

/// The version of the columns, in the file's metadata under `forewarn.labels.format_version`.
pub const LABELS_FORMAT_VERSION: u32 = 1;
const VERSION_KEY: &str = "forewarn.labels.format_version";

/// One row. What is not known of it, or does not apply, is null in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRow {
    /// Who judged.
    pub judge: Judge,
    /// The label's id; of a settlement the prediction's, or the miss's own.
    pub id: String,
    /// Of what it is: `prediction`, `request`, `breach` or `span`.
    pub of: &'static str,
    /// The prediction that it is of, also where it is of the request that this emitted.
    pub prediction_id: Option<String>,
    /// The request that it is of, or that the prediction emitted.
    pub request_id: Option<String>,
    /// The workload.
    pub service: Option<String>,
    /// The signal.
    pub signal: Option<String>,
    /// What kind of breach; `None`: every kind, or not known.
    pub kind: Option<BreachKind>,
    /// The target: a JSON object of labels as the dataset writes it.
    pub labels: Option<String>,
    /// When it was said; of a breach that nobody announced when it came; of a span its start.
    pub at: Option<Timestamp>,
    /// Of a span: its end, not included.
    pub until: Option<Timestamp>,
    /// What it turned out to be; `None` where the data do not tell.
    pub verdict: Option<Verdict>,
    /// Of a settlement: what became of it, in a word.
    pub became: Option<String>,
    /// How probable the breach was called.
    pub probability: Option<f64>,
    /// Which model said it.
    pub model_version: Option<String>,
    /// The label that counts instead of this one.
    pub outweighed_by: Option<String>,
    /// Why, in the labeller's words.
    pub note: Option<String>,
    /// Where a label came from.
    pub source: Option<&'static str>,
    /// Who gave it.
    pub who: Option<String>,
    /// When it was given, or settled.
    pub given_at: Timestamp,
}

/// The file of `rows`, sorted by when they were given, then by who judged and by id: the same rows, in whatever order, are
/// the same bytes. The error says what the encoder said.
pub fn labels_parquet(rows: &[LabelRow]) -> Result<Vec<u8>, String> {
    let mut sorted: Vec<&LabelRow> = rows.iter().collect();
    sorted.sort_by_key(|row| (row.given_at, row.judge, &row.id));
    write(&sorted).map_err(|e| e.to_string())
}

fn write(rows: &[&LabelRow]) -> Result<Vec<u8>, parquet::errors::ParquetError> {
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns(rows).into_iter().unzip();
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_created_by(format!("forewarn labels format {LABELS_FORMAT_VERSION}"))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_key_value_metadata(Some(vec![KeyValue::new(VERSION_KEY.to_owned(), LABELS_FORMAT_VERSION.to_string())]))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.into_inner()
}

fn columns(rows: &[&LabelRow]) -> Vec<(Field, ArrayRef)> {
    let text = |name: &str, may_be_null: bool, of: &dyn Fn(&LabelRow) -> Option<String>| {
        let values: StringArray = rows.iter().map(|row| of(row)).collect();
        (Field::new(name, DataType::Utf8, may_be_null), Arc::new(values) as ArrayRef)
    };
    let time = |name: &str, may_be_null: bool, of: &dyn Fn(&LabelRow) -> Option<Timestamp>| {
        let values: TimestampMillisecondArray = rows.iter().map(|row| of(row).map(Timestamp::millis)).collect();
        let kind = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        (Field::new(name, kind, may_be_null), Arc::new(values.with_timezone("UTC")) as ArrayRef)
    };
    let probability: Float64Array = rows.iter().map(|row| row.probability).collect();
    vec![
        text("judge", false, &|row| Some(judge(row.judge).to_owned())),
        text("id", false, &|row| Some(row.id.clone())),
        text("of", false, &|row| Some(row.of.to_owned())),
        text("prediction_id", true, &|row| row.prediction_id.clone()),
        text("request_id", true, &|row| row.request_id.clone()),
        text("service", true, &|row| row.service.clone()),
        text("signal", true, &|row| row.signal.clone()),
        text("kind", true, &|row| row.kind.map(|kind| kind.as_str().to_owned())),
        text("labels", true, &|row| row.labels.clone()),
        time("at", true, &|row| row.at),
        time("until", true, &|row| row.until),
        text("verdict", true, &|row| row.verdict.map(|verdict| verdict.as_str().to_owned())),
        text("became", true, &|row| row.became.clone()),
        (Field::new("probability", DataType::Float64, true), Arc::new(probability)),
        text("model_version", true, &|row| row.model_version.clone()),
        text("outweighed_by", true, &|row| row.outweighed_by.clone()),
        text("note", true, &|row| row.note.clone()),
        text("source", true, &|row| row.source.map(str::to_owned)),
        text("who", true, &|row| row.who.clone()),
        time("given_at", false, &|row| Some(row.given_at)),
    ]
}

fn judge(judge: Judge) -> &'static str {
    match judge {
        Judge::Data => "data",
        Judge::Label => "label",
    }
}
