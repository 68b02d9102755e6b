//! XOR2 chunks, encoding 4: as XOR, with one prefix for time and value together, staleness without a window of its own,
//! and start timestamps.
//!
//! Values are compared with the last one that was not a staleness marker.

use forewarn_schema::STALE_NAN_BITS;

use super::ChunkError;
use super::bits::{Bits, Damage};
use super::start_time::StartTimes;
use super::xor::{XorValue, header};

struct Cursor<'a> {
    stream: Bits<'a>,
    time: i64,
    delta: i64,
    /// The last value that was not stale.
    baseline: XorValue,
    /// The value's bits.
    value: u64,
}

impl<'a> Cursor<'a> {
    fn start(mut stream: Bits<'a>) -> Result<Self, Damage> {
        let time = stream.varint()?;
        let value = stream.take(64);
        let baseline = XorValue::first(if value == STALE_NAN_BITS { 0 } else { value });
        stream.check()?;
        Ok(Self { stream, time, delta: 0, baseline, value })
    }

    fn second(&mut self) -> Result<(), Damage> {
        self.delta = self.stream.uvarint()? as i64;
        self.time = self.time.wrapping_add(self.delta);
        self.changed_value()
    }

    fn advance(&mut self) -> Result<(), Damage> {
        let ones = self.stream.peek().leading_ones();
        self.stream.skip((ones + 1).min(5));
        let width = match ones {
            0 | 1 => 0,
            2 => 13,
            3 => 20,
            4 => 64,
            _ => 0,
        };
        self.delta = self.delta.wrapping_add(twos_complement(self.stream.take(width), width));
        self.time = self.time.wrapping_add(self.delta);
        match ones {
            0 => self.value = self.baseline.bits,
            1 => {
                let new_window = self.stream.take(1) == 1;
                self.value = self.windowed(new_window)?;
            }
            2..=4 => self.changed_value()?,
            _ => self.value = STALE_NAN_BITS,
        }
        Ok(())
    }

    /// Unchanged (0), in the old window (10), in a new one (110), stale (111).
    fn changed_value(&mut self) -> Result<(), Damage> {
        let ones = self.stream.peek().leading_ones().min(3);
        self.stream.skip((ones + 1).min(3));
        self.value = match ones {
            0 => self.baseline.bits,
            1 => self.windowed(false)?,
            2 => self.windowed(true)?,
            _ => STALE_NAN_BITS,
        };
        Ok(())
    }

    fn windowed(&mut self, new: bool) -> Result<u64, Damage> {
        if new { self.baseline.in_new_window(&mut self.stream) } else { self.baseline.in_old_window(&mut self.stream) }
    }
}

/// Unlike XOR's fields, these are ordinary two's complement.
fn twos_complement(field: u64, width: u32) -> i64 {
    if width == 0 {
        return 0;
    }
    (field << (64 - width)) as i64 >> (64 - width)
}

/// Appends every sample of the chunk.
pub(crate) fn decode(data: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<(), ChunkError> {
    let (count, rest) = header(data)?;
    let Some((start_times, stream)) = rest.split_first() else {
        return if count == 0 { Ok(()) } else { Err(ChunkError::Truncated { sample: 0, count }) };
    };
    if count == 0 {
        return Ok(());
    }
    let start_times = StartTimes::from_byte(*start_times);
    times.reserve(count);
    values.reserve(count);
    let mut cursor = Cursor::start(Bits::new(stream)).map_err(|d| ChunkError::at(d, 0, count))?;
    for sample in 0..count {
        let read = match sample {
            0 => Ok(()),
            1 => cursor.second(),
            _ => cursor.advance(),
        };
        read.and_then(|()| start_times.skip(sample, &mut cursor.stream))
            .and_then(|()| cursor.stream.check())
            .map_err(|d| ChunkError::at(d, sample, count))?;
        times.push(cursor.time);
        values.push(f64::from_bits(cursor.value));
    }
    Ok(())
}
