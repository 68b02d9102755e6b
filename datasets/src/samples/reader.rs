//! Reading a file of samples as a stream: only the pages that may hold what is wanted, a batch in memory at a time.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Float64Type, Int32Type, TimestampMillisecondType};
use forewarn_schema::{HistogramSample, LabelMatcher, LabelSet, METRIC_NAME, MatchOp, Sample, TimeRange, Timestamp};
use forewarn_tsdb::{BlockError, Matcher};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;

use super::histograms::Histograms;
use super::schema::{HISTOGRAM, aggregate_of, schema};
use super::writer::HISTOGRAMS_KEY;
use super::{MAX_LABELS_BYTES, SampleFileError, prune};
use crate::page_headers;
use crate::parquet_file::labels_of;
use crate::{Aggregate, RawSeries};

/// Which series are wanted: those that any of the selectors selects.
#[derive(Clone, Debug)]
pub struct SampleFilter {
    selectors: Vec<Vec<Matcher>>,
    metrics: Option<Vec<String>>,
}

impl SampleFilter {
    /// Each selector is a list of conditions that must all hold.
    pub fn new(selectors: &[Vec<LabelMatcher>]) -> Result<Self, BlockError> {
        let metric = |selector: &Vec<LabelMatcher>| {
            let exact = selector.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal);
            exact.map(|m| m.value.clone())
        };
        let metrics = selectors.iter().map(metric).collect();
        let compile = |selector: &Vec<LabelMatcher>| selector.iter().map(Matcher::new).collect();
        Ok(Self { selectors: selectors.iter().map(compile).collect::<Result<_, _>>()?, metrics })
    }

    /// Whether a series with these labels is wanted.
    pub fn selects(&self, labels: &LabelSet) -> bool {
        self.selectors.iter().any(|selector| selector.iter().all(|m| m.selects(labels)))
    }

    /// The only metrics that can be wanted, where every selector names one.
    pub(super) fn metrics(&self) -> Option<&[String]> {
        self.metrics.as_deref()
    }
}

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 65_536;

/// Gives the wanted series of a file in their order, each in one or more pieces, every piece with at least one sample.
///
/// The Parquet library may panic on bytes that are not what their digest says; read where a panic is caught.
pub struct SampleReader {
    batches: ParquetRecordBatchReader,
    filter: Option<SampleFilter>,
    range: TimeRange,
    /// The pieces of the batch that was read last, the first one at the end.
    pieces: Vec<RawSeries>,
    /// The labels of the last row, and whether they are wanted.
    known: Option<(String, Option<LabelSet>)>,
}

impl SampleReader {
    /// Samples in `range` of the series that `filter` wants, or of all.
    pub fn open(file: File, filter: Option<SampleFilter>, range: TimeRange) -> Result<Self, SampleFileError> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file.try_clone()?, options)?;
        if builder.schema().fields() != schema().fields() {
            let got = builder.schema();
            return Err(SampleFileError::Malformed(format!("its columns must be {}, got {got}", schema())));
        }
        page_headers::check(&file, builder.metadata(), 0..builder.metadata().num_row_groups())
            .map_err(SampleFileError::Malformed)?;
        let rows = prune::rows(builder.metadata(), filter.as_ref(), range);
        let pairs = builder.metadata().file_metadata().key_value_metadata();
        let none = pairs.into_iter().flatten().any(|p| p.key == HISTOGRAMS_KEY && p.value.as_deref() == Some("0"));
        let columns = if none { HISTOGRAM } else { HISTOGRAM + 1 };
        let mask = ProjectionMask::roots(builder.parquet_schema(), 0..columns);
        let batches = builder.with_batch_size(BATCH_ROWS).with_row_selection(rows).with_projection(mask).build()?;
        Ok(Self { batches, filter, range, pieces: Vec::new(), known: None })
    }

    fn read_batch(&mut self, batch: &RecordBatch) -> Result<(), SampleFileError> {
        let wrong = |what: &str| SampleFileError::Malformed(what.to_owned());
        let column = |i: usize| batch.columns().get(i).ok_or_else(|| wrong("a column is missing"));
        let columns = Columns {
            labels: Texts::of(column(1)?)?,
            aggregates: Texts::of(column(2)?)?,
            at: column(3)?.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(|| wrong("`at` is no time"))?,
            values: column(4)?.as_primitive_opt::<Float64Type>().ok_or_else(|| wrong("`value` is no number"))?,
            stale: column(5)?.as_boolean_opt().ok_or_else(|| wrong("`stale` is no boolean"))?,
            histograms: batch.columns().get(HISTOGRAM).map(Histograms::of).transpose()?,
        };
        if columns.at.null_count() + columns.stale.null_count() > 0 {
            return Err(wrong("only `value` and `histogram` may have nulls"));
        }
        let mut start = 0;
        while start < batch.num_rows() {
            let key = (columns.labels.id(start), columns.aggregates.id(start));
            let mut end = start + 1;
            while end < batch.num_rows() && (columns.labels.id(end), columns.aggregates.id(end)) == key {
                end += 1;
            }
            if let Some(labels) = self.labels(columns.labels.text(key.0)?)? {
                let aggregate = columns.aggregates.text(key.1)?;
                let aggregate =
                    aggregate_of(aggregate).ok_or_else(|| wrong(&format!("unknown aggregate {aggregate:?}")))?;
                let piece = columns.piece(labels, aggregate, start..end, self.range)?;
                if !piece.samples.is_empty() || !piece.histograms.is_empty() {
                    self.pieces.push(piece);
                }
            }
            start = end;
        }
        self.pieces.reverse();
        Ok(())
    }

    /// The labels in a row's text, if they are wanted.
    fn labels(&mut self, text: &str) -> Result<Option<LabelSet>, SampleFileError> {
        if let Some((known, labels)) = &self.known
            && known == text
        {
            return Ok(labels.clone());
        }
        if text.len() > MAX_LABELS_BYTES {
            let what = format!("labels must be at most {MAX_LABELS_BYTES} bytes, got {}", text.len());
            return Err(SampleFileError::Malformed(what));
        }
        let labels = labels_of(text).map_err(SampleFileError::Malformed)?;
        let labels = self.filter.as_ref().is_none_or(|f| f.selects(&labels)).then_some(labels);
        self.known = Some((text.to_owned(), labels.clone()));
        Ok(labels)
    }
}

impl Iterator for SampleReader {
    type Item = Result<RawSeries, SampleFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.pieces.pop() {
                return Some(Ok(piece));
            }
            let batch = match self.batches.next()? {
                Ok(batch) => batch,
                Err(e) => return Some(Err(e.into())),
            };
            if let Err(e) = self.read_batch(&batch) {
                return Some(Err(e));
            }
        }
    }
}

struct Columns<'a> {
    labels: Texts<'a>,
    aggregates: Texts<'a>,
    at: &'a TimestampMillisecondArray,
    values: &'a Float64Array,
    stale: &'a BooleanArray,
    histograms: Option<Histograms<'a>>,
}

impl Columns<'_> {
    fn piece(
        &self,
        labels: LabelSet,
        aggregate: Aggregate,
        rows: std::ops::Range<usize>,
        range: TimeRange,
    ) -> Result<RawSeries, SampleFileError> {
        let mut piece =
            RawSeries { labels, aggregate, samples: Vec::with_capacity(rows.len()), histograms: Vec::new() };
        let mut last = None;
        for row in rows {
            let at = Timestamp::from_millis(self.at.value(row));
            if last.is_some_and(|last| last >= at) {
                return Err(SampleFileError::Order(format!("{at} does not go up in {}", piece.labels)));
            }
            last = Some(at);
            if !range.contains(at) {
                continue;
            }
            if self.values.is_valid(row) {
                piece.samples.push(Sample { at, value: self.values.value(row) });
                continue;
            }
            let histogram = self.histograms.as_ref().map(|h| h.get(row)).transpose()?.flatten();
            let nothing = || SampleFileError::Malformed(format!("a row without value and histogram, {}", piece.labels));
            let histogram = Arc::new(histogram.ok_or_else(nothing)?);
            piece.histograms.push(HistogramSample { at, histogram });
        }
        Ok(piece)
    }
}

/// A dictionary column, checked to hold texts.
struct Texts<'a> {
    keys: &'a [i32],
    texts: &'a StringArray,
}

impl<'a> Texts<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self, SampleFileError> {
        let wrong = || SampleFileError::Malformed("a text column is not one".to_owned());
        let column = column.as_any().downcast_ref::<DictionaryArray<Int32Type>>().ok_or_else(wrong)?;
        let texts = column.values().as_any().downcast_ref::<StringArray>().ok_or_else(wrong)?;
        if column.null_count() > 0 {
            return Err(wrong());
        }
        Ok(Self { keys: column.keys().values(), texts })
    }

    fn id(&self, row: usize) -> i32 {
        self.keys[row]
    }

    fn text(&self, id: i32) -> Result<&'a str, SampleFileError> {
        let index = usize::try_from(id).ok().filter(|i| *i < self.texts.len());
        let wrong = || SampleFileError::Malformed(format!("text {id} is not in its dictionary"));
        index.map(|i| self.texts.value(i)).ok_or_else(wrong)
    }
}
