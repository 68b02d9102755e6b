//! Requests and times to breach against what happened: recall, false alarms, lead, error, coverage.
//!
//! The rules are those by which operators judge us: early enough is 15 minutes (2 hours for a disk, a
//! day for a certificate), but never more than half of the way from onset to breach.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_schema::{BreachKind, LabelSet, Prediction, RemediationRequest, TimeRange, Timestamp};

use crate::metrics::{self, average_precision, brier_score, concordance_index, relative_time_error};
use crate::report::{AlarmQuality, BreachReport, PathPoint, RequestReport};
use crate::settle::{Breach, Outcome, Truth, agree};

const WEEK_SECONDS: f64 = 7.0 * 86_400.0;
/// Points of one curve in the report: as many as a chart of that width can show.
pub(crate) const CHART_POINTS: usize = 240;

/// How long before a breach of this kind a request must come to help.
pub fn required_lead(kind: BreachKind) -> Duration {
    Duration::from_secs(match kind {
        BreachKind::DiskFull => 2 * 3600,
        BreachKind::CertificateExpiry => 24 * 3600,
        _ => 15 * 60,
    })
}

/// A breach whose way is shorter than this gave nobody a chance to announce it.
const SUDDEN: f64 = 15.0 * 60.0;

/// What one engine said over a range, kept small: a replay of ten days makes half a million
/// predictions, whose explanations would fill the memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replay {
    /// Per service, kind and labels, by time.
    targets: BTreeMap<(String, BreachKind, LabelSet), Vec<Said>>,
    /// Per service, by time.
    pub(crate) scores: BTreeMap<String, Vec<(Timestamp, f64)>>,
    /// Request id → how far its prediction looked, and the model that made it.
    emitted: BTreeMap<String, (Duration, String)>,
    pub(crate) requests: Vec<RemediationRequest>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    at: Timestamp,
    probability: f64,
    horizon: Duration,
    time_to_breach: Option<[f64; 3]>,
}

/// The judgement of one service (or of all).
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    pub(crate) quality: AlarmQuality,
    pub(crate) breaches: Vec<BreachReport>,
    pub(crate) requests: Vec<RequestReport>,
    /// Kept to sum up over services.
    probabilities: Vec<(f64, bool)>,
    covered: Vec<f64>,
    halfway: Vec<(f64, f64)>,
}

impl Replay {
    pub(crate) fn push(&mut self, prediction: &Prediction) {
        let key = (prediction.service.clone(), prediction.kind, prediction.labels.clone());
        let horizon = Duration::try_from_secs_f64(prediction.horizon_seconds).unwrap_or(Duration::ZERO);
        self.targets.entry(key).or_default().push(Said {
            at: prediction.at,
            probability: prediction.breach_probability.get(),
            horizon,
            time_to_breach: prediction.time_to_breach_seconds.map(|t| [t.p10(), t.p50(), t.p90()]),
        });
        let scores = self.scores.entry(prediction.service.clone()).or_default();
        if scores.last().is_none_or(|(at, _)| *at < prediction.at) {
            scores.push((prediction.at, prediction.anomaly_score.get()));
        }
        if let Some(id) = &prediction.request_id {
            self.emitted.insert(id.clone(), (horizon, prediction.model_version.clone()));
        }
    }

    fn said_on_the_way(&self, breach: &Breach, from: Timestamp) -> Vec<Said> {
        let targets = self.targets.iter().filter(|((service, kind, labels), _)| {
            **service == *breach.service && *kind == breach.kind && agree(labels, &breach.labels)
        });
        let said = targets.flat_map(|(_, said)| said.iter().copied());
        let mut said: Vec<Said> = said.filter(|s| from <= s.at && s.at < breach.at).collect();
        said.sort_by_key(|s| s.at);
        said
    }
}

/// Judges what was said of `service` over `range`.
pub(crate) fn judge(truth: &Truth, service: &str, replay: &Replay, range: TimeRange) -> Judged {
    let mut judged = Judged::default();
    let requests: Vec<&RemediationRequest> = replay.requests.iter().filter(|r| r.service == service).collect();
    for request in &requests {
        let (horizon, model_version) = replay.emitted.get(&request.id).cloned().unwrap_or_default();
        let horizon = horizon.max(until(request.at, request.predicted_breach.p90));
        judged.requests.push(RequestReport {
            id: request.id.clone(),
            at: request.at,
            kind: request.kind,
            labels: request.labels.clone(),
            predicted_breach: request.predicted_breach.p50,
            outcome: truth.settle(service, request.kind, &request.labels, request.at, horizon),
            model_version,
        });
    }
    for breach in truth.breaches(range).into_iter().filter(|b| &*b.service == service) {
        judge_breach(breach, &requests, replay, range, &mut judged);
    }
    for ((_, kind, labels), said) in replay.targets.iter().filter(|((s, _, _), _)| s == service) {
        for said in said {
            match truth.settle(service, *kind, labels, said.at, said.horizon) {
                Outcome::Breached { .. } => judged.probabilities.push((said.probability, true)),
                Outcome::FalseAlarm => judged.probabilities.push((said.probability, false)),
                Outcome::InBreach | Outcome::Averted | Outcome::Unsettled => {}
            }
        }
    }
    judged.sum_up(range);
    judged
}

fn judge_breach(
    breach: &Breach,
    requests: &[&RemediationRequest],
    replay: &Replay,
    range: TimeRange,
    judged: &mut Judged,
) {
    let onset = breach.onset.max(range.start);
    let way = breach.at.seconds_since(onset);
    let required = required_lead(breach.kind).as_secs_f64().min(way / 2.0);
    let first = requests.iter().zip(&judged.requests).filter(|(request, report)| {
        let of_it = request.kind == breach.kind && agree(&request.labels, &breach.labels);
        let in_its_time = onset <= request.at || matches!(report.outcome, Outcome::Breached { at } if at == breach.at);
        of_it && in_its_time && request.at < breach.at
    });
    let lead = first.map(|(request, _)| breach.at.seconds_since(request.at)).reduce(f64::max);
    let said = replay.said_on_the_way(breach, onset);
    let halfway = said.iter().min_by(|a, b| {
        let distance = |s: &Said| (s.at.seconds_since(onset) - way / 2.0).abs();
        distance(a).total_cmp(&distance(b))
    });
    let median_of = |s: &Said| s.time_to_breach.map(|t| t[1]);
    let error = halfway.map_or(1.0, |s| relative_time_error(median_of(s), breach.at.seconds_since(s.at)));
    let sudden = breach.at.seconds_since(breach.onset) < SUDDEN;
    if let Some((said, predicted)) = halfway.filter(|_| !sudden).and_then(|s| Some((s, median_of(s)?))) {
        judged.halfway.push((breach.at.seconds_since(said.at), predicted));
    }
    if breach.kind != BreachKind::CertificateExpiry && !sudden {
        let on_the_way = said.iter().filter(|s| (0.25..=0.95).contains(&(s.at.seconds_since(onset) / way)));
        let intervals = on_the_way.filter_map(|s| {
            let [low, _, high] = s.time_to_breach?;
            Some((breach.at.seconds_since(s.at), low, high))
        });
        judged.covered.extend(metrics::interval_coverage(intervals));
    }
    let keep_every = said.len().div_ceil(CHART_POINTS).max(1);
    let path = said.iter().step_by(keep_every).map(|s| PathPoint {
        at: s.at,
        truth: breach.at.seconds_since(s.at),
        predicted: s.time_to_breach,
    });
    judged.breaches.push(BreachReport {
        signal: breach.signal.clone(),
        kind: breach.kind,
        labels: breach.labels.clone(),
        onset: breach.onset,
        at: breach.at,
        sudden,
        predicted: lead.is_some_and(|lead| lead >= required),
        lead_seconds: lead,
        required_lead_seconds: required,
        time_to_breach_error: error,
        path: path.collect(),
    });
}

impl Judged {
    /// Adds what was judged of another service.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.breaches.extend_from_slice(&other.breaches);
        self.requests.extend_from_slice(&other.requests);
        self.probabilities.extend_from_slice(&other.probabilities);
        self.covered.extend_from_slice(&other.covered);
        self.halfway.extend_from_slice(&other.halfway);
    }

    /// Fills in `quality` from the parts.
    pub(crate) fn sum_up(&mut self, range: TimeRange) {
        let foreseeable = || self.breaches.iter().filter(|b| !b.sudden);
        let breaches = foreseeable().count() as u64;
        let predicted = foreseeable().filter(|b| b.predicted).count() as u64;
        let of = |wanted: fn(&Outcome) -> bool| self.requests.iter().filter(|r| wanted(&r.outcome)).count() as u64;
        let false_alarms = of(|o| *o == Outcome::FalseAlarm);
        let weeks = range.duration().as_secs_f64() / WEEK_SECONDS;
        self.quality = AlarmQuality {
            breaches,
            sudden: self.breaches.len() as u64 - breaches,
            predicted,
            recall: (breaches > 0).then(|| predicted as f64 / breaches as f64),
            requests: self.requests.len() as u64,
            false_alarms,
            false_alarms_per_week: if weeks > 0.0 { false_alarms as f64 / weeks } else { 0.0 },
            neutral: of(|o| matches!(o, Outcome::Averted | Outcome::InBreach)),
            unsettled: of(|o| *o == Outcome::Unsettled),
            median_lead_seconds: metrics::median(foreseeable().filter_map(|b| b.lead_seconds)),
            median_time_to_breach_error: metrics::median(foreseeable().map(|b| b.time_to_breach_error)),
            interval_coverage: metrics::mean(self.covered.iter().copied()),
            concordance: concordance_index(&self.halfway),
            brier_score: brier_score(self.probabilities.iter().copied()),
            average_precision: average_precision(self.probabilities.iter().copied()),
        };
    }
}

fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from_secs_f64(to.seconds_since(from).max(0.0)).unwrap_or(Duration::ZERO)
}
