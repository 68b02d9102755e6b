//! What all samples of a histogram chunk share: the header, the schema and which buckets there are.

use forewarn_schema::{BucketSpan, Buckets, CUSTOM_BOUNDS_SCHEMA, NativeHistogram, ResetHint};

use super::bits::{Bits, Damage};
use super::start_time::StartTimes;
use super::{ChunkError, Encoding, MAX_UNFOLDED};

/// The three bytes before the bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) count: usize,
    reset: u8,
    pub(crate) start_times: StartTimes,
}

impl Header {
    /// Count and flags; where there are start timestamps, the flags have moved into the count.
    pub(crate) fn split(data: &[u8], encoding: Encoding) -> Result<(Self, &[u8]), ChunkError> {
        let Some(([high, low, third], stream)) = data.split_first_chunk() else {
            return Err(ChunkError::Truncated { sample: 0, count: 0 });
        };
        let first_two = u16::from_be_bytes([*high, *low]);
        let with_start_times = matches!(encoding, Encoding::HistogramStartTime | Encoding::FloatHistogramStartTime);
        let header = if with_start_times {
            Self {
                count: usize::from(first_two & 0x3fff),
                reset: high >> 6,
                start_times: StartTimes::from_byte(*third),
            }
        } else {
            Self { count: usize::from(first_two), reset: third >> 6, start_times: StartTimes::from_byte(0) }
        };
        // Time, count, zero count and sum have a bit each at the least.
        if header.count > stream.len() * 2 {
            return Err(ChunkError::Truncated { sample: stream.len() * 2, count: header.count });
        }
        Ok((header, stream))
    }

    /// What is known of a reset before sample `index`. "No reset before this chunk" is not passed on: it speaks of the
    /// chunk that was written before, and a query, a merge or a deletion may have put another one there.
    pub(crate) fn reset_hint(&self, index: usize) -> ResetHint {
        match (self.reset, index) {
            (0b11, _) => ResetHint::Gauge,
            (0b10, 0) => ResetHint::Yes,
            (_, 0) => ResetHint::Unknown,
            _ => ResetHint::No,
        }
    }
}

/// Which buckets the samples have, and what numbers they have unfolded into so far.
#[derive(Debug)]
pub(crate) struct Layout {
    schema: i32,
    zero_threshold: f64,
    positive: Vec<BucketSpan>,
    negative: Vec<BucketSpan>,
    custom_bounds: Vec<f64>,
    pub(crate) positive_buckets: usize,
    pub(crate) negative_buckets: usize,
    unfolded: usize,
}

impl Layout {
    /// Reads it; a bucket needs at least `bits_per_bucket` bits in the first sample, which bounds how many there are.
    pub(crate) fn read(stream: &mut Bits<'_>, bits_per_bucket: usize) -> Result<Self, Damage> {
        let zero_threshold = match stream.take(8) {
            0 => 0.0,
            255 => f64::from_bits(stream.take(64)),
            exponent => 0.5 * f64::from(exponent as i32 - 243).exp2(),
        };
        let schema = match stream.varbit_int() {
            schema @ (-4..=8 | -53) => schema as i32,
            schema => return Err(Damage::Schema(schema)),
        };
        let (positive, positive_buckets) = spans(stream, bits_per_bucket)?;
        let (negative, negative_buckets) = spans(stream, bits_per_bucket)?;
        let custom_bounds = if schema == CUSTOM_BOUNDS_SCHEMA { bounds(stream)? } else { Vec::new() };
        stream.check()?;
        Ok(Self {
            schema,
            zero_threshold,
            positive,
            negative,
            custom_bounds,
            positive_buckets,
            negative_buckets,
            unfolded: 0,
        })
    }

    /// Buckets of both sides.
    pub(crate) fn buckets(&self) -> usize {
        self.positive_buckets + self.negative_buckets
    }

    /// A histogram with this layout: counts of the positive buckets, then of the negative ones. A stale one is empty.
    pub(crate) fn histogram(
        &mut self,
        reset_hint: ResetHint,
        [count, zero_count, sum]: [f64; 3],
        counts: impl IntoIterator<Item = f64>,
    ) -> Result<NativeHistogram, Damage> {
        if forewarn_schema::is_stale(sum) {
            return Ok(NativeHistogram { reset_hint, sum, ..NativeHistogram::default() });
        }
        self.unfolded += self.positive.len() + self.negative.len() + self.custom_bounds.len() + self.buckets();
        if self.unfolded > MAX_UNFOLDED {
            return Err(Damage::What("the chunk's histograms must unfold into at most 4,194,304 numbers, got more"));
        }
        let mut counts = counts.into_iter();
        let positive = counts.by_ref().take(self.positive_buckets).collect();
        Ok(NativeHistogram {
            reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count,
            count,
            sum,
            positive: Buckets { spans: self.positive.clone(), counts: positive },
            negative: Buckets { spans: self.negative.clone(), counts: counts.collect() },
            custom_bounds: self.custom_bounds.clone(),
        })
    }
}

/// The spans of one side, and how many buckets they have.
fn spans(stream: &mut Bits<'_>, bits_per_bucket: usize) -> Result<(Vec<BucketSpan>, usize), Damage> {
    let count = stream.varbit_uint();
    // Length and offset have a bit each at the least.
    if count > (stream.left() / 2) as u64 {
        return Err(Damage::End);
    }
    let mut spans = Vec::with_capacity(count as usize);
    let mut buckets = 0_u64;
    for _ in 0..count {
        let (length, offset) = (stream.varbit_uint(), stream.varbit_int());
        let (Ok(length), Ok(offset)) = (u32::try_from(length), i32::try_from(offset)) else {
            return Err(Damage::What("a span's length and offset must have 32 bits, got more"));
        };
        buckets += u64::from(length);
        spans.push(BucketSpan { offset, length });
    }
    if buckets > (stream.left() / bits_per_bucket) as u64 {
        return Err(Damage::End);
    }
    Ok((spans, buckets as usize))
}

/// Upper bounds: in thousandths where that is exact, in full otherwise.
fn bounds(stream: &mut Bits<'_>) -> Result<Vec<f64>, Damage> {
    let count = stream.varbit_uint();
    if count > stream.left() as u64 {
        return Err(Damage::End);
    }
    let bound = |stream: &mut Bits<'_>| match stream.varbit_uint() {
        0 => f64::from_bits(stream.take(64)),
        thousandths => (thousandths - 1) as f64 / 1000.0,
    };
    Ok((0..count).map(|_| bound(stream)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_thresholds_that_are_powers_of_two_have_one_byte() {
        for (byte, wanted) in [(0_u8, 0.0), (1, 0.5 * (-242_f64).exp2()), (116, (-128_f64).exp2()), (254, 1024.0)] {
            // Schema 0, no spans.
            let layout = Layout::read(&mut Bits::new(&[byte, 0]), 1).unwrap();
            assert_eq!(layout.zero_threshold, wanted);
        }
    }

    #[test]
    fn a_promise_of_many_buckets_takes_no_memory() {
        // Schema 0, one span of 2^56-1 buckets.
        let mut bytes = vec![0_u8, 0b0100_0111];
        bytes.extend([0xff; 20]);
        assert!(Layout::read(&mut Bits::new(&bytes), 1).is_err());
    }
}
