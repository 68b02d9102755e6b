//! Counts as series.
//!
//! | series | a sample |
//! |---|---|
//! | `log_lines{namespace,service,level}` | lines of that level, in every covered minute: 0 where there were none |
//! | `log_template_lines{namespace,service,template}` | lines of that template, where there were any, and a 0 in the next covered minute |
//! | `log_new_templates{namespace,service}` | templates that the workload had never written before, in every covered minute |
//!
//! Each sample is the count of one minute and lies in its last millisecond: it says nothing of what comes after it, and any
//! window of whole minutes, whether its left edge counts or not, holds exactly the minutes it should. So
//! `sum_over_time(log_lines{level="error"}[5m])` at a whole minute is the number of error lines in the five minutes before.
//! These are counts, not counters: `rate` is `sum_over_time(…) / seconds`.
//!
//! **Covered** is a minute in which the source had any line at all, of whichever service, and every minute between two such
//! that are at most 15 minutes apart. A longer silence of everything is an outage of the logs and has no samples. A
//! workload has series on the days on which it wrote lines, in each level that it used on that day, and always in level
//! `error`, so that an error rate has a 0 to stand on.

use std::collections::{BTreeMap, BTreeSet};

use forewarn_schema::{LabelSet, METRIC_NAME, Sample, TimeRange, Timestamp};

use super::counts::{ByMinute, DayCounts, MINUTES, NO_TEMPLATE, Workload};
use super::level::Level;
use crate::Day;

/// The longest silence of all services that is no outage, in minutes: Fluent Bit's `upload_timeout` and then some.
const LONGEST_SILENCE: i64 = 15;
const MINUTE_MS: i64 = 60_000;

/// One day's counts by series.
#[derive(Debug)]
pub(crate) struct DaySeries {
    day: Day,
    /// Minutes of the day, sorted.
    covered: Vec<u16>,
    series: BTreeMap<LabelSet, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    minutes: ByMinute,
    /// Whether a covered minute without lines always has a sample, or only the first one after lines.
    is_dense: bool,
}

/// The minutes with lines that lie next to a day, counted from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Neighbours {
    /// The last one before the day.
    pub(crate) before: Option<i64>,
    /// The first one after it.
    pub(crate) after: Option<i64>,
}

/// The minute of a day, counted from 1970.
pub(crate) fn absolute(day: Day, minute: u16) -> i64 {
    day.range().start.millis() / MINUTE_MS + i64::from(minute)
}

impl DaySeries {
    /// `new_templates` are those first seen on this day. Only series that are `wanted` are made.
    pub(crate) fn new(
        day: Day,
        counts: &DayCounts,
        neighbours: Neighbours,
        new_templates: &BTreeMap<Workload, ByMinute>,
        wanted: impl Fn(&LabelSet) -> bool,
    ) -> Self {
        let mut series: BTreeMap<LabelSet, Counts> = BTreeMap::new();
        let mut add = |labels: LabelSet, is_dense: bool, minutes: &ByMinute| {
            if !wanted(&labels) {
                return;
            }
            let counts = series.entry(labels).or_insert_with(|| Counts { minutes: ByMinute::new(), is_dense });
            for (minute, lines) in minutes {
                *counts.minutes.entry(*minute).or_default() += lines;
            }
        };
        let mut workloads = BTreeSet::new();
        for (kind, minutes) in counts.by_kind() {
            add(labels("log_lines", &kind.workload, Some(("level", kind.level.as_str()))), true, &minutes);
            if kind.template != NO_TEMPLATE {
                let template = Some(("template", kind.template.as_str()));
                add(labels("log_template_lines", &kind.workload, template), false, &minutes);
            }
            workloads.insert(&kind.workload);
        }
        for workload in workloads {
            let none = ByMinute::new();
            add(labels("log_lines", workload, Some(("level", Level::Error.as_str()))), true, &none);
            let new = new_templates.get(workload).unwrap_or(&none);
            add(labels("log_new_templates", workload, None), true, new);
        }
        Self { day, covered: covered(day, &counts.minutes(), neighbours), series }
    }

    /// Sorted.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &LabelSet> {
        self.series.keys()
    }

    /// The samples of a series within `range`; empty where the day does not have it.
    pub(crate) fn samples(&self, labels: &LabelSet, range: TimeRange) -> Vec<Sample> {
        let Some(counts) = self.series.get(labels) else { return Vec::new() };
        let mut samples = Vec::new();
        let mut had_lines = false;
        for minute in &self.covered {
            let lines = counts.minutes.get(minute).copied().unwrap_or(0);
            let at = Timestamp::from_millis((absolute(self.day, *minute) + 1) * MINUTE_MS - 1);
            if (counts.is_dense || had_lines || lines > 0) && range.contains(at) {
                samples.push(Sample { at, value: lines as f64 });
            }
            had_lines = lines > 0;
        }
        samples
    }
}

fn labels(metric: &str, workload: &Workload, third: Option<(&str, &str)>) -> LabelSet {
    let fixed = [(METRIC_NAME, metric), ("namespace", &workload.namespace), ("service", &workload.service)];
    fixed.into_iter().chain(third).collect()
}

/// The covered minutes of a day that has lines in `minutes`.
fn covered(day: Day, minutes: &BTreeSet<u16>, neighbours: Neighbours) -> Vec<u16> {
    let midnight = absolute(day, 0);
    let with_lines = minutes.iter().map(|minute| i64::from(*minute));
    let before = neighbours.before.map(|minute| minute - midnight);
    let after = neighbours.after.map(|minute| minute - midnight);
    let mut covered = BTreeSet::new();
    let mut last: Option<i64> = None;
    for minute in before.into_iter().chain(with_lines).chain(after) {
        let from = last.filter(|last| minute - last <= LONGEST_SILENCE).unwrap_or(minute);
        covered.extend((from..=minute).filter_map(|m| u16::try_from(m).ok()).filter(|m| *m < MINUTES));
        last = Some(minute);
    }
    covered.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::counts::Kind;
    use proptest::prelude::*;

    fn day() -> Day {
        "2026-01-02".parse().unwrap()
    }

    fn counts(lines: &[(Level, u16, u64)]) -> DayCounts {
        let mut counts = DayCounts::default();
        for (level, minute, lines) in lines {
            let workload = Workload { namespace: "shop".to_owned(), service: "cart".to_owned() };
            counts.add(Kind { workload, level: *level, template: "abc".to_owned() }, 0, *minute, *lines);
        }
        counts
    }

    fn values(series: &DaySeries, labels: &LabelSet) -> Vec<(i64, f64)> {
        let samples = series.samples(labels, day().range());
        samples.iter().map(|s| ((s.at.millis() + 1) / MINUTE_MS - 1 - absolute(day(), 0), s.value)).collect()
    }

    fn of(metric: &str, third: (&str, &str)) -> LabelSet {
        LabelSet::from([(METRIC_NAME, metric), ("namespace", "shop"), ("service", "cart"), third])
    }

    #[test]
    fn a_minute_without_lines_is_zero_and_an_outage_is_nothing() {
        let counts = counts(&[(Level::Info, 10, 5), (Level::Info, 13, 2), (Level::Info, 29, 1)]);
        let series = DaySeries::new(day(), &counts, Neighbours::default(), &BTreeMap::new(), |_| true);
        let info = values(&series, &of("log_lines", ("level", "info")));
        assert_eq!(info, [(10, 5.0), (11, 0.0), (12, 0.0), (13, 2.0), (29, 1.0)]);
        let errors = values(&series, &of("log_lines", ("level", "error")));
        assert_eq!(errors, [(10, 0.0), (11, 0.0), (12, 0.0), (13, 0.0), (29, 0.0)]);
        let template = values(&series, &of("log_template_lines", ("template", "abc")));
        assert_eq!(template, [(10, 5.0), (11, 0.0), (13, 2.0), (29, 1.0)]);
        assert_eq!(values(&series, &of("log_lines", ("level", "warn"))), []);
        let new = values(&series, &of("log_new_templates", ("x", "")));
        assert_eq!(new.len(), 5);
    }

    #[test]
    fn a_sample_lies_in_the_last_millisecond_of_its_minute() {
        let series =
            DaySeries::new(day(), &counts(&[(Level::Info, 0, 1)]), Neighbours::default(), &BTreeMap::new(), |_| true);
        let samples = series.samples(&of("log_lines", ("level", "info")), day().range());
        assert_eq!(samples[0].at, "2026-01-02T00:00:59.999Z".parse().unwrap());
    }

    #[test]
    fn midnight_is_no_outage() {
        let (midnight, minutes) = (absolute(day(), 0), BTreeSet::from([5_u16, 1438]));
        let near = Neighbours { before: Some(midnight - 3), after: Some(midnight + 1440 + 4) };
        assert_eq!(covered(day(), &minutes, near), [0, 1, 2, 3, 4, 5, 1438, 1439]);
        let far = Neighbours { before: Some(midnight - 300), after: Some(midnight + 5000) };
        assert_eq!(covered(day(), &minutes, far), [5, 1438]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_windows_are_exact(
            lines in proptest::collection::vec((0_usize..7, 0_u16..1440, 1_u64..50), 1..60),
            end in 5_i64..1440,
        ) {
            let lines: Vec<_> = lines.into_iter().map(|(l, m, n)| (Level::ALL[l], m, n)).collect();
            let counts = counts(&lines);
            let series = DaySeries::new(day(), &counts, Neighbours::default(), &BTreeMap::new(), |_| true);
            for level in Level::ALL {
                let labels = of("log_lines", ("level", level.as_str()));
                let to = Timestamp::from_millis((absolute(day(), 0) + end) * MINUTE_MS);
                // As Prometheus 2 has it, both edges inside; and as Prometheus 3 has it, the left one outside.
                for left in [0, 1] {
                    let from = Timestamp::from_millis(to.millis() - 5 * MINUTE_MS + left);
                    let window = TimeRange { start: from, end: Timestamp::from_millis(to.millis() + 1) };
                    let sum: f64 = series.samples(&labels, window).iter().map(|s| s.value).sum();
                    let inside = lines.iter().filter(|(l, m, _)| *l == level && (end - 5..end).contains(&i64::from(*m)));
                    prop_assert_eq!(sum, inside.map(|(_, _, n)| *n as f64).sum::<f64>());
                }
            }
        }
    }
}
