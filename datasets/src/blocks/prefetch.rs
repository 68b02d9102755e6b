//! Fetching the chunks of a query from a bucket before they are decoded: few large requests instead of one a series.

use std::ops::Range;

use forewarn_schema::LabelMatcher;

use super::decode::PartError;
use super::merge::OpenPart;
use super::remote::coalesce;

/// Fetches what the series that the selectors select have in the parts' times. Blocks in a folder need none of it.
pub(super) fn chunks(parts: &[OpenPart], selectors: &[Vec<LabelMatcher>]) -> Result<(), PartError> {
    for (i, part) in parts.iter().enumerate() {
        let block = &part.block;
        if block.remote.is_empty() {
            continue;
        }
        let guess = block.chunk_guess() as u64;
        let mut wanted: Vec<Vec<Range<u64>>> = vec![Vec::new(); block.remote.len()];
        let selected = block.select(selectors).map_err(|e| (i, e))?;
        for series in block.index.series(selected) {
            let series = series.map_err(|e| (i, e))?;
            for (k, chunk) in series.chunks.iter().enumerate() {
                let overlaps = |range: &forewarn_schema::TimeRange| {
                    chunk.start < range.end.millis() && chunk.end >= range.start.millis()
                };
                if !part.ranges.iter().any(overlaps) {
                    continue;
                }
                let start = u64::from(chunk.at.offset());
                // The next chunk of the series begins where this one ends; the last one's length nobody says.
                let next = series.chunks.get(k + 1).filter(|next| next.at.segment() == chunk.at.segment());
                let next = next.map(|next| u64::from(next.at.offset())).filter(|next| *next > start);
                let end = next.filter(|next| next - start <= 64 << 10).unwrap_or(start + guess);
                if let Some(segment) = wanted.get_mut(chunk.at.segment() as usize) {
                    segment.push(start..end);
                }
            }
        }
        for (segment, mut ranges) in block.remote.iter().zip(wanted) {
            ranges.sort_by_key(|range| range.start);
            for range in coalesce(ranges) {
                segment.fetch(range).map_err(|e| (i, e.into()))?;
            }
        }
    }
    Ok(())
}
