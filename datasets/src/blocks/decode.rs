//! The samples of one label set from the blocks that have it: decoded, what was deleted taken out, overlaps merged.

use std::collections::BTreeMap;

use forewarn_schema::{HistogramSample, Sample, TimeRange, Timestamp, is_stale};
use forewarn_tsdb::{AggregateSlot, BlockError, Chunk, ChunkMeta, ChunkReader, CounterFold, Interval, Samples, Series};

use super::open::OpenBlock;
use crate::Aggregate;

/// One block's part in a label set.
pub(super) struct Piece<'a> {
    /// Which of the plan's parts it is.
    pub(super) part: usize,
    pub(super) block: &'a OpenBlock,
    pub(super) chunks: &'a mut ChunkReader,
    /// The times that are taken from it.
    pub(super) ranges: &'a [TimeRange],
    pub(super) series: Series,
}

/// An error in one of the plan's parts, by its index.
pub(super) type PartError = (usize, BlockError);

/// What was left out or not unambiguous.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Times at which two blocks have different samples; the first that is not stale was taken.
    pub(super) conflicts: u64,
    /// Chunks left out: why → how many.
    pub(super) skipped: BTreeMap<String, u64>,
}

/// Decoded samples, sorted by time, no time twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Decoded {
    pub(super) samples: Vec<Sample>,
    pub(super) histograms: Vec<HistogramSample>,
}

impl Decoded {
    pub(super) fn len(&self) -> usize {
        self.samples.len() + self.histograms.len()
    }
}

/// The raw samples, or the aggregates where they come from downsampled blocks.
pub(super) fn decode(pieces: &mut [Piece<'_>], counts: &mut Counts) -> Result<BTreeMap<Aggregate, Decoded>, PartError> {
    let mut decoded: BTreeMap<Aggregate, Decoded> = BTreeMap::new();
    let is_raw = |piece: &Piece<'_>| piece.block.found.meta.resolution_ms() == 0;
    if pieces.iter().any(is_raw) {
        decoded.insert(Aggregate::Raw, raw(pieces, counts)?);
    }
    for piece in pieces.iter_mut().filter(|piece| !is_raw(piece)) {
        for (aggregate, more) in downsampled(piece, counts)? {
            let known = decoded.entry(aggregate).or_default();
            *known = merge(vec![std::mem::take(known), more], counts);
        }
    }
    decoded.retain(|_, samples| samples.len() > 0);
    Ok(decoded)
}

/// Chunks by time; those that overlap each other are decoded apart and merged.
fn raw(pieces: &mut [Piece<'_>], counts: &mut Counts) -> Result<Decoded, PartError> {
    let mut chunks: Vec<(ChunkMeta, usize)> = Vec::new();
    for (i, piece) in pieces.iter_mut().enumerate() {
        if piece.block.found.meta.resolution_ms() > 0 {
            continue;
        }
        let wanted = wanted(&piece.series.chunks, piece.ranges);
        piece.chunks.prefetch(&wanted).map_err(|e| (piece.part, e))?;
        chunks.extend(wanted.into_iter().map(|chunk| (chunk, i)));
    }
    chunks.sort_by_key(|(chunk, i)| (chunk.start, *i));
    let mut out = Decoded::default();
    let mut buffer = Samples::default();
    let mut rest = chunks.as_slice();
    while let Some((first, _)) = rest.first() {
        let mut end = first.end;
        let overlapping = rest.iter().take_while(|(chunk, _)| {
            let overlaps = chunk.start <= end;
            end = end.max(chunk.end);
            overlaps
        });
        let (now, later) = rest.split_at(overlapping.count().max(1));
        rest = later;
        let mut parts = Vec::with_capacity(now.len());
        // Of the same time, the sample of the block that comes first wins, not that of the chunk that starts first.
        let mut in_order: Vec<&(ChunkMeta, usize)> = now.iter().collect();
        in_order.sort_by_key(|(chunk, i)| (*i, chunk.start));
        for (meta, i) in in_order {
            let Some(piece) = pieces.get_mut(*i) else { continue };
            let chunk = piece.chunks.read(meta.at).map_err(|e| (piece.part, e))?;
            buffer.clear();
            if !decode_chunk(&chunk, piece, *meta, &mut buffer, counts)? {
                continue;
            }
            let mut part = if now.len() == 1 { std::mem::take(&mut out) } else { Decoded::default() };
            take(&buffer, *meta, piece.ranges, &mut part);
            parts.push(part);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() && now.len() == 1 => out = only,
            Some(last) => {
                parts.push(last);
                let merged = merge(parts, counts);
                out.samples.extend(merged.samples);
                out.histograms.extend(merged.histograms);
            }
            None => {}
        }
    }
    Ok(out)
}

/// The chunks that have some of the times.
fn wanted(chunks: &[ChunkMeta], ranges: &[TimeRange]) -> Vec<ChunkMeta> {
    let overlaps = |chunk: &&ChunkMeta| {
        ranges.iter().any(|range| chunk.start < range.end.millis() && chunk.end >= range.start.millis())
    };
    chunks.iter().filter(overlaps).copied().collect()
}

/// Whether the chunk could be decoded; one of an unknown encoding is counted and left out.
fn decode_chunk(
    chunk: &Chunk,
    piece: &Piece<'_>,
    meta: ChunkMeta,
    out: &mut Samples,
    counts: &mut Counts,
) -> Result<bool, PartError> {
    match chunk.decode(out) {
        Ok(()) => {
            out.remove_within(deleted(piece));
            Ok(true)
        }
        Err(e) if e.is_skip() => {
            *counts.skipped.entry(e.to_string()).or_default() += 1;
            Ok(false)
        }
        Err(e) => Err((piece.part, piece.chunks.chunk_error(meta.at, e))),
    }
}

fn deleted<'p>(piece: &'p Piece<'_>) -> &'p [Interval] {
    piece.block.tombstones.of(piece.series.reference)
}

/// Appends what lies in the ranges.
fn take(from: &Samples, meta: ChunkMeta, ranges: &[TimeRange], to: &mut Decoded) {
    let whole = |r: &TimeRange| r.start.millis() <= meta.start && meta.end < r.end.millis();
    let all = ranges.iter().any(whole);
    let wanted = |at: Timestamp| all || ranges.iter().any(|range| range.contains(at));
    let floats = from.times.iter().zip(&from.values);
    let floats = floats.map(|(at, value)| Sample { at: Timestamp::from_millis(*at), value: *value });
    if all {
        to.samples.extend(floats);
    } else {
        to.samples.extend(floats.filter(|sample| wanted(sample.at)));
    }
    to.histograms.extend(from.histograms.iter().filter(|h| wanted(h.at)).cloned());
}

/// The aggregates of one downsampled block. The counter's total is that since the series' first chunk in the block,
/// whatever the times that are wanted.
fn downsampled(piece: &mut Piece<'_>, counts: &mut Counts) -> Result<BTreeMap<Aggregate, Decoded>, PartError> {
    let mut decoded: BTreeMap<Aggregate, Decoded> = BTreeMap::new();
    let mut fold = CounterFold::default();
    let last = piece.ranges.iter().map(|r| r.end.millis()).max().unwrap_or(i64::MIN);
    let mut metas: Vec<ChunkMeta> = piece.series.chunks.iter().filter(|chunk| chunk.start < last).copied().collect();
    metas.sort_by_key(|chunk| chunk.start);
    let mut buffer = Samples::default();
    for meta in metas {
        let chunk = piece.chunks.read(meta.at).map_err(|e| (piece.part, e))?;
        let slots = match chunk.aggregates() {
            Ok(slots) => slots,
            Err(e) if e.is_skip() => {
                *counts.skipped.entry(e.to_string()).or_default() += 1;
                continue;
            }
            Err(e) => return Err((piece.part, piece.chunks.chunk_error(meta.at, e))),
        };
        for slot in AggregateSlot::ALL {
            let Some(chunk) = slots.get(slot) else { continue };
            buffer.clear();
            if !decode_chunk(chunk, piece, meta, &mut buffer, counts)? {
                continue;
            }
            if slot == AggregateSlot::Counter {
                let mut totals = Samples::default();
                fold.push(&buffer.times, &buffer.values, &mut totals);
                totals.histograms = std::mem::take(&mut buffer.histograms);
                buffer = totals;
            }
            let to = decoded.entry(aggregate_of(slot)).or_default();
            // The window of the last sample may end after the chunk says it does.
            let meta = ChunkMeta { start: i64::MIN, end: i64::MAX, ..meta };
            let mut part = Decoded::default();
            take(&buffer, meta, piece.ranges, &mut part);
            *to = merge(vec![std::mem::take(to), part], counts);
        }
    }
    Ok(decoded)
}

fn aggregate_of(slot: AggregateSlot) -> Aggregate {
    match slot {
        AggregateSlot::Count => Aggregate::Count,
        AggregateSlot::Sum => Aggregate::Sum,
        AggregateSlot::Min => Aggregate::Min,
        AggregateSlot::Max => Aggregate::Max,
        AggregateSlot::Counter => Aggregate::Counter,
    }
}

/// One sample of either kind.
enum Either {
    Float(f64),
    Histogram(HistogramSample),
}

impl Either {
    fn is_stale(&self) -> bool {
        match self {
            Self::Float(value) => is_stale(*value),
            Self::Histogram(sample) => sample.histogram.is_stale(),
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Histogram(a), Self::Histogram(b)) => {
                a.histogram.sum.to_bits() == b.histogram.sum.to_bits()
                    && (a.histogram == b.histogram || a.histogram.is_stale() || a.histogram.sum.is_nan())
            }
            _ => false,
        }
    }
}

/// All of them by time. Of the same time, the first that is not stale stays.
pub(super) fn merge(mut parts: Vec<Decoded>, counts: &mut Counts) -> Decoded {
    parts.retain(|part| part.len() > 0);
    let apart = parts.windows(2).all(|pair| {
        let [a, b] = pair else { return true };
        let last = a.samples.last().map(|s| s.at).max(a.histograms.last().map(|h| h.at));
        let firsts = [b.samples.first().map(|s| s.at), b.histograms.first().map(|h| h.at)];
        firsts.into_iter().flatten().all(|first| last.is_none_or(|last| last < first))
    });
    if apart {
        return parts.into_iter().reduce(append).unwrap_or_default();
    }
    let mut all: Vec<(Timestamp, Either)> = Vec::with_capacity(parts.iter().map(Decoded::len).sum());
    for part in parts {
        all.extend(part.samples.into_iter().map(|s| (s.at, Either::Float(s.value))));
        all.extend(part.histograms.into_iter().map(|h| (h.at, Either::Histogram(h))));
    }
    // Stable: of the same time, those of earlier parts stay first.
    all.sort_by_key(|(at, _)| *at);
    let mut merged = Decoded::default();
    let mut all = all.into_iter().peekable();
    while let Some((at, mut chosen)) = all.next() {
        while let Some((_, other)) = all.next_if(|(next, _)| *next == at) {
            if !chosen.same(&other) {
                counts.conflicts += 1;
                if chosen.is_stale() && !other.is_stale() {
                    chosen = other;
                }
            }
        }
        match chosen {
            Either::Float(value) => merged.samples.push(Sample { at, value }),
            Either::Histogram(sample) => merged.histograms.push(sample),
        }
    }
    merged
}

fn append(mut first: Decoded, second: Decoded) -> Decoded {
    if first.len() == 0 {
        return second;
    }
    first.samples.extend(second.samples);
    first.histograms.extend(second.histograms);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::STALE_NAN_BITS;
    use proptest::prelude::*;

    fn floats(samples: &[(i64, f64)]) -> Decoded {
        let sample = |(at, value): &(i64, f64)| Sample { at: Timestamp::from_millis(*at), value: *value };
        Decoded { samples: samples.iter().map(sample).collect(), histograms: Vec::new() }
    }

    #[test]
    fn the_first_that_is_not_stale_wins_and_conflicts_are_counted() {
        let stale = f64::from_bits(STALE_NAN_BITS);
        let mut counts = Counts::default();
        let parts = [[(1, 1.0), (2, stale), (4, 4.0)], [(1, 9.0), (2, 2.0), (4, 4.0)]];
        let merged = merge(parts.iter().map(|p| floats(p)).collect(), &mut counts);
        assert_eq!((merged, counts.conflicts), (floats(&[(1, 1.0), (2, 2.0), (4, 4.0)]), 2));
    }

    proptest! {
        #[test]
        fn merging_loses_no_time_and_repeats_none(
            parts in proptest::collection::vec(proptest::collection::btree_set(0_i64..60, 0..20), 0..5),
        ) {
            let decoded: Vec<Decoded> =
                parts.iter().map(|p| floats(&p.iter().map(|t| (*t, *t as f64)).collect::<Vec<_>>())).collect();
            let mut counts = Counts::default();
            let merged = merge(decoded, &mut counts);
            let wanted: std::collections::BTreeSet<i64> = parts.into_iter().flatten().collect();
            prop_assert_eq!(merged.samples.iter().map(|s| s.at.millis()).collect::<Vec<_>>(), wanted.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(counts.conflicts, 0);
        }
    }
}
