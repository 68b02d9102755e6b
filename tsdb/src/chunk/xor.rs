//! XOR chunks, encoding 1: the delta of deltas of time, and each value's difference in bits to the one before.
//!
//! Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database" (VLDB 2015), with the widths that
//! Prometheus chose.

use super::ChunkError;
use super::bits::{Bits, Damage, sign};

/// The last value of a float field, and the window of bits that changed last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct XorValue {
    pub(crate) bits: u64,
    trailing: u32,
    /// 0 where there was no window yet.
    width: u32,
}

impl XorValue {
    pub(crate) fn first(bits: u64) -> Self {
        Self { bits, trailing: 0, width: 0 }
    }

    /// The next value: unchanged (0), in the old window (10), in a new one (11).
    #[inline]
    pub(crate) fn advance(&mut self, stream: &mut Bits<'_>) -> Result<u64, Damage> {
        let word = stream.peek();
        if word >> 63 == 0 {
            stream.skip(1);
            return Ok(self.bits);
        }
        if word >> 62 == 0b10 {
            stream.skip(2);
            return self.in_old_window(stream);
        }
        stream.skip(2);
        self.in_new_window(stream)
    }

    /// Reads the window's bits.
    #[inline]
    pub(crate) fn in_old_window(&mut self, stream: &mut Bits<'_>) -> Result<u64, Damage> {
        if self.width == 0 {
            return Err(stream.damage("a window of changed bits wanted before it is used again, got none"));
        }
        self.bits ^= stream.take(self.width) << self.trailing;
        Ok(self.bits)
    }

    /// Reads a window, 5 bits of leading zeros and 6 of width, and its bits.
    #[inline]
    pub(crate) fn in_new_window(&mut self, stream: &mut Bits<'_>) -> Result<u64, Damage> {
        let word = stream.peek();
        stream.skip(11);
        let leading = (word >> 59) as u32;
        let width = match (word >> 53) as u32 & 63 {
            0 => 64,
            width => width,
        };
        let Some(trailing) = 64_u32.checked_sub(leading + width) else {
            return Err(stream.damage("a window of at most 64 bits wanted, got more"));
        };
        (self.width, self.trailing) = (width, trailing);
        self.in_old_window(stream)
    }
}

/// Where a decoder stands.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    stream: Bits<'a>,
    time: i64,
    delta: i64,
    value: XorValue,
}

impl<'a> Cursor<'a> {
    /// The first sample, in full.
    fn start(mut stream: Bits<'a>) -> Result<Self, Damage> {
        let time = stream.varint()?;
        let value = XorValue::first(stream.take(64));
        stream.check()?;
        Ok(Self { stream, time, delta: 0, value })
    }

    /// The second one: a delta.
    fn second(&mut self) -> Result<(), Damage> {
        self.delta = self.stream.uvarint()? as i64;
        self.time = self.time.wrapping_add(self.delta);
        self.value.advance(&mut self.stream)?;
        self.stream.check()
    }

    /// Every other one: a delta of deltas, whose width up to four ones say.
    #[inline]
    fn advance(&mut self) -> Result<(), Damage> {
        const WIDTHS: [u32; 4] = [0, 14, 17, 20];
        let word = self.stream.peek();
        let ones = word.leading_ones();
        let change = match WIDTHS.get(ones as usize) {
            Some(width) => {
                self.stream.skip(ones + 1 + width);
                // 0 to 20 of the word's 57 good bits.
                let field = word << (ones + 1) >> 1 >> (63 - width);
                sign(field, *width)
            }
            None => {
                self.stream.skip(4);
                self.stream.take(64) as i64
            }
        };
        self.delta = self.delta.wrapping_add(change);
        self.time = self.time.wrapping_add(self.delta);
        self.value.advance(&mut self.stream)?;
        self.stream.check()
    }
}

/// The samples' count and the bits after it, if there can be as many samples in them.
pub(crate) fn header(data: &[u8]) -> Result<(usize, &[u8]), ChunkError> {
    let Some((count, stream)) = data.split_first_chunk() else {
        return Err(ChunkError::Truncated { sample: 0, count: 0 });
    };
    let count = usize::from(u16::from_be_bytes(*count));
    // From the third on, a sample has at least one bit in any encoding.
    if count > stream.len() * 8 {
        return Err(ChunkError::Truncated { sample: stream.len() * 8, count });
    }
    Ok((count, stream))
}

/// Appends every sample of the chunk.
pub(crate) fn decode(data: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<(), ChunkError> {
    let (count, stream) = header(data)?;
    if count == 0 {
        return Ok(());
    }
    times.reserve(count);
    values.reserve(count);
    let mut push = |cursor: &Cursor<'_>| {
        times.push(cursor.time);
        values.push(f64::from_bits(cursor.value.bits));
    };
    let mut cursor = Cursor::start(Bits::new(stream)).map_err(|d| ChunkError::at(d, 0, count))?;
    push(&cursor);
    if count > 1 {
        cursor.second().map_err(|d| ChunkError::at(d, 1, count))?;
        push(&cursor);
    }
    for sample in 2..count {
        cursor.advance().map_err(|d| ChunkError::at(d, sample, count))?;
        push(&cursor);
    }
    Ok(())
}
