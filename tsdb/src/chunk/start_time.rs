//! Start timestamps (when a counter began), which newer encodings may carry after each sample. They are read to find
//! where the next sample begins, and dropped: nothing of ours uses them yet.

use super::bits::{Bits, Damage};

/// What a chunk's header says of start timestamps, and how far they were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartTimes {
    first_known: bool,
    /// Index of the first sample that carries one besides the first; 0 where none does.
    changes_from: usize,
}

impl StartTimes {
    /// The header's byte: its top bit, and seven bits.
    pub(crate) fn from_byte(byte: u8) -> Self {
        Self { first_known: byte & 0x80 != 0, changes_from: usize::from(byte & 0x7f) }
    }

    /// Reads past what follows sample `index` (from 0).
    #[inline]
    pub(crate) fn skip(&self, index: usize, stream: &mut Bits<'_>) -> Result<(), Damage> {
        if index == 0 {
            if self.first_known {
                stream.varint()?;
            }
        } else if self.changes_from > 0 && index >= self.changes_from {
            stream.varbit_int();
        }
        Ok(())
    }
}
