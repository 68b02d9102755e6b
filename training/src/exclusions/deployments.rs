//! Deployments, as the steps show them: other pods in the place of a workload's pods, another limit. Until a process is warm it
//! is not what it is for the rest of its life.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_schema::{LabelSet, TimeRange, Timestamp};

use super::merged;

/// How long a process takes to be what it will be.
const SETTLING: Duration = Duration::from_secs(15 * 60);
/// A pod that comes replaces one that goes within this time.
const TOGETHER: Duration = Duration::from_secs(15 * 60);
/// A pod unseen for this long has gone.
const GONE: Duration = Duration::from_secs(10 * 60);
/// A limit that moves by less, as a share of itself, is the same.
const SAME_LIMIT: f64 = 0.01;

/// From the first sign of each deployment until a while after the last; sorted, apart. Scaling is none: pods come, or go.
pub(super) fn deployments(steps: &[ServiceStep], signals: &SignalSet) -> Vec<TimeRange> {
    merged([replacements(steps), limit_changes(steps, signals)].concat())
}

fn replacements(steps: &[ServiceStep]) -> Vec<TimeRange> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Vec::new() };
    let mut lives: BTreeMap<&str, (Timestamp, Timestamp)> = BTreeMap::new();
    for step in steps {
        for pod in step.observations.iter().filter_map(|o| o.labels.get("pod")) {
            lives.entry(pod).or_insert((step.at, step.at)).1 = step.at;
        }
    }
    let mut gone: Vec<Timestamp> =
        lives.values().map(|(_, seen)| *seen).filter(|seen| *seen + GONE < last.at).collect();
    gone.sort_unstable();
    let came = lives.values().map(|(came, _)| *came).filter(|came| *came > first.at);
    came.filter_map(|came| {
        let near = &gone[gone.partition_point(|at| *at < came - TOGETHER)..];
        let near = &near[..near.partition_point(|at| *at <= came + TOGETHER)];
        let (earliest, latest) = (near.first()?, near.last()?);
        Some(TimeRange { start: came.min(*earliest), end: came.max(*latest) + SETTLING })
    })
    .collect()
}

fn limit_changes(steps: &[ServiceStep], signals: &SignalSet) -> Vec<TimeRange> {
    let mut limits: BTreeMap<(&str, &LabelSet), f64> = BTreeMap::new();
    let mut changes = Vec::new();
    for step in steps {
        for seen in &step.observations {
            let Some(limit) = seen.limit else { continue };
            if signals.get(&seen.signal).is_none_or(|signal| signal.kind.breach().is_none()) {
                continue;
            }
            let before = limits.insert((&seen.signal, &seen.labels), limit);
            if before.is_some_and(|before| (limit - before).abs() > SAME_LIMIT * before.abs()) {
                changes.push(TimeRange { start: step.at, end: step.at + SETTLING });
            }
        }
    }
    changes
}
