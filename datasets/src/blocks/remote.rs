//! A file in a bucket, read by ranges. What was fetched once lies in a temporary file, at its own place, and is not
//! fetched again.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use forewarn_storage::Store;
use forewarn_tsdb::{ReadAt, ReadError};
use tokio::runtime::Handle;

/// What is fetched is rounded to multiples of this.
const PAGE: u64 = 512;
/// The most that one request asks for.
const MAX_FETCH: u64 = 8 << 20;
/// What reading on from where the last read ended fetches at least.
const READ_AHEAD: u64 = 64 << 10;

pub(super) struct RemoteFile {
    store: Store,
    handle: Handle,
    key: String,
    size: u64,
    /// The least that a read fetches.
    least: u64,
    state: Mutex<State>,
}

struct State {
    copy: File,
    /// One bit a page: whether the copy has it.
    have: Vec<u64>,
    /// Where the last read ended.
    end: u64,
}

impl RemoteFile {
    pub(super) fn new(store: Store, handle: Handle, key: String, size: u64, least: u64) -> io::Result<Self> {
        let pages = usize::try_from(size.div_ceil(PAGE).div_ceil(64)).unwrap_or(usize::MAX);
        // A segment of 512 MiB has 128 KiB of bits; what claims to be larger than a terabyte is no index.
        if size > 1 << 40 {
            return Err(io::Error::other(format!("it must be at most a terabyte, got {size} bytes")));
        }
        let state = State { copy: tempfile::tempfile()?, have: vec![0; pages], end: 0 };
        Ok(Self { store, handle, key, size, least, state: Mutex::new(state) })
    }

    /// Fetches what is not there yet of `range`.
    pub(super) fn fetch(&self, range: Range<u64>) -> Result<(), ReadError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.fetch_into(&mut state, range)
    }

    fn fetch_into(&self, state: &mut State, range: Range<u64>) -> Result<(), ReadError> {
        let (mut page, last) = (range.start / PAGE, range.end.min(self.size).div_ceil(PAGE));
        while page < last {
            if state.has(page) {
                page += 1;
                continue;
            }
            let start = page;
            while page < last && !state.has(page) && (page - start) * PAGE < MAX_FETCH {
                page += 1;
            }
            let bytes = start * PAGE..(page * PAGE).min(self.size);
            let got = self.get(bytes.clone())?;
            state.copy.write_all_at(&got, bytes.start).map_err(|e| self.failed(&bytes, Box::new(e)))?;
            (start..page).for_each(|page| state.keep(page));
        }
        Ok(())
    }

    fn get(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        match self.handle.block_on(self.store.get_range(&self.key, range.clone())) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(ReadError::NotFound { name: self.key.clone() }),
            Err(e) => Err(self.failed(&range, Box::new(e))),
        }
    }

    fn failed(&self, range: &Range<u64>, source: Box<dyn std::error::Error + Send + Sync>) -> ReadError {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        ReadError::Failed { name: self.key.clone(), offset: range.start, len, source }
    }
}

impl State {
    fn has(&self, page: u64) -> bool {
        self.have.get((page / 64) as usize).is_some_and(|word| word & (1 << (page % 64)) != 0)
    }

    fn keep(&mut self, page: u64) {
        if let Some(word) = self.have.get_mut((page / 64) as usize) {
            *word |= 1 << (page % 64);
        }
    }
}

impl ReadAt for RemoteFile {
    fn name(&self) -> &str {
        &self.key
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.size);
        let Some(end) = end else {
            return Err(ReadError::OutOfRange { name: self.key.clone(), offset, len, size: self.size });
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = (offset / PAGE..end.div_ceil(PAGE)).any(|page| !state.has(page));
        if missing {
            let reads_on = state.end == offset && offset > 0 && self.least > 1;
            let least = if reads_on { READ_AHEAD.max(self.least) } else { self.least };
            self.fetch_into(&mut state, offset..end.max(offset.saturating_add(least)))?;
        }
        state.end = end;
        let mut bytes = vec![0; len];
        state.copy.read_exact_at(&mut bytes, offset).map_err(|e| self.failed(&(offset..end), Box::new(e)))?;
        Ok(bytes.into())
    }
}

/// What to fetch at once of `wanted`, which is sorted by start: neighbours are joined, nearest first, as long as the bytes
/// between them are no more than a quarter of what is wanted, and no single hole is above half a megabyte.
pub(super) fn coalesce(wanted: Vec<Range<u64>>) -> Vec<Range<u64>> {
    const MAX_HOLE: u64 = 512 << 10;
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(wanted.len());
    for range in wanted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    let bytes: u64 = merged.iter().map(|r| r.end - r.start).sum();
    let mut holes: Vec<u64> = merged.windows(2).map(|pair| pair[1].start - pair[0].end).collect();
    holes.sort_unstable();
    let mut spent = 0_u64;
    // The widest hole that is bridged; all narrower ones are.
    let widest = holes.into_iter().take_while(|hole| {
        spent = spent.saturating_add(*hole);
        spent <= bytes / 4 && *hole <= MAX_HOLE
    });
    let widest = widest.last().unwrap_or(0);
    let mut joined: Vec<Range<u64>> = Vec::new();
    let mut budget = bytes / 4;
    for range in merged {
        match joined.last_mut() {
            Some(last) if range.start - last.end <= widest.min(budget) => {
                budget -= range.start - last.end;
                last.end = range.end;
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_neighbours_are_fetched_together_and_far_ones_are_not() {
        let ranges = vec![0..1000, 900..2000, 2100..3000, 90_000..91_000, 91_200..92_000];
        assert_eq!(coalesce(ranges), [0..3000, 90_000..92_000]);
        assert_eq!(coalesce(vec![]), Vec::<Range<u64>>::new());
        let sparse: Vec<Range<u64>> = (0..100).map(|i| i * 10_000..i * 10_000 + 100).collect();
        assert_eq!(coalesce(sparse.clone()), sparse);
    }
}
