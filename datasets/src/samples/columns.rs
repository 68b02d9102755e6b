//! Rows on their way into a file: columns that are filled until they make a batch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int32Type};
use forewarn_schema::{HistogramSample, Sample, is_stale};

use super::SampleFileError;
use super::histograms;
use super::schema::{BATCH_ROWS, histogram_fields, schema};

/// At most [`BATCH_ROWS`] rows.
#[derive(Default)]
pub(super) struct Batch {
    metrics: Texts,
    labels: Texts,
    aggregates: Texts,
    at: Vec<i64>,
    values: Vec<f64>,
    stale: Vec<bool>,
    /// The histograms, by row; nearly always none.
    histograms: Vec<(usize, HistogramSample)>,
}

impl Batch {
    /// How many more rows fit.
    pub(super) fn room(&self) -> usize {
        BATCH_ROWS - self.at.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// What the next rows have in common.
    pub(super) fn key(&mut self, metric: &Arc<str>, labels: &Arc<str>, aggregate: &'static str, rows: usize) {
        self.metrics.push(metric, rows);
        self.labels.push(labels, rows);
        self.aggregates.push(aggregate, rows);
    }

    pub(super) fn floats(&mut self, samples: &[Sample]) {
        self.at.extend(samples.iter().map(|s| s.at.millis()));
        self.values.extend(samples.iter().map(|s| s.value));
        self.stale.extend(samples.iter().map(|s| is_stale(s.value)));
    }

    pub(super) fn histogram(&mut self, sample: &HistogramSample) {
        self.histograms.push((self.at.len(), sample.clone()));
        self.at.push(sample.at.millis());
        self.values.push(0.0);
        self.stale.push(sample.histogram.is_stale());
    }

    pub(super) fn finish(self) -> Result<RecordBatch, SampleFileError> {
        let rows = self.at.len();
        let (nulls, histograms) = if self.histograms.is_empty() {
            (None, new_null_array(&DataType::Struct(histogram_fields()), rows))
        } else {
            let mut valid = vec![true; rows];
            for (row, _) in &self.histograms {
                valid[*row] = false;
            }
            (Some(NullBuffer::from(valid)), histograms::to_array(&self.histograms, rows)?)
        };
        let columns: Vec<ArrayRef> = vec![
            self.metrics.finish()?,
            self.labels.finish()?,
            self.aggregates.finish()?,
            Arc::new(TimestampMillisecondArray::from(self.at).with_timezone("UTC")),
            Arc::new(Float64Array::new(self.values.into(), nulls)),
            Arc::new(BooleanArray::from(self.stale)),
            histograms,
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

/// Repeated texts: each run of one text has one entry in the dictionary.
#[derive(Default)]
struct Texts {
    keys: Vec<i32>,
    texts: Vec<Arc<str>>,
}

impl Texts {
    fn push(&mut self, text: &str, rows: usize) {
        if self.texts.last().is_none_or(|last| &**last != text) {
            self.texts.push(Arc::from(text));
        }
        // At most one text a row, and a batch has fewer rows than i32 has numbers.
        let key = i32::try_from(self.texts.len() - 1).unwrap_or(i32::MAX);
        self.keys.resize(self.keys.len() + rows, key);
    }

    fn finish(self) -> Result<ArrayRef, SampleFileError> {
        let texts = StringArray::from_iter_values(self.texts);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(self.keys), Arc::new(texts))?))
    }
}
