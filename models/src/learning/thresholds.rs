//! Thresholds over time: once a day each is asked where it should stand, and moves by at most one step towards that.
//!
//! The whole course is computed from the labels anew each time, so that a label that is taken back was never there.

use std::collections::BTreeMap;

use forewarn_schema::{BreachKind, Timestamp};
use serde::{Deserialize, Serialize};

use super::case::{Case, by_breach, sorted};
use super::worth::{Beside, Tally, Worth};
use super::{Caution, CautionScale, Evidence, LearningParams, Thresholds};

/// What the labels known by some time come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learnt {
    /// What to decide by.
    pub thresholds: Thresholds,
    /// How they came there, by time.
    pub moves: Vec<Move>,
    /// Every threshold that labels speak of, moved or not.
    pub standing: Vec<Standing>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// When: from then on it holds.
    pub at: Timestamp,
    /// Of which service; `None`: of all that have no judged announcements of their own.
    pub service: Option<String>,
    /// Of which kind of breach.
    pub kind: BreachKind,
    /// How cautious it was.
    pub from: Caution,
    /// How cautious it is.
    pub to: Caution,
    /// Why.
    pub because: Because,
}

/// What stood behind a step: judged announcements, by what they count for; those of one breach count once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Because {
    /// True ones of this service and kind (misses among them).
    pub trues: f64,
    /// Misses of them.
    pub missed: f64,
    /// False ones.
    pub falses: f64,
    /// True ones of that kind in the whole fleet.
    pub fleet_trues: f64,
    /// False ones of that kind in the whole fleet.
    pub fleet_falses: f64,
}

/// Where a threshold stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Of which service; `None`: of all that have no judged announcements of their own.
    pub service: Option<String>,
    /// Of which kind of breach.
    pub kind: BreachKind,
    /// Where it started: the configuration's or the bundle's.
    pub start: Caution,
    /// Where it stands.
    pub now: Caution,
    /// What is known of it.
    pub because: Because,
}

type Key = (BreachKind, Option<String>);

struct Threshold {
    scale: CautionScale,
    stands: usize,
    wanted: usize,
    because: Because,
}

/// Learns from what was judged and known before `until`.
///
/// `start` says where a threshold starts; of `None`, where one of a service that nothing is known of does. Neither the order of
/// `evidence` nor what is known at `until` or later changes anything. The steps fall on whole multiples of
/// [`LearningParams::step_every`] since 1970.
pub fn learn(
    start: &dyn Fn(Option<&str>, BreachKind) -> Caution,
    evidence: &[Evidence],
    until: Timestamp,
    params: &LearningParams,
) -> Learnt {
    let evidence = sorted(evidence);
    let mut learner = Learner { start, params, thresholds: BTreeMap::new(), cases: Vec::new() };
    let mut moves = Vec::new();
    let every = i64::try_from(params.step_every.as_millis()).unwrap_or(i64::MAX).max(1);
    let after = |at: Timestamp| at.millis().div_euclid(every).saturating_add(1).saturating_mul(every);
    let mut news = news(&evidence).into_iter().peekable();
    let mut known = evidence.into_iter().peekable();
    let mut day = news.peek().map_or(i64::MAX, |first| after(*first));
    while day <= until.millis() {
        let now = Timestamp::from_millis(day);
        while let Some(one) = known.next_if(|e| e.known_at < now) {
            learner.take(one);
        }
        let mut is_new = false;
        while news.next_if(|at| *at < now).is_some() {
            is_new = true;
        }
        if is_new {
            learner.want(now);
        }
        let (steps, is_settled) = learner.step(now);
        moves.extend(steps);
        day = match (is_settled, news.peek()) {
            (false, _) => day.saturating_add(every),
            (true, Some(next)) => after(*next),
            (true, None) => break,
        };
    }
    let standing = learner.thresholds.iter().map(|((kind, service), threshold)| Standing {
        service: service.clone(),
        kind: *kind,
        start: threshold.scale.rungs()[threshold.scale.start()],
        now: threshold.now(),
        because: threshold.because,
    });
    Learnt { standing: standing.collect(), thresholds: learner.thresholds(), moves }
}

/// When something is said that was not said before: a verdict, or what the data say of a label.
fn news(evidence: &[&Evidence]) -> Vec<Timestamp> {
    let settled = evidence.iter().filter_map(|e| e.settled.map(|settled| settled.at.max(e.known_at)));
    let mut news: Vec<Timestamp> = evidence.iter().map(|e| e.known_at).chain(settled).collect();
    news.sort_unstable();
    news
}

struct Learner<'a> {
    start: &'a dyn Fn(Option<&str>, BreachKind) -> Caution,
    params: &'a LearningParams,
    thresholds: BTreeMap<Key, Threshold>,
    cases: Vec<Case>,
}

impl Threshold {
    fn now(&self) -> Caution {
        self.scale.rungs()[self.stands]
    }
}

impl Learner<'_> {
    /// Counts one more announcement.
    fn take(&mut self, evidence: &Evidence) {
        let (service, kind) = (&evidence.judged.service, evidence.judged.kind);
        // The fleet's first: one that is new begins where the fleet stands.
        self.threshold(kind, None);
        let threshold = self.threshold(kind, Some(service));
        let (scale, stands) = (threshold.scale.clone(), threshold.stands);
        self.cases.extend(Case::of(evidence, &scale, stands, self.params));
    }

    fn threshold(&mut self, kind: BreachKind, service: Option<&str>) -> &Threshold {
        let fleet = self.thresholds.get(&(kind, None)).filter(|t| t.stands > t.scale.start());
        let asked = fleet.map(|t| t.now().min_probability);
        let start = self.start;
        self.thresholds.entry((kind, service.map(str::to_owned))).or_insert_with(|| {
            let scale = CautionScale::from_start(start(service, kind));
            let stands = asked.map_or(scale.start(), |asked| scale.at_least(asked));
            Threshold { scale, stands, wanted: stands, because: Because::default() }
        })
    }

    /// Asks each threshold where it should stand.
    fn want(&mut self, now: Timestamp) {
        let worth = Worth::new(self.params.label_error, self.params.worth);
        let params = self.params;
        let cases = by_breach(&self.cases, now);
        for ((kind, service), threshold) in &mut self.thresholds {
            let scale = &threshold.scale;
            let mut own = Tally::new(scale.rungs().len());
            let (mut of_kind, mut of_others) = (own.clone(), own.clone());
            let mut because = Because::default();
            for case in &cases {
                let (rung, weight) = (case.rung(scale), case.weight(now, params));
                if case.kind != *kind {
                    of_others.add(rung, case, now, params);
                    continue;
                }
                let fleet = if case.truth { &mut because.fleet_trues } else { &mut because.fleet_falses };
                *fleet += weight;
                if service.as_ref().is_none_or(|service| *service == case.service) {
                    own.add(rung, case, now, params);
                    let counted = if case.truth { &mut because.trues } else { &mut because.falses };
                    *counted += weight;
                    because.missed += if case.missed { weight } else { 0.0 };
                } else {
                    of_kind.add(rung, case, now, params);
                }
            }
            let parents = [&of_kind, &of_others];
            let beside = Beside { own: &own, parents: &parents, parents_count: params.fleet_counts };
            let may_lose = match service {
                Some(_) => params.may_lose,
                // Of many labels now more, now fewer are wrong; and the fleet's threshold is for those that have none themselves.
                None => params.may_lose + (because.falses * params.label_error / (1.0 - params.label_error)).sqrt(),
            };
            threshold.because = because;
            threshold.wanted = wanted(scale, &beside, &worth, may_lose, service.is_some(), params);
        }
    }

    /// Moves each by a step at most; whether all stand where they should.
    fn step(&mut self, at: Timestamp) -> (Vec<Move>, bool) {
        let (mut moves, mut is_settled) = (Vec::new(), true);
        for ((kind, service), threshold) in &mut self.thresholds {
            let from = threshold.now();
            match threshold.wanted.cmp(&threshold.stands) {
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Greater => threshold.stands += 1,
                std::cmp::Ordering::Less => threshold.stands -= 1,
            }
            is_settled &= threshold.wanted == threshold.stands;
            let (to, because) = (threshold.now(), threshold.because);
            moves.push(Move { at, service: service.clone(), kind: *kind, from, to, because });
        }
        (moves, is_settled)
    }

    fn thresholds(&self) -> Thresholds {
        let mut learnt = Thresholds::default();
        for ((kind, service), threshold) in &self.thresholds {
            match service {
                Some(service) => {
                    learnt.own.entry(*kind).or_default().insert(service.clone(), threshold.now());
                }
                None if threshold.stands > threshold.scale.start() => {
                    learnt.fleet.insert(*kind, threshold.now().min_probability);
                }
                None => {}
            }
        }
        learnt
    }
}

/// Where a threshold should stand: as high as what it would silence is not worth announcing, and no true announcement is lost by
/// it; below its start only where a service's own misses ask for that.
fn wanted(
    scale: &CautionScale,
    beside: &Beside<'_>,
    worth: &Worth,
    may_lose: f64,
    is_own: bool,
    params: &LearningParams,
) -> usize {
    let start = scale.start();
    let mut at = start;
    while at + 1 < scale.rungs().len() {
        let loses = beside.own.lost(start, at, params.label_error) > may_lose;
        if loses || beside.worth(worth, at, start) > params.doubt {
            break;
        }
        at += 1;
    }
    // What lies below was never announced; only misses and what the data settled tell of it.
    while is_own && at == start && at > 0 || at > 0 && at < start {
        let (trues, falses) = beside.own.within(at - 1..=at - 1);
        if trues + falses < params.least || worth.probability(trues, falses) < 1.0 - params.doubt {
            break;
        }
        at -= 1;
    }
    at
}
