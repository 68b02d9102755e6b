//! How good it has been lately, of each window: by kind. By service it is on the page, as most services have too few cases.

use super::exposition::Labels;
use super::labels;
use super::list::Metric;
use crate::outcomes::{Outcomes, Rolling};

/// The samples of a metric of this family; `None` of another.
pub(super) fn samples(metric: Metric, outcomes: &Outcomes) -> Option<Vec<(Labels, f64)>> {
    let figure: fn(&Rolling) -> Option<f64> = match metric {
        Metric::RollingRecall => |r| r.recall,
        Metric::RollingPrecision => |r| r.precision,
        Metric::RollingFalseAlarms => |r| r.false_alarms_per_week,
        Metric::RollingLead => |r| r.median_lead_seconds,
        Metric::RollingCoverage => |r| r.interval_coverage,
        Metric::RollingTimeError => |r| r.time_to_breach_error,
        Metric::RollingCases => return Some(cases(outcomes)),
        _ => return None,
    };
    let by_kind = outcomes.windows.iter().flat_map(|window| {
        let of_kind = window.kinds.iter();
        of_kind.filter_map(|(kind, r)| Some((labels([("kind", kind.as_str()), ("window", window.name)]), figure(r)?)))
    });
    Some(by_kind.collect())
}

fn cases(outcomes: &Outcomes) -> Vec<(Labels, f64)> {
    let mut samples = Vec::new();
    for window in &outcomes.windows {
        for (kind, Rolling { cases, .. }) in &window.kinds {
            let (requests, breaches) = (("requests", cases.requests), ("breaches", cases.breaches));
            for (of, count) in [requests, breaches, ("leads", cases.leads), ("intervals", cases.intervals)] {
                let labels = labels([("kind", kind.as_str()), ("window", window.name), ("of", of)]);
                samples.push((labels, f64::from(count)));
            }
        }
    }
    samples
}
