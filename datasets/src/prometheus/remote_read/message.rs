//! The messages of an answer: `prometheus.ChunkedReadResponse` and `prometheus.ReadResponse`, down to a native histogram.

use std::sync::Arc;

use bytes::Bytes;
use forewarn_schema::{
    BucketSpan, Buckets, CUSTOM_BOUNDS_SCHEMA, HistogramSample, LabelSet, NativeHistogram, ResetHint, Sample, Timestamp,
};
use forewarn_tsdb::{Chunk, Encoding};

use super::wire::{Fields, Value, WireError};

/// More labels than any series has.
const MAX_LABELS: usize = 1000;
/// More buckets than any histogram has; also of a span, which promises buckets for free.
const MAX_BUCKETS: usize = 10_000;

/// A series of a frame. Its chunks are looked at one by one, so that a frame of nothing but empty ones grows nothing.
pub(super) struct ChunkedSeries<'a> {
    pub(super) labels: LabelSet,
    fields: &'a [u8],
    frame: &'a Bytes,
}

impl ChunkedSeries<'_> {
    /// Its chunks as they came, sharing the frame's memory.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Result<Chunk, WireError>> {
        Fields::of(self.fields).filter_map(|field| match field {
            Ok((2, value)) => Some(value.bytes().and_then(|bytes| chunk(bytes, self.frame))),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        })
    }
}

/// The series of one frame, one by one.
pub(super) fn chunked_series(frame: &Bytes) -> impl Iterator<Item = Result<ChunkedSeries<'_>, WireError>> {
    messages(frame).map(move |fields| {
        let fields = fields?;
        let mut labels = LabelSet::new();
        for field in Fields::of(fields) {
            let (1, value) = field? else { continue };
            label(value.bytes()?, &mut labels)?;
        }
        Ok(ChunkedSeries { labels, fields, frame })
    })
}

/// What is in the fields of number 1.
fn messages(message: &[u8]) -> impl Iterator<Item = Result<&[u8], WireError>> {
    Fields::of(message).filter_map(|field| match field {
        Ok((1, value)) => Some(value.bytes()),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    })
}

fn chunk(bytes: &[u8], message: &Bytes) -> Result<Chunk, WireError> {
    let (mut encoding, mut data) = (0, &[][..]);
    for field in Fields::of(bytes) {
        match field? {
            (3, value) => encoding = u8::try_from(value.varint()?).unwrap_or(u8::MAX - 1),
            (4, value) => data = value.bytes()?,
            _ => {}
        }
    }
    // An empty slice need not lie in the message.
    let data = if data.is_empty() { Bytes::new() } else { message.slice_ref(data) };
    Ok(Chunk { encoding: Encoding::from_byte(encoding), data })
}
/// One a second for a day and more. An empty one takes two bytes in a message and hundreds in memory.
const MAX_HISTOGRAMS: usize = 100_000;

/// A series, or a piece of one, with its samples as they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::prometheus) struct SampleSeries {
    pub(in crate::prometheus) labels: LabelSet,
    pub(in crate::prometheus) samples: Vec<Sample>,
    pub(in crate::prometheus) histograms: Vec<HistogramSample>,
}

/// Gives `each` the series of a whole answer of type SAMPLES, decompressed, one by one.
pub(super) fn sample_series(
    message: &[u8],
    each: &mut dyn FnMut(SampleSeries) -> Result<(), String>,
) -> Result<(), String> {
    for result in messages(message) {
        for series in messages(result.map_err(WireError::text)?) {
            each(series.and_then(series_of).map_err(WireError::text)?)?;
        }
    }
    Ok(())
}

fn series_of(bytes: &[u8]) -> Result<SampleSeries, WireError> {
    let mut series = SampleSeries::default();
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => label(value.bytes()?, &mut series.labels)?,
            (2, value) => series.samples.push(sample(value.bytes()?)?),
            (4, _) if series.histograms.len() >= MAX_HISTOGRAMS => {
                return Err(WireError("a series must have at most 100000 histograms in an answer"));
            }
            (4, value) => series.histograms.push(histogram(value.bytes()?)?),
            _ => {}
        }
    }
    Ok(series)
}

fn label(bytes: &[u8], labels: &mut LabelSet) -> Result<(), WireError> {
    let (mut name, mut value) = ("", "");
    for field in Fields::of(bytes) {
        match field? {
            (1, text) => name = text.text()?,
            (2, text) => value = text.text()?,
            _ => {}
        }
    }
    if name.is_empty() || labels.get(name).is_some() {
        return Err(WireError("a label must have a name, and be there once"));
    }
    if labels.len() >= MAX_LABELS {
        return Err(WireError("a series must have at most 1000 labels"));
    }
    labels.insert(name, value);
    Ok(())
}

fn sample(bytes: &[u8]) -> Result<Sample, WireError> {
    let (mut at, mut value) = (0, 0.0);
    for field in Fields::of(bytes) {
        match field? {
            (1, v) => value = v.double()?,
            (2, v) => at = v.int64()?,
            _ => {}
        }
    }
    Ok(Sample { at: Timestamp::from_millis(at), value })
}

/// One side of zero, as it stands in the message.
#[derive(Default)]
struct Side {
    spans: Vec<BucketSpan>,
    /// Of an integer histogram: each bucket's difference to the one before.
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Side {
    fn span(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let mut span = BucketSpan { offset: 0, length: 0 };
        for field in Fields::of(bytes) {
            match field? {
                (1, v) => span.offset = v.sint32()?,
                (2, v) => {
                    span.length = u32::try_from(v.varint()?).map_err(|_| WireError("a span must fit 32 bits"))?;
                }
                _ => {}
            }
        }
        if self.spans.len() >= MAX_BUCKETS {
            return Err(WireError("a histogram must have at most 10000 spans"));
        }
        self.spans.push(span);
        Ok(())
    }

    fn buckets(self) -> Result<Buckets, WireError> {
        let counts = match (self.deltas.is_empty(), self.counts.is_empty()) {
            (true, _) => self.counts,
            (false, true) => {
                let mut count = 0_i64;
                let mut absolute = |delta: i64| {
                    count = count.checked_add(delta).filter(|c| *c >= 0)?;
                    Some(count as f64)
                };
                let counts: Option<Vec<f64>> = self.deltas.iter().map(|delta| absolute(*delta)).collect();
                counts.ok_or(WireError("a bucket's count must be zero or more"))?
            }
            (false, false) => return Err(WireError("a histogram must have counts or differences, not both")),
        };
        let promised = self.spans.iter().fold(0_u64, |sum, span| sum.saturating_add(u64::from(span.length)));
        if counts.len() > MAX_BUCKETS || promised != counts.len() as u64 {
            return Err(WireError("a histogram must have as many counts as its spans have buckets, at most 10000"));
        }
        Ok(Buckets { spans: self.spans, counts })
    }
}

fn count(value: Value<'_>) -> Result<f64, WireError> {
    match value {
        Value::Varint(n) => Ok(n as f64),
        value => value.double(),
    }
}

fn histogram(bytes: &[u8]) -> Result<HistogramSample, WireError> {
    let mut found = NativeHistogram::default();
    let (mut positive, mut negative) = (Side::default(), Side::default());
    let mut at = 0;
    for field in Fields::of(bytes) {
        match field? {
            (1 | 2, v) => found.count = count(v)?,
            (3, v) => found.sum = v.double()?,
            (4, v) => found.schema = v.sint32()?,
            (5, v) => found.zero_threshold = v.double()?,
            (6 | 7, v) => found.zero_count = count(v)?,
            (8, v) => negative.span(v.bytes()?)?,
            (9, v) => v.sint64s(&mut negative.deltas)?,
            (10, v) => v.doubles(&mut negative.counts)?,
            (11, v) => positive.span(v.bytes()?)?,
            (12, v) => v.sint64s(&mut positive.deltas)?,
            (13, v) => v.doubles(&mut positive.counts)?,
            (14, v) => {
                found.reset_hint = match v.varint()? {
                    1 => ResetHint::Yes,
                    2 => ResetHint::No,
                    3 => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                };
            }
            (15, v) => at = v.int64()?,
            (16, v) => v.doubles(&mut found.custom_bounds)?,
            _ => {}
        }
    }
    if found.schema != CUSTOM_BOUNDS_SCHEMA && !(-4..=8).contains(&found.schema) {
        return Err(WireError("a histogram's schema must be -4 to 8 or -53"));
    }
    (found.positive, found.negative) = (positive.buckets()?, negative.buckets()?);
    Ok(HistogramSample { at: Timestamp::from_millis(at), histogram: Arc::new(found) })
}
