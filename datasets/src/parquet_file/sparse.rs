//! A file of which some stretches are in memory. Asking for any other byte is an error.

use bytes::{Buf, Bytes, buf};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// See the module.
pub(super) struct Sparse {
    len: u64,
    /// Where each starts, sorted.
    stretches: Vec<(u64, Bytes)>,
}

impl Sparse {
    pub(super) fn new(len: u64, mut stretches: Vec<(u64, Bytes)>) -> Self {
        stretches.sort_by_key(|(start, _)| *start);
        Self { len, stretches }
    }

    /// From `start` to the end of its stretch.
    fn at(&self, start: u64) -> Result<Bytes> {
        let absent = || ParquetError::EOF(format!("byte {start} was not read"));
        let after = self.stretches.partition_point(|(at, _)| *at <= start);
        let (at, bytes) = after.checked_sub(1).and_then(|i| self.stretches.get(i)).ok_or_else(absent)?;
        let skip = usize::try_from(start - at).map_err(|_| absent())?;
        if skip > bytes.len() { Err(absent()) } else { Ok(bytes.slice(skip..)) }
    }
}

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Sparse {
    type T = buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.at(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.at(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} were not read")));
        }
        Ok(bytes.slice(..length))
    }
}
