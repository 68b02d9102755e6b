//! Native histograms with integer counts, encodings 2 and 5: deltas of deltas of everything but the sum.

use std::sync::Arc;

use forewarn_schema::{HistogramSample, Timestamp, is_stale};

use super::bits::{Bits, Damage};
use super::layout::{Header, Layout};
use super::xor::XorValue;
use super::{ChunkError, Encoding};

/// An integer and how much it last grew.
#[derive(Clone, Copy, Debug, Default)]
struct Growing {
    value: i64,
    delta: i64,
}

impl Growing {
    fn first(value: i64) -> Self {
        Self { value, delta: 0 }
    }

    #[inline]
    fn advance(&mut self, stream: &mut Bits<'_>) {
        self.delta = self.delta.wrapping_add(stream.varbit_int());
        self.value = self.value.wrapping_add(self.delta);
    }
}

struct Cursor {
    time: Growing,
    count: Growing,
    zero_count: Growing,
    sum: XorValue,
    /// As stored, the positive ones first: on each side every bucket is the difference to the one before it.
    buckets: Vec<Growing>,
}

impl Cursor {
    fn start(stream: &mut Bits<'_>, buckets: usize) -> Self {
        Self {
            time: Growing::first(stream.varbit_int()),
            count: Growing::first(stream.varbit_uint() as i64),
            zero_count: Growing::first(stream.varbit_uint() as i64),
            sum: XorValue::first(stream.take(64)),
            buckets: (0..buckets).map(|_| Growing::first(stream.varbit_int())).collect(),
        }
    }

    fn advance(&mut self, stream: &mut Bits<'_>) -> Result<(), Damage> {
        self.time.advance(stream);
        self.count.advance(stream);
        self.zero_count.advance(stream);
        if is_stale(f64::from_bits(self.sum.advance(stream)?)) {
            // A staleness marker has no buckets.
            return Ok(());
        }
        for bucket in &mut self.buckets {
            bucket.advance(stream);
        }
        Ok(())
    }

    /// How many observations each bucket has.
    fn counts(&self, positive: usize) -> impl Iterator<Item = f64> {
        let mut total = 0_i64;
        self.buckets.iter().enumerate().map(move |(index, bucket)| {
            let before = if index == positive { 0 } else { total };
            total = before.wrapping_add(bucket.value);
            total as f64
        })
    }
}

/// Appends every sample of the chunk.
pub(crate) fn decode(data: &[u8], encoding: Encoding, out: &mut Vec<HistogramSample>) -> Result<(), ChunkError> {
    let (header, bytes) = Header::split(data, encoding)?;
    let count = header.count;
    if count == 0 {
        return Ok(());
    }
    let mut stream = Bits::new(bytes);
    let mut layout = Layout::read(&mut stream, 1).map_err(|d| ChunkError::at(d, 0, count))?;
    let mut cursor = Cursor::start(&mut stream, layout.buckets());
    for sample in 0..count {
        let mut read = || {
            if sample > 0 {
                cursor.advance(&mut stream)?;
            }
            header.start_times.skip(sample, &mut stream)?;
            stream.check()?;
            let numbers = [cursor.count.value as u64 as f64, cursor.zero_count.value as u64 as f64];
            let numbers = [numbers[0], numbers[1], f64::from_bits(cursor.sum.bits)];
            let counts = cursor.counts(layout.positive_buckets);
            layout.histogram(header.reset_hint(sample), numbers, counts)
        };
        let histogram = read().map_err(|d| ChunkError::at(d, sample, count))?;
        out.push(HistogramSample { at: Timestamp::from_millis(cursor.time.value), histogram: Arc::new(histogram) });
    }
    Ok(())
}
