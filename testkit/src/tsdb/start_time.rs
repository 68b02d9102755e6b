//! Start timestamps behind the samples of newer chunks.

use super::bits::BitWriter;

/// When each sample's counter began; 0 where that is not known.
pub(super) struct StartTimes<'a> {
    of: &'a [i64],
    /// Index of the first sample that carries one besides the first; 0 where none does.
    changes_from: usize,
    /// How far the last one written lay behind its sample's predecessor.
    last_behind: i64,
}

impl<'a> StartTimes<'a> {
    /// The header has seven bits for the index of the first change, so that from sample 127 on each carries one.
    pub(super) fn new(of: &'a [i64]) -> Self {
        let change = of.windows(2).position(|pair| pair[0] != pair[1]).map(|before| before + 1);
        let late = (of.len() > 127).then_some(127);
        let changes_from = match (change, late) {
            (Some(change), Some(late)) => change.min(late),
            (change, late) => change.or(late).unwrap_or(0),
        };
        Self { of, changes_from, last_behind: 0 }
    }

    fn first_known(&self) -> bool {
        self.of.first().is_some_and(|start| *start != 0)
    }

    /// The byte in the chunk's header.
    pub(super) fn header(&self) -> u8 {
        u8::from(self.first_known()) << 7 | self.changes_from as u8
    }

    /// What follows sample `index`; `time` is the sample's own for the first one, and the one before's for the others.
    pub(super) fn put(&mut self, bits: &mut BitWriter, index: usize, time: i64) {
        if index == 0 {
            if self.first_known() {
                bits.varint(time.wrapping_sub(self.of[0]));
            }
            return;
        }
        if self.changes_from == 0 || index < self.changes_from {
            return;
        }
        let behind = time.wrapping_sub(self.of[index]);
        // The first as it is, later ones as differences to it: nothing was behind before.
        bits.varbit_int(behind.wrapping_sub(self.last_behind));
        self.last_behind = behind;
    }
}
