//! Downsampled chunks, encoding 255 (Thanos): up to five chunks, one for each aggregate of the window, and the rule by
//! which a counter goes on from one chunk to the next.

use super::{Chunk, ChunkError, Encoding};
use crate::Samples;
use crate::cursor::uvarint;

/// Which aggregate of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AggregateSlot {
    /// How many raw samples it had.
    Count,
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The counter's total at its end, resets added; see [`CounterFold`].
    Counter,
}

impl AggregateSlot {
    /// In the order in which they are stored.
    pub const ALL: [Self; 5] = [Self::Count, Self::Sum, Self::Min, Self::Max, Self::Counter];
}

/// A downsampled chunk, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateChunk {
    slots: [Option<Chunk>; 5],
}

impl AggregateChunk {
    /// The chunk of one aggregate; `None` where it was not kept (native histograms have no min and max).
    pub fn get(&self, slot: AggregateSlot) -> Option<&Chunk> {
        self.slots[slot as usize].as_ref()
    }

    pub(super) fn parse(chunk: &Chunk) -> Result<Self, ChunkError> {
        match chunk.encoding {
            Encoding::Aggregate => {}
            Encoding::Unknown(byte) => return Err(ChunkError::UnknownEncoding(byte)),
            _ => return Err(ChunkError::Aggregates("a downsampled chunk wanted, got a raw one")),
        }
        let mut rest = chunk.data.clone();
        let mut slots = [const { None }; 5];
        for slot in &mut slots {
            let (len, varint) =
                uvarint(&rest).ok_or(ChunkError::Aggregates("an aggregate's length wanted, got the end"))?;
            rest = rest.slice(varint..);
            if len == 0 {
                continue;
            }
            // The length leaves out the encoding's byte.
            let Some(end) = usize::try_from(len).ok().and_then(|n| n.checked_add(1)).filter(|n| *n <= rest.len())
            else {
                return Err(ChunkError::Aggregates("an aggregate that ends inside the chunk wanted, got a longer one"));
            };
            let encoding = Encoding::from_byte(rest[0]);
            if encoding == Encoding::Aggregate {
                return Err(ChunkError::Aggregates("aggregates must be raw chunks, got a downsampled one"));
            }
            *slot = Some(Chunk { encoding, data: rest.slice(1..end) });
            rest = rest.slice(end..);
        }
        Ok(Self { slots })
    }
}

/// The counter aggregate across the chunks of a series: a total that never falls, since resets inside a chunk were added
/// when it was written, and those between chunks are added here.
///
/// A chunk begins with its first raw sample and ends with one that repeats the last time and carries the last raw
/// value, from which the next chunk goes on. NaN is left out, and so is a time before the last one.
#[derive(Clone, Debug, Default)]
pub struct CounterFold {
    total: f64,
    last: Option<(i64, f64)>,
}

impl CounterFold {
    /// Goes on with the samples of the next chunk's counter, and appends the total at each of their times to `out`. A time
    /// without a value is left out, and so is a value without a time.
    pub fn push(&mut self, times: &[i64], values: &[f64], out: &mut Samples) {
        for (time, value) in times.iter().copied().zip(values.iter().copied()) {
            if value.is_nan() {
                continue;
            }
            let (last_time, last_value) = self.last.unwrap_or((i64::MIN, 0.0));
            if time < last_time {
                continue;
            }
            if time == last_time && self.last.is_some() {
                self.last = Some((time, value));
                continue;
            }
            // The first sample starts from 0, and so does one after a reset.
            self.total += if value >= last_value { value - last_value } else { value };
            self.last = Some((time, value));
            out.times.push(time);
            out.values.push(self.total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(chunks: &[&[(i64, f64)]]) -> Vec<(i64, f64)> {
        let (mut fold, mut out) = (CounterFold::default(), Samples::default());
        for chunk in chunks {
            let (times, values): (Vec<_>, Vec<_>) = chunk.iter().copied().unzip();
            fold.push(&times, &values, &mut out);
        }
        out.times.into_iter().zip(out.values).collect()
    }

    #[test]
    fn the_boundary_marker_carries_the_raw_value_into_the_next_chunk() {
        // Raw: 10, 30, reset, 5 | 8, 9. The first chunk's total at 299 is 10 + 20 + 5.
        let first = [(0, 10.0), (299, 35.0), (299, 5.0)];
        let second = [(300, 8.0), (599, 9.0), (599, 9.0)];
        assert_eq!(fold(&[&first, &second]), [(0, 10.0), (299, 35.0), (300, 38.0), (599, 39.0)]);
    }

    #[test]
    fn a_reset_between_chunks_adds_the_new_value() {
        assert_eq!(fold(&[&[(0, 10.0), (0, 10.0)], &[(5, 4.0)]]), [(0, 10.0), (5, 14.0)]);
    }

    #[test]
    fn nan_and_steps_back_in_time_are_left_out() {
        assert_eq!(fold(&[&[(5, 1.0), (6, f64::NAN), (4, 9.0), (7, 2.0)]]), [(5, 1.0), (7, 2.0)]);
    }
}
