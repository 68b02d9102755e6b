//! `tombstones`: which times of which series were deleted and are still in the chunks.

use std::collections::BTreeMap;

use crate::cursor::{Cursor, Stop, be_u32};
use crate::{BlockError, ReadAt, SeriesRef};

/// A larger file is refused. Each deletion costs a few bytes a series.
pub const MAX_TOMBSTONES_LEN: u64 = 256 << 20;

const MAGIC: [u8; 4] = [0x01, 0x30, 0xba, 0x30];

/// Times from `start` to `end`, both included, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// The first.
    pub start: i64,
    /// The last.
    pub end: i64,
}

/// What was deleted from a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    of: BTreeMap<SeriesRef, Vec<Interval>>,
}

impl Tombstones {
    /// Reads the file.
    pub fn read(file: &dyn ReadAt) -> Result<Self, BlockError> {
        if file.size() > MAX_TOMBSTONES_LEN {
            return Err(BlockError::TooLarge {
                file: file.name().to_owned(),
                got: file.size(),
                cap: MAX_TOMBSTONES_LEN,
            });
        }
        Self::parse(file.name(), &file.read_at(0, file.size() as usize)?)
    }

    /// From the file's bytes; `file` is its name in errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, BlockError> {
        let corrupt = |at: usize, what: &str| BlockError::corrupt(file, at as u64, what);
        let Some((header, rest)) = bytes.split_first_chunk::<5>() else {
            return Err(corrupt(0, "at least 9 bytes wanted, got less"));
        };
        let Some((entries, checksum)) = rest.split_last_chunk::<4>() else {
            return Err(corrupt(5, "at least 9 bytes wanted, got less"));
        };
        if header[..4] != MAGIC {
            return Err(corrupt(0, "the magic number of tombstones wanted, got another one"));
        }
        if header[4] != 1 {
            return Err(BlockError::Version { file: file.to_owned(), got: u64::from(header[4]), known: "1" });
        }
        let (wanted, got) = (be_u32(*checksum), crc32c::crc32c(entries));
        if wanted != got {
            return Err(corrupt(bytes.len() - 4, &format!("checksum {wanted:08x} wanted, got {got:08x}")));
        }
        let mut of: BTreeMap<SeriesRef, Vec<Interval>> = BTreeMap::new();
        let mut cursor = Cursor::new(entries);
        while !cursor.rest().is_empty() {
            let at = 5 + cursor.position();
            let mut entry =
                || -> Result<(u32, i64, i64), Stop> { Ok((cursor.uvarint32()?, cursor.varint()?, cursor.varint()?)) };
            let (series, start, end) = entry().map_err(|stop| corrupt(at, stop.what()))?;
            if start > end {
                return Err(corrupt(at, "an interval that does not end before it starts wanted, got the reverse"));
            }
            of.entry(SeriesRef(series)).or_default().push(Interval { start, end });
        }
        of.values_mut().for_each(merge);
        Ok(Self { of })
    }

    /// What was deleted from the series, sorted; intervals do not touch.
    pub fn of(&self, series: SeriesRef) -> &[Interval] {
        self.of.get(&series).map_or(&[], Vec::as_slice)
    }

    /// How many series have something deleted.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether nothing was deleted.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

/// Sorts the intervals and joins those that overlap or are neighbours.
fn merge(intervals: &mut Vec<Interval>) {
    intervals.sort_unstable();
    intervals.dedup_by(|next, kept| {
        let joins = next.start <= kept.end.saturating_add(1);
        if joins {
            kept.end = kept.end.max(next.end);
        }
        joins
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_nine_bytes() {
        let bytes = [0x01, 0x30, 0xba, 0x30, 1, 0, 0, 0, 0];
        assert!(Tombstones::parse("tombstones", &bytes).unwrap().is_empty());
        assert!(Tombstones::parse("tombstones", &bytes[..8]).is_err());
    }

    #[test]
    fn intervals_that_touch_become_one() {
        let mut intervals = vec![(5, 9), (0, 3), (4, 4), (11, i64::MAX), (20, 30)]
            .into_iter()
            .map(|(start, end)| Interval { start, end })
            .collect();
        merge(&mut intervals);
        assert_eq!(intervals, [Interval { start: 0, end: 9 }, Interval { start: 11, end: i64::MAX }]);
    }
}
