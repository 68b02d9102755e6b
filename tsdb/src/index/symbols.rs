//! Symbols: every label name and value once, which series name by number (by place, in version 1).

use std::sync::Arc;

use super::section::Kept;
use crate::cursor::{Cursor, Stop};
use crate::{BlockError, ReadAt};

/// One in so many symbols is remembered where they are not kept in memory; the others are found by walking on.
const STRIDE: usize = 32;
/// What is read to find one symbol by its place.
const GUESS: u64 = 256;

pub(super) struct Symbols {
    section: Kept,
    /// Where in the section every `stride`-th symbol begins.
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
        let section = Kept::open(file, offset, in_memory)?;
        let stride = if section.is_copy() { 1 } else { STRIDE };
        let mut walk = section.walk();
        let count = walk.parse(|c| c.be_u32())?;
        // Each has a byte at the least.
        if u64::from(count) > section.len() {
            return Err(section.corrupt(0, format!("at most {} symbols wanted, got {count}", section.len())));
        }
        let count = count as usize;
        let mut places = Vec::with_capacity(count.div_ceil(stride));
        for ordinal in 0..count {
            if ordinal % stride == 0 {
                // A section's length has 32 bits, so places in it have too.
                places.push(section.place(&walk) as u32);
            }
            walk.parse(|c| c.string().map(|_| ()))?;
        }
        walk.finish()?;
        Ok(Self { section, places, stride, count, by_place })
    }

    /// No symbols: what an empty index has.
    pub(super) fn empty(file: &Arc<dyn ReadAt>) -> Self {
        Self { section: Kept::absent(file), places: Vec::new(), stride: 1, count: 0, by_place: false }
    }

    /// The symbol that a series names by `reference`.
    pub(super) fn get(&self, reference: u32) -> Result<String, BlockError> {
        let found = if self.by_place {
            self.section.place_of(u64::from(reference)).map(|place| (place, 0))
        } else {
            let ordinal = reference as usize;
            let place = self.places.get(ordinal / self.stride).filter(|_| ordinal < self.count);
            place.map(|place| (u64::from(*place), ordinal % self.stride))
        };
        match found {
            Some((place, skip)) => self.at(place, skip),
            None => {
                let what = format!("a reference to one of {} symbols wanted, got {reference}", self.count);
                Err(self.section.corrupt(0, what))
            }
        }
    }

    /// The symbol `skip` symbols after the one at `place`.
    fn at(&self, place: u64, skip: usize) -> Result<String, BlockError> {
        let left = self.section.len() - place;
        let mut len = if self.section.is_copy() { left } else { GUESS.min(left) };
        loop {
            let bytes = self.section.read(place, len)?;
            match nth_string(&bytes, skip).map(std::str::from_utf8) {
                Ok(Ok(symbol)) => return Ok(symbol.to_owned()),
                Ok(Err(_)) => return Err(self.section.corrupt(place, "a symbol in UTF-8 wanted, got other bytes")),
                Err(Stop::End) if len < left => len = (len * 4).min(left),
                Err(_) => return Err(self.section.corrupt(place, "a symbol that ends in its section wanted")),
            }
        }
    }
}

/// The string after `skip` others.
fn nth_string(bytes: &[u8], skip: usize) -> Result<&[u8], Stop> {
    let mut cursor = Cursor::new(bytes);
    for _ in 0..skip {
        cursor.string()?;
    }
    cursor.string()
}
