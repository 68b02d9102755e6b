//! Symbols: every label name and value once, which series name by number (by place, in version 1).

use std::sync::Arc;

use bytes::Bytes;

use super::section::Extent;
use crate::cursor::{Cursor, Stop};
use crate::{BlockError, ReadAt};

/// One in so many symbols is remembered where they are not kept in memory; the others are found by walking on.
const STRIDE: usize = 32;
/// What is read to find one symbol by its place.
const GUESS: u64 = 256;

pub(super) struct Symbols {
    file: Arc<dyn ReadAt>,
    extent: Extent,
    /// The whole content, where it is small enough.
    content: Option<Bytes>,
    /// Where in the content every `stride`-th symbol begins.
    places: Vec<u32>,
    stride: usize,
    count: usize,
    /// Version 1 names symbols by their place in the file.
    by_place: bool,
}

impl Symbols {
    /// Reads all once, to check them; keeps them if they have at most `in_memory` bytes.
    pub(super) fn open(
        file: &Arc<dyn ReadAt>,
        offset: u64,
        by_place: bool,
        in_memory: u64,
    ) -> Result<Self, BlockError> {
        let extent = Extent::read(file.as_ref(), offset)?;
        let keep = extent.len() <= in_memory;
        let content = if keep { Some(file.read_at(extent.start, extent.len() as usize)?) } else { None };
        let stride = if keep { 1 } else { STRIDE };
        let mut walk = extent.walk(file.as_ref());
        let count = walk.parse(|c| c.be_u32())?;
        // Each has a byte at the least.
        if u64::from(count) > extent.len() {
            return Err(walk.corrupt(format!("at most {} symbols wanted, got {count}", extent.len())));
        }
        let count = count as usize;
        let mut places = Vec::with_capacity(count.div_ceil(stride));
        for ordinal in 0..count {
            if ordinal % stride == 0 {
                // A section's length has 32 bits, so places in it have too.
                places.push((walk.position() - extent.start) as u32);
            }
            walk.parse(|c| c.string().map(|_| ()))?;
        }
        walk.finish()?;
        Ok(Self { file: file.clone(), extent, content, places, stride, count, by_place })
    }

    /// No symbols: what an empty index has.
    pub(super) fn empty(file: &Arc<dyn ReadAt>) -> Self {
        let extent = Extent { start: 0, end: 0 };
        Self { file: file.clone(), extent, content: None, places: Vec::new(), stride: 1, count: 0, by_place: false }
    }

    /// The symbol that a series names by `reference`.
    pub(super) fn get(&self, reference: u32) -> Result<String, BlockError> {
        if self.by_place {
            let place = u64::from(reference).checked_sub(self.extent.start).filter(|p| *p < self.extent.len());
            return self.at(place.ok_or_else(|| self.unknown(reference))?, 0);
        }
        let ordinal = reference as usize;
        match self.places.get(ordinal / self.stride).filter(|_| ordinal < self.count) {
            Some(place) => self.at(u64::from(*place), ordinal % self.stride),
            None => Err(self.unknown(reference)),
        }
    }

    fn unknown(&self, reference: u32) -> BlockError {
        let what = format!("a reference to one of {} symbols wanted, got {reference}", self.count);
        BlockError::corrupt(self.file.name(), self.extent.start, what)
    }

    /// The symbol `skip` symbols after the one at `place` in the content.
    fn at(&self, place: u64, skip: usize) -> Result<String, BlockError> {
        let left = self.extent.len() - place;
        if let Some(content) = &self.content {
            return self.parse(&content[place as usize..], place, skip)?.map_or_else(|_| Err(self.cut_off(place)), Ok);
        }
        let mut len = GUESS.min(left);
        loop {
            let bytes = self.file.read_at(self.extent.start + place, len as usize)?;
            match self.parse(&bytes, place, skip)? {
                Ok(symbol) => return Ok(symbol),
                Err(Stop::End) if len < left => len = (len * 4).min(left),
                Err(_) => return Err(self.cut_off(place)),
            }
        }
    }

    fn parse(&self, bytes: &[u8], place: u64, skip: usize) -> Result<Result<String, Stop>, BlockError> {
        let mut cursor = Cursor::new(bytes);
        for _ in 0..skip {
            if let Err(stop) = cursor.string() {
                return Ok(Err(stop));
            }
        }
        match cursor.string().map(std::str::from_utf8) {
            Ok(Ok(symbol)) => Ok(Ok(symbol.to_owned())),
            Ok(Err(_)) => {
                let at = self.extent.start + place;
                Err(BlockError::corrupt(self.file.name(), at, "a symbol in UTF-8 wanted, got other bytes"))
            }
            Err(stop) => Ok(Err(stop)),
        }
    }

    fn cut_off(&self, place: u64) -> BlockError {
        BlockError::corrupt(self.file.name(), self.extent.start + place, "a symbol that ends in its section wanted")
    }
}
