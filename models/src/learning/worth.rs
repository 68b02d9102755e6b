//! Whether announcements like these are worth making, as far as few labels of which some are wrong can tell.

use std::cell::RefCell;
use std::collections::BTreeMap;

use forewarn_schema::Timestamp;

use super::LearningParams;
use super::case::{Case, Word};

/// Points at which the share of true announcements is tried.
const POINTS: usize = 100;

/// The probability that at least the wanted share of some announcements is true.
///
/// Every share is as likely as any other beforehand. A label says what is so but for a known share of errors (the class-conditional
/// noise of Natarajan et al. 2013, here in the likelihood), so that one label against many is taken for what it most likely is.
#[derive(Clone, Debug)]
pub struct Worth {
    /// Logarithms of how likely a label says true and false at each point.
    logs: Vec<(f64, f64)>,
    first_worth: usize,
    known: RefCell<BTreeMap<(u64, u64), f64>>,
}

impl Worth {
    /// `label_error` is held within 0.001..=0.499, `share` within 0..=1; NaN is the least of both.
    pub fn new(label_error: f64, share: f64) -> Self {
        let error = if label_error.is_nan() { 0.001 } else { label_error.clamp(0.001, 0.499) };
        let at = |i: usize| (i as f64 + 0.5) / POINTS as f64;
        let logs = (0..POINTS).map(at).map(|p| {
            let says_true = p * (1.0 - error) + (1.0 - p) * error;
            (says_true.ln(), (1.0 - says_true).ln())
        });
        let first_worth = (0..POINTS).find(|i| at(*i) >= share).unwrap_or(POINTS);
        Self { logs: logs.collect(), first_worth, known: RefCell::default() }
    }

    /// After so many labels of either sort; both are weights, 0 or more, and others count as 0.
    pub fn probability(&self, trues: f64, falses: f64) -> f64 {
        let [trues, falses] = [trues, falses].map(|n| if n.is_finite() { n.max(0.0) } else { 0.0 });
        let key = (trues.to_bits(), falses.to_bits());
        *self.known.borrow_mut().entry(key).or_insert_with(|| {
            let log = |(t, f): &(f64, f64)| trues * t + falses * f;
            let most = self.logs.iter().map(log).fold(f64::NEG_INFINITY, f64::max);
            let weight = |all: &[(f64, f64)]| all.iter().map(|point| (log(point) - most).exp()).sum::<f64>();
            weight(&self.logs[self.first_worth..]) / weight(&self.logs)
        })
    }
}

/// Announcements by the highest rung that they reached: how many were true and how many false.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Misses among them.
    pub(super) trues: Vec<f64>,
    /// Of these, misses and what the data confirm.
    certain: Vec<f64>,
    pub(super) falses: Vec<f64>,
}

impl Tally {
    pub(super) fn new(rungs: usize) -> Self {
        let none = || vec![0.0; rungs];
        Self { trues: none(), certain: none(), falses: none() }
    }

    pub(super) fn add(&mut self, rung: usize, case: &Case, now: Timestamp, params: &LearningParams) {
        let of = if case.truth { &mut self.trues } else { &mut self.falses };
        let weight = case.weight(now, params);
        of[rung] += weight;
        let certain = case.missed || case.truth && case.word(now) == Word::Confirmed;
        self.certain[rung] += if certain { weight } else { 0.0 };
    }

    /// How many of both sorts reached a rung of `range` and none above.
    pub(super) fn within(&self, range: std::ops::RangeInclusive<usize>) -> (f64, f64) {
        (self.trues[range.clone()].iter().sum(), self.falses[range].iter().sum())
    }

    /// True ones that reached a rung from `lowest` to `highest` and none above, beyond those that wrong labels explain: a wrong label
    /// turns one of the false ones that reached at least as much. Nobody reports a miss by mistake, and a label that the data confirm is
    /// none: these count whole.
    pub(super) fn lost(&self, lowest: usize, highest: usize, label_error: f64) -> f64 {
        let odds = label_error / (1.0 - label_error);
        let from = |rung: usize| {
            let certain: f64 = self.certain[rung..=highest].iter().sum();
            let trues: f64 = self.trues[rung..=highest].iter().sum();
            let falses: f64 = self.falses[rung..].iter().sum();
            certain + (trues - certain - falses * odds).max(0.0)
        };
        (lowest..=highest).map(from).fold(0.0, f64::max)
    }
}

/// Announcements of one threshold, beside those of others that it learns from.
pub(super) struct Beside<'a> {
    pub(super) own: &'a Tally,
    pub(super) parents: &'a [&'a Tally],
    /// What each parent counts for at most.
    pub(super) parents_count: f64,
}

impl Beside<'_> {
    /// What there is to go by of a range.
    pub(super) fn within(&self, range: std::ops::RangeInclusive<usize>) -> (f64, f64) {
        let mut sum = self.own.within(range.clone());
        for parent in self.parents {
            let (trues, falses) = parent.within(range.clone());
            let all = trues + falses;
            if all > 0.0 {
                let believed = (self.parents_count / all).min(1.0);
                sum = (sum.0 + believed * trues, sum.1 + believed * falses);
            }
        }
        sum
    }

    /// The probability that announcements which reached `rung` and no more are worth making. It never falls from rung to rung (the
    /// min-max form of isotonic regression, Ayer et al. 1955), never falls by a true announcement and never rises by a false one.
    pub(super) fn worth(&self, worth: &Worth, rung: usize, lowest: usize) -> f64 {
        let highest = self.own.trues.len() - 1;
        let of = |from: usize, to: usize| {
            let (trues, falses) = self.within(from..=to);
            worth.probability(trues, falses)
        };
        let most_below = |to: usize| (lowest..=rung).map(|from| of(from, to)).fold(0.0, f64::max);
        (rung..=highest).map(most_below).fold(1.0, f64::min)
    }
}
