//! Encoders of native histogram chunks: integer (2, with start timestamps 5) and float (3, with start timestamps 6).

use std::borrow::Cow;

use forewarn_schema::{BucketSpan, CUSTOM_BOUNDS_SCHEMA, NativeHistogram, ResetHint};

use super::bits::BitWriter;
use super::chunk::Chunk;
use super::float::XorWindow;
use super::start_time::StartTimes;

/// An integer and how much it last grew.
#[derive(Clone, Copy, Default)]
struct Growing {
    value: i64,
    delta: i64,
}

impl Growing {
    /// Writes by how much the growth has grown.
    fn put(&mut self, bits: &mut BitWriter, value: i64) {
        let delta = value.wrapping_sub(self.value);
        bits.varbit_int(delta.wrapping_sub(self.delta));
        *self = Self { value, delta };
    }

    fn first(value: i64) -> Self {
        Self { value, delta: 0 }
    }
}

/// A chunk of histograms whose counts are whole numbers. All but stale ones must have the first one's layout;
/// `start_times` has one for each sample (0 for none) or is empty, and then the encoding is the older one.
pub fn integer_histogram(samples: &[(i64, NativeHistogram)], start_times: &[i64]) -> Chunk {
    let (encoding, mut start_times, mut bits) = start(samples, start_times, 2);
    let (mut time, mut count, mut zero_count) = (Growing::default(), Growing::default(), Growing::default());
    let mut sum = XorWindow::after(0.0);
    let mut buckets = Vec::new();
    for (index, (t, h)) in samples.iter().enumerate() {
        let h = &*as_written(h);
        let before = time.value;
        let stored = differences(&h.positive.counts).chain(differences(&h.negative.counts));
        if index == 0 {
            bits.varbit_int(*t);
            bits.varbit_uint(h.count as u64);
            bits.varbit_uint(h.zero_count as u64);
            bits.put(h.sum.to_bits(), 64);
            buckets = stored.map(Growing::first).collect();
            buckets.iter().for_each(|bucket| bits.varbit_int(bucket.value));
            (time, count, zero_count) =
                (Growing::first(*t), Growing::first(h.count as i64), Growing::first(h.zero_count as i64));
            sum = XorWindow::after(h.sum);
        } else {
            time.put(&mut bits, *t);
            if h.is_stale() {
                // Counts go on growing as they did.
                bits.varbit_int(0);
                bits.varbit_int(0);
            } else {
                count.put(&mut bits, h.count as i64);
                zero_count.put(&mut bits, h.zero_count as i64);
            }
            sum.put(&mut bits, h.sum);
            for (bucket, value) in buckets.iter_mut().zip(stored) {
                bucket.put(&mut bits, value);
            }
        }
        start_times.put(&mut bits, index, if index == 0 { *t } else { before });
    }
    finish(encoding, samples, bits)
}

/// Each bucket's difference to the one before, the first as it is.
fn differences(counts: &[f64]) -> impl Iterator<Item = i64> {
    let mut last = 0;
    counts.iter().map(move |count| {
        let difference = *count as i64 - last;
        last = *count as i64;
        difference
    })
}

/// A chunk of histograms whose counts are any numbers; see [`integer_histogram`].
pub fn float_histogram(samples: &[(i64, NativeHistogram)], start_times: &[i64]) -> Chunk {
    let (encoding, mut start_times, mut bits) = start(samples, start_times, 3);
    let mut time = Growing::default();
    let mut fields: Vec<XorWindow> = Vec::new();
    for (index, (t, h)) in samples.iter().enumerate() {
        let h = &*as_written(h);
        let before = time.value;
        let buckets = h.positive.counts.iter().chain(&h.negative.counts).copied();
        let values = [h.count, h.zero_count, h.sum].into_iter().chain(buckets);
        if index == 0 {
            bits.varbit_int(*t);
            time = Growing::first(*t);
            for value in values {
                bits.put(value.to_bits(), 64);
                fields.push(XorWindow::after(value));
            }
        } else {
            time.put(&mut bits, *t);
            for (field, value) in fields.iter_mut().zip(values) {
                field.put(&mut bits, value);
            }
        }
        start_times.put(&mut bits, index, if index == 0 { *t } else { before });
    }
    finish(encoding, samples, bits)
}

/// A staleness marker has no buckets and counts nothing, whatever the histogram says.
fn as_written(h: &NativeHistogram) -> Cow<'_, NativeHistogram> {
    if h.is_stale() {
        Cow::Owned(NativeHistogram { reset_hint: h.reset_hint, sum: h.sum, ..NativeHistogram::default() })
    } else {
        Cow::Borrowed(h)
    }
}

/// Header and layout. The encodings with start timestamps are three numbers above those without.
fn start<'a>(
    samples: &[(i64, NativeHistogram)],
    start_times: &'a [i64],
    encoding: u8,
) -> (u8, StartTimes<'a>, BitWriter) {
    let start_times_given = !start_times.is_empty();
    let start_times = StartTimes::new(start_times);
    let flags = match samples.first().map(|(_, h)| h.reset_hint) {
        None | Some(ResetHint::Unknown) => 0,
        Some(ResetHint::No) => 0b01,
        Some(ResetHint::Yes) => 0b10,
        Some(ResetHint::Gauge) => 0b11,
    };
    let [high, low] = (samples.len() as u16).to_be_bytes();
    let mut bits = if start_times_given {
        assert!(samples.len() < 1 << 14, "a count of 14 bits");
        BitWriter::after(&[high | flags << 6, low, start_times.header()])
    } else {
        BitWriter::after(&[high, low, flags << 6])
    };
    if let Some((_, first)) = samples.first() {
        put_layout(&mut bits, &as_written(first));
    }
    (encoding + if start_times_given { 3 } else { 0 }, start_times, bits)
}

fn put_layout(bits: &mut BitWriter, h: &NativeHistogram) {
    put_zero_threshold(bits, h.zero_threshold);
    bits.varbit_int(i64::from(h.schema));
    put_spans(bits, &h.positive.spans);
    put_spans(bits, &h.negative.spans);
    if h.schema == CUSTOM_BOUNDS_SCHEMA {
        bits.varbit_uint(h.custom_bounds.len() as u64);
        for bound in &h.custom_bounds {
            put_bound(bits, *bound);
        }
    }
}

/// One byte for 0 and for powers of two from 2^-243 to 2^10.
fn put_zero_threshold(bits: &mut BitWriter, threshold: f64) {
    let power = (1..255_u8).find(|byte| 0.5 * f64::from(i32::from(*byte) - 243).exp2() == threshold);
    match power {
        _ if threshold == 0.0 => bits.put(0, 8),
        Some(byte) => bits.put(u64::from(byte), 8),
        None => {
            bits.put(255, 8);
            bits.put(threshold.to_bits(), 64);
        }
    }
}

fn put_spans(bits: &mut BitWriter, spans: &[BucketSpan]) {
    bits.varbit_uint(spans.len() as u64);
    for span in spans {
        bits.varbit_uint(u64::from(span.length));
        bits.varbit_int(i64::from(span.offset));
    }
}

/// In thousandths, one added, where that is exact and short; otherwise 0 and the bits.
fn put_bound(bits: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let short = (0.0..33_554_430.0).contains(&thousandths) && thousandths.floor() / 1000.0 == bound;
    if short && bound.is_sign_positive() {
        bits.varbit_uint(thousandths.floor() as u64 + 1);
    } else {
        bits.varbit_uint(0);
        bits.put(bound.to_bits(), 64);
    }
}

fn finish(encoding: u8, samples: &[(i64, NativeHistogram)], bits: BitWriter) -> Chunk {
    let (start, end) = (samples.first().map_or(0, |s| s.0), samples.last().map_or(0, |s| s.0));
    Chunk { encoding, start, end, samples: samples.len() as u64, data: bits.finish() }
}
