//! The columns of a file of samples, and how they are laid out in Parquet. The settings are fixed, so that the same
//! samples give the same bytes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::Aggregate;

/// Rows of a page, the smallest part that is read. Over a shop's samples, pages of 16,384 rows come to 2.02 bytes a
/// sample, of 20,480 to 1.99, of 32,768 to 1.92, of 65,536 to 1.84.
pub(super) const PAGE_ROWS: usize = 1 << 15;
/// Rows of a row group: a few megabytes.
pub(super) const GROUP_ROWS: usize = 1 << 20;
/// Bytes of a row group's dictionary of labels, after which the group ends early: what has many series with few
/// samples.
pub(super) const DICTIONARY_BYTES: usize = 8 << 20;
pub(super) const ZSTD_LEVEL: i32 = 1;

/// The columns by their place; of those in Parquet, the last one is many.
pub(super) const METRIC: usize = 0;
pub(super) const LABELS: usize = 1;
pub(super) const AGGREGATE: usize = 2;
pub(super) const AT: usize = 3;
pub(super) const VALUE: usize = 4;
pub(super) const STALE: usize = 5;
pub(super) const HISTOGRAM: usize = 6;

pub(super) fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("metric", text(), false),
        Field::new("labels", text(), false),
        Field::new("aggregate", text(), false),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("value", DataType::Float64, true),
        Field::new("stale", DataType::Boolean, false),
        Field::new("histogram", DataType::Struct(histogram_fields()), true),
    ]))
}

pub(super) fn text() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

pub(super) fn histogram_fields() -> Fields {
    let float = |name: &str| Field::new(name, DataType::Float64, false);
    Fields::from(vec![
        Field::new("reset_hint", DataType::Utf8, false),
        Field::new("schema", DataType::Int32, false),
        float("zero_threshold"),
        float("zero_count"),
        float("count"),
        float("sum"),
        Field::new("positive_spans", list(span()), false),
        Field::new("positive_counts", list(DataType::Float64), false),
        Field::new("negative_spans", list(span()), false),
        Field::new("negative_counts", list(DataType::Float64), false),
        Field::new("custom_bounds", list(DataType::Float64), false),
    ])
}

pub(super) fn span_fields() -> Fields {
    let int = |name: &str, kind| Field::new(name, kind, false);
    Fields::from(vec![int("offset", DataType::Int32), int("length", DataType::UInt32)])
}

fn span() -> DataType {
    DataType::Struct(span_fields())
}

pub(super) fn list(of: DataType) -> DataType {
    DataType::List(list_item(of))
}

pub(super) fn list_item(of: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", of, false))
}

pub(super) fn compression() -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).expect("it is a level of zstd"))
}

/// What the library is told: it writes the footer, and the columns of histograms where there are any.
pub(super) fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_created_by("forewarn samples format 2".to_owned())
        .set_compression(compression())
        .set_statistics_enabled(EnabledStatistics::None)
        .build()
}

/// An aggregate in the file.
pub(super) fn aggregate_text(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Raw => "raw",
        Aggregate::Count => "count",
        Aggregate::Sum => "sum",
        Aggregate::Min => "min",
        Aggregate::Max => "max",
        Aggregate::Counter => "counter",
    }
}

/// The aggregate of a text in a file; `None` for any other text.
pub(super) fn aggregate_of(text: &str) -> Option<Aggregate> {
    use Aggregate::{Count, Counter, Max, Min, Raw, Sum};
    [Raw, Count, Sum, Min, Max, Counter].into_iter().find(|aggregate| aggregate_text(*aggregate) == text)
}
