//! A stream of bits, the most significant first, read through a 64-bit window that is loaded anew at every field: one
//! unaligned load and a shift, no state to refill.

/// What stopped a decoder; it becomes a [`ChunkError`](crate::ChunkError) once the sample is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// No bits left.
    End,
    /// A histogram schema that nobody knows.
    Schema(i64),
    /// Impossible bits.
    What(&'static str),
}

/// A position in a stream of bits. Past the end it reads zeros: a decoder asks [`Self::check`] once a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits. Fields have 64 bits at most and `check` comes once a sample, so that it cannot overflow.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits that are left.
    pub(crate) fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.at)
    }

    /// An error where more was read than there is.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Damage> {
        if self.at <= self.bytes.len() * 8 { Ok(()) } else { Err(Damage::End) }
    }

    /// Impossible bits; past the end they are no bits at all.
    #[cold]
    pub(crate) fn damage(&self, what: &'static str) -> Damage {
        self.check().err().unwrap_or(Damage::What(what))
    }

    /// The next bits in the high end of a word. At least 57 of them are right; the rest are zeros.
    #[inline]
    pub(crate) fn peek(&self) -> u64 {
        let byte = self.at >> 3;
        let word = match self.bytes.get(byte..).and_then(|rest| rest.first_chunk()) {
            Some(eight) => u64::from_be_bytes(*eight),
            None => self.last_word(byte),
        };
        word << (self.at & 7)
    }

    /// The last word, filled up with zeros.
    #[cold]
    fn last_word(&self, byte: usize) -> u64 {
        let rest = self.bytes.get(byte..).unwrap_or_default();
        rest.iter().zip((0..8).rev()).map(|(b, place)| u64::from(*b) << (8 * place)).sum()
    }

    #[inline]
    pub(crate) fn skip(&mut self, bits: u32) {
        self.at += bits as usize;
    }

    /// The next `bits` bits, 0 to 64 of them.
    #[inline]
    pub(crate) fn take(&mut self, bits: u32) -> u64 {
        if bits > 57 {
            let high = self.take(32);
            return high << (bits - 32) | self.take(bits - 32);
        }
        // Shifting twice, because a shift by 64 (no bits wanted) is none.
        let field = self.peek() >> 1 >> (63 - bits);
        self.skip(bits);
        field
    }

    /// Groups of seven bits, the lowest first, in whole bytes of the stream (Go's `binary.PutUvarint`).
    pub(crate) fn uvarint(&mut self) -> Result<u64, Damage> {
        let mut value = 0;
        for group in 0..10 {
            let byte = self.take(8);
            value |= (byte & 0x7f) << (7 * group);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damage::What("a varint must have at most 10 bytes"))
    }

    /// The same, signed by zigzag.
    pub(crate) fn varint(&mut self) -> Result<i64, Damage> {
        let zigzag = self.uvarint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// An unsigned integer whose width is said by up to eight ones before it.
    #[inline]
    pub(crate) fn varbit_uint(&mut self) -> u64 {
        let width = self.varbit_width();
        self.take(width)
    }

    /// The same, signed; see [`sign`].
    #[inline]
    pub(crate) fn varbit_int(&mut self) -> i64 {
        let width = self.varbit_width();
        let field = self.take(width);
        sign(field, width)
    }

    #[inline]
    fn varbit_width(&mut self) -> u32 {
        const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];
        let ones = self.peek().leading_ones().min(8);
        // Eight ones need no zero to end them.
        self.skip((ones + 1).min(8));
        WIDTHS[ones as usize]
    }
}

/// A field of `width` bits as a signed number, by Prometheus' own rule: 100…0 is positive, so that the range is
/// -(2^(width-1)-1) to 2^(width-1). A full 64 bits are two's complement, and no bits are 0.
#[inline]
pub(crate) fn sign(field: u64, width: u32) -> i64 {
    if width == 0 || width == 64 {
        return field as i64;
    }
    let negative = field > 1 << (width - 1);
    field as i64 - (i64::from(negative) << width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_width_at_every_place_are_the_bits_that_are_there() {
        let bytes: Vec<u8> = (0..24_u32).map(|i| (i.wrapping_mul(151).wrapping_add(77)) as u8).collect();
        let bit = |at: usize| u64::from(bytes.get(at / 8).map_or(0, |b| b >> (7 - at % 8) & 1));
        for at in 0..bytes.len() * 8 {
            for width in 0..=64 {
                let mut bits = Bits { bytes: &bytes, at };
                let wanted = (at..at + width as usize).fold(0, |field, at| field << 1 | bit(at));
                assert_eq!(bits.take(width), wanted, "{width} bits from {at} on");
                assert_eq!(bits.check().is_ok(), at + width as usize <= bytes.len() * 8);
            }
        }
    }

    #[test]
    fn the_highest_bit_alone_is_a_positive_number() {
        assert_eq!((sign(0b100, 3), sign(0b101, 3), sign(0b111, 3), sign(0b011, 3)), (4, -3, -1, 3));
        assert_eq!((sign(u64::MAX, 64), sign(0, 0)), (-1, 0));
        assert_eq!(sign(1 << 55, 56), 1 << 55);
    }

    #[test]
    fn eight_ones_are_sixty_four_bits() {
        let bytes = [255, 0x80, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(Bits::new(&bytes).varbit_int(), i64::MIN + 1);
        assert_eq!(Bits::new(&[0b1010_1000]).varbit_uint(), 0b101);
        assert_eq!(Bits::new(&[0]).varbit_int(), 0);
    }
}
