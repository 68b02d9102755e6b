//! Parquet's encodings, as far as a file of samples has them. They know of nothing but numbers; which column has which
//! is said in `schema`. Written by us because a column's runs are known here: a library that takes rows has to find
//! them again. Source: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>.

/// Appends runs of equal numbers (RLE of the hybrid encoding): each its length and the number in `width` bits, whole
/// bytes. Empty runs leave no trace.
pub(super) fn runs(runs: impl IntoIterator<Item = (u32, usize)>, width: u32, out: &mut Vec<u8>) {
    let bytes = (width as usize).div_ceil(8).min(4);
    for (number, len) in runs {
        if len > 0 {
            varint((len as u64) << 1, out);
            out.extend_from_slice(&number.to_le_bytes()[..bytes]);
        }
    }
}

/// Appends levels as a data page of version 1 has them: the length of what follows, then runs.
pub(super) fn levels(levels: impl IntoIterator<Item = (u32, usize)>, highest: i16, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    runs(levels, width(u32::from(highest.unsigned_abs())), out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// How many bits a number has.
pub(super) fn width(largest: u32) -> u32 {
    u32::BITS - largest.leading_zeros()
}

/// Numbers of a block, and of the parts of it that share a width.
const BLOCK: usize = 128;
const MINI: usize = 32;

/// Appends numbers as differences (`DELTA_BINARY_PACKED`).
pub(super) fn delta_packed(numbers: &[i64], out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint((BLOCK / MINI) as u64, out);
    varint(numbers.len() as u64, out);
    let first = numbers.first().copied().unwrap_or(0);
    varint(zigzag(first), out);
    let mut deltas = [0_i64; BLOCK];
    let mut last = first;
    for block in numbers.get(1..).unwrap_or(&[]).chunks(BLOCK) {
        let deltas = &mut deltas[..block.len()];
        for (delta, number) in deltas.iter_mut().zip(block) {
            *delta = number.wrapping_sub(last);
            last = *number;
        }
        let least = deltas.iter().copied().min().unwrap_or(0);
        varint(zigzag(least), out);
        let widths = out.len();
        out.extend_from_slice(&[0; BLOCK / MINI]);
        for (i, mini) in deltas.chunks(MINI).enumerate() {
            // The last one is filled up.
            let mut above = [0_u64; MINI];
            for (above, delta) in above.iter_mut().zip(mini) {
                *above = delta.wrapping_sub(least) as u64;
            }
            let width = u64::BITS - above.iter().fold(0, |all, one| all | one).leading_zeros();
            out[widths + i] = width as u8;
            pack(&above, width, out);
        }
    }
}

/// Appends numbers of `width` bits each, the lowest bit first.
fn pack(numbers: &[u64; MINI], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut word, mut filled) = (0_u64, 0);
    for number in numbers {
        word |= number << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            filled -= u64::BITS;
            word = if filled == 0 { 0 } else { number >> (width - filled) };
        }
    }
    // As many bits as four bytes have, times the width: half a word may be left.
    out.extend_from_slice(&word.to_le_bytes()[..filled as usize / 8]);
}

/// Appends the first bytes of all numbers, then the second ones, and so on (`BYTE_STREAM_SPLIT`).
pub(super) fn byte_stream_split(numbers: &[f64], out: &mut Vec<u8>) {
    const BYTES: usize = size_of::<f64>();
    let start = out.len();
    out.resize(start + numbers.len() * BYTES, 0);
    if numbers.is_empty() {
        return;
    }
    for (k, stream) in out[start..].chunks_exact_mut(numbers.len()).enumerate() {
        for (byte, number) in stream.iter_mut().zip(numbers) {
            *byte = (number.to_bits() >> (8 * k)) as u8;
        }
    }
}

/// Appends `rows` booleans, the lowest bit first (`PLAIN`): those of the `set` rows are true.
pub(super) fn booleans(rows: usize, set: &[usize], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + rows.div_ceil(8), 0);
    for row in set {
        out[start + row / 8] |= 1 << (row % 8);
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the format's own page: 7, 5, 3, 1, 2, 3, 4, 5 is 7 and differences of at least -2.
    #[test]
    fn deltas_are_those_of_the_specification() {
        let mut out = Vec::new();
        delta_packed(&[7, 5, 3, 1, 2, 3, 4, 5], &mut out);
        // 128 in a block of 4 parts, 8 numbers, the first 7; least -2; widths 2, 0, 0, 0; 0 0 0 3 3 3 3 and what fills
        // up.
        let wanted = [&[0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0b1100_0000, 0b0011_1111][..], &[0; 6]].concat();
        assert_eq!(out, wanted);
    }

    #[test]
    fn runs_have_their_number_in_whole_bytes() {
        let mut out = Vec::new();
        runs([(3, 100), (9, 0), (260, 1)], 9, &mut out);
        assert_eq!(out, [200, 1, 3, 0, 2, 4, 1]);
        out.clear();
        levels([(1, 2), (0, 1)], 1, &mut out);
        assert_eq!(out, [4, 0, 0, 0, 4, 1, 2, 0]);
    }
}
