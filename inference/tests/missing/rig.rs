//! Samples in at minutes, service steps and predictions out: the live path without a server around it.

use std::sync::Arc;

use forewarn_features::promql::PushError;
use forewarn_features::{LiveSignals, ServiceStep, SignalSet};
use forewarn_models::{Engine, EngineOptions, EngineOutput};
use forewarn_schema::{LabelSet, Prediction, STALE_NAN_BITS, Sample, Step, Timestamp};

pub(crate) const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

pub(crate) fn at(minute: i64) -> Timestamp {
    Timestamp::from_seconds(minute * 60)
}

pub(crate) struct Rig {
    pub(crate) live: LiveSignals,
    pub(crate) engine: Engine,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let presets = ["kubernetes", "http"].map(str::to_owned);
        let signals = Arc::new(SignalSet::new(&presets, vec![]).unwrap());
        let live = LiveSignals::new(Arc::clone(&signals), Step::MINUTE, 1000).unwrap();
        Self { live, engine: Engine::new(signals, EngineOptions::default()) }
    }

    pub(crate) fn try_push(&mut self, labels: &LabelSet, minute: i64, value: f64) -> Result<(), PushError> {
        self.live.push(labels, Sample { at: at(minute), value })
    }

    pub(crate) fn push(&mut self, labels: &LabelSet, minute: i64, value: f64) {
        self.try_push(labels, minute, value).unwrap();
    }

    /// What is seen of the services at a minute.
    pub(crate) fn look(&mut self, minute: i64) -> Vec<ServiceStep> {
        self.live.step(at(minute)).unwrap()
    }

    /// What is said of them.
    pub(crate) fn step(&mut self, minute: i64) -> EngineOutput {
        let steps = self.look(minute);
        self.engine.step(at(minute), &steps)
    }

    /// Memory of the pods of `cart` through these minutes, a scrape and a step a minute; the last output.
    pub(crate) fn run(
        &mut self,
        minutes: std::ops::Range<i64>,
        pods: &[&str],
        value: impl Fn(i64) -> Option<f64>,
    ) -> EngineOutput {
        let mut last = EngineOutput::default();
        for minute in minutes {
            for pod in pods {
                if let Some(value) = value(minute) {
                    self.push(&memory(pod), minute, value);
                    self.push(&limit(pod), minute, 1000.0);
                }
            }
            let output = self.step(minute);
            let requests = [last.requests, output.requests].concat();
            last = EngineOutput { requests, ..output };
        }
        last
    }
}

pub(crate) fn memory(pod: &str) -> LabelSet {
    let name = "container_memory_working_set_bytes";
    LabelSet::from([("__name__", name), ("service", "cart"), ("pod", pod), ("container", "app")])
}

pub(crate) fn limit(pod: &str) -> LabelSet {
    let name = "kube_pod_container_resource_limits";
    LabelSet::from([("__name__", name), ("resource", "memory"), ("service", "cart"), ("pod", pod)])
}

pub(crate) fn counter(code: &str) -> LabelSet {
    LabelSet::from([("__name__", "http_requests_total"), ("service", "cart"), ("code", code)])
}

/// Value and limit of one signal, by labels.
pub(crate) fn seen(steps: &[ServiceStep], signal: &str) -> Vec<(String, f64, Option<f64>)> {
    let all = steps.iter().flat_map(|step| &step.observations).filter(|o| &*o.signal == signal);
    all.map(|o| (o.labels.to_string(), o.value, o.limit)).collect()
}

/// The values alone.
pub(crate) fn values(steps: &[ServiceStep], signal: &str) -> Vec<f64> {
    seen(steps, signal).into_iter().map(|(_, value, _)| value).collect()
}

/// The prediction of one pod's memory.
pub(crate) fn of_pod<'a>(output: &'a EngineOutput, pod: &str) -> Option<&'a Prediction> {
    output.predictions.iter().find(|p| p.signal == "memory" && p.labels.get("pod") == Some(pod))
}
