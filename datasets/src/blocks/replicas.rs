//! Two servers that scrape the same targets, and which of them to believe: per series and window one, never both mixed,
//! since their counters and times differ.

use std::collections::BTreeMap;

use forewarn_schema::{LabelSet, TimeRange, Timestamp};

use super::decode::Decoded;
use crate::Aggregate;

/// How long a choice holds; windows are aligned to it.
const WINDOW_MS: i64 = 2 * 3600 * 1000;

/// Which replica was chosen for how many series, by window.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices(BTreeMap<i64, BTreeMap<LabelSet, u64>>);

/// The samples of each replica become one: in each window those of the replica that has the most. The replica of the window
/// before stays as long as no other one has an eighth more; of equals, the first by its labels.
pub(super) fn choose(
    replicas: Vec<(LabelSet, BTreeMap<Aggregate, Decoded>)>,
    choices: &mut Choices,
) -> BTreeMap<Aggregate, Decoded> {
    let sizes: Vec<BTreeMap<i64, usize>> = replicas.iter().map(|(_, samples)| by_window(samples)).collect();
    let mut chosen: BTreeMap<i64, usize> = BTreeMap::new();
    let mut before: Option<usize> = None;
    let windows: std::collections::BTreeSet<i64> = sizes.iter().flat_map(|s| s.keys().copied()).collect();
    for window in windows {
        let size = |replica: usize| sizes.get(replica).and_then(|s| s.get(&window)).copied().unwrap_or(0);
        let Some(best) = (0..replicas.len()).rev().max_by_key(|r| size(*r)) else { continue };
        let stays = before.filter(|r| size(*r).saturating_add(size(*r) / 8) >= size(best));
        let replica = stays.unwrap_or(best);
        before = Some(replica);
        chosen.insert(window, replica);
        if let Some((labels, _)) = replicas.get(replica) {
            *choices.0.entry(window).or_default().entry(labels.clone()).or_default() += 1;
        }
    }
    let mut out: BTreeMap<Aggregate, Decoded> = BTreeMap::new();
    let wins = |replica: usize, at: Timestamp| chosen.get(&window_of(at)) == Some(&replica);
    for (replica, (_, samples)) in replicas.into_iter().enumerate() {
        for (aggregate, samples) in samples {
            let to = out.entry(aggregate).or_default();
            to.samples.extend(samples.samples.into_iter().filter(|s| wins(replica, s.at)));
            to.histograms.extend(samples.histograms.into_iter().filter(|h| wins(replica, h.at)));
        }
    }
    for samples in out.values_mut() {
        samples.samples.sort_by_key(|s| s.at);
        samples.histograms.sort_by_key(|h| h.at);
    }
    out.retain(|_, samples| samples.len() > 0);
    out
}

/// Samples by window, of the first aggregate: all of them have the same times.
fn by_window(samples: &BTreeMap<Aggregate, Decoded>) -> BTreeMap<i64, usize> {
    let mut sizes = BTreeMap::new();
    if let Some(first) = samples.values().next() {
        let times = first.samples.iter().map(|s| s.at).chain(first.histograms.iter().map(|h| h.at));
        for at in times {
            *sizes.entry(window_of(at)).or_default() += 1;
        }
    }
    sizes
}

fn window_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(WINDOW_MS)
}

impl Choices {
    /// Per window the replica that most series were taken from; neighbours that agree are joined.
    pub(super) fn majority(&self, within: TimeRange) -> Vec<(TimeRange, String)> {
        let mut out: Vec<(TimeRange, String)> = Vec::new();
        for (window, replicas) in &self.0 {
            let Some((labels, _)) = replicas.iter().rev().max_by_key(|(_, series)| **series) else { continue };
            let start = Timestamp::from_millis(window.saturating_mul(WINDOW_MS));
            let range = TimeRange { start, end: Timestamp::from_millis(start.millis().saturating_add(WINDOW_MS)) };
            let Some(range) = range.intersect(&within) else { continue };
            let text = labels.to_string();
            match out.last_mut() {
                Some((last, same)) if last.end == range.start && *same == text => last.end = range.end,
                _ => out.push((range, text)),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::{Sample, Step};

    fn replica(name: &str, minutes: impl Iterator<Item = i64>) -> (LabelSet, BTreeMap<Aggregate, Decoded>) {
        let value = if name == "a" { 1.0 } else { 2.0 };
        let samples = minutes.map(|m| Sample { at: Timestamp::from_seconds(m * 60), value }).collect();
        let decoded = Decoded { samples, histograms: Vec::new() };
        (LabelSet::from([("replica", name)]), BTreeMap::from([(Aggregate::Raw, decoded)]))
    }

    fn values(chosen: &BTreeMap<Aggregate, Decoded>) -> Vec<(i64, f64)> {
        chosen[&Aggregate::Raw].samples.iter().map(|s| (s.at.millis() / Step::MINUTE.millis(), s.value)).collect()
    }

    #[test]
    fn a_window_has_one_replica_and_a_small_lead_changes_nothing() {
        let mut choices = Choices::default();
        // b loses a minute of the first window, a all but an hour of the second, and b one minute of the third.
        let a = replica("a", (0..180).chain(240..360));
        let b = replica("b", (1..240).chain(241..360));
        let chosen = values(&choose(vec![a, b], &mut choices));
        assert!(chosen.iter().all(|(minute, value)| *value == if *minute < 120 { 1.0 } else { 2.0 }), "{chosen:?}");
        assert_eq!(chosen.len(), 120 + 120 + 119);
        let range = TimeRange { start: Timestamp::from_seconds(0), end: Timestamp::from_seconds(21_600) };
        let majority = choices.majority(range);
        assert_eq!(majority.len(), 2);
        assert_eq!(majority[1].1, "{replica=\"b\"}");
    }
}
