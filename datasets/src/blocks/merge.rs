//! All blocks of a plan as one stream of series, sorted by labels: the heads of the blocks in a heap, one label set at a
//! time decoded from all that have it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use forewarn_schema::{LabelMatcher, LabelSet, TimeRange};
use forewarn_tsdb::ChunkReader;

use super::decode::{Counts, Decoded, PartError, Piece, decode, merge};
use super::open::OpenBlock;
use super::replicas::{Choices, choose};
use super::series::{BlockSeries, Known};
use crate::{Aggregate, RawSeries};

/// An open block and the times that are taken from it.
pub(super) struct OpenPart {
    pub(super) block: Arc<OpenBlock>,
    pub(super) ranges: Vec<TimeRange>,
}

/// What a merge has seen, for the record.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) counts: Counts,
    pub(super) choices: Choices,
    /// Series with a label that an external one overwrote.
    pub(super) clashes: u64,
}

struct Reading {
    part: OpenPart,
    series: BlockSeries,
    chunks: ChunkReader,
}

/// The next series of a part. Ordered so that the smallest labels come out of the heap first, then the earliest part.
struct Head {
    known: Known,
    part: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        (&other.known.labels, other.part).cmp(&(&self.known.labels, self.part))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

pub(super) struct Merge {
    reading: Vec<Reading>,
    heads: BinaryHeap<Head>,
    pub(super) record: Record,
}

impl Merge {
    pub(super) fn new(parts: Vec<OpenPart>, selectors: &[Vec<LabelMatcher>]) -> Result<Self, PartError> {
        let mut this = Self { reading: Vec::new(), heads: BinaryHeap::new(), record: Record::default() };
        for (i, part) in parts.into_iter().enumerate() {
            let series = BlockSeries::new(Arc::clone(&part.block), selectors).map_err(|e| (i, e))?;
            let chunks = part.block.chunk_reader();
            this.reading.push(Reading { part, series, chunks });
            this.advance(i)?;
        }
        Ok(this)
    }

    fn advance(&mut self, part: usize) -> Result<(), PartError> {
        let Some(reading) = self.reading.get_mut(part) else { return Ok(()) };
        if let Some(known) = reading.series.next().map_err(|e| (part, e))? {
            self.heads.push(Head { known, part });
        }
        Ok(())
    }

    /// Every head with the smallest labels; nothing at the end.
    fn same_labels(&mut self) -> Result<Vec<Head>, PartError> {
        let Some(first) = self.heads.pop() else { return Ok(Vec::new()) };
        self.advance(first.part)?;
        let mut same = vec![first];
        while let (Some(next), Some(first)) = (self.heads.peek(), same.first()) {
            if next.known.labels != first.known.labels {
                break;
            }
            let Some(next) = self.heads.pop() else { break };
            self.advance(next.part)?;
            same.push(next);
        }
        Ok(same)
    }

    /// Only the labels, sorted, of series that have a chunk in the times wanted.
    pub(super) fn next_labels(&mut self) -> Result<Option<LabelSet>, PartError> {
        loop {
            let same = self.same_labels()?;
            let Some(first) = same.first() else { return Ok(None) };
            let wanted =
                same.iter().any(|head| {
                    let ranges = self.reading.get(head.part).map_or(&[][..], |r| &r.part.ranges);
                    head.known.series.chunks.iter().any(|chunk| {
                        ranges.iter().any(|r| chunk.start < r.end.millis() && chunk.end >= r.start.millis())
                    })
                });
            if wanted {
                return Ok(Some(first.known.labels.clone()));
            }
        }
    }

    /// The samples of the next label set: one series for each aggregate. Empty where it has none in the times wanted;
    /// `None` at the end.
    pub(super) fn next_series(&mut self) -> Result<Option<Vec<RawSeries>>, PartError> {
        let same = self.same_labels()?;
        let Some(labels) = same.first().map(|head| head.known.labels.clone()) else { return Ok(None) };
        let mut by_replica: BTreeMap<LabelSet, Vec<Head>> = BTreeMap::new();
        for head in same {
            let Some(reading) = self.reading.get(head.part) else { continue };
            by_replica.entry(reading.part.block.found.replica.clone()).or_default().push(head);
        }
        let mut replicas = Vec::with_capacity(by_replica.len());
        for (replica, heads) in by_replica {
            let decoded = self.decode(heads)?;
            if !decoded.is_empty() {
                replicas.push((replica, decoded));
            }
        }
        let chosen = match replicas.pop() {
            Some((replica, samples)) if replicas.is_empty() && replica.is_empty() => samples,
            Some(last) => {
                replicas.push(last);
                choose(replicas, &mut self.record.choices)
            }
            None => BTreeMap::new(),
        };
        let series = |(aggregate, decoded): (Aggregate, Decoded)| RawSeries {
            labels: labels.clone(),
            aggregate,
            samples: decoded.samples,
            histograms: decoded.histograms,
        };
        Ok(Some(chosen.into_iter().map(series).collect()))
    }

    fn decode(&mut self, heads: Vec<Head>) -> Result<BTreeMap<Aggregate, Decoded>, PartError> {
        let mut by_part: BTreeMap<usize, Vec<Head>> = BTreeMap::new();
        for head in heads {
            by_part.entry(head.part).or_default().push(head);
        }
        let mut decoded: BTreeMap<Aggregate, Decoded> = BTreeMap::new();
        // A block has a label set once, unless external labels have made one of two of its series: then once more.
        while !by_part.is_empty() {
            let mut pieces = Vec::with_capacity(by_part.len());
            for (part, reading) in self.reading.iter_mut().enumerate() {
                let Some(head) = by_part.get_mut(&part).and_then(Vec::pop) else { continue };
                let (block, ranges) = (reading.part.block.as_ref(), reading.part.ranges.as_slice());
                pieces.push(Piece { part, block, chunks: &mut reading.chunks, ranges, series: head.known.series });
            }
            by_part.retain(|_, heads| !heads.is_empty());
            let counts = &mut self.record.counts;
            for (aggregate, more) in decode(&mut pieces, counts)? {
                let known = decoded.entry(aggregate).or_default();
                *known = merge(vec![std::mem::take(known), more], counts);
            }
        }
        Ok(decoded)
    }

    /// The record, once all has been read.
    pub(super) fn finish(mut self) -> Record {
        self.record.clashes = self.reading.iter().map(|r| r.series.clashes).sum();
        self.record
    }
}
