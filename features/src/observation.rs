//! What was seen of one service at one step: the one form in which history and live data reach the
//! models. A dataset read back and a live evaluation of the same samples give equal values here.

use std::collections::BTreeMap;
use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME, Timestamp};
use serde::{Deserialize, Serialize};

use crate::signal::{Role, Signal, SignalLimit, SignalSet};

/// One target's value (and limit) at one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The signal's name.
    pub signal: Arc<str>,
    /// The target's labels without the service label's own and `__name__`, except that a disk's node
    /// stays: `{pod="cart-1"}`, `{node="node-1",mountpoint="/"}`, `{}`.
    pub labels: Arc<LabelSet>,
    /// In the signal's unit; always finite (NaN and the infinities are missing values and are left out: of no distance to a limit can
    /// be said how it grows).
    pub value: f64,
    /// In the same unit; `None` for context, or where the limit is missing at this step.
    pub limit: Option<f64>,
}

/// Everything seen of one service at one aligned step, sorted by signal and labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStep {
    /// The workload.
    pub service: Arc<str>,
    /// Aligned to the dataset's step.
    pub at: Timestamp,
    /// Sorted by signal, then labels; no target twice.
    pub observations: Vec<Observation>,
}

/// One element of an instant vector: what an expression gave at one time.
pub type VectorSample = (LabelSet, f64);

/// Joins the results of all expressions at one time into one [`ServiceStep`] a service, sorted by
/// service. `results` holds, per (signal, role), the instant vector at `at`.
///
/// A value without the service label, and one that is not finite, are left out; so is a limit that is not. A limit belongs to the value with the
/// same labels; where the limit's result has only the service label (or none), it is for every
/// target of that service (of all). Returns also how many values had no service label.
pub fn join(
    signals: &SignalSet,
    at: Timestamp,
    results: &BTreeMap<(String, Role), Vec<VectorSample>>,
) -> (Vec<ServiceStep>, usize) {
    let mut services: BTreeMap<String, Vec<Observation>> = BTreeMap::new();
    let mut nameless = 0;
    for signal in signals.iter() {
        let Some(values) = results.get(&(signal.name.clone(), Role::Value)) else { continue };
        let limits = results.get(&(signal.name.clone(), Role::Limit)).map(Vec::as_slice).unwrap_or_default();
        let limits: BTreeMap<LabelSet, f64> =
            limits.iter().map(|(labels, v)| (labels.without(&[METRIC_NAME]), *v)).collect();
        let name: Arc<str> = signal.name.as_str().into();
        for (labels, value) in values {
            if !value.is_finite() {
                continue;
            }
            let labels = labels.without(&[METRIC_NAME]);
            let Some(service) = labels.get(&signal.service).map(str::to_owned) else {
                nameless += 1;
                continue;
            };
            let limit = limit_of(signal, &labels, &limits);
            let observation = Observation {
                signal: Arc::clone(&name),
                labels: Arc::new(target_labels(signal, &labels)),
                value: *value,
                limit,
            };
            services.entry(service).or_default().push(observation);
        }
    }
    let steps = services
        .into_iter()
        .map(|(service, mut observations)| {
            observations.sort_by(|a, b| (&a.signal, &a.labels).cmp(&(&b.signal, &b.labels)));
            observations.dedup_by(|a, b| a.signal == b.signal && a.labels == b.labels);
            ServiceStep { service: service.into(), at, observations }
        })
        .collect();
    (steps, nameless)
}

/// The labels that tell targets of one service apart. A workload's own name says nothing there, but a
/// node does: whoever frees its disk has to find it.
pub fn target_labels(signal: &Signal, labels: &LabelSet) -> LabelSet {
    if signal.service == "node" { labels.clone() } else { labels.without(&[signal.service.as_str()]) }
}

fn limit_of(signal: &Signal, labels: &LabelSet, limits: &BTreeMap<LabelSet, f64>) -> Option<f64> {
    match &signal.limit {
        None => None,
        Some(SignalLimit::Number(limit)) => Some(*limit),
        Some(SignalLimit::Expression(_)) => limits
            .get(labels)
            .or_else(|| limits.get(&labels.only(&[signal.service.as_str()])))
            .or_else(|| limits.get(&LabelSet::new()))
            .copied()
            .filter(|limit| limit.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::NAMES;

    fn all_presets() -> SignalSet {
        SignalSet::new(&NAMES.map(str::to_owned), vec![]).unwrap()
    }

    #[test]
    fn a_limit_finds_its_pod_and_a_disk_keeps_its_node() {
        let pod = |p: &str| LabelSet::from([("service", "cart"), ("pod", p)]);
        let disk = LabelSet::from([("node", "node-1"), ("mountpoint", "/")]);
        let results = BTreeMap::from([
            (("memory".to_owned(), Role::Value), vec![(pod("b"), 2.0), (pod("a"), 1.0), (pod("c"), f64::NAN)]),
            (("memory".to_owned(), Role::Limit), vec![(pod("a"), 10.0)]),
            (("disk".to_owned(), Role::Value), vec![(disk.clone(), 5.0), (LabelSet::new(), 1.0)]),
        ]);
        let (steps, nameless) = join(&all_presets(), Timestamp::from_seconds(60), &results);
        assert_eq!(nameless, 1);
        assert_eq!(&*steps[0].service, "cart");
        let seen: Vec<_> = steps[0].observations.iter().map(|o| (o.labels.to_string(), o.value, o.limit)).collect();
        assert_eq!(seen, [("{pod=\"a\"}".to_owned(), 1.0, Some(10.0)), ("{pod=\"b\"}".to_owned(), 2.0, None)]);
        assert_eq!(*steps[1].observations[0].labels, disk);
        assert_eq!(steps[1].observations[0].limit, Some(0.0));
    }
}
