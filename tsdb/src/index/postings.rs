//! Postings: for each label pair the series that have it, as a sorted list; and the table that says where each list is.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::section::{Extent, Kept};
use crate::cursor::{Cursor, Stop};
use crate::{BlockError, ReadAt};

/// One in so many values of a label is remembered; the others are found by walking on.
const STRIDE: usize = 32;

/// The table of postings. In versions 2 and 3 it is sorted, so that a part of it is enough to remember.
pub(super) struct PostingsTable {
    section: Kept,
    names: BTreeMap<String, Name>,
    /// The list of all series.
    all: Option<u64>,
}

enum Name {
    /// Every [`STRIDE`]-th value with the place of its entry, and where the name's entries end.
    Sorted { marks: Vec<(String, u64)>, values: usize, end: u64 },
    /// Every value and its list (version 1).
    Listed(BTreeMap<String, u64>),
}

struct Entry<'a> {
    name: &'a str,
    value: &'a str,
    list: u64,
}

impl PostingsTable {
    /// No series: what an empty index has.
    pub(super) fn empty(file: &Arc<dyn ReadAt>) -> Self {
        Self { section: Kept::absent(file), names: BTreeMap::new(), all: None }
    }

    /// Reads all once, to check it; keeps a copy if it has at most `in_memory` bytes.
    pub(super) fn open(file: &Arc<dyn ReadAt>, offset: u64, sorted: bool, in_memory: u64) -> Result<Self, BlockError> {
        let section = Kept::open(file, offset, in_memory)?;
        let mut table = Self { section: Kept::absent(file), names: BTreeMap::new(), all: None };
        let mut walk = section.walk();
        let count = walk.parse(|c| c.be_u32())?;
        let mut last: Option<(String, String)> = None;
        for _ in 0..count {
            let place = section.place(&walk);
            let step = walk.parse(|cursor| {
                let entry = match Entry::parse(cursor)? {
                    Ok(entry) => entry,
                    Err(what) => return Ok(Err(what)),
                };
                if sorted && last.as_ref().is_some_and(|(n, v)| (n.as_str(), v.as_str()) >= (entry.name, entry.value)) {
                    return Ok(Err("label pairs in order wanted, got one that comes before the last"));
                }
                table.add(&entry, place, sorted);
                remember(&mut last, &entry);
                Ok(Ok(()))
            })?;
            step.map_err(|what| section.corrupt(place, what))?;
        }
        table.end_name(last.as_ref().map(|(name, _)| name.as_str()), section.place(&walk));
        walk.finish()?;
        Ok(Self { section, ..table })
    }

    fn add(&mut self, entry: &Entry<'_>, place: u64, sorted: bool) {
        if entry.name.is_empty() && entry.value.is_empty() {
            self.all = Some(entry.list);
            return;
        }
        if !sorted {
            let name = self.names.entry(entry.name.to_owned()).or_insert_with(|| Name::Listed(BTreeMap::new()));
            if let Name::Listed(values) = name {
                values.insert(entry.value.to_owned(), entry.list);
            }
            return;
        }
        // The table is sorted, so that a new name comes after all others and ends the one before.
        let newest = self.names.last_entry().filter(|last| last.key() == entry.name);
        match newest.map(|last| last.into_mut()) {
            Some(Name::Sorted { marks, values, .. }) => {
                if values.is_multiple_of(STRIDE) {
                    marks.push((entry.value.to_owned(), place));
                }
                *values += 1;
            }
            _ => {
                let before = self.names.last_key_value().map(|(name, _)| name.clone());
                self.end_name(before.as_deref(), place);
                let first = Name::Sorted { marks: vec![(entry.value.to_owned(), place)], values: 1, end: place };
                self.names.insert(entry.name.to_owned(), first);
            }
        }
    }

    fn end_name(&mut self, name: Option<&str>, place: u64) {
        if let Some(Name::Sorted { end, .. }) = name.and_then(|name| self.names.get_mut(name)) {
            *end = place;
        }
    }

    /// Label names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Calls `visit` with each value of the label, sorted, and the place of its list.
    pub(super) fn for_each(&self, name: &str, mut visit: impl FnMut(&str, u64)) -> Result<(), BlockError> {
        match self.names.get(name) {
            None => Ok(()),
            Some(Name::Listed(values)) => {
                values.iter().for_each(|(value, list)| visit(value, *list));
                Ok(())
            }
            Some(Name::Sorted { marks, end, .. }) => match marks.first() {
                Some((_, first)) => self.walk(*first, *end, |value, list| {
                    visit(value, list);
                    true
                }),
                None => Ok(()),
            },
        }
    }

    /// The place of the list of one label pair.
    pub(super) fn find(&self, name: &str, value: &str) -> Result<Option<u64>, BlockError> {
        match self.names.get(name) {
            None => Ok(None),
            Some(Name::Listed(values)) => Ok(values.get(value).copied()),
            Some(Name::Sorted { marks, end, .. }) => {
                let after = marks.partition_point(|(mark, _)| mark.as_str() <= value);
                let Some((_, start)) = after.checked_sub(1).and_then(|mark| marks.get(mark)) else { return Ok(None) };
                let end = marks.get(after).map_or(*end, |(_, next)| *next);
                let mut found = None;
                self.walk(*start, end, |each, list| {
                    if each == value {
                        found = Some(list);
                    }
                    each < value
                })?;
                Ok(found)
            }
        }
    }

    /// The place of the list of all series.
    pub(super) fn all(&self) -> Option<u64> {
        self.all
    }

    /// Visits entries from `start` to `end` until `visit` says to stop.
    fn walk(&self, start: u64, end: u64, mut visit: impl FnMut(&str, u64) -> bool) -> Result<(), BlockError> {
        let mut walk = self.section.walk_part(start, end);
        let mut go_on = true;
        while go_on && !walk.is_done() {
            let place = self.section.place(&walk);
            let step =
                walk.parse(|cursor| Ok(Entry::parse(cursor)?.map(|entry| go_on = visit(entry.value, entry.list))))?;
            step.map_err(|what| self.section.corrupt(place, what))?;
        }
        Ok(())
    }
}

impl<'a> Entry<'a> {
    /// The number 2 (of strings), name, value, place of the list.
    fn parse(cursor: &mut Cursor<'a>) -> Result<Result<Self, &'static str>, Stop> {
        if cursor.byte()? != 2 {
            return Ok(Err("a pair of two strings wanted, got another number of them"));
        }
        let (name, value, list) = (cursor.string()?, cursor.string()?, cursor.uvarint()?);
        match (std::str::from_utf8(name), std::str::from_utf8(value)) {
            (Ok(name), Ok(value)) => Ok(Ok(Self { name, value, list })),
            _ => Ok(Err("a label pair in UTF-8 wanted, got other bytes")),
        }
    }
}

/// Keeps the entry's strings in memory that was taken before.
fn remember(last: &mut Option<(String, String)>, entry: &Entry<'_>) {
    let (name, value) = last.get_or_insert_default();
    name.clear();
    name.push_str(entry.name);
    value.clear();
    value.push_str(entry.value);
}

/// Reads the lists at `places` into one set, in the order in which they lie. Lists that overlap are damage: reading the
/// same bytes again and again would take a time that the file's size does not bound.
pub(super) fn read_lists(file: &dyn ReadAt, mut places: Vec<u64>) -> Result<RoaringBitmap, BlockError> {
    places.sort_unstable();
    let mut set = RoaringBitmap::new();
    let mut end = 0;
    for place in places {
        if place < end {
            return Err(BlockError::corrupt(file.name(), place, "lists of series that do not overlap wanted"));
        }
        end = read_list(file, place, &mut set)?;
    }
    Ok(set)
}

/// Reads the list at `place`, adds its series to `set`, and says where the list ends.
fn read_list(file: &dyn ReadAt, place: u64, set: &mut RoaringBitmap) -> Result<u64, BlockError> {
    let extent = Extent::read(file, place)?;
    let mut walk = extent.walk(file);
    let count = walk.parse(|c| c.be_u32())?;
    if 4 + 4 * u64::from(count) != extent.len() {
        return Err(walk.corrupt(format!("a list of {count} series in {} bytes wanted", 4 + 4 * u64::from(count))));
    }
    let mut batch = Vec::new();
    let mut last = None;
    while !walk.is_done() {
        batch.clear();
        walk.parse(|cursor| {
            // All that the buffer holds, and one at the least.
            let available = (cursor.rest().len() / 4 * 4).max(4);
            let (references, _) = cursor.bytes(available)?.as_chunks::<4>();
            batch.extend(references.iter().map(|four| u32::from_be_bytes(*four)));
            Ok(())
        })?;
        for reference in &batch {
            if last.is_some_and(|last| last >= *reference) {
                return Err(walk.corrupt("a list of series in order wanted, got one before the last"));
            }
            last = Some(*reference);
        }
        set.extend(batch.iter().copied());
    }
    walk.finish()?;
    Ok(extent.end)
}
