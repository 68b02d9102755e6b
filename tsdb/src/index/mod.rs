//! The index of a block: which series there are, which of them have a label, and where their chunks lie.
//!
//! Opened, it keeps symbols and the table of postings, or one in 32 of their entries where they are large; postings and
//! series are read when they are asked for.

pub(crate) mod matching;
mod postings;
mod section;
pub(crate) mod series;
mod symbols;
pub(crate) mod toc;

use std::fmt;
use std::sync::Arc;

use forewarn_schema::LabelMatcher;
use roaring::RoaringBitmap;

use crate::{BlockError, ReadAt};
use matching::Matcher;
use postings::PostingsTable;
use series::SeriesIter;
use symbols::Symbols;
use toc::{TOC_LEN, Toc};

const MAGIC: [u8; 4] = [0xba, 0xaa, 0xd7, 0x00];
const KNOWN: &str = "1, 2 and 3";

/// What postings and tombstones call a series: its place in the index, in units of 16 bytes (of one byte in version 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u32);

/// Some of an index' series. Sorted by reference, which is the order of their labels; it takes 2 bytes a series at most
/// times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesSet(RoaringBitmap);

impl SeriesSet {
    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the series is one of them.
    pub fn contains(&self, series: SeriesRef) -> bool {
        self.0.contains(series.0)
    }

    /// Their references, rising.
    pub fn iter(&self) -> impl Iterator<Item = SeriesRef> {
        self.0.iter().map(SeriesRef)
    }
}

/// What an index may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexOptions {
    /// Symbols and the table of postings are each kept whole up to this many bytes (symbols take 4 bytes more each).
    /// Of larger ones, one entry in 32 is kept and the others are read again when they are needed.
    pub section_in_memory: u64,
}

impl Default for IndexOptions {
    /// 16 MiB.
    fn default() -> Self {
        Self { section_in_memory: 16 << 20 }
    }
}

/// An open index.
pub struct Index {
    file: Arc<dyn ReadAt>,
    version: u8,
    toc: Toc,
    symbols: Symbols,
    postings: PostingsTable,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("file", &self.file.name()).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Index {
    /// Opens it: reads the table of contents, the symbols and the table of postings once, and checks them.
    pub fn open(file: Arc<dyn ReadAt>) -> Result<Self, BlockError> {
        Self::open_with(file, IndexOptions::default())
    }

    /// The same with other bounds on memory.
    pub fn open_with(file: Arc<dyn ReadAt>, options: IndexOptions) -> Result<Self, BlockError> {
        let size = file.size();
        if size < (5 + TOC_LEN) as u64 {
            let what = format!("at least {} bytes of index wanted, got {size}", 5 + TOC_LEN);
            return Err(BlockError::corrupt(file.name(), 0, what));
        }
        let toc_bytes = file.read_at(size - TOC_LEN as u64, TOC_LEN)?;
        let header = file.read_at(0, 5)?;
        let (Some(toc_bytes), Some([a, b, c, d, version])) = (toc_bytes.first_chunk(), header.first_chunk()) else {
            return Err(BlockError::corrupt(file.name(), 0, "a header and a table of contents wanted"));
        };
        if [*a, *b, *c, *d] != MAGIC {
            return Err(BlockError::corrupt(file.name(), 0, "the magic number of an index wanted, got another one"));
        }
        let version = *version;
        if !(1..=3).contains(&version) {
            return Err(BlockError::Version { file: file.name().to_owned(), got: u64::from(version), known: KNOWN });
        }
        let toc = Toc::parse(file.name(), size, toc_bytes)?;
        let kept = options.section_in_memory;
        let symbols = match toc.symbols {
            0 => Symbols::empty(&file),
            offset => Symbols::open(&file, offset, version == 1, kept)?,
        };
        let postings = match toc.postings_table {
            0 => PostingsTable::empty(&file),
            offset => PostingsTable::open(&file, offset, version != 1, kept)?,
        };
        Ok(Self { file, version, toc, symbols, postings })
    }

    /// 1, 2 or 3.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Where its parts are.
    pub fn toc(&self) -> &Toc {
        &self.toc
    }

    /// Every label name, sorted.
    pub fn label_names(&self) -> Vec<String> {
        self.postings.names().map(str::to_owned).collect()
    }

    /// Calls `visit` with every value of the label, sorted; never where no series has it.
    pub fn for_each_label_value(&self, name: &str, mut visit: impl FnMut(&str)) -> Result<(), BlockError> {
        self.postings.for_each(name, |value, _| visit(value))
    }

    /// Every series.
    pub fn all(&self) -> Result<SeriesSet, BlockError> {
        let list = self.postings.all().into_iter().collect();
        Ok(SeriesSet(postings::read_lists(self.file.as_ref(), list)?))
    }

    /// The series that any of the selectors selects; all conditions of a selector must hold. A selector without
    /// conditions selects every series, no selectors select none.
    pub fn select(&self, selectors: &[Vec<LabelMatcher>]) -> Result<SeriesSet, BlockError> {
        let mut selected = RoaringBitmap::new();
        for selector in selectors {
            let matchers: Vec<Matcher> = selector.iter().map(Matcher::new).collect::<Result<_, _>>()?;
            selected |= self.select_one(&matchers)?;
        }
        Ok(SeriesSet(selected))
    }

    fn select_one(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, BlockError> {
        // Those that an absent label fails name their series; the others only say which to leave out.
        let (mut wanting, leaving): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| !m.accepts(""));
        // Equality first: its list is the shortest, and where it is empty the others need not be read.
        wanting.sort_by_key(|m| (m.is_negated(), m.listed().map_or(usize::MAX, <[String]>::len)));
        let mut selected: Option<RoaringBitmap> = None;
        for matcher in wanting {
            let having = self.having(matcher, true)?;
            let both = match selected {
                Some(selected) => selected & having,
                None => having,
            };
            if both.is_empty() {
                return Ok(both);
            }
            selected = Some(both);
        }
        let mut selected = match selected {
            Some(selected) => selected,
            None => self.all()?.0,
        };
        for matcher in leaving {
            selected -= self.having(matcher, false)?;
        }
        Ok(selected)
    }

    /// The series that have the label with a value that the matcher accepts, or with one that it does not.
    fn having(&self, matcher: &Matcher, accepted: bool) -> Result<RoaringBitmap, BlockError> {
        let mut lists = Vec::new();
        let meant = accepted != matcher.is_negated();
        match matcher.listed().filter(|_| meant) {
            Some(values) => {
                for value in values {
                    lists.extend(self.postings.find(matcher.name(), value)?);
                }
            }
            None => self.postings.for_each(matcher.name(), |value, list| {
                if matcher.is_meant(value) == meant {
                    lists.push(list);
                }
            })?,
        }
        postings::read_lists(self.file.as_ref(), lists)
    }

    /// Reads the series of `set`, in the order of their labels. An entry that cannot be read is an error in its place;
    /// the next call goes on with the next.
    pub fn series(self: &Arc<Self>, set: SeriesSet) -> SeriesIter {
        SeriesIter::new(self.clone(), set)
    }

    fn series_offset(&self, reference: u32) -> u64 {
        let unit = if self.version == 1 { 1 } else { 16 };
        u64::from(reference) * unit
    }
}
