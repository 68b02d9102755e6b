//! Which of the blocks are read for which times. Pure: from what was found to what is read, and what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forewarn_schema::{LabelSet, TimeRange};

use super::discover::FoundBlock;
use crate::gaps::{missing, union};

/// A block, and the times that are taken from it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) block: Arc<FoundBlock>,
    /// Sorted, apart, never empty.
    pub(super) ranges: Vec<TimeRange>,
}

/// What is read for one query.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockPlan {
    /// Sorted by earliest time, then ULID: where two blocks have the same time, the first one wins.
    pub(super) parts: Vec<Part>,
    /// Times for which only downsampled blocks are left, with the milliseconds between their samples.
    pub(super) downsampled: Vec<(TimeRange, i64)>,
    /// Times that only refused blocks have, and why.
    pub(super) missing: Vec<(TimeRange, String)>,
}

/// Plans for `range`. `refused` names blocks that turned out to be damaged, with the reason.
pub(super) fn plan(blocks: &[Arc<FoundBlock>], refused: &BTreeMap<String, String>, range: TimeRange) -> BlockPlan {
    let overlaps = |b: &&Arc<FoundBlock>| b.range().intersect(&range).is_some();
    let mut groups: BTreeMap<&LabelSet, Vec<&Arc<FoundBlock>>> = BTreeMap::new();
    for block in blocks.iter().filter(overlaps).filter(|b| !refused.contains_key(&b.id)) {
        groups.entry(&block.external).or_default().push(block);
    }
    let mut plan = BlockPlan::default();
    let mut covered: BTreeMap<&LabelSet, Vec<TimeRange>> = BTreeMap::new();
    for (external, group) in groups {
        let resolutions: BTreeSet<i64> = group.iter().map(|b| b.meta.resolution_ms()).collect();
        let mut open = vec![range];
        for resolution in resolutions {
            // A hole shorter than the distance between samples is not worth a change of resolution.
            open.retain(|hole| hole.duration().as_millis() >= u128::from(resolution.unsigned_abs()));
            let level: Vec<&Arc<FoundBlock>> =
                group.iter().copied().filter(|b| b.meta.resolution_ms() == resolution).collect();
            let level = without_subsets(&level);
            for block in &level {
                let ranges: Vec<TimeRange> = open.iter().filter_map(|hole| hole.intersect(&block.range())).collect();
                if !ranges.is_empty() {
                    plan.downsampled.extend(ranges.iter().filter(|_| resolution > 0).map(|r| (*r, resolution)));
                    plan.parts.push(Part { block: Arc::clone(block), ranges });
                }
            }
            let had = union(level.iter().map(|b| b.range()));
            covered.entry(external).or_default().extend(&had);
            open = open.iter().flat_map(|hole| missing(*hole, &had)).collect();
        }
    }
    for block in blocks.iter().filter(overlaps) {
        let Some(reason) = refused.get(&block.id) else { continue };
        let others = union(covered.get(&block.external).into_iter().flatten().copied());
        let lost = block.range().intersect(&range).map(|lost| missing(lost, &others)).unwrap_or_default();
        plan.missing.extend(lost.into_iter().map(|lost| (lost, format!("block {}: {reason}", block.id))));
    }
    plan.parts.sort_by(|a, b| (a.block.meta.min_time, &a.block.id).cmp(&(b.block.meta.min_time, &b.block.id)));
    plan.downsampled.sort();
    plan.missing.sort();
    plan
}

/// Without the blocks all of whose sources are in another block of the same producer: what is in them is there too.
fn without_subsets<'b>(blocks: &[&'b Arc<FoundBlock>]) -> Vec<&'b Arc<FoundBlock>> {
    let sources = |b: &FoundBlock| -> BTreeSet<String> { b.meta.compaction.sources.iter().cloned().collect() };
    let sets: Vec<BTreeSet<String>> = blocks.iter().map(|b| sources(b)).collect();
    let is_in_another = |i: usize| {
        (0..blocks.len()).any(|j| {
            let same_producer = blocks[i].replica == blocks[j].replica;
            let contained = !sets[i].is_empty() && sets[i].is_subset(&sets[j]);
            // Of two with the same sources the later one stays.
            i != j && same_producer && contained && (sets[i].len() < sets[j].len() || blocks[i].id < blocks[j].id)
        })
    };
    (0..blocks.len()).filter(|i| !is_in_another(*i)).map(|i| blocks[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::Timestamp;
    use forewarn_tsdb::BlockMeta;

    fn block(id: &str, range: (i64, i64), resolution: i64, sources: &[&str]) -> Arc<FoundBlock> {
        let (start, end) = (range.0 * 3_600_000, range.1 * 3_600_000);
        let json = format!(
            r#"{{"ulid":"{id}","minTime":{start},"maxTime":{end},"version":1,"compaction":{{"sources":{}}},
            "thanos":{{"downsample":{{"resolution":{resolution}}}}}}}"#,
            serde_json::to_string(sources).unwrap()
        );
        let meta = BlockMeta::parse("meta.json", json.as_bytes()).unwrap();
        let (external, replica, files) = Default::default();
        Arc::new(FoundBlock { id: id.to_owned(), meta, digest: String::new(), external, replica, files })
    }

    fn hours(start: i64, end: i64) -> TimeRange {
        TimeRange { start: Timestamp::from_seconds(start * 3600), end: Timestamp::from_seconds(end * 3600) }
    }

    fn ids(plan: &BlockPlan) -> Vec<(&str, Vec<TimeRange>)> {
        plan.parts.iter().map(|p| (p.block.id.as_str(), p.ranges.clone())).collect()
    }

    #[test]
    fn what_is_compacted_is_read_once() {
        let blocks = [block("a", (0, 2), 0, &["a"]), block("b", (2, 4), 0, &["b"]), block("c", (0, 4), 0, &["a", "b"])];
        assert_eq!(ids(&plan(&blocks, &BTreeMap::new(), hours(0, 24))), [("c", vec![hours(0, 4)])]);
        // The compacted one is damaged: its parts are there still.
        let refused = BTreeMap::from([("c".to_owned(), "damaged".to_owned())]);
        let parts = plan(&blocks, &refused, hours(0, 24));
        assert_eq!(ids(&parts), [("a", vec![hours(0, 2)]), ("b", vec![hours(2, 4)])]);
        assert!(parts.missing.is_empty());
        let refused = BTreeMap::from(["b", "c"].map(|id| (id.to_owned(), "damaged".to_owned())));
        let parts = plan(&blocks, &refused, hours(1, 24));
        assert_eq!(parts.missing.iter().map(|m| m.0).collect::<Vec<_>>(), [hours(2, 4), hours(2, 4)]);
    }

    #[test]
    fn coarse_samples_only_fill_what_is_left() {
        let blocks = [
            block("raw", (10, 20), 0, &["x"]),
            block("five", (5, 20), 300_000, &["x"]),
            block("hour", (0, 20), 3_600_000, &["x"]),
        ];
        let plan = plan(&blocks, &BTreeMap::new(), hours(0, 24));
        let wanted = [("hour", vec![hours(0, 5)]), ("five", vec![hours(5, 10)]), ("raw", vec![hours(10, 20)])];
        assert_eq!(ids(&plan), wanted);
        assert_eq!(plan.downsampled, [(hours(0, 5), 3_600_000), (hours(5, 10), 300_000)]);
    }
}
