//! Writing a file of samples as they come, a row group in memory at most.

use std::cmp::Ordering;
use std::io::Write;
use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME, Timestamp};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;

use super::columns::Batch;
use super::schema::{aggregate_text, properties, schema};
use super::{MAX_LABELS_BYTES, SampleFileError};
use crate::table::labels_text;
use crate::{Aggregate, RawSeries};

/// The key under which a file says how many of its rows are histograms.
pub(super) const HISTOGRAMS_KEY: &str = "forewarn.histograms";

/// What went into a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleFileStats {
    /// Samples of both kinds.
    pub rows: u64,
    /// Those that are histograms.
    pub histograms: u64,
    /// Label sets, each counted once whatever its aggregates.
    pub series: u64,
    /// The earliest and the latest sample.
    pub extent: Option<(Timestamp, Timestamp)>,
}

/// Takes series in the order of their labels, then aggregate, then time; a series may come in pieces. However it is cut
/// into pieces, the same samples give the same bytes.
pub struct SampleWriter<W: Write + Send> {
    parquet: ArrowWriter<W>,
    batch: Batch,
    current: Option<Current>,
    stats: SampleFileStats,
}

/// The series being written.
struct Current {
    labels: LabelSet,
    aggregate: Aggregate,
    metric: Arc<str>,
    text: Arc<str>,
    last: Option<Timestamp>,
}

impl<W: Write + Send> SampleWriter<W> {
    /// Starts a file.
    pub fn new(sink: W) -> Result<Self, SampleFileError> {
        let parquet = ArrowWriter::try_new(sink, schema(), Some(properties()))?;
        Ok(Self { parquet, batch: Batch::default(), current: None, stats: SampleFileStats::default() })
    }

    /// Adds samples. An empty series leaves no trace.
    pub fn push(&mut self, series: &RawSeries) -> Result<(), SampleFileError> {
        let (mut floats, mut histograms) = (series.samples.as_slice(), series.histograms.as_slice());
        if floats.is_empty() && histograms.is_empty() {
            return Ok(());
        }
        self.turn_to(series)?;
        while !floats.is_empty() || !histograms.is_empty() {
            if self.batch.room() == 0 {
                self.write_batch()?;
            }
            // A run of floats up to the next histogram, or one histogram.
            let before = histograms.first().map_or(floats.len(), |h| floats.partition_point(|s| s.at < h.at));
            let run = before.min(self.batch.room());
            let Some(current) = self.current.as_mut() else { break };
            let aggregate = aggregate_text(current.aggregate);
            if run > 0 {
                let (now, later) = floats.split_at(run);
                in_order(current, now.iter().map(|s| s.at))?;
                self.batch.key(&current.metric, &current.text, aggregate, run);
                self.batch.floats(now);
                floats = later;
            } else if let Some((now, later)) = histograms.split_first() {
                in_order(current, std::iter::once(now.at))?;
                self.batch.key(&current.metric, &current.text, aggregate, 1);
                self.batch.histogram(now);
                self.stats.histograms += 1;
                histograms = later;
            }
        }
        let rows = series.samples.len() + series.histograms.len();
        self.stats.rows += rows as u64;
        let firsts = [series.samples.first().map(|s| s.at), series.histograms.first().map(|h| h.at)];
        let lasts = [series.samples.last().map(|s| s.at), series.histograms.last().map(|h| h.at)];
        if let (Some(first), Some(last)) = (firsts.into_iter().flatten().min(), lasts.into_iter().flatten().max()) {
            let (earliest, latest) = self.stats.extent.unwrap_or((first, last));
            self.stats.extent = Some((earliest.min(first), latest.max(last)));
        }
        Ok(())
    }

    /// Makes `series` the current one; refuses one that should have come earlier.
    fn turn_to(&mut self, series: &RawSeries) -> Result<(), SampleFileError> {
        let order = self.current.as_ref().map(|c| (c.labels.cmp(&series.labels), c.aggregate.cmp(&series.aggregate)));
        match order {
            Some((Ordering::Equal, Ordering::Equal)) => return Ok(()),
            Some((Ordering::Greater, _) | (Ordering::Equal, Ordering::Greater)) => {
                let aggregate = aggregate_text(series.aggregate);
                return Err(SampleFileError::Order(format!("{} ({aggregate}) comes too late", series.labels)));
            }
            _ => {}
        }
        let same_labels = matches!(order, Some((Ordering::Equal, _)));
        let text: Arc<str> = labels_text(&series.labels).into();
        if text.len() > MAX_LABELS_BYTES {
            let what = format!("labels must be at most {MAX_LABELS_BYTES} bytes, got {}", text.len());
            return Err(SampleFileError::Malformed(what));
        }
        self.stats.series += u64::from(!same_labels);
        self.current = Some(Current {
            labels: series.labels.clone(),
            aggregate: series.aggregate,
            metric: series.labels.get(METRIC_NAME).unwrap_or_default().into(),
            text,
            last: None,
        });
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), SampleFileError> {
        let batch = std::mem::take(&mut self.batch).finish()?;
        Ok(self.parquet.write(&batch)?)
    }

    /// Bytes written so far, not counting those of the row group in memory.
    pub fn bytes_written(&self) -> usize {
        self.parquet.bytes_written()
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<(W, SampleFileStats), SampleFileError> {
        if !self.batch.is_empty() {
            self.write_batch()?;
        }
        let histograms = self.stats.histograms.to_string();
        self.parquet.append_key_value_metadata(KeyValue::new(HISTOGRAMS_KEY.to_owned(), histograms));
        Ok((self.parquet.into_inner()?, self.stats))
    }
}

fn in_order(current: &mut Current, times: impl Iterator<Item = Timestamp>) -> Result<(), SampleFileError> {
    for at in times {
        if current.last.is_some_and(|last| last >= at) {
            return Err(SampleFileError::Order(format!("{at} does not go up in {}", current.labels)));
        }
        current.last = Some(at);
    }
    Ok(())
}
