//! Data points of the five kinds, each turned into the samples that Prometheus would have of it.

use std::sync::Arc;

use forewarn_schema::{
    BucketSpan, Buckets, HistogramSample, LabelSet, NativeHistogram, STALE_NAN_BITS, Sample, Timestamp,
};

use super::attributes::{Attributes, add};
use crate::fields::{Field, Fields, Value, fixed64s, varints, zigzag};

/// Buckets of one data point.
const MAX_BUCKETS: usize = 1000;
/// The flag of a point that says that there is no value: the series has ended.
const NO_VALUE: u64 = 1;
/// Finest and coarsest schema of Prometheus; a scale beyond the finest is made coarser.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
/// The width of the zero bucket where a sender gives none, as Prometheus takes it.
const ZERO_THRESHOLD: f64 = 1e-128;

/// What of a data point its kind decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Histogram,
    Exponential,
    Summary,
}

/// What a sample of a point is named besides the metric's own name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Whole,
    Sum,
    Count,
    /// Up to and with this bound; infinity holds all.
    Bucket(f64),
    Quantile(f64),
}

/// A point with its samples.
#[derive(Debug, Default)]
pub(super) struct DataPoint {
    pub(super) attributes: Attributes,
    pub(super) at: Timestamp,
    pub(super) floats: Vec<(Part, f64)>,
    pub(super) histogram: Option<HistogramSample>,
}

/// Fields of every kind.
#[derive(Default)]
struct Raw {
    attributes: Attributes,
    nanos: u64,
    flags: u64,
    number: Option<f64>,
    count: u64,
    sum: Option<f64>,
    bucket_counts: Vec<u64>,
    bounds: Vec<u64>,
    scale: i64,
    zero_count: u64,
    zero_threshold: f64,
    positive: Side,
    negative: Side,
    quantiles: Vec<(f64, f64)>,
}

#[derive(Default)]
struct Side {
    offset: i64,
    counts: Vec<u64>,
}

/// Reads one; or what is wrong with it, which costs this point alone.
pub(super) fn read(message: &[u8], kind: Kind) -> Result<DataPoint, String> {
    let mut raw = Raw::default();
    for field in Fields::of(message) {
        raw.take(&field?, kind)?;
    }
    if raw.nanos == 0 {
        return Err("a data point must have a time".to_owned());
    }
    let at = Timestamp::from_millis(i64::try_from(raw.nanos / 1_000_000).unwrap_or(i64::MAX));
    let ended = raw.flags & NO_VALUE != 0;
    let attributes = std::mem::take(&mut raw.attributes);
    let (floats, histogram) = match kind {
        Kind::Number => (raw.number_parts(ended)?, None),
        Kind::Histogram => (raw.histogram_parts(ended)?, None),
        Kind::Summary => (raw.summary_parts(ended), None),
        Kind::Exponential => {
            let histogram = Arc::new(raw.native(ended)?);
            (Vec::new(), Some(HistogramSample { at, histogram }))
        }
    };
    Ok(DataPoint { attributes, at, floats, histogram })
}

impl Raw {
    fn take(&mut self, field: &Field<'_>, kind: Kind) -> Result<(), String> {
        let wrong = || Err(format!("field {} of a data point has another type", field.tag));
        match (kind, field.tag, &field.value) {
            (Kind::Number | Kind::Summary, 7, Value::Bytes(pair))
            | (Kind::Histogram, 9, Value::Bytes(pair))
            | (Kind::Exponential, 1, Value::Bytes(pair)) => add(pair, &mut self.attributes)?,
            (_, 3, Value::Fixed64(nanos)) => self.nanos = *nanos,
            (Kind::Number | Kind::Summary, 8, Value::Number(flags))
            | (Kind::Histogram | Kind::Exponential, 10, Value::Number(flags)) => self.flags = *flags,
            (Kind::Number, 4, Value::Fixed64(bits)) => self.number = Some(f64::from_bits(*bits)),
            (Kind::Number, 6, Value::Fixed64(bits)) => self.number = Some(bits.cast_signed() as f64),
            (Kind::Number, _, _) if matches!(field.tag, 3 | 4 | 6..=8) => return wrong(),
            (Kind::Number, _, _) => {}
            (_, 4, Value::Fixed64(count)) => self.count = *count,
            (_, 5, Value::Fixed64(bits)) => self.sum = Some(f64::from_bits(*bits)),
            (Kind::Histogram, 6, value) => fixed64s(value, &mut self.bucket_counts)?,
            (Kind::Histogram, 7, value) => fixed64s(value, &mut self.bounds)?,
            (Kind::Summary, 6, Value::Bytes(pair)) => self.quantiles.push(quantile(pair)?),
            (Kind::Exponential, 6, Value::Number(number)) => self.scale = zigzag(*number),
            (Kind::Exponential, 7, Value::Fixed64(count)) => self.zero_count = *count,
            (Kind::Exponential, 8, Value::Bytes(side)) => self.positive = Side::read(side)?,
            (Kind::Exponential, 9, Value::Bytes(side)) => self.negative = Side::read(side)?,
            (Kind::Exponential, 14, Value::Fixed64(bits)) => self.zero_threshold = f64::from_bits(*bits),
            // Exemplars.
            (Kind::Histogram, 8, _) => {}
            (_, 3..=10, _) => return wrong(),
            _ => {}
        }
        let buckets = [self.bucket_counts.len(), self.bounds.len(), self.quantiles.len()];
        match buckets.into_iter().max() {
            Some(most) if most > MAX_BUCKETS => {
                Err(format!("a data point must have at most {MAX_BUCKETS} buckets or quantiles, got {most}"))
            }
            _ => Ok(()),
        }
    }

    fn number_parts(&self, ended: bool) -> Result<Vec<(Part, f64)>, String> {
        let value = if ended { Some(f64::from_bits(STALE_NAN_BITS)) } else { self.number };
        Ok(vec![(Part::Whole, value.ok_or("a data point must have a value")?)])
    }

    /// Buckets add up from the left, as Prometheus counts them.
    fn histogram_parts(&self, ended: bool) -> Result<Vec<(Part, f64)>, String> {
        let (counts, bounds) = (&self.bucket_counts, &self.bounds);
        if !counts.is_empty() && counts.len() != bounds.len() + 1 {
            return Err(format!("{} bounds make {} buckets, got {}", bounds.len(), bounds.len() + 1, counts.len()));
        }
        let bounds: Vec<f64> = bounds.iter().map(|bits| f64::from_bits(*bits)).collect();
        if bounds.iter().any(|bound| bound.is_nan()) || bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err("the bounds of a histogram must rise".to_owned());
        }
        let value = |value: f64| if ended { f64::from_bits(STALE_NAN_BITS) } else { value };
        let mut parts: Vec<(Part, f64)> = self.sum.map(|sum| (Part::Sum, value(sum))).into_iter().collect();
        parts.push((Part::Count, value(self.count as f64)));
        let mut sum = 0_u64;
        // A sender may leave out the counts: then there is one bucket, which holds all.
        let bounds = if counts.is_empty() { &[][..] } else { &bounds };
        for (bound, count) in bounds.iter().filter(|bound| **bound < f64::INFINITY).zip(counts) {
            sum = sum.saturating_add(*count);
            parts.push((Part::Bucket(*bound), value(sum as f64)));
        }
        parts.push((Part::Bucket(f64::INFINITY), value(self.count as f64)));
        Ok(parts)
    }

    fn summary_parts(&self, ended: bool) -> Vec<(Part, f64)> {
        let value = |value: f64| if ended { f64::from_bits(STALE_NAN_BITS) } else { value };
        let all = [(Part::Sum, value(self.sum.unwrap_or(0.0))), (Part::Count, value(self.count as f64))];
        let quantiles = self.quantiles.iter().map(|(quantile, of)| (Part::Quantile(*quantile), value(*of)));
        all.into_iter().chain(quantiles).collect()
    }

    /// A bucket *k* of OTLP lies above base^k; Prometheus numbers the same one by where it ends, *k* + 1.
    fn native(&self, ended: bool) -> Result<NativeHistogram, String> {
        let sum = self.sum.unwrap_or(0.0);
        if ended {
            return Ok(NativeHistogram { sum: f64::from_bits(STALE_NAN_BITS), ..NativeHistogram::default() });
        }
        let scale = i32::try_from(self.scale).map_err(|_| format!("a scale must fit 32 bits, got {}", self.scale))?;
        if scale < *SCHEMAS.start() {
            return Err(format!("a scale must be at least {}, got {scale}", SCHEMAS.start()));
        }
        let schema = scale.min(*SCHEMAS.end());
        let coarser = u32::try_from(scale - schema).unwrap_or(0);
        let (positive, negative) = (self.positive.buckets(coarser)?, self.negative.buckets(coarser)?);
        let held: f64 = positive.counts.iter().chain(&negative.counts).sum::<f64>() + self.zero_count as f64;
        if held > self.count as f64 {
            return Err(format!("the buckets hold {held} observations, of {} in all", self.count));
        }
        Ok(NativeHistogram {
            schema,
            zero_threshold: if self.zero_threshold > 0.0 { self.zero_threshold } else { ZERO_THRESHOLD },
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum,
            positive,
            negative,
            ..NativeHistogram::default()
        })
    }
}

impl Side {
    fn read(message: &[u8]) -> Result<Self, String> {
        let mut side = Self::default();
        for field in Fields::of(message) {
            match field? {
                Field { tag: 1, value: Value::Number(number), .. } => side.offset = zigzag(number),
                Field { tag: 2, value, .. } => varints(&value, &mut side.counts)?,
                Field { tag: 1, .. } => return Err("buckets must have an offset".to_owned()),
                _ => {}
            }
        }
        match side.counts.len() {
            most if most > MAX_BUCKETS => Err(format!("a side must have at most {MAX_BUCKETS} buckets, got {most}")),
            _ => Ok(side),
        }
    }

    /// Neighbours in one span, `coarser` halvings of the resolution later.
    fn buckets(&self, coarser: u32) -> Result<Buckets, String> {
        let index = |i: usize| {
            let fine = i64::try_from(i).ok().and_then(|i| self.offset.checked_add(i));
            // Shifting rounds down, so that bucket k of the finer scale lies within k >> 1 of the next.
            let coarse = fine.map(|fine| (fine >> coarser.min(63)) + 1);
            let known = coarse.and_then(|coarse| i32::try_from(coarse).ok());
            known.ok_or_else(|| format!("a bucket's index must fit 32 bits, got {} and {i}", self.offset))
        };
        let mut buckets = Buckets::default();
        for (i, count) in self.counts.iter().enumerate() {
            let at = index(i)?;
            match buckets.spans.last_mut() {
                Some(BucketSpan { offset, length }) if offset.saturating_add_unsigned(*length) == at => *length += 1,
                Some(_) => {
                    if let Some(last) = buckets.counts.last_mut() {
                        *last += *count as f64;
                    }
                    continue;
                }
                None => buckets.spans.push(BucketSpan { offset: at, length: 1 }),
            }
            buckets.counts.push(*count as f64);
        }
        Ok(buckets)
    }
}

fn quantile(message: &[u8]) -> Result<(f64, f64), String> {
    let (mut quantile, mut value) = (0.0, 0.0);
    for field in Fields::of(message) {
        match field? {
            Field { tag: 1, value: Value::Fixed64(bits), .. } => quantile = f64::from_bits(bits),
            Field { tag: 2, value: Value::Fixed64(bits), .. } => value = f64::from_bits(bits),
            Field { tag: 1 | 2, .. } => return Err("a quantile must be two doubles".to_owned()),
            _ => {}
        }
    }
    Ok((quantile, value))
}

impl DataPoint {
    /// The float samples, each with its labels, which begin as `labels`.
    pub(super) fn samples(&self, name: &str, labels: &LabelSet) -> impl Iterator<Item = (LabelSet, Sample)> {
        self.floats.iter().map(move |(part, value)| {
            let mut labels = labels.clone();
            let suffix = match part {
                Part::Whole | Part::Quantile(_) => "",
                Part::Sum => "_sum",
                Part::Count => "_count",
                Part::Bucket(_) => "_bucket",
            };
            match part {
                Part::Bucket(bound) if *bound == f64::INFINITY => labels.insert("le", "+Inf"),
                Part::Bucket(bound) => labels.insert("le", bound.to_string()),
                Part::Quantile(quantile) => labels.insert("quantile", quantile.to_string()),
                _ => {}
            }
            labels.insert(forewarn_schema::METRIC_NAME, format!("{name}{suffix}"));
            (labels, Sample { at: self.at, value: *value })
        })
    }
}
