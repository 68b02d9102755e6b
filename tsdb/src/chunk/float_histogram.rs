//! Native histograms with float counts, encodings 3 and 6: every number is a float field of its own, XORed.

use std::sync::Arc;

use forewarn_schema::{HistogramSample, Timestamp, is_stale};

use super::bits::{Bits, Damage};
use super::layout::{Header, Layout};
use super::xor::XorValue;
use super::{ChunkError, Encoding};

struct Cursor {
    time: i64,
    delta: i64,
    count: XorValue,
    zero_count: XorValue,
    sum: XorValue,
    /// Observations in each, the positive ones first.
    buckets: Vec<XorValue>,
}

impl Cursor {
    fn start(stream: &mut Bits<'_>, buckets: usize) -> Self {
        Self {
            time: stream.varbit_int(),
            delta: 0,
            count: XorValue::first(stream.take(64)),
            zero_count: XorValue::first(stream.take(64)),
            sum: XorValue::first(stream.take(64)),
            buckets: (0..buckets).map(|_| XorValue::first(stream.take(64))).collect(),
        }
    }

    fn advance(&mut self, stream: &mut Bits<'_>) -> Result<(), Damage> {
        self.delta = self.delta.wrapping_add(stream.varbit_int());
        self.time = self.time.wrapping_add(self.delta);
        self.count.advance(stream)?;
        self.zero_count.advance(stream)?;
        if is_stale(f64::from_bits(self.sum.advance(stream)?)) {
            // A staleness marker has no buckets.
            return Ok(());
        }
        for bucket in &mut self.buckets {
            bucket.advance(stream)?;
        }
        Ok(())
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
    let mut layout = Layout::read(&mut stream, 64).map_err(|d| ChunkError::at(d, 0, count))?;
    let mut cursor = Cursor::start(&mut stream, layout.buckets());
    for sample in 0..count {
        let mut read = || {
            if sample > 0 {
                cursor.advance(&mut stream)?;
            }
            header.start_times.skip(sample, &mut stream)?;
            stream.check()?;
            let numbers = [cursor.count, cursor.zero_count, cursor.sum].map(|x| f64::from_bits(x.bits));
            let counts = cursor.buckets.iter().map(|x| f64::from_bits(x.bits));
            layout.histogram(header.reset_hint(sample), numbers, counts)
        };
        let histogram = read().map_err(|d| ChunkError::at(d, sample, count))?;
        out.push(HistogramSample { at: Timestamp::from_millis(cursor.time), histogram: Arc::new(histogram) });
    }
    Ok(())
}
