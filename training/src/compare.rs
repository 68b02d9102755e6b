//! Two replays of one range beside each other, breach by breach and day by day: what is the same for both
//! falls out, so that a difference is known far better than either figure.
//!
//! What follows from a difference is the gate's business.

use serde::{Deserialize, Serialize};

use crate::alarms::{Judged, Settled, Spoken};
use crate::intervals::{self, CONFIDENCE, Interval, bootstrap};
use crate::metrics::mean;
use crate::quality::{dishonesty, squares_by_block};
use crate::report::AlarmQuality;

/// Less is the rounding of two figures that are the same.
const ROUNDING: f64 = 1e-9;

/// A candidate beside what it would replace, or beside the rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Breaches that both could have announced.
    pub breaches: u64,
    /// Announced by the candidate.
    pub predicted: u64,
    /// Announced by the other.
    pub other_predicted: u64,
    /// Episodes of which the other announced more breaches than the candidate.
    pub episodes_lost: u64,
    /// Episodes of which the candidate announced more.
    pub episodes_gained: u64,
    /// How likely a fair coin loses so many of the episodes that differ, or more; 0..=1, 1 where none was lost.
    pub chance_of_loss: f64,
    /// Of the candidate.
    pub false_alarms: u64,
    /// Of the other.
    pub other_false_alarms: u64,
    /// Mean time error, half-way.
    pub time_to_breach_error: Option<Difference>,
    /// How far the coverage is from the 80 % that the interval promises.
    pub interval_coverage: Option<Difference>,
    /// Brier score.
    pub brier_score: Option<Difference>,
}

/// One figure of both, so that more is worse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The candidate's.
    pub candidate: f64,
    /// The other's.
    pub other: f64,
    /// Of candidate minus other, resampled in pairs; `None` with fewer than five episodes (or days).
    pub interval: Option<Interval>,
}

impl Difference {
    /// Candidate minus other: above 0 is worse.
    pub fn worse_by(&self) -> f64 {
        self.candidate - self.other
    }

    /// Whether it is worse beyond its interval.
    pub fn is_surely_worse(&self) -> bool {
        self.interval.is_some_and(|interval| interval.is_above(ROUNDING))
    }
}

impl Comparison {
    /// Whether more episodes were lost than chance explains.
    pub fn surely_loses_breaches(&self) -> bool {
        self.episodes_lost > self.episodes_gained && self.chance_of_loss <= (1.0 - CONFIDENCE) / 2.0
    }

    /// Compares two judgements of the same truth.
    pub(crate) fn of(candidate: &Judged, other: &Judged) -> Self {
        let both = candidate.settled.iter().zip(&other.settled).filter(|(c, _)| c.counts);
        let mut episodes: Vec<Vec<(&Settled, &Settled)>> = Vec::new();
        let mut place = std::collections::BTreeMap::new();
        for (c, o) in both {
            let at = *place.entry(c.episode).or_insert_with(|| {
                episodes.push(Vec::new());
                episodes.len() - 1
            });
            episodes[at].push((c, o));
        }
        let net = |episode: &Vec<(&Settled, &Settled)>| -> i64 {
            episode.iter().map(|(c, o)| i64::from(c.predicted) - i64::from(o.predicted)).sum()
        };
        let episodes_lost = episodes.iter().filter(|e| net(e) < 0).count() as u64;
        let episodes_gained = episodes.iter().filter(|e| net(e) > 0).count() as u64;
        let count = |q: &AlarmQuality| (q.predicted, q.false_alarms);
        let ((predicted, false_alarms), (other_predicted, other_false_alarms)) =
            (count(&candidate.quality), count(&other.quality));
        Self {
            breaches: candidate.quality.breaches,
            predicted,
            other_predicted,
            episodes_lost,
            episodes_gained,
            chance_of_loss: intervals::coin_at_least(episodes_lost, episodes_lost + episodes_gained),
            false_alarms,
            other_false_alarms,
            time_to_breach_error: paired(&episodes, |c, o| Some((c.time_error, o.time_error)), |error| error),
            interval_coverage: paired(&episodes, |c, o| c.coverage.zip(o.coverage), dishonesty),
            brier_score: brier(&candidate.spoken, &other.spoken),
        }
    }
}

/// The means of a figure of both, each through `cost` (more is worse), over the breaches that have it in both.
fn paired(
    episodes: &[Vec<(&Settled, &Settled)>],
    figure: impl Fn(&Settled, &Settled) -> Option<(f64, f64)>,
    cost: impl Fn(f64) -> f64,
) -> Option<Difference> {
    let episodes: Vec<Vec<(f64, f64)>> =
        episodes.iter().map(|e| e.iter().filter_map(|(c, o)| figure(c, o)).collect::<Vec<_>>()).collect();
    let episodes: Vec<Vec<(f64, f64)>> = episodes.into_iter().filter(|e| !e.is_empty()).collect();
    let costs = |of: &mut dyn Iterator<Item = (f64, f64)>| {
        let (candidate, other): (Vec<f64>, Vec<f64>) = of.unzip();
        Some((cost(mean(candidate)?), cost(mean(other)?)))
    };
    let (candidate, other) = costs(&mut episodes.iter().flatten().copied())?;
    let interval = bootstrap(episodes.len(), |drawn| {
        let (candidate, other) = costs(&mut drawn.iter().flat_map(|i| episodes[*i].iter().copied()))?;
        Some(candidate - other)
    });
    Some(Difference { candidate, other, interval })
}

/// Brier scores over the service-days on which both said something.
fn brier(candidate: &[Spoken], other: &[Spoken]) -> Option<Difference> {
    let of = |spoken: &[Spoken]| squares_by_block(&spoken.iter().collect::<Vec<_>>());
    let theirs = of(other);
    let both = of(candidate).into_iter().filter_map(|(block, ours)| Some((ours, *theirs.get(&block)?)));
    let blocks: Vec<((f64, f64), (f64, f64))> = both.collect();
    let scores = |drawn: &mut dyn Iterator<Item = usize>| {
        let drawn: Vec<usize> = drawn.collect();
        let candidate = intervals::ratio_of_sums(drawn.iter().map(|i| blocks[*i].0))?;
        Some((candidate, intervals::ratio_of_sums(drawn.iter().map(|i| blocks[*i].1))?))
    };
    let (candidate, other) = scores(&mut (0..blocks.len()))?;
    let interval = bootstrap(blocks.len(), |drawn| scores(&mut drawn.iter().copied()).map(|(c, o)| c - o));
    Some(Difference { candidate, other, interval })
}

#[cfg(test)]
mod tests {
    use forewarn_schema::BreachKind;

    use super::*;

    fn breach(episode: usize, predicted: bool, time_error: f64, coverage: f64) -> Settled {
        Settled {
            kind: BreachKind::Oom,
            episode,
            counts: true,
            predicted,
            lead: None,
            time_error,
            halfway: None,
            coverage: Some(coverage),
            intervals: vec![],
        }
    }

    fn judged(settled: Vec<Settled>) -> Judged {
        let week = forewarn_schema::TimeRange {
            start: forewarn_schema::Timestamp::from_seconds(0),
            end: forewarn_schema::Timestamp::from_seconds(7 * 86_400),
        };
        let mut judged = Judged { settled, ..Judged::default() };
        judged.sum_up(week);
        judged
    }

    #[test]
    fn replicas_of_one_episode_are_one_loss() {
        let all = |predicted: bool| judged((0..6).map(|_| breach(0, predicted, 0.1, 0.8)).collect());
        let comparison = Comparison::of(&all(false), &all(true));
        assert_eq!((comparison.episodes_lost, comparison.predicted, comparison.other_predicted), (1, 0, 6));
        assert!(!comparison.surely_loses_breaches(), "one incident proves nothing");
        let apart = |predicted: bool| judged((0..6).map(|e| breach(e, predicted, 0.1, 0.8)).collect());
        assert!(Comparison::of(&apart(false), &apart(true)).surely_loses_breaches());
        assert!(!Comparison::of(&apart(true), &apart(true)).surely_loses_breaches());
    }

    #[test]
    fn a_small_error_more_on_every_breach_is_sure_where_it_would_drown_in_their_spread() {
        let spread = [0.05, 0.9, 0.3, 0.6, 0.1, 0.8, 0.2, 0.5];
        let with = |more: f64| judged(spread.iter().enumerate().map(|(e, x)| breach(e, true, x + more, 0.8)).collect());
        let difference = Comparison::of(&with(0.05), &with(0.0)).time_to_breach_error.unwrap();
        assert!((difference.worse_by() - 0.05).abs() < 1e-12 && difference.is_surely_worse(), "{difference:?}");
        assert!(!Comparison::of(&with(0.0), &with(0.0)).time_to_breach_error.unwrap().is_surely_worse());
    }

    #[test]
    fn too_wide_is_as_dishonest_as_too_narrow() {
        let with = |coverage: f64| judged((0..8).map(|e| breach(e, true, 0.1, coverage)).collect());
        let difference = Comparison::of(&with(1.0), &with(0.8)).interval_coverage.unwrap();
        assert!(difference.is_surely_worse(), "{difference:?}");
        assert!(!Comparison::of(&with(0.75), &with(0.85)).interval_coverage.unwrap().is_surely_worse());
    }
}
