//! What announcements turned out to be, from all that is stored of them: each counts once. People outrank alerts, both outrank the
//! data, and of two that rank alike the newer one speaks; what the data say of the same is kept beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_models::learning::{Evidence, Reached, Settled, in_time};
use forewarn_models::scorer::horizon_seconds;
use forewarn_schema::{
    Became, BreachKind, Feedback, FeedbackSubject, Judge, Judged, LabelSource, Prediction, Probability,
    RemediationRequest, Settlement, Timestamp, Verdict,
};

use crate::state::{StateError, StateStore};

/// A label of a miss and what the data say of it lie no further apart.
const SAME_MISS: f64 = 3600.0;

/// Reads all of it; what the data settled, from `settled_since` on.
pub(super) async fn read(store: &StateStore, settled_since: Timestamp) -> Result<Vec<Evidence>, StateError> {
    let beginning = Timestamp::from_millis(0);
    let requests = store.requests_since(beginning).await?.into_iter().map(|stored| stored.request).collect();
    let stored = Stored {
        requests,
        predictions: store.judged_predictions().await?,
        reached: store.reached().await?,
        labels: store.feedback().await?,
        settlements: store.settlements_to_learn_from(settled_since).await?,
        settled_since,
    };
    Ok(stored.evidence())
}

#[derive(Default)]
struct Stored {
    /// Oldest first.
    requests: Vec<RemediationRequest>,
    predictions: BTreeMap<String, Prediction>,
    reached: BTreeMap<String, Vec<Reached>>,
    /// Oldest first.
    labels: Vec<Feedback>,
    settlements: Vec<Settlement>,
    /// Of those before it only what they say of a label counts.
    settled_since: Timestamp,
}

/// What was said last by whoever has most to say.
#[derive(Clone, Copy)]
struct Word {
    rank: u8,
    verdict: Verdict,
    known_at: Timestamp,
}

/// Of announcements, by the request's id; of other predictions, by theirs.
#[derive(Default)]
struct Words<'a>(BTreeMap<(bool, &'a str), Word>);

impl<'a> Words<'a> {
    fn hear(&mut self, requested: bool, id: &'a str, word: Word) {
        let place = self.0.entry((requested, id)).or_insert(word);
        if (word.rank, word.known_at) >= (place.rank, place.known_at) {
            *place = word;
        }
    }
}

impl Stored {
    fn evidence(&self) -> Vec<Evidence> {
        let by_prediction: BTreeMap<&str, &RemediationRequest> =
            self.requests.iter().map(|r| (r.prediction_id.as_str(), r)).collect();
        let by_id: BTreeMap<&str, &RemediationRequest> = self.requests.iter().map(|r| (r.id.as_str(), r)).collect();
        let mut words = Words::default();
        let mut misses: Vec<Evidence> = Vec::new();
        for settled in self.settlements.iter().filter(|s| s.settled_at >= self.settled_since) {
            let Some(verdict) = settled.became.verdict() else { continue };
            let word = Word { rank: 0, verdict, known_at: settled.settled_at };
            if verdict == Verdict::Missed {
                misses.push(miss(&settled.service, settled.kind, settled.at, settled.probability, word));
                continue;
            }
            let request = settled.request_id.as_deref().or_else(|| Some(by_prediction.get(&*settled.id)?.id.as_str()));
            words.hear(request.is_some(), request.unwrap_or(&settled.id), word);
        }
        for label in &self.labels {
            let rank = if label.source == LabelSource::Alertmanager { 1 } else { 2 };
            let word = Word { rank, verdict: label.verdict, known_at: label.created_at };
            match &label.subject {
                FeedbackSubject::Request { request_id } => words.hear(true, request_id, word),
                FeedbackSubject::Prediction { prediction_id } => {
                    match self.announcement_of(prediction_id, &by_prediction) {
                        Some(request) => words.hear(true, &request.id, word),
                        None => words.hear(false, prediction_id, word),
                    }
                }
                FeedbackSubject::Span { service, kind, range } => {
                    let within = |of: &str, its: BreachKind, at| {
                        of == service && kind.is_none_or(|kind| kind == its) && range.contains(at)
                    };
                    for request in self.requests.iter().filter(|r| within(&r.service, r.kind, r.at)) {
                        words.hear(true, &request.id, word);
                    }
                    for p in self.predictions.values().filter(|p| within(&p.service, p.kind, p.at)) {
                        if !by_prediction.contains_key(&*p.id) {
                            words.hear(false, &p.id, word);
                        }
                    }
                }
                FeedbackSubject::Breach { service, kind, at } if label.verdict == Verdict::Missed => {
                    // The data may know how probable it was called.
                    let same = |e: &Evidence| {
                        let judged = &e.judged;
                        judged.service == *service
                            && judged.kind == *kind
                            && judged.at.seconds_since(*at).abs() <= SAME_MISS
                    };
                    let known = misses.iter().find(|e| same(e)).and_then(|e| e.judged.probability);
                    misses.retain(|e| !same(e));
                    misses.push(miss(service, *kind, *at, known, word));
                }
                FeedbackSubject::Breach { .. } => {}
            }
        }
        let settled: BTreeMap<&str, &Settlement> = self.settlements.iter().map(|s| (s.id.as_str(), s)).collect();
        let mut all = misses;
        for ((requested, id), word) in words.0 {
            let evidence = match (requested, by_id.get(id)) {
                (true, Some(request)) => self.announced(request, settled.get(&*request.prediction_id).copied(), word),
                (true, None) => None,
                (false, _) => self.only_said(id, settled.get(id).copied(), word),
            };
            all.extend(evidence);
        }
        all
    }

    /// The announcement that a labelled prediction belongs to: the one it emitted, or the last before it of the same workload while that
    /// was open.
    fn announcement_of<'a>(
        &'a self,
        prediction_id: &str,
        by_prediction: &BTreeMap<&str, &'a RemediationRequest>,
    ) -> Option<&'a RemediationRequest> {
        if let Some(request) = by_prediction.get(prediction_id) {
            return Some(request);
        }
        let p = self.predictions.get(prediction_id)?;
        let covers = |r: &&RemediationRequest| {
            let of_workload = || r.labels.iter().all(|(k, v)| p.labels.get(k) == Some(v));
            r.service == p.service && r.signal == p.signal && of_workload() && r.at <= p.at && p.at <= r.at + horizon(r)
        };
        self.requests.iter().rev().find(covers)
    }

    fn announced(&self, request: &RemediationRequest, settled: Option<&Settlement>, word: Word) -> Option<Evidence> {
        let reached = self.reached.get(&request.id).map(Vec::as_slice).unwrap_or_default();
        let breach = settled.and_then(|s| match s.became {
            Became::Breached { at } => Some(at),
            _ => None,
        });
        let reached = match (word.verdict, breach) {
            (Verdict::TruePositive, Some(breach)) => in_time(reached, request.kind, request.at, breach),
            _ => reached.to_vec(),
        };
        let probability = request.evidence.uncalibrated.unwrap_or(request.probability);
        Some(Evidence {
            judged: judged(&request.service, request.kind, request.at, Some(probability), true, word),
            reached,
            known_at: word.known_at,
            settled: settled.and_then(seen),
        })
    }

    fn only_said(&self, id: &str, settled: Option<&Settlement>, word: Word) -> Option<Evidence> {
        let known = self.predictions.get(id);
        let judged = match (known, settled) {
            (Some(p), _) => judged(&p.service, p.kind, p.at, Some(p.uncalibrated()), false, word),
            (None, Some(s)) => judged(&s.service, s.kind, s.at, s.probability, false, word),
            (None, None) => return None,
        };
        Some(Evidence { judged, reached: Vec::new(), known_at: word.known_at, settled: None })
    }
}

fn judged(
    service: &str,
    kind: BreachKind,
    at: Timestamp,
    probability: Option<Probability>,
    requested: bool,
    word: Word,
) -> Judged {
    let judge = if word.rank == 0 { Judge::Data } else { Judge::Label };
    Judged { service: service.to_owned(), kind, at, probability, requested, verdict: word.verdict, judge }
}

fn miss(service: &str, kind: BreachKind, at: Timestamp, probability: Option<Probability>, word: Word) -> Evidence {
    let judged = judged(service, kind, at, probability, false, word);
    Evidence { judged, reached: Vec::new(), known_at: word.known_at, settled: None }
}

/// What was seen to happen; what might have happened is not weighed against a label.
fn seen(settled: &Settlement) -> Option<Settled> {
    let breach = match settled.became {
        Became::Breached { at } => Some(at),
        Became::FalseAlarm => None,
        Became::Averted { .. } | Became::InBreach | Became::Unsettled | Became::Missed { .. } => return None,
    };
    Some(Settled { breach, at: settled.settled_at })
}

/// For how long a request speaks.
fn horizon(request: &RemediationRequest) -> Duration {
    let seconds = request.predicted_breach.p90.seconds_since(request.at).max(horizon_seconds(request.kind));
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests;
