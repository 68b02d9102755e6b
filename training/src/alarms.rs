//! Requests and times to breach against what happened, one service and one replay at a time.
//!
//! The rules are those by which operators judge us: early enough is 15 minutes (2 hours for a disk, a
//! day for a certificate), but never more than half of the way from onset to breach. Figures and their
//! intervals are made of this in `quality`.

use forewarn_models::decision::window;
use forewarn_schema::{BreachKind, LabelSet, PredictedBreach, RemediationRequest, TimeRange, Timestamp};

use crate::metrics::relative_time_error;
use crate::replay::{Replay, Said};
use crate::report::{AlarmQuality, BreachReport, PathPoint, RequestReport, Timing};
use forewarn_models::settle::{Breach, Outcome, Truth, agree};

/// Points of one curve in the report: as many as a chart of that width can show.
pub(crate) const CHART_POINTS: usize = 240;

/// The judgement of one service (or of all).
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    pub(crate) quality: AlarmQuality,
    pub(crate) breaches: Vec<BreachReport>,
    pub(crate) requests: Vec<RequestReport>,
    /// One a breach, in the order of `breaches`: the same truth gives the same order for every replay.
    pub(crate) settled: Vec<Settled>,
    pub(crate) spoken: Vec<Spoken>,
    /// How many of `settled`'s episodes there are, and how many services were judged.
    pub(crate) episodes: usize,
    pub(crate) services: usize,
}

/// How one breach was seen coming.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) kind: BreachKind,
    /// Which episode it belongs to: replicas share one, and what is said of them is one thing said.
    pub(crate) episode: usize,
    /// Whether anybody could have announced it.
    pub(crate) counts: bool,
    pub(crate) predicted: bool,
    /// Seconds.
    pub(crate) lead: Option<f64>,
    /// 0..=1.
    pub(crate) time_error: f64,
    /// The true and the predicted time to breach half-way, seconds.
    pub(crate) halfway: Option<(f64, f64)>,
    /// Share of intervals between 25 and 95 % of the way that hold the truth; `None` without one.
    pub(crate) coverage: Option<f64>,
    /// The true time to breach and the interval, of each prediction on the way that had one.
    pub(crate) intervals: Vec<(f64, [f64; 3])>,
}

/// One breach probability, settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoken {
    pub(crate) kind: BreachKind,
    pub(crate) probability: f64,
    pub(crate) happened: bool,
    /// Service and day: what is said from hour to hour is hardly news.
    pub(crate) block: (usize, i64),
}

/// Judges what was said of `service` over `range`.
pub(crate) fn judge(truth: &Truth, service: &str, replay: &Replay, range: TimeRange) -> Judged {
    let mut judged = Judged { services: 1, ..Judged::default() };
    let requests: Vec<&RemediationRequest> = replay.requests.iter().filter(|r| r.service == service).collect();
    for request in &requests {
        let emitted = replay.emitted.get(&request.id).cloned().unwrap_or_default();
        let horizon = window::speaks_for(request.kind, request.at, request.predicted_breach.p90);
        let outcome = truth.settle_request(service, request.kind, &request.labels, request.at, horizon);
        let timing = match outcome {
            Outcome::Breached { at } => Some(Timing::of(request.kind, request.at, &request.predicted_breach, at)),
            _ => None,
        };
        judged.requests.push(RequestReport {
            id: request.id.clone(),
            at: request.at,
            signal: request.signal.clone(),
            kind: request.kind,
            labels: request.labels.clone(),
            predicted_breach: request.predicted_breach,
            probability: request.probability.get(),
            summary: emitted.summary,
            outcome,
            timing,
            model_version: emitted.model_version,
            picture: None,
        });
    }
    let breaches: Vec<&Breach> = truth.breaches(range).into_iter().filter(|b| &*b.service == service).collect();
    let episodes = episodes(&breaches);
    judged.episodes = episodes.iter().max().map_or(0, |last| last + 1);
    for (breach, episode) in breaches.into_iter().zip(episodes) {
        judge_breach(breach, episode, &requests, replay, range, &mut judged);
    }
    for ((_, kind, labels), said) in replay.targets.iter().filter(|((s, _, _), _)| s == service) {
        for said in said {
            let happened = match truth.settle(service, *kind, labels, said.at, said.horizon) {
                Outcome::Breached { .. } => true,
                Outcome::FalseAlarm => false,
                Outcome::InBreach | Outcome::Averted | Outcome::Unsettled => continue,
            };
            let block = (0, said.at.millis().div_euclid(86_400_000));
            judged.spoken.push(Spoken { kind: *kind, probability: said.probability, happened, block });
        }
    }
    judged.sum_up(range);
    judged
}

/// Which episode each breach belongs to. `breaches` are of one service, by time.
fn episodes(breaches: &[&Breach]) -> Vec<usize> {
    let mut first_of: Vec<&Breach> = Vec::new();
    let mut episodes = Vec::with_capacity(breaches.len());
    for breach in breaches {
        let episode = first_of.iter().position(|other| breach.side_by_side(other)).unwrap_or_else(|| {
            first_of.push(breach);
            first_of.len() - 1
        });
        episodes.push(episode);
    }
    episodes
}

fn judge_breach(
    breach: &Breach,
    episode: usize,
    requests: &[&RemediationRequest],
    replay: &Replay,
    range: TimeRange,
    judged: &mut Judged,
) {
    let onset = breach.onset.max(range.start);
    let way = breach.at.seconds_since(onset);
    let required = breach.required_lead(range.start).as_secs_f64();
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
    let sudden = breach.is_sudden();
    // A certificate's end is written on it: no interval to get right or wrong.
    let with_interval = |s: &&Said| breach.kind != BreachKind::CertificateExpiry && s.time_to_breach.is_some();
    let intervals: Vec<(f64, [f64; 3])> = said
        .iter()
        .filter(with_interval)
        .filter_map(|s| Some((breach.at.seconds_since(s.at), s.time_to_breach?)))
        .collect();
    let on_the_way = intervals.iter().filter(|(left, _)| (0.05..=0.75).contains(&(left / way)));
    let coverage = crate::metrics::interval_coverage(on_the_way.map(|(left, [low, _, high])| (*left, *low, *high)));
    let keep_every = said.len().div_ceil(CHART_POINTS).max(1);
    let point = |s: &Said| PathPoint {
        at: s.at,
        truth: breach.at.seconds_since(s.at),
        predicted: s.time_to_breach,
        probability: s.probability,
    };
    let predicted = lead.is_some_and(|lead| lead >= required);
    judged.settled.push(Settled {
        kind: breach.kind,
        episode,
        counts: !sudden,
        predicted,
        lead,
        time_error: error,
        halfway: halfway.and_then(|s| Some((breach.at.seconds_since(s.at), median_of(s)?))),
        coverage,
        intervals,
    });
    judged.breaches.push(BreachReport {
        signal: breach.signal.clone(),
        kind: breach.kind,
        labels: breach.labels.clone(),
        onset: breach.onset,
        at: breach.at,
        sudden,
        predicted,
        lead_seconds: lead,
        required_lead_seconds: required,
        time_to_breach_error: error,
        halfway: halfway.map(point),
        path: said.iter().step_by(keep_every).map(point).collect(),
        picture: None,
    });
}

impl Judged {
    /// Adds what was judged of another service, but for what only its own pictures need.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.requests.extend_from_slice(&other.requests);
        let settled = other.settled.iter().map(|s| Settled { episode: s.episode + self.episodes, ..s.clone() });
        self.settled.extend(settled);
        let moved = |s: &Spoken| Spoken { block: (s.block.0 + self.services, s.block.1), ..*s };
        self.spoken.extend(other.spoken.iter().map(moved));
        self.episodes += other.episodes;
        self.services += other.services;
    }

    /// Fills in `quality` from the parts.
    pub(crate) fn sum_up(&mut self, range: TimeRange) {
        self.quality = self.quality_of(range, None);
    }
}

impl Timing {
    /// Where a breach at `breach` came beside what was said at `at`.
    pub(crate) fn of(kind: BreachKind, at: Timestamp, said: &PredictedBreach, breach: Timestamp) -> Self {
        match said.p10 {
            p10 if breach < p10 => Self::Early,
            _ if breach <= window::expires_at(kind, at, said.p90) => Self::Within,
            _ => Self::Late,
        }
    }
}

/// Whether a request of `labels` is about the target of `breach_labels`: for pictures.
pub(crate) fn is_about(request: &RequestReport, kind: BreachKind, labels: &LabelSet) -> bool {
    request.kind == kind && agree(&request.labels, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(h: i64) -> Timestamp {
        Timestamp::from_seconds(h * 3600)
    }

    #[test]
    fn a_breach_weeks_later_is_right_and_late_whatever_the_interval_says() {
        // Of memory, said at hour 0.
        let timing = |[p10, p50, p90]: [i64; 3], h| {
            let said = PredictedBreach { p10: hour(p10), p50: hour(p50), p90: hour(p90) };
            Timing::of(BreachKind::Oom, hour(0), &said, hour(h))
        };
        let sharp = [1, 2, 8, 9].map(|h| timing([2, 4, 8], h));
        assert_eq!(sharp, [Timing::Early, Timing::Within, Timing::Within, Timing::Late]);
        let vague = [1, 18, 19, 20 * 24].map(|h| timing([0, 5, 35 * 24], h));
        assert_eq!(vague, [Timing::Within, Timing::Within, Timing::Late, Timing::Late]);
    }
}
