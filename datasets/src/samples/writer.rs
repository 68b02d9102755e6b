//! Writing a file of samples as they come, a row group in memory at most.

use std::cmp::Ordering;
use std::io::Write;

use forewarn_schema::{LabelSet, METRIC_NAME, Timestamp};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use super::chunk::Packer;
use super::group::{Group, Key};
use super::schema::{GROUP_ROWS, aggregate_text, properties, schema};
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
    file: SerializedFileWriter<W>,
    factory: ArrowRowGroupWriterFactory,
    packer: Packer,
    group: Group,
    current: Option<Current>,
    stats: SampleFileStats,
}

/// The series being written.
struct Current {
    labels: LabelSet,
    aggregate: Aggregate,
    key: Key,
    last: Option<Timestamp>,
}

impl<W: Write + Send> SampleWriter<W> {
    /// Starts a file.
    pub fn new(sink: W) -> Result<Self, SampleFileError> {
        let writer = ArrowWriter::try_new(sink, schema(), Some(properties()))?;
        let (file, factory) = writer.into_serialized_writer()?;
        let (packer, group) = (Packer::new()?, Group::new(file.schema_descr().columns()));
        Ok(Self { file, factory, packer, group, current: None, stats: SampleFileStats::default() })
    }

    /// Adds samples. An empty series leaves no trace.
    pub fn push(&mut self, series: &RawSeries) -> Result<(), SampleFileError> {
        let (mut floats, mut histograms) = (series.samples.as_slice(), series.histograms.as_slice());
        if floats.is_empty() && histograms.is_empty() {
            return Ok(());
        }
        self.turn_to(series)?;
        while !floats.is_empty() || !histograms.is_empty() {
            if self.group.room() == 0 {
                self.end_page()?;
            }
            // A run of floats up to the next histogram, or one histogram.
            let before = histograms.first().map_or(floats.len(), |h| floats.partition_point(|s| s.at < h.at));
            let run = before.min(self.group.room());
            let Some(current) = self.current.as_mut() else { break };
            if run > 0 {
                let (now, later) = floats.split_at(run);
                in_order(current, now.iter().map(|s| s.at))?;
                self.group.floats(now);
                floats = later;
            } else if let Some((now, later)) = histograms.split_first() {
                in_order(current, std::iter::once(now.at))?;
                self.group.histogram(now);
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
        let labels = labels_text(&series.labels);
        if labels.len() > MAX_LABELS_BYTES {
            let what = format!("labels must be at most {MAX_LABELS_BYTES} bytes, got {}", labels.len());
            return Err(SampleFileError::Malformed(what));
        }
        self.stats.series += u64::from(!same_labels);
        let key = Key {
            metric: series.labels.get(METRIC_NAME).unwrap_or_default().into(),
            labels: labels.into(),
            aggregate: aggregate_text(series.aggregate).into(),
        };
        if self.group.is_full_for(&key) {
            self.end_group()?;
        }
        self.group.turn(&key);
        let (labels, aggregate) = (series.labels.clone(), series.aggregate);
        self.current = Some(Current { labels, aggregate, key, last: None });
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), SampleFileError> {
        let index = self.file.flushed_row_groups().len();
        self.group.end_page(&mut self.packer, &self.factory, index)?;
        if self.group.rows() < GROUP_ROWS {
            return Ok(());
        }
        self.end_group()?;
        if let Some(current) = &self.current {
            self.group.turn(&current.key);
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), SampleFileError> {
        let next = Group::new(self.file.schema_descr().columns());
        let index = self.file.flushed_row_groups().len();
        let mut group = std::mem::replace(&mut self.group, next);
        group.end_page(&mut self.packer, &self.factory, index)?;
        group.finish(&mut self.packer, &mut self.file)
    }

    /// Bytes written so far, not counting those of the row group in memory.
    pub fn bytes_written(&self) -> usize {
        self.file.bytes_written()
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<(W, SampleFileStats), SampleFileError> {
        if self.group.rows() > 0 {
            self.end_group()?;
        }
        let histograms = self.stats.histograms.to_string();
        self.file.append_key_value_metadata(KeyValue::new(HISTOGRAMS_KEY.to_owned(), histograms));
        // A disk that is full says so here; what is left for `into_inner` to write loses its cause.
        self.file.flush()?;
        Ok((self.file.into_inner()?, self.stats))
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
