//! What the server says of itself and of its predictions to Prometheus: one closed list of metrics,
//! each with its unit in its name.

mod exposition;
mod histogram;
mod list;
mod process;
mod rolling;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use forewarn_models::guardrails::HeldBy;
use forewarn_models::ladder::Rung;
use forewarn_models::verification::Finding;
use forewarn_schema::{BreachKind, LabelSource, Prediction, RemediationRequest, RequestStatus, Timestamp, Verdict};

use self::exposition::{Exposition, Labels};
use self::histogram::Histogram;
use self::list::Metric;
use crate::app::AppState;
use crate::pull::Pulling;
use crate::receive::Account;
use crate::state::StoredRequest;

/// Targets that are exposed at most, soonest breach first: a gauge per target is a series per target
/// in whoever scrapes this.
const MAX_TARGETS: usize = 2_000;

/// Counters; gauges are read off the server when somebody asks.
#[derive(Default)]
pub(crate) struct Metrics {
    counters: Mutex<BTreeMap<(Metric, Labels), u64>>,
    steps: Mutex<Histogram>,
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

    /// What became of fetched samples.
    pub(crate) fn pulled(&self, account: &Account) {
        self.add(Metric::SamplesKept, Labels::new(), (account.kept + account.histograms_kept) as u64);
        for (reason, count) in &account.refused {
            self.add(Metric::SamplesRefused, labels([("reason", reason)]), *count as u64);
        }
    }

    pub(crate) fn pull_failed(&self) {
        self.add(Metric::PullFailures, Labels::new(), 1);
    }

    /// The door's files changed: taken, or refused.
    pub(crate) fn door_reloaded(&self, result: &'static str) {
        self.add(Metric::DoorReloads, labels([("result", result)]), 1);
    }

    pub(crate) fn step(&self, failed: bool) {
        let metric = if failed { Metric::StepsFailed } else { Metric::StepsEvaluated };
        self.add(metric, Labels::new(), 1);
    }

    /// How long a step took, from its evaluation until it was stored and shown.
    pub(crate) fn step_took(&self, took: Duration) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).observe(took);
    }

    pub(crate) fn state_failed(&self) {
        self.add(Metric::StateFailures, Labels::new(), 1);
    }

    pub(crate) fn request(&self, request: &RemediationRequest) {
        let mode = crate::state::word(request.mode);
        self.add(Metric::Requests, labels([("kind", request.kind.as_str()), ("mode", mode)]), 1);
    }

    pub(crate) fn delivery(&self, result: &'static str) {
        self.add(Metric::Deliveries, labels([("result", result)]), 1);
    }

    /// An Alertmanager was told.
    pub(crate) fn alerts_told(&self, alertmanager: &str, result: &'static str) {
        self.add(Metric::AlertsTold, labels([("alertmanager", alertmanager), ("result", result)]), 1);
    }

    pub(crate) fn labels(&self, verdict: Verdict, source: LabelSource) {
        self.add(Metric::Labels, labels([("source", source.as_str()), ("verdict", verdict.as_str())]), 1);
    }

    pub(crate) fn alert(&self, result: &'static str) {
        self.add(Metric::Alerts, labels([("result", result)]), 1);
    }

    /// A prediction, or a breach that nobody announced, is settled.
    pub(crate) fn settled(&self, kind: BreachKind, was: &'static str) {
        self.add(Metric::Settlements, labels([("kind", kind.as_str()), ("was", was)]), 1);
    }

    pub(crate) fn model_refused(&self) {
        self.add(Metric::ModelsRefused, Labels::new(), 1);
    }

    /// Everything, in Prometheus' text format 0.0.4.
    pub(crate) async fn expose(&self, app: &AppState) -> String {
        let status = app.status().await;
        let snapshot = app.0.scorer.current(status.now);
        let predictions = &snapshot.predictions;
        let requests = app.requests().await.unwrap_or_default();
        // Where the database is away the figures are absent, and the rest is there.
        let outcomes = app.outcomes().await.unwrap_or_default();
        let mut out = Exposition::default();
        let gauge = |value: f64| vec![(Labels::new(), value)];
        for metric in Metric::ALL {
            if metric == Metric::StepDuration {
                let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
                out.histogram(metric, &steps);
                continue;
            }
            let samples = match metric {
                Metric::BuildInfo => vec![(labels([("version", status.version)]), 1.0)],
                Metric::Ready => gauge(f64::from(u8::from(status.ready))),
                Metric::PullUp => {
                    let state = app.0.pulling.as_ref().map(Pulling::state);
                    state.map_or_else(Vec::new, |state| gauge(f64::from(u8::from(state.up))))
                }
                Metric::PullLag => {
                    let until = app.0.pulling.as_ref().and_then(|pulling| pulling.state().until);
                    until.map_or_else(Vec::new, |until| gauge(status.now.seconds_since(until)))
                }
                Metric::Leads => gauge(f64::from(u8::from(status.leads))),
                Metric::LiveSeries => gauge(status.live_series as f64),
                Metric::SeriesFull => gauge(f64::from(u8::from(app.0.scorer.is_full()))),
                Metric::MemoryForetold => gauge(app.0.scorer.footprint().bytes() as f64),
                Metric::Targets => gauge(status.targets as f64),
                Metric::OutboxPending => gauge(status.outbox_pending as f64),
                Metric::ScoringLag => {
                    status.evaluated_at.map_or_else(Vec::new, |at| gauge(status.now.seconds_since(at)))
                }
                Metric::RequestsHeldBack => held_back(app),
                Metric::RequestsHeld => held_now(app),
                Metric::RequestsStopped => gauge(f64::from(u8::from(status.stopped.is_some()))),
                Metric::OutboxMessages => {
                    let counts = app.0.store.outbox_counts().await.unwrap_or_default();
                    counts.into_iter().map(|(state, count)| (labels([("state", &state)]), count as f64)).collect()
                }
                Metric::AlertmanagerUp => {
                    let all = app.0.alertmanagers.iter().map(|instance| instance.status());
                    let told =
                        all.filter_map(|s| Some((labels([("alertmanager", &s.url)]), f64::from(u8::from(s.up?)))));
                    told.collect()
                }
                Metric::ModelInfo => {
                    let serving = app.0.slots.serving();
                    serving.iter().map(|(s, v)| (labels([("service", s), ("model_version", v)]), 1.0)).collect()
                }
                Metric::ShadowInfo => {
                    let scoring = app.0.shadows.scoring();
                    scoring.iter().map(|(s, v)| (labels([("service", s), ("model_version", v)]), 1.0)).collect()
                }
                Metric::TimeToBreach => {
                    let targets = predictions.iter().take(MAX_TARGETS);
                    targets.flat_map(time_to_breach).collect()
                }
                Metric::BreachProbability => {
                    let targets = predictions.iter().take(MAX_TARGETS);
                    targets.map(|p| (target_labels(p), p.breach_probability.get())).collect()
                }
                Metric::AnomalyScore => anomaly_scores(predictions),
                Metric::RequestsOpen => {
                    gauge(requests.iter().filter(|r| r.status == RequestStatus::Open).count() as f64)
                }
                Metric::OutboxOldest => gauge(if status.webhook { oldest_waiting(&requests, status.now) } else { 0.0 }),
                Metric::ModelAge => {
                    let serving = app.0.slots.serving();
                    let age = |version: &str| Some(status.now.seconds_since(trained_until(version)?));
                    serving.iter().filter_map(|(s, v)| Some((labels([("service", s)]), age(v)?))).collect()
                }
                Metric::LastRunAge => {
                    app.0.last_run.began().map_or_else(Vec::new, |at| gauge(status.now.seconds_since(at)))
                }
                Metric::DriftedSignals => {
                    let drifted = app.0.quality.drifted();
                    drifted.iter().map(|(service, count)| (labels([("service", service)]), *count as f64)).collect()
                }
                Metric::AutonomyMode => ladders(app, |rung| f64::from(rung.mode as u8)).await,
                Metric::AutonomyVerified => ladders(app, |rung| f64::from(rung.verified)).await,
                Metric::Verifications => verifications(app).await,
                Metric::MinProbability => moved_thresholds(app),
                Metric::DecodersBusy => {
                    gauge(crate::server::DECODERS.saturating_sub(app.0.decoders.available_permits()) as f64)
                }
                Metric::ResidentMemory => process::resident_bytes().map_or_else(Vec::new, gauge),
                Metric::Unsettled => {
                    let count = app.0.store.unsettled_count().await;
                    count.map_or_else(|_| Vec::new(), |count| gauge(count as f64))
                }
                other => rolling::samples(other, &outcomes).unwrap_or_else(|| self.counted(other)),
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

/// Every reason is there from the start, so that a rate sees its first rise.
fn held_back(app: &AppState) -> Vec<(Labels, f64)> {
    let counts = app.0.scorer.held_back();
    let count = |by: HeldBy| counts.get(&by).copied().unwrap_or(0) as f64;
    HeldBy::ALL.map(|by| (labels([("reason", by.as_str())]), count(by))).into()
}

/// A figure of every ladder.
async fn ladders(app: &AppState, figure: impl Fn(&Rung) -> f64) -> Vec<(Labels, f64)> {
    let ladders = app.autonomy().await.map(|autonomy| autonomy.ladders).unwrap_or_default();
    ladders.iter().map(|l| (labels([("service", &l.service), ("playbook", &l.playbook)]), figure(&l.rung))).collect()
}

/// Every finding is there from the start, so that its first rise is seen.
async fn verifications(app: &AppState) -> Vec<(Labels, f64)> {
    let counts: BTreeMap<String, u64> =
        app.0.store.verification_counts().await.unwrap_or_default().into_iter().collect();
    let names = Finding::ALL.map(Finding::as_str).into_iter().chain(["watched"]);
    names.map(|name| (labels([("finding", name)]), counts.get(name).copied().unwrap_or(0) as f64)).collect()
}

/// At most so many as targets: a threshold is a service's and a kind's.
fn moved_thresholds(app: &AppState) -> Vec<(Labels, f64)> {
    let standing = app.0.learning.standing();
    let moved = standing.iter().filter(|one| one.now != one.start).take(MAX_TARGETS);
    let label = |one: &forewarn_models::learning::Standing| {
        labels([("service", one.service.as_deref().unwrap_or_default()), ("kind", one.kind.as_str())])
    };
    moved.map(|one| (label(one), one.now.min_probability)).collect()
}

fn held_now(app: &AppState) -> Vec<(Labels, f64)> {
    let held = app.0.scorer.holding();
    // What the budget holds back is settled, and never waits.
    let waiting = HeldBy::ALL.into_iter().filter(|by| *by != HeldBy::WeeklyBudget);
    let count = |by: HeldBy| held.iter().filter(|h| h.by == by).count() as f64;
    waiting.map(|by| (labels([("reason", by.as_str())]), count(by))).collect()
}

/// A metric of the server as a dashboard or a rule may name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricInfo {
    /// With its unit.
    pub name: &'static str,
    /// `counter`, `gauge`, `summary` or `histogram`.
    pub kind: &'static str,
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// Every metric that `/metrics` may have.
pub fn metrics_list() -> Vec<MetricInfo> {
    let info = |metric: Metric| {
        let (name, kind, help) = metric.describe();
        MetricInfo { name, kind: kind.as_str(), help }
    };
    Metric::ALL.into_iter().map(info).collect()
}

/// How long the request has waited that was not delivered and still could be.
fn oldest_waiting(requests: &[StoredRequest], now: Timestamp) -> f64 {
    let waits = |r: &&StoredRequest| {
        let is_alive = matches!(r.status, RequestStatus::Open | RequestStatus::Approved) && r.request.expires_at >= now;
        is_alive && r.delivered_at.is_none()
    };
    requests.iter().filter(waits).map(|r| now.seconds_since(r.request.at).max(0.0)).fold(0.0, f64::max)
}

/// The end of the data that a version was trained on, which its name begins with.
fn trained_until(version: &str) -> Option<Timestamp> {
    let (time, _) = version.split_once('-')?;
    let parsed = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").ok()?;
    Some(Timestamp::from_millis(parsed.and_utc().timestamp_millis()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_says_how_old_its_data_is() {
        let until = trained_until("20260119T000000Z-1a3d8cad").unwrap();
        assert_eq!(until.to_rfc3339(), "2026-01-19T00:00:00Z");
        assert_eq!(trained_until("rules"), None);
    }

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let list = metrics_list();
        for (i, metric) in list.iter().enumerate() {
            assert!(list[..i].iter().all(|other| other.name != metric.name), "{} is there twice", metric.name);
            assert_eq!(metric.kind == "counter", metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
