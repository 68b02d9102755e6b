//! Bits, the most significant first, and the integers of varying width that chunks are made of.

/// A growing stream of bits.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that are no whole byte yet, in the low end.
    pending: u64,
    pending_bits: u32,
}

impl BitWriter {
    /// Starts after whole bytes.
    pub(super) fn after(header: &[u8]) -> Self {
        Self { bytes: header.to_vec(), pending: 0, pending_bits: 0 }
    }

    /// Everything, filled up with zeros to a whole byte.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.pending_bits > 0 {
            self.put(0, 8 - self.pending_bits);
        }
        self.bytes
    }

    /// The low `bits` bits of `field`, 0 to 64 of them.
    pub(super) fn put(&mut self, field: u64, bits: u32) {
        if bits > 32 {
            self.put(field >> 32, bits - 32);
            return self.put(field & 0xffff_ffff, 32);
        }
        let mask = (1_u64 << bits) - 1;
        self.pending = self.pending << bits | (field & mask);
        self.pending_bits += bits;
        while self.pending_bits >= 8 {
            self.pending_bits -= 8;
            self.bytes.push((self.pending >> self.pending_bits) as u8);
        }
        self.pending &= (1 << self.pending_bits) - 1;
    }

    /// Groups of seven bits, the lowest first.
    pub(super) fn uvarint(&mut self, value: u64) {
        for byte in uvarint(value) {
            self.put(u64::from(byte), 8);
        }
    }

    /// The same by zigzag.
    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint(zigzag(value));
    }

    /// An unsigned integer with its width before it.
    pub(super) fn varbit_uint(&mut self, value: u64) {
        self.varbit(value, |width| width == 64 || value < 1 << width);
    }

    /// A signed one; a width of n holds -(2^(n-1)-1) to 2^(n-1).
    pub(super) fn varbit_int(&mut self, value: i64) {
        self.varbit(value as u64, |width| match width {
            0 => value == 0,
            64 => true,
            _ => {
                let half = 1_i64 << (width - 1);
                value > -half && value <= half
            }
        });
    }

    fn varbit(&mut self, field: u64, fits: impl Fn(u32) -> bool) {
        const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];
        let class = WIDTHS.iter().position(|width| fits(*width)).expect("64 bits hold every value");
        match class {
            8 => self.put(0xff, 8),
            ones => self.put(((1 << ones) - 1) << 1, ones as u32 + 1),
        }
        self.put(field, WIDTHS[class]);
    }
}

/// LEB128.
pub(super) fn uvarint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// LEB128 of a signed integer.
pub(super) fn varint(value: i64) -> Vec<u8> {
    uvarint(zigzag(value))
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_written_from_the_top() {
        let mut bits = BitWriter::default();
        bits.put(0b1, 1);
        bits.put(0b01, 2);
        bits.put(0xabcd_ef01_2345_6789, 64);
        let bytes = bits.finish();
        assert_eq!(bytes[0], 0b1011_0101);
        assert_eq!(bytes.len(), 9);
    }

    #[test]
    fn the_smallest_width_that_holds_a_value_is_taken() {
        let bits_of = |value: i64| {
            let mut bits = BitWriter::default();
            bits.varbit_int(value);
            bits.bytes.len() * 8 + bits.pending_bits as usize
        };
        assert_eq!([0, 4, -3, -4, 32, 33].map(bits_of), [1, 5, 5, 9, 9, 13]);
        assert_eq!(bits_of(i64::MIN), 72);
    }
}
