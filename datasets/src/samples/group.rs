//! A row group as it grows: rows go into a page, a full page is encoded and compressed, and at the end each column is
//! handed over whole. A series' texts never change within it, so its columns of texts are written as the runs they are.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::new_null_array;
use forewarn_schema::{HistogramSample, Sample, is_stale};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Encoding;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Bounds, Chunk, ChunkWriter, Packer};
use super::encodings::{booleans, byte_stream_split, delta_packed, levels, runs, width};
use super::schema::{AGGREGATE, AT, DICTIONARY_BYTES, HISTOGRAM, LABELS, METRIC, PAGE_ROWS, STALE, VALUE, schema};
use super::{SampleFileError, histograms};

/// What the rows of a series have in common.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) metric: Arc<str>,
    pub(super) labels: Arc<str>,
    pub(super) aggregate: Arc<str>,
}

/// See the module.
pub(super) struct Group {
    metrics: Texts,
    labels: Texts,
    aggregates: Texts,
    at: ChunkWriter,
    values: ChunkWriter,
    stale: ChunkWriter,
    /// The columns of histograms; none is written before the first one comes.
    histograms: Vec<ArrowColumnWriter>,
    rows: usize,
    page: Page,
    plain: Vec<u8>,
}

/// The rows that are not encoded yet.
#[derive(Default)]
struct Page {
    at: Vec<i64>,
    values: Vec<f64>,
    stale: Vec<usize>,
    /// The histograms, by row; nearly always none.
    histograms: Vec<(usize, HistogramSample)>,
}

impl Page {
    /// Without rows, with the memory.
    fn emptied(mut self) -> Self {
        self.at.clear();
        self.values.clear();
        self.stale.clear();
        self.histograms.clear();
        self
    }
}

impl Group {
    /// An empty one with these columns, those of `schema`.
    pub(super) fn new(columns: &[ColumnDescPtr]) -> Self {
        let column = |i: usize, encoding| ChunkWriter::new(Arc::clone(&columns[i]), encoding);
        Self {
            metrics: Texts::new(column(METRIC, Encoding::RLE_DICTIONARY), true),
            labels: Texts::new(column(LABELS, Encoding::RLE_DICTIONARY), true),
            aggregates: Texts::new(column(AGGREGATE, Encoding::RLE_DICTIONARY), false),
            at: column(AT, Encoding::DELTA_BINARY_PACKED),
            // A sixth smaller than plain numbers, and a third quicker to compress.
            values: column(VALUE, Encoding::BYTE_STREAM_SPLIT),
            stale: column(STALE, Encoding::PLAIN),
            histograms: Vec::new(),
            rows: 0,
            page: Page::default(),
            plain: Vec::new(),
        }
    }

    /// Rows, those of the page included.
    pub(super) fn rows(&self) -> usize {
        self.rows + self.page.at.len()
    }

    /// How many more rows the page takes.
    pub(super) fn room(&self) -> usize {
        PAGE_ROWS - self.page.at.len()
    }

    /// Whether the group should end before this series: its dictionary is kept until the end.
    pub(super) fn is_full_for(&self, key: &Key) -> bool {
        self.rows() > 0 && self.labels.entries.len() + key.labels.len() > DICTIONARY_BYTES
    }

    /// The next rows are of this series.
    pub(super) fn turn(&mut self, key: &Key) {
        self.metrics.turn(&key.metric);
        self.labels.turn(&key.labels);
        self.aggregates.turn(&key.aggregate);
    }

    /// Adds as many rows as there is room for, or fewer.
    pub(super) fn floats(&mut self, samples: &[Sample]) {
        let page = &mut self.page;
        let before = page.at.len();
        page.at.extend(samples.iter().map(|s| s.at.millis()));
        page.values.extend(samples.iter().map(|s| s.value));
        page.stale.extend(samples.iter().enumerate().filter(|(_, s)| is_stale(s.value)).map(|(i, _)| before + i));
        self.repeat_texts(samples.len());
    }

    /// Adds a row, if there is room.
    pub(super) fn histogram(&mut self, sample: &HistogramSample) {
        let page = &mut self.page;
        let row = page.at.len();
        page.at.push(sample.at.millis());
        page.stale.extend(sample.histogram.is_stale().then_some(row));
        page.histograms.push((row, sample.clone()));
        self.repeat_texts(1);
    }

    fn repeat_texts(&mut self, rows: usize) {
        for column in [&mut self.metrics, &mut self.labels, &mut self.aggregates] {
            column.rows(rows);
        }
    }

    /// Encodes the page, if it has any rows. `index` is that of the group in the file.
    pub(super) fn end_page(
        &mut self,
        packer: &mut Packer,
        factory: &ArrowRowGroupWriterFactory,
        index: usize,
    ) -> Result<(), SampleFileError> {
        let page = std::mem::take(&mut self.page);
        let rows = page.at.len();
        let Some(first) = page.at.first() else { return Ok(()) };
        for column in [&mut self.metrics, &mut self.labels, &mut self.aggregates] {
            column.end_page(packer, rows, &mut self.plain)?;
        }
        let bounds = page.at.iter().fold((*first, *first), |(min, max), at| (min.min(*at), max.max(*at)));
        self.plain.clear();
        delta_packed(&page.at, &mut self.plain);
        self.at.page(packer, rows, &self.plain, Some(Bounds::Times(bounds.0, bounds.1)))?;

        self.plain.clear();
        levels(is_float(&page.histograms, rows), 1, &mut self.plain);
        byte_stream_split(&page.values, &mut self.plain);
        self.values.page(packer, rows, &self.plain, None)?;

        self.plain.clear();
        booleans(rows, &page.stale, &mut self.plain);
        self.stale.page(packer, rows, &self.plain, None)?;

        if !page.histograms.is_empty() && self.histograms.is_empty() {
            self.histograms = factory.create_column_writers(index)?.split_off(HISTOGRAM);
            for before in (0..self.rows).step_by(PAGE_ROWS) {
                self.write_histograms(&[], PAGE_ROWS.min(self.rows - before))?;
            }
        }
        if !self.histograms.is_empty() {
            self.write_histograms(&page.histograms, rows)?;
        }
        self.rows += rows;
        self.page = page.emptied();
        Ok(())
    }

    fn write_histograms(
        &mut self,
        histograms: &[(usize, HistogramSample)],
        rows: usize,
    ) -> Result<(), SampleFileError> {
        let schema = schema();
        let field = schema.field(HISTOGRAM);
        let array = match histograms {
            [] => new_null_array(field.data_type(), rows),
            histograms => histograms::to_array(histograms, rows)?,
        };
        for (writer, leaf) in self.histograms.iter_mut().zip(compute_leaves(field, &array)?) {
            writer.write(&leaf)?;
        }
        Ok(())
    }

    /// Writes all columns. The page must have ended.
    pub(super) fn finish<W: Write + Send>(
        mut self,
        packer: &mut Packer,
        file: &mut SerializedFileWriter<W>,
    ) -> Result<(), SampleFileError> {
        let no_histograms: Vec<ColumnDescPtr> = match self.histograms.as_slice() {
            [] => file.schema_descr().columns()[HISTOGRAM..].to_vec(),
            _ => Vec::new(),
        };
        let mut group = file.next_row_group()?;
        let chunks = [
            self.metrics.finish(packer)?,
            self.labels.finish(packer)?,
            self.aggregates.finish(packer)?,
            self.at.finish(packer, None)?,
            self.values.finish(packer, None)?,
            self.stale.finish(packer, None)?,
        ];
        for chunk in chunks {
            group.append_column(&chunk.bytes, chunk.close)?;
        }
        for column in no_histograms {
            self.plain.clear();
            if column.max_rep_level() > 0 {
                levels([(0, self.rows)], column.max_rep_level(), &mut self.plain);
            }
            levels([(0, self.rows)], column.max_def_level(), &mut self.plain);
            let mut chunk = ChunkWriter::new(column, Encoding::PLAIN);
            chunk.page(packer, self.rows, &self.plain, None)?;
            let chunk = chunk.finish(packer, None)?;
            group.append_column(&chunk.bytes, chunk.close)?;
        }
        for column in self.histograms {
            column.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }
}

/// Runs of rows with a float (1) and without one (0).
fn is_float(histograms: &[(usize, HistogramSample)], rows: usize) -> impl Iterator<Item = (u32, usize)> {
    let mut next = 0;
    let between = histograms.iter().flat_map(move |(row, _)| {
        let floats = row - next;
        next = row + 1;
        [(1, floats), (0, 1)]
    });
    let last = histograms.last().map_or(0, |(row, _)| row + 1);
    between.chain([(1, rows - last)])
}

/// A column of texts that repeat: each once in the dictionary, and rows as runs.
struct Texts {
    chunk: ChunkWriter,
    has_bounds: bool,
    known: HashMap<Arc<str>, u32>,
    /// The dictionary, encoded.
    entries: Vec<u8>,
    /// What the next rows have.
    now: Option<(Arc<str>, u32)>,
    /// The page: numbers of entries, and how often.
    runs: Vec<(u32, usize)>,
    bounds: Option<(Arc<str>, Arc<str>)>,
}

impl Texts {
    fn new(chunk: ChunkWriter, has_bounds: bool) -> Self {
        let (known, entries, runs) = Default::default();
        Self { chunk, has_bounds, known, entries, now: None, runs, bounds: None }
    }

    fn turn(&mut self, text: &Arc<str>) {
        if self.now.as_ref().is_some_and(|(now, _)| now == text) {
            return;
        }
        // A group has fewer rows than there are numbers.
        let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let number = *self.known.entry(Arc::clone(text)).or_insert(next);
        if number == next {
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            self.entries.extend_from_slice(&len.to_le_bytes());
            self.entries.extend_from_slice(text.as_bytes());
        }
        self.now = Some((Arc::clone(text), number));
    }

    fn rows(&mut self, rows: usize) {
        let Some((text, number)) = &self.now else { return };
        match self.runs.last_mut() {
            Some((last, run)) if last == number => {
                *run += rows;
                return;
            }
            _ => self.runs.push((*number, rows)),
        }
        match &mut self.bounds {
            None => self.bounds = Some((Arc::clone(text), Arc::clone(text))),
            Some((min, _)) if text < min => *min = Arc::clone(text),
            Some((_, max)) if text > max => *max = Arc::clone(text),
            Some(_) => {}
        }
    }

    fn end_page(&mut self, packer: &mut Packer, rows: usize, plain: &mut Vec<u8>) -> Result<(), SampleFileError> {
        let bounds = self.bounds.take().filter(|_| self.has_bounds).map(|(min, max)| Bounds::Texts(min, max));
        let width = width(self.runs.iter().map(|(number, _)| *number).max().unwrap_or(0));
        plain.clear();
        plain.push(width as u8);
        runs(self.runs.drain(..), width, plain);
        self.chunk.page(packer, rows, plain, bounds)
    }

    fn finish(self, packer: &mut Packer) -> Result<Chunk, SampleFileError> {
        self.chunk.finish(packer, Some((&self.entries, self.known.len())))
    }
}
