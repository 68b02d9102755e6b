//! Time ranges as sets: union, difference, and the runs of steps at which nothing was seen.

use forewarn_schema::{Step, TimeRange, Timestamp};

/// Sorted, neither touching nor overlapping, none empty: the union of `ranges`.
pub(crate) fn union(ranges: impl IntoIterator<Item = TimeRange>) -> Vec<TimeRange> {
    let mut ranges: Vec<TimeRange> = ranges.into_iter().filter(|r| !r.is_empty()).collect();
    ranges.sort();
    let mut merged: Vec<TimeRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What of `wanted` is in none of `covered`, which is sorted and disjoint as [`union`] gives it.
pub(crate) fn missing(wanted: TimeRange, covered: &[TimeRange]) -> Vec<TimeRange> {
    let mut missing = Vec::new();
    let mut start = wanted.start;
    for range in covered {
        if range.start >= wanted.end {
            break;
        }
        if range.start > start {
            missing.push(TimeRange { start, end: range.start });
        }
        start = start.max(range.end);
    }
    if start < wanted.end {
        missing.push(TimeRange { start, end: wanted.end });
    }
    missing
}

/// The multiples of `step` in `range`, as a range from the first to past the last; `None` where there are none.
pub(crate) fn aligned(range: TimeRange, step: Step) -> Option<TimeRange> {
    let aligned = TimeRange { start: range.start.align_up(step), end: range.end.align_up(step) };
    (!aligned.is_empty()).then_some(aligned)
}

/// How many multiples of `step` an aligned range holds.
pub(crate) fn steps(range: TimeRange, step: Step) -> u64 {
    let span = range.end.millis().saturating_sub(range.start.millis()).max(0);
    span.unsigned_abs().div_ceil(step.millis().unsigned_abs())
}

/// The runs of steps in `covered` (aligned) that are not among `seen` (sorted).
pub(crate) fn gaps(covered: &[TimeRange], seen: &[Timestamp], step: Step) -> Vec<TimeRange> {
    let present = seen.iter().map(|at| TimeRange { start: *at, end: *at + step.duration() });
    let present = union(present);
    covered.iter().flat_map(|range| missing(*range, &present)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange { start: Timestamp::from_millis(start), end: Timestamp::from_millis(end) }
    }

    #[test]
    fn a_gap_runs_from_the_first_silent_step_to_the_next_seen_one() {
        let step = Step::MINUTE;
        let seen: Vec<_> = [0, 60, 240].map(Timestamp::from_seconds).to_vec();
        assert_eq!(gaps(&[range(0, 360_000)], &seen, step), [range(120_000, 240_000), range(300_000, 360_000)]);
    }

    proptest! {
        #[test]
        fn missing_and_covered_make_the_whole_without_overlap(
            wanted in (0_i64..100, 0_i64..100),
            covered in proptest::collection::vec((0_i64..100, 0_i64..30), 0..6),
        ) {
            let wanted = range(wanted.0, wanted.0 + wanted.1);
            let covered = union(covered.into_iter().map(|(start, len)| range(start, start + len)));
            let missing = missing(wanted, &covered);
            for at in 0..260 {
                let at = Timestamp::from_millis(at);
                let holds = |ranges: &[TimeRange]| ranges.iter().filter(|r| r.contains(at)).count();
                let expected = wanted.contains(at) && holds(&covered) == 0;
                prop_assert_eq!(holds(&missing), usize::from(expected));
                prop_assert!(holds(&covered) <= 1);
            }
            prop_assert!(missing.iter().all(|r| !r.is_empty()));
        }
    }
}
