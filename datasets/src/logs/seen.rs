//! Which records were counted lately, so that one that is uploaded twice is counted once. Fluent Bit uploads at least
//! once: after a crash or a lost answer the same records come again, in another object, mostly within minutes.
//!
//! A record is known by the first 64 bits of the SHA-256 of its line. What is remembered is bounded: by when the objects
//! were written, and by how many records there are. Both rules look at one object after the other, so that what is
//! remembered does not depend on how many were read in one run.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"FWSEEN1\n";
/// A larger file is not read.
pub(crate) const MAX_BYTES: u64 = 512 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Seen {
    window_ms: i64,
    max_records: usize,
    /// When the newest object was written.
    newest_ms: i64,
    /// In the order of reading.
    objects: VecDeque<SeenObject>,
    known: HashSet<u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct SeenObject {
    number: u64,
    written_ms: i64,
    /// Sorted once the object is read to its end.
    records: Vec<u64>,
}

impl Seen {
    pub(crate) fn new(window: Duration, max_records: usize) -> Self {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let (objects, known) = (VecDeque::new(), HashSet::new());
        Self { window_ms, max_records, newest_ms: i64::MIN, objects, known }
    }

    /// The records that follow are of this object; forgets what is too old for it.
    pub(crate) fn begin(&mut self, number: u64, written_ms: i64) {
        self.newest_ms = self.newest_ms.max(written_ms);
        let oldest = self.newest_ms.saturating_sub(self.window_ms);
        let known = &mut self.known;
        self.objects.retain(|object| {
            let stays = object.written_ms >= oldest && !object.records.is_empty();
            if !stays {
                forget(known, &object.records);
            }
            stays
        });
        self.objects.push_back(SeenObject { number, written_ms, records: Vec::new() });
    }

    /// Whether the line is counted for the first time; remembers it. Always, where the window is nothing.
    pub(crate) fn is_new(&mut self, line: &[u8]) -> bool {
        if self.window_ms == 0 {
            return true;
        }
        let record = digest(line);
        if self.known.contains(&record) {
            return false;
        }
        if let Some(object) = self.objects.back_mut()
            && object.records.len() < self.max_records
        {
            object.records.push(record);
            self.known.insert(record);
        }
        true
    }

    /// The object is read; forgets what is too much, the oldest first.
    pub(crate) fn end(&mut self) {
        if let Some(object) = self.objects.back_mut() {
            object.records.sort_unstable();
        }
        while self.known.len() > self.max_records
            && let Some(oldest) = self.objects.pop_front()
        {
            forget(&mut self.known, &oldest.records);
        }
    }

    /// Takes back what an object had.
    pub(crate) fn take_back(&mut self, number: u64) {
        let known = &mut self.known;
        self.objects.retain(|object| {
            let stays = object.number != number;
            if !stays {
                forget(known, &object.records);
            }
            stays
        });
    }

    /// The file's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.objects.len() * 20 + self.known.len() * 8);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.newest_ms.to_le_bytes());
        for object in &self.objects {
            // An object has at most `max_records`, and a file with more than four billion is too large anyway.
            let count = u32::try_from(object.records.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&object.number.to_le_bytes());
            bytes.extend_from_slice(&object.written_ms.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
            object.records.iter().for_each(|record| bytes.extend_from_slice(&record.to_le_bytes()));
        }
        bytes
    }

    /// What the file remembers, or what is wrong with it.
    pub(crate) fn from_bytes(bytes: &[u8], window: Duration, max_records: usize) -> Result<Self, String> {
        let mut seen = Self::new(window, max_records);
        let mut rest = bytes.strip_prefix(MAGIC).ok_or("it must begin with FWSEEN1")?;
        seen.newest_ms = i64::from_le_bytes(take(&mut rest)?);
        while !rest.is_empty() {
            let number = u64::from_le_bytes(take(&mut rest)?);
            let written_ms = i64::from_le_bytes(take(&mut rest)?);
            let count = u32::from_le_bytes(take(&mut rest)?) as usize;
            let (of_object, after) =
                count.checked_mul(8).and_then(|length| rest.split_at_checked(length)).ok_or("it ends too early")?;
            rest = after;
            let records: Vec<u64> =
                of_object.chunks_exact(8).filter_map(|c| c.try_into().ok()).map(u64::from_le_bytes).collect();
            if !records.is_sorted_by(|a, b| a < b) {
                return Err("the records of an object must be sorted, none twice".to_owned());
            }
            if !records.iter().all(|record| seen.known.insert(*record)) {
                return Err("a record must be in one object only".to_owned());
            }
            seen.objects.push_back(SeenObject { number, written_ms, records });
        }
        Ok(seen)
    }
}

fn forget(known: &mut HashSet<u64>, records: &[u64]) {
    for record in records {
        known.remove(record);
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (first, after) = rest.split_first_chunk().ok_or("it ends too early")?;
    *rest = after;
    Ok(*first)
}

fn digest(line: &[u8]) -> u64 {
    let digest = Sha256::digest(line);
    digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    fn seen(max_records: usize) -> Seen {
        Seen::new(Duration::from_secs(3600), max_records)
    }

    /// How many of the lines are new.
    fn read(seen: &mut Seen, number: u64, written_ms: i64, lines: &[&str]) -> usize {
        seen.begin(number, written_ms);
        let new = lines.iter().filter(|line| seen.is_new(line.as_bytes())).count();
        seen.end();
        new
    }

    #[test]
    fn a_record_is_new_once_within_the_window() {
        let mut seen = seen(100);
        assert_eq!(read(&mut seen, 0, 0, &["a", "b", "a"]), 2);
        assert_eq!(read(&mut seen, 1, HOUR, &["b", "c"]), 1);
        assert_eq!(read(&mut seen, 2, HOUR + 1, &["b"]), 1, "the first object is too old");
        assert_eq!(read(&mut seen, 3, HOUR + 2, &["b", "c"]), 0);
        assert_eq!(read(&mut Seen::new(Duration::ZERO, 100), 0, 0, &["a", "a"]), 2);
    }

    #[test]
    fn what_is_taken_back_is_new_again() {
        let mut seen = seen(100);
        read(&mut seen, 0, 0, &["a"]);
        read(&mut seen, 1, 0, &["b"]);
        seen.take_back(0);
        assert_eq!(read(&mut seen, 2, 0, &["a", "b"]), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = seen(3);
        read(&mut seen, 0, 0, &["a", "b"]);
        read(&mut seen, 1, 0, &["c", "d"]);
        assert_eq!(seen.known.len(), 2, "the first object went");
        read(&mut seen, 2, 0, &["e", "f", "g", "h", "i"]);
        assert_eq!(seen.known.len(), 3);
    }

    proptest! {
        #[test]
        fn it_reads_back_and_goes_on_the_same(
            objects in proptest::collection::vec((0_i64..4, proptest::collection::vec(0_u8..20, 0..12)), 0..12),
            cut: usize,
        ) {
            let (mut whole, mut parted) = (seen(30), seen(30));
            for (i, (hour, lines)) in objects.iter().enumerate() {
                if i == cut % objects.len() {
                    parted = Seen::from_bytes(&parted.to_bytes(), Duration::from_secs(3600), 30).unwrap();
                }
                let lines: Vec<String> = lines.iter().map(u8::to_string).collect();
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                let number = i as u64;
                prop_assert_eq!(read(&mut whole, number, hour * HOUR, &lines), read(&mut parted, number, hour * HOUR, &lines));
            }
            prop_assert_eq!(whole.to_bytes(), parted.to_bytes());
        }

        #[test]
        fn any_bytes_are_an_error_or_a_memory(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), good: bool) {
            if good {
                bytes.splice(0..0, *MAGIC);
            }
            let _ = Seen::from_bytes(&bytes, Duration::ZERO, 1);
        }
    }
}
