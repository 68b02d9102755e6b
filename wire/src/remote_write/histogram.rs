//! `Histogram`, the same in both versions: a native histogram with whole or with broken counts, unfolded and checked.

use std::sync::Arc;

use forewarn_schema::{BucketSpan, Buckets, HistogramSample, NativeHistogram, ResetHint, Timestamp, is_stale};

use crate::fields::{Field, Fields, Value, fixed64s, varints, zigzag};

/// One side of zero, as it is sent.
#[derive(Default)]
struct Side {
    spans: Vec<BucketSpan>,
    deltas: Vec<u64>,
    counts: Vec<u64>,
}

/// Whether counts are whole numbers, sent as differences.
#[derive(Clone, Copy, PartialEq)]
enum Counts {
    Whole,
    Float,
}

/// One message, without its key and length.
pub(super) fn read(message: &[u8]) -> Result<HistogramSample, String> {
    let (mut histogram, mut at) = (NativeHistogram::default(), 0);
    let (mut positive, mut negative) = (Side::default(), Side::default());
    let (mut counts, mut bounds) = (Counts::Whole, Vec::new());
    for field in Fields::of(message) {
        let Field { tag, value, .. } = field?;
        match (tag, &value) {
            (1, Value::Number(count)) => (histogram.count, counts) = (*count as f64, Counts::Whole),
            (2, Value::Fixed64(bits)) => (histogram.count, counts) = (f64::from_bits(*bits), Counts::Float),
            (3, Value::Fixed64(bits)) => histogram.sum = f64::from_bits(*bits),
            (4, Value::Number(number)) => histogram.schema = small(*number, "a schema")?,
            (5, Value::Fixed64(bits)) => histogram.zero_threshold = f64::from_bits(*bits),
            (6, Value::Number(count)) => histogram.zero_count = *count as f64,
            (7, Value::Fixed64(bits)) => histogram.zero_count = f64::from_bits(*bits),
            (8, Value::Bytes(bytes)) => negative.spans.push(span(bytes)?),
            (9, value) => varints(value, &mut negative.deltas)?,
            (10, value) => fixed64s(value, &mut negative.counts)?,
            (11, Value::Bytes(bytes)) => positive.spans.push(span(bytes)?),
            (12, value) => varints(value, &mut positive.deltas)?,
            (13, value) => fixed64s(value, &mut positive.counts)?,
            (14, Value::Number(hint)) => {
                histogram.reset_hint = match hint {
                    1 => ResetHint::Yes,
                    2 => ResetHint::No,
                    3 => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                }
            }
            (15, Value::Number(millis)) => at = millis.cast_signed(),
            (16, value) => fixed64s(value, &mut bounds)?,
            (1..=8 | 11 | 14 | 15, _) => return Err(format!("field {tag} of a histogram has another type")),
            _ => {}
        }
    }
    histogram.custom_bounds = bounds.into_iter().map(f64::from_bits).collect();
    histogram.positive = positive.buckets(counts)?;
    histogram.negative = negative.buckets(counts)?;
    if !is_stale(histogram.sum) {
        check_counts(&histogram)?;
    }
    Ok(HistogramSample { at: Timestamp::from_millis(at), histogram: Arc::new(histogram) })
}

impl Side {
    fn buckets(self, counts: Counts) -> Result<Buckets, String> {
        let counts: Vec<f64> = match counts {
            Counts::Whole if self.counts.is_empty() => {
                let mut count = 0_i64;
                let sums = self.deltas.into_iter().map(|delta| {
                    count = count.checked_add(zigzag(delta)).ok_or("a bucket's count does not fit 64 bits")?;
                    Ok(count as f64)
                });
                sums.collect::<Result<_, &str>>()?
            }
            Counts::Float if self.deltas.is_empty() => self.counts.into_iter().map(f64::from_bits).collect(),
            _ => return Err("counts must all be whole numbers or all be floats".to_owned()),
        };
        let promised: u64 = self.spans.iter().map(|span| u64::from(span.length)).sum();
        if promised != counts.len() as u64 {
            return Err(format!("the spans promise {promised} buckets, got {}", counts.len()));
        }
        Ok(Buckets { spans: self.spans, counts })
    }
}

/// What is counted is not negative, and the buckets hold no more than all. A NaN was observed, but is in no bucket.
fn check_counts(histogram: &NativeHistogram) -> Result<(), String> {
    let buckets = || histogram.positive.counts.iter().chain(&histogram.negative.counts);
    let all = [histogram.count, histogram.zero_count];
    if let Some(count) = all.iter().chain(buckets()).find(|count| count.is_nan() || **count < 0.0) {
        return Err(format!("counts must not be negative, got {count}"));
    }
    let held = buckets().sum::<f64>() + histogram.zero_count;
    // Sums of floats lose a little on the way.
    if held > histogram.count * (1.0 + 1e-9) {
        return Err(format!("the buckets hold {held} observations, of {} in all", histogram.count));
    }
    Ok(())
}

fn span(message: &[u8]) -> Result<BucketSpan, String> {
    let mut span = BucketSpan { offset: 0, length: 0 };
    for field in Fields::of(message) {
        match field? {
            Field { tag: 1, value: Value::Number(number), .. } => span.offset = small(number, "a span's offset")?,
            Field { tag: 2, value: Value::Number(number), .. } => {
                let wrong = |_| format!("a span's length must fit 32 bits, got {number}");
                span.length = u32::try_from(number).map_err(wrong)?;
            }
            Field { tag: 1 | 2, .. } => return Err("a span must be two numbers".to_owned()),
            _ => {}
        }
    }
    Ok(span)
}

fn small(number: u64, what: &str) -> Result<i32, String> {
    let number = zigzag(number);
    i32::try_from(number).map_err(|_| format!("{what} must fit 32 bits, got {number}"))
}
