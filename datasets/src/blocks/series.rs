//! The wanted series of one block, in the order of the labels they are known by.
//!
//! An index is sorted by a series' own labels. External labels change that order only where one series' labels are the
//! beginning of another's: `{a}` comes before `{a, b}`, but `{a, c}` after `{a, b, c}`. So a series is held back until
//! those that go on from it have passed, which takes as much memory as there are labels in a series.

use std::sync::Arc;

use forewarn_schema::{LabelMatcher, LabelSet};
use forewarn_tsdb::{BlockError, Series, SeriesIter};

use super::open::{OpenBlock, with_external};

/// A series as it leaves this file: the labels it is known by, and where its chunks are.
pub(super) struct Known {
    pub(super) labels: LabelSet,
    pub(super) series: Series,
}

pub(super) struct BlockSeries {
    block: Arc<OpenBlock>,
    stored: SeriesIter,
    /// The next of the index, already read.
    next: Option<Held>,
    /// Those that wait for the ones that go on from them; each begins with the one before.
    held: Vec<Held>,
    /// All of them, last first, where external labels overwrite labels of series.
    sorted: Option<Vec<Known>>,
    /// Series a label of which was overwritten.
    pub(super) clashes: u64,
}

struct Held {
    known: Known,
    /// Its own labels, by which the index is sorted.
    own: LabelSet,
}

impl BlockSeries {
    pub(super) fn new(block: Arc<OpenBlock>, selectors: &[Vec<LabelMatcher>]) -> Result<Self, BlockError> {
        let selected = block.select(selectors)?;
        let stored = block.index.series(selected);
        let clash = block.has_clash();
        let mut this = Self { block, stored, next: None, held: Vec::new(), sorted: None, clashes: 0 };
        if clash {
            // Then any order is possible. Rare, and such a block's series have to fit into memory.
            let mut all = Vec::new();
            while let Some(one) = this.read()? {
                all.push(one.known);
            }
            all.sort_by(|a, b| b.labels.cmp(&a.labels));
            this.sorted = Some(all);
        } else {
            this.next = this.read()?;
        }
        Ok(this)
    }

    fn read(&mut self) -> Result<Option<Held>, BlockError> {
        let Some(series) = self.stored.next().transpose()? else { return Ok(None) };
        let own = series.labels.clone();
        let (labels, clash) = with_external(series.labels.clone(), &self.block.found.external);
        self.clashes += u64::from(clash);
        Ok(Some(Held { known: Known { labels, series }, own }))
    }

    pub(super) fn next(&mut self) -> Result<Option<Known>, BlockError> {
        if let Some(sorted) = &mut self.sorted {
            return Ok(sorted.pop());
        }
        if self.block.found.external.is_empty() {
            let Some(now) = self.next.take() else { return Ok(None) };
            self.next = self.read()?;
            return Ok(Some(now.known));
        }
        loop {
            let release = match (self.held.last(), &self.next) {
                (Some(_), None) => true,
                (Some(held), Some(next)) => held.known.labels < next.known.labels,
                (None, None) => return Ok(None),
                (None, Some(_)) => false,
            };
            if release {
                return Ok(self.held.pop().map(|held| held.known));
            }
            let Some(now) = self.next.take() else { return Ok(None) };
            self.next = self.read()?;
            let goes_on = self.next.as_ref().is_some_and(|next| begins(&next.own, &now.own));
            if !goes_on {
                return Ok(Some(now.known));
            }
            self.held.push(now);
        }
    }
}

/// Whether `long` begins with all of `short`.
fn begins(long: &LabelSet, short: &LabelSet) -> bool {
    long.len() >= short.len() && long.iter().zip(short.iter()).all(|(a, b)| a == b)
}
