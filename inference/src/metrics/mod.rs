//! What the server says of itself and of its predictions to Prometheus: one closed list of metrics,
//! each with its unit in its name.

mod exposition;
mod list;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use forewarn_schema::{LabelSource, Prediction, RemediationRequest, Verdict};

use self::exposition::{Exposition, Labels};
use self::list::Metric;
use crate::app::AppState;

/// Targets that are exposed at most, soonest breach first: a gauge per target is a series per target
/// in whoever scrapes this.
const MAX_TARGETS: usize = 2_000;

/// Counters; gauges are read off the server when somebody asks.
#[derive(Default)]
pub(crate) struct Metrics {
    counters: Mutex<BTreeMap<(Metric, Labels), u64>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self::default();
        // Counters that start at nothing are there from the start, so that a rate sees their first rise.
        for metric in list::UNLABELLED_COUNTERS {
            metrics.add(metric, Labels::new(), 0);
        }
        metrics
    }

    fn add(&self, metric: Metric, labels: Labels, count: u64) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        *counters.entry((metric, labels)).or_insert(0) += count;
    }

    /// One remote write: its status, and what became of its samples.
    pub(crate) fn write(&self, status: u16, kept: usize, unwanted: usize, refused: &BTreeMap<&'static str, usize>) {
        self.add(Metric::WriteRequests, labels([("code", &status.to_string())]), 1);
        self.add(Metric::SamplesKept, Labels::new(), kept as u64);
        self.add(Metric::SamplesUnwanted, Labels::new(), unwanted as u64);
        for (reason, count) in refused {
            self.add(Metric::SamplesRefused, labels([("reason", reason)]), *count as u64);
        }
    }

    /// A request that the caller may not make, by why.
    pub(crate) fn turned_away(&self, reason: &'static str) {
        self.add(Metric::TurnedAway, labels([("reason", reason)]), 1);
    }

    pub(crate) fn step(&self, failed: bool) {
        let metric = if failed { Metric::StepsFailed } else { Metric::StepsEvaluated };
        self.add(metric, Labels::new(), 1);
    }

    pub(crate) fn state_failed(&self) {
        self.add(Metric::StateFailures, Labels::new(), 1);
    }

    pub(crate) fn request(&self, request: &RemediationRequest) {
        let mode = match request.mode {
            forewarn_schema::Mode::DryRun => "dry_run",
            forewarn_schema::Mode::Approval => "approval",
            forewarn_schema::Mode::Automatic => "automatic",
        };
        self.add(Metric::Requests, labels([("kind", request.kind.as_str()), ("mode", mode)]), 1);
    }

    pub(crate) fn delivery(&self, result: &'static str) {
        self.add(Metric::Deliveries, labels([("result", result)]), 1);
    }

    pub(crate) fn labels(&self, verdict: Verdict, source: LabelSource) {
        self.add(Metric::Labels, labels([("source", source.as_str()), ("verdict", verdict.as_str())]), 1);
    }

    pub(crate) fn alert(&self, result: &'static str) {
        self.add(Metric::Alerts, labels([("result", result)]), 1);
    }

    pub(crate) fn model_refused(&self) {
        self.add(Metric::ModelsRefused, Labels::new(), 1);
    }

    /// Everything, in Prometheus' text format 0.0.4.
    pub(crate) async fn expose(&self, app: &AppState) -> String {
        let status = app.status().await;
        let predictions = app.predictions().await;
        let mut out = Exposition::default();
        let gauge = |value: f64| vec![(Labels::new(), value)];
        for metric in Metric::ALL {
            let samples = match metric {
                Metric::BuildInfo => vec![(labels([("version", status.version)]), 1.0)],
                Metric::Ready => gauge(f64::from(u8::from(status.ready))),
                Metric::Leads => gauge(f64::from(u8::from(status.leads))),
                Metric::LiveSeries => gauge(status.live_series as f64),
                Metric::Targets => gauge(status.targets as f64),
                Metric::OutboxPending => gauge(status.outbox_pending as f64),
                Metric::ScoringLag => {
                    status.evaluated_at.map_or_else(Vec::new, |at| gauge(status.now.seconds_since(at)))
                }
                Metric::RequestsHeldBack => gauge(app.0.scorer.held_back() as f64),
                Metric::ModelInfo => {
                    let serving = app.0.slots.serving();
                    serving.iter().map(|(s, v)| (labels([("service", s), ("model_version", v)]), 1.0)).collect()
                }
                Metric::TimeToBreach => {
                    let targets = predictions.iter().take(MAX_TARGETS);
                    targets.flat_map(time_to_breach).collect()
                }
                Metric::BreachProbability => {
                    let targets = predictions.iter().take(MAX_TARGETS);
                    targets.map(|p| (target_labels(p), p.breach_probability.get())).collect()
                }
                Metric::AnomalyScore => anomaly_scores(&predictions),
                counter => self.counted(counter),
            };
            out.family(metric, &samples);
        }
        out.finish()
    }

    fn counted(&self, metric: Metric) -> Vec<(Labels, f64)> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let of_metric = counters.iter().filter(|((m, _), _)| *m == metric);
        of_metric.map(|((_, labels), count)| (labels.clone(), *count as f64)).collect()
    }
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The service, what is said of it, and the target's own labels; one of those that has a name taken
/// here is called `target_…`.
fn target_labels(p: &Prediction) -> Labels {
    let mut all = labels([("service", &p.service), ("kind", p.kind.as_str()), ("signal", &p.signal)]);
    for (name, value) in p.labels.iter() {
        let taken = all.contains_key(name) && all[name] != value || name == "quantile";
        let name = if taken { format!("target_{name}") } else { name.to_owned() };
        all.insert(name, value.to_owned());
    }
    all
}

fn time_to_breach(p: &Prediction) -> Vec<(Labels, f64)> {
    let Some(ttb) = p.time_to_breach_seconds else { return Vec::new() };
    let quantile = |name: &str, seconds: f64| {
        let mut labels = target_labels(p);
        labels.insert("quantile".to_owned(), name.to_owned());
        (labels, seconds)
    };
    vec![quantile("0.1", ttb.p10()), quantile("0.5", ttb.p50()), quantile("0.9", ttb.p90())]
}

fn anomaly_scores(predictions: &[Prediction]) -> Vec<(Labels, f64)> {
    let mut by_service: BTreeMap<&str, f64> = BTreeMap::new();
    for p in predictions {
        let score = by_service.entry(&p.service).or_insert(0.0);
        *score = score.max(p.anomaly_score.get());
    }
    by_service.into_iter().map(|(service, score)| (labels([("service", service)]), score)).collect()
}
