//! Encoders of float chunks: XOR (1) and XOR2 (4).

use forewarn_schema::STALE_NAN_BITS;

use super::bits::BitWriter;
use super::chunk::Chunk;
use super::start_time::StartTimes;

/// The last value's bits and the window of bits that changed last.
#[derive(Clone, Copy, Debug)]
pub(super) struct XorWindow {
    last: u64,
    window: Option<(u32, u32)>,
}

impl XorWindow {
    pub(super) fn after(first: f64) -> Self {
        Self { last: first.to_bits(), window: None }
    }

    /// XOR's own form: 0, or 10 and the old window, or 11 and a new one.
    pub(super) fn put(&mut self, bits: &mut BitWriter, value: f64) {
        if value.to_bits() == self.last {
            bits.put(0, 1);
        } else {
            self.put_changed(bits, value, (0b10, 2), (0b11, 2));
        }
    }

    /// The prefix `old` and the changed bits, or the prefix `new`, a window, and the changed bits. A prefix is its bits
    /// and how many they are.
    fn put_changed(&mut self, bits: &mut BitWriter, value: f64, old: (u64, u32), new: (u64, u32)) {
        let changed = value.to_bits() ^ self.last;
        self.last = value.to_bits();
        // Five bits say the leading zeros.
        let (leading, trailing) = (changed.leading_zeros().min(31), changed.trailing_zeros());
        match self.window {
            Some((old_leading, old_trailing)) if leading >= old_leading && trailing >= old_trailing => {
                bits.put(old.0, old.1);
                bits.put(changed >> old_trailing, 64 - old_leading - old_trailing);
            }
            _ => {
                self.window = Some((leading, trailing));
                let width = 64 - leading - trailing;
                bits.put(new.0, new.1);
                bits.put(u64::from(leading), 5);
                // 64 is written as 0.
                bits.put(u64::from(width), 6);
                bits.put(changed >> trailing, width);
            }
        }
    }
}

fn chunk(encoding: u8, samples: &[(i64, f64)], bits: BitWriter) -> Chunk {
    let (start, end) = (samples.first().map_or(0, |s| s.0), samples.last().map_or(0, |s| s.0));
    Chunk { encoding, start, end, samples: samples.len() as u64, data: bits.finish() }
}

/// An XOR chunk of at most 65,535 samples, sorted by time.
pub fn xor(samples: &[(i64, f64)]) -> Chunk {
    let mut bits = BitWriter::after(&(samples.len() as u16).to_be_bytes());
    let (mut last, mut last_delta) = (0_i64, 0_i64);
    let mut value = XorWindow::after(0.0);
    for (index, (t, v)) in samples.iter().copied().enumerate() {
        let delta = t.wrapping_sub(last);
        match index {
            0 => {
                bits.varint(t);
                bits.put(v.to_bits(), 64);
                value = XorWindow::after(v);
            }
            1 => bits.uvarint(delta as u64),
            _ => put_xor_time(&mut bits, delta.wrapping_sub(last_delta)),
        }
        if index > 0 {
            value.put(&mut bits, v);
            last_delta = delta;
        }
        last = t;
    }
    chunk(1, samples, bits)
}

/// The delta of deltas: as many ones as say its width.
fn put_xor_time(bits: &mut BitWriter, change: i64) {
    let fits = |width: u32| change > -(1 << (width - 1)) && change <= 1 << (width - 1);
    match change {
        0 => bits.put(0, 1),
        _ if fits(14) => {
            bits.put(0b10, 2);
            bits.put(change as u64, 14);
        }
        _ if fits(17) => {
            bits.put(0b110, 3);
            bits.put(change as u64, 17);
        }
        _ if fits(20) => {
            bits.put(0b1110, 4);
            bits.put(change as u64, 20);
        }
        _ => {
            bits.put(0b1111, 4);
            bits.put(change as u64, 64);
        }
    }
}

/// An XOR2 chunk of at most 65,535 samples; `start_times` has one for each sample (0 for none) or is empty.
pub fn xor2(samples: &[(i64, f64)], start_times: &[i64]) -> Chunk {
    let mut start_times = StartTimes::new(start_times);
    let mut header = (samples.len() as u16).to_be_bytes().to_vec();
    header.push(start_times.header());
    let mut bits = BitWriter::after(&header);
    let (mut last, mut last_delta) = (0_i64, 0_i64);
    let mut baseline = XorWindow::after(0.0);
    for (index, (t, v)) in samples.iter().copied().enumerate() {
        let delta = t.wrapping_sub(last);
        match index {
            0 => {
                bits.varint(t);
                bits.put(v.to_bits(), 64);
                if v.to_bits() != STALE_NAN_BITS {
                    baseline = XorWindow::after(v);
                }
            }
            1 => {
                bits.uvarint(delta as u64);
                put_changed_or_not(&mut bits, &mut baseline, v);
            }
            _ => put_joint(&mut bits, &mut baseline, delta.wrapping_sub(last_delta), v),
        }
        start_times.put(&mut bits, index, if index == 0 { t } else { last });
        last_delta = if index == 0 { 0 } else { delta };
        last = t;
    }
    chunk(4, samples, bits)
}

/// Time and value together, from the third sample on.
fn put_joint(bits: &mut BitWriter, baseline: &mut XorWindow, change: i64, v: f64) {
    let fits = |width: u32| change >= -(1 << (width - 1)) && change < 1 << (width - 1);
    if change == 0 {
        if v.to_bits() == STALE_NAN_BITS {
            bits.put(0b11111, 5);
        } else if v.to_bits() == baseline.last {
            bits.put(0, 1);
        } else {
            bits.put(0b10, 2);
            baseline.put_changed(bits, v, (0, 1), (1, 1));
        }
        return;
    }
    if fits(13) {
        bits.put(0b110, 3);
        bits.put(change as u64, 13);
    } else if fits(20) {
        bits.put(0b1110, 4);
        bits.put(change as u64, 20);
    } else {
        bits.put(0b11110, 5);
        bits.put(change as u64, 64);
    }
    put_changed_or_not(bits, baseline, v);
}

/// 0 unchanged, 10 the old window, 110 a new one, 111 stale.
fn put_changed_or_not(bits: &mut BitWriter, baseline: &mut XorWindow, v: f64) {
    if v.to_bits() == STALE_NAN_BITS {
        bits.put(0b111, 3);
    } else if v.to_bits() == baseline.last {
        bits.put(0, 1);
    } else {
        baseline.put_changed(bits, v, (0b10, 2), (0b110, 3));
    }
}
