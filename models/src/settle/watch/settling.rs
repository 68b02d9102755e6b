//! What became of an announcement, as soon as that is certain.

use std::sync::Arc;
use std::time::Duration;

use forewarn_schema::{Became, BreachKind, Happening, LabelSet, TimeRange, Timestamp};

use super::target::{Change, WatchedTarget};
use super::{CERTAIN_AFTER, Lives, PATIENCE, Watch};
use crate::settle::facts::{self, Facts};
use crate::settle::walk::{Rules, Walked};
use crate::settle::{ENDED, Outcome, agree};

/// So long a request that may still come true is left alone before it is looked at again.
const AGAIN: Duration = Duration::from_secs(600);
/// Where so much of the time in question was not watched, nothing is said of it.
const BLIND: f64 = 0.5;

/// "A breach of this kind within so long", said of one target or of all of a workload's.
#[derive(Clone, Debug, PartialEq)]
pub struct Announced {
    /// The workload.
    pub service: String,
    /// The signal.
    pub signal: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// Which targets: those that agree.
    pub labels: LabelSet,
    /// When it was said.
    pub at: Timestamp,
    /// Within how long; of a request at least until the latest that it said.
    pub horizon: Duration,
    /// The value then, in the signal's unit.
    pub value: f64,
    /// Whether it was a request.
    pub requested: bool,
}

/// Whether it is certain what became of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// It is.
    Became(Became),
    /// It is not; not before this time.
    NotBefore(Timestamp),
}

/// A target in question, and what is known of it.
struct About<'a> {
    target: &'a WatchedTarget,
    signal: &'a Arc<str>,
    labels: &'a Arc<LabelSet>,
    rules: Rules,
}

impl Watch {
    /// What became of `said`, by what was seen up to the last step.
    pub fn settle(&self, said: &Announced, lives: &dyn Lives) -> Settled {
        let deadline = said.at + said.horizon;
        let certain = deadline + CERTAIN_AFTER;
        let Some((_, latest)) = self.seen else { return Settled::NotBefore(certain) };
        let about = self.about(said);
        // A breach that came is certain whatever comes after it.
        let nothing = Walked::default();
        let facts = about.iter().map(|a| a.target.facts(latest, a.target.certain().unwrap_or(&nothing)));
        match (outcome(said, &facts.collect::<Vec<_>>()), killed(said, deadline, &about)) {
            (Outcome::Breached { at }, _) | (Outcome::Averted | Outcome::Unsettled | Outcome::FalseAlarm, Some(at)) => {
                return Settled::Became(Became::Breached { at });
            }
            _ if latest < certain => return Settled::NotBefore(certain),
            _ => {}
        }
        let (service, _) = self.services.get_key_value(said.service.as_str()).unzip();
        let walked: Vec<Walked> = about
            .iter()
            .zip(std::iter::repeat(service))
            .filter_map(|(a, service)| Some(a.target.walked(a.rules, &*lives.life(service?, a.signal, a.labels))))
            .collect();
        let facts: Vec<Facts<'_>> = about.iter().zip(&walked).map(|(a, w)| a.target.facts(latest, w)).collect();
        Settled::Became(match outcome(said, &facts) {
            // After the deadline, and it may not last: a few steps more, and it is certain.
            Outcome::Breached { .. } if latest < deadline + PATIENCE => return Settled::NotBefore(latest + AGAIN),
            Outcome::Breached { at } => Became::Breached { at },
            Outcome::InBreach => Became::InBreach,
            Outcome::Unsettled => Became::Unsettled,
            Outcome::Averted => averted(said, deadline, &about, &walked),
            Outcome::FalseAlarm if self.is_blind(TimeRange { start: said.at, end: deadline }) => Became::Unsettled,
            Outcome::FalseAlarm => match forestalled(deadline, said, &about) {
                Some(by_change) => by_change,
                None if said.requested && latest < deadline + PATIENCE && is_nearer(said, latest, &about) => {
                    return Settled::NotBefore(latest + AGAIN);
                }
                None => Became::FalseAlarm,
            },
        })
    }

    /// The targets that `said` is about and that were there.
    fn about<'a>(&'a self, said: &Announced) -> Vec<About<'a>> {
        let Some(targets) = self.services.get(said.service.as_str()) else { return Vec::new() };
        let of_kind = targets.iter().filter_map(|(signal, (_, targets))| {
            let of = self.signals.get(signal)?;
            let rules = Rules { kind: of.kind.breach()?, direction: of.direction };
            (rules.kind == said.kind).then_some((signal, rules, targets))
        });
        let each = of_kind.flat_map(|(signal, rules, targets)| {
            targets.iter().map(move |(labels, target)| About { target, signal, labels, rules })
        });
        each.filter(|a| agree(a.labels, &said.labels) && a.target.first <= said.at && a.target.last + ENDED >= said.at)
            .collect()
    }

    /// Whether too much of `range` was not watched to say that nothing happened in it.
    fn is_blind(&self, range: TimeRange) -> bool {
        let missed = self.blind.iter().map(|gap| gap.end.min(range.end).seconds_since(gap.start.max(range.start)));
        let missed: f64 = missed.filter(|seconds| *seconds > 0.0).sum();
        missed > BLIND * range.duration().as_secs_f64()
    }
}

fn outcome(said: &Announced, facts: &[Facts<'_>]) -> Outcome {
    if said.requested {
        facts::settle_request(facts, said.at, said.horizon)
    } else {
        facts::settle(facts.iter().copied(), said.at, said.horizon)
    }
}

/// When the kernel killed one of them for want of memory, whatever was seen of its values between two scrapes: that is the breach.
fn killed(said: &Announced, deadline: Timestamp, about: &[About<'_>]) -> Option<Timestamp> {
    let changes = about.iter().filter(|a| a.rules.kind == BreachKind::Oom).flat_map(|a| a.target.changes());
    let killed = changes.filter(|c| c.what == Happening::OomKilled && said.at < c.at && c.at <= deadline);
    killed.map(|c| c.at).min()
}

/// What ended the climb that it was about first, and whether the breach would have come: true where that was said of one target, false
/// where that was said of none.
fn averted(said: &Announced, deadline: Timestamp, about: &[About<'_>], walked: &[Walked]) -> Became {
    let mut ends = Vec::new();
    for (a, walked) in about.iter().zip(walked) {
        let resets = walked.resets.iter().map(|reset| (reset.at, Happening::Restarted, reset.would_have));
        let changes = a.target.changes().iter().map(|change| (change.at, change.what, change.would_have));
        let after = resets.chain(changes).filter(|(at, ..)| said.at <= *at);
        ends.extend(after.min_by_key(|(at, ..)| *at));
    }
    let first = ends.iter().min_by_key(|(at, ..)| *at);
    let in_time: Vec<Option<bool>> =
        ends.iter().filter(|(at, ..)| *at <= deadline).map(|(_, _, would_have)| would_have.by(deadline)).collect();
    Became::Averted { by: first.map(|(_, what, _)| *what), would_have: either(&in_time) }
}

/// The change that may have kept a breach from coming that was in sight; `None` where nothing was in sight any more, or nothing changed.
fn forestalled(deadline: Timestamp, said: &Announced, about: &[About<'_>]) -> Option<Became> {
    let changes = about.iter().flat_map(|a| a.target.changes());
    let in_time = |change: &&Change| !change.ends && said.at < change.at && change.at <= deadline;
    let mut in_time: Vec<&Change> = changes.filter(in_time).collect();
    in_time.sort_by_key(|change| change.at);
    let would: Vec<Option<bool>> = in_time.iter().map(|change| change.would_have.by(deadline)).collect();
    let would_have = either(&would);
    (would_have != Some(false)).then(|| in_time.first().map(|c| Became::Averted { by: Some(c.what), would_have }))?
}

fn either(would: &[Option<bool>]) -> Option<bool> {
    if would.contains(&Some(true)) {
        return Some(true);
    }
    (!would.is_empty() && would.iter().all(|w| *w == Some(false))).then_some(false)
}

/// Whether a target of it stands nearer to its limit than when it was said, so that it may still come true.
fn is_nearer(said: &Announced, latest: Timestamp, about: &[About<'_>]) -> bool {
    about.iter().filter(|a| **a.signal == *said.signal && a.target.last + ENDED >= latest).any(|a| {
        let Some(now) = a.target.level() else { return false };
        match a.rules.direction {
            forewarn_schema::Direction::Above => now > said.value,
            forewarn_schema::Direction::Below => now < said.value,
        }
    })
}
