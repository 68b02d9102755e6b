//! New failure patterns: anomalies that no announcement, breach or maintenance explains, those that look alike put together.
//!
//! Sightings of one service become an episode while no more than half an hour lies between them. An episode looks like its
//! signals: each signal's mean weight, to the one side where it was higher than expected and to the other where it was lower.
//! Two episodes are alike where the cosine between these is at least 0.8; each joins the first pattern that it is like, in
//! the order of time (a leader clustering, Hartigan 1975): the same sightings, the same patterns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forewarn_schema::{FeedbackSubject, Sighting, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Announced, Missed, WeekRecords};

/// A longer silence ends an episode.
const APART: Duration = Duration::from_secs(1800);
/// An announcement or breach explains what a service looked like from so long before it until so long after.
const EXPLAINED: Duration = Duration::from_secs(3600);
/// From this cosine on two episodes are alike.
const ALIKE: f64 = 0.8;
/// Sightings are ten minutes apart at least: fewer than this are a moment's noise.
const LEAST_SIGHTINGS: usize = 2;

/// Episodes that look alike: a candidate for a signal or a playbook of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// What it looks like: signals with their share, strongest first, negative where lower than expected.
    pub signals: Vec<(String, f64)>,
    /// Where it was seen.
    pub services: Vec<String>,
    /// When.
    pub episodes: Vec<PatternEpisode>,
}

/// One stretch in which a service looked unusual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatternEpisode {
    /// The workload.
    pub service: String,
    /// From the first sighting to the last.
    pub range: TimeRange,
    /// The highest anomaly score.
    pub peak: f64,
}

type Look = BTreeMap<String, f64>;

pub(super) fn patterns(
    records: &WeekRecords,
    announced: &[Announced],
    missed: &[Missed],
    range: TimeRange,
) -> Vec<Pattern> {
    let mut by_service: BTreeMap<&str, Vec<&Sighting>> = BTreeMap::new();
    for sighting in records.sightings.iter().filter(|s| range.contains(s.at)) {
        by_service.entry(&sighting.service).or_default().push(sighting);
    }
    let mut episodes: Vec<(PatternEpisode, Look)> = Vec::new();
    for sightings in by_service.values_mut() {
        sightings.sort_by_key(|s| s.at);
        let together = sightings.chunk_by(|a, b| b.at <= a.at + APART);
        let lasting = together.filter(|episode| episode.len() >= LEAST_SIGHTINGS);
        episodes.extend(lasting.filter(|e| !is_explained(records, announced, missed, e)).map(episode));
    }
    episodes.sort_by(|(a, _), (b, _)| (a.range.start, &a.service).cmp(&(b.range.start, &b.service)));
    let mut clusters: Vec<(Look, Vec<PatternEpisode>)> = Vec::new();
    for (episode, look) in episodes {
        match clusters.iter_mut().find(|(leader, _)| cosine(leader, &look) >= ALIKE) {
            Some((_, members)) => members.push(episode),
            None => clusters.push((look, vec![episode])),
        }
    }
    // The sort is stable: of patterns as frequent, the one that began first comes first.
    clusters.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    clusters.into_iter().map(|(look, episodes)| pattern(look, episodes)).collect()
}

fn pattern(look: Look, episodes: Vec<PatternEpisode>) -> Pattern {
    let mut signals: Vec<(String, f64)> = look.into_iter().collect();
    signals.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then_with(|| a.0.cmp(&b.0)));
    let services: BTreeSet<String> = episodes.iter().map(|e| e.service.clone()).collect();
    Pattern { signals, services: services.into_iter().collect(), episodes }
}

fn episode(sightings: &[&Sighting]) -> (PatternEpisode, Look) {
    let mut look = Look::new();
    for signal in sightings.iter().flat_map(|s| &s.signals) {
        let side = if signal.expected.is_some_and(|expected| signal.seen < expected) { -1.0 } else { 1.0 };
        if signal.weight.is_finite() {
            *look.entry(signal.signal.clone()).or_default() += side * signal.weight / sightings.len() as f64;
        }
    }
    let (first, last) = (sightings[0], sightings[sightings.len() - 1]);
    let episode = PatternEpisode {
        service: first.service.clone(),
        range: TimeRange { start: first.at, end: last.at },
        peak: sightings.iter().map(|s| s.score.get()).fold(0.0, f64::max),
    };
    (episode, look)
}

/// Whether something that is known of happened to the service about then: a request, a breach, a likely prediction, a label.
fn is_explained(records: &WeekRecords, announced: &[Announced], missed: &[Missed], episode: &[&Sighting]) -> bool {
    let (first, last) = (episode[0], episode[episode.len() - 1]);
    let about = |service: &str, at: Timestamp| {
        service == first.service && first.at <= at + EXPLAINED && at <= last.at + EXPLAINED
    };
    announced.iter().any(|a| about(&a.service, a.at))
        || missed.iter().any(|m| about(&m.service, m.at))
        || records.predictions.iter().any(|p| about(&p.service, p.at))
        || records.labels.iter().any(|label| match &label.subject {
            FeedbackSubject::Breach { service, at, .. } => about(service, *at),
            FeedbackSubject::Span { service, range, .. } => {
                *service == first.service && range.start <= last.at && first.at < range.end
            }
            FeedbackSubject::Prediction { .. } | FeedbackSubject::Request { .. } => false,
        })
}

/// 0 where either looks like nothing.
fn cosine(a: &Look, b: &Look) -> f64 {
    let dot: f64 = a.iter().filter_map(|(signal, weight)| Some(weight * b.get(signal)?)).sum();
    let norm = |look: &Look| look.values().map(|w| w * w).sum::<f64>().sqrt();
    let norms = norm(a) * norm(b);
    if norms > 0.0 { dot / norms } else { 0.0 }
}
