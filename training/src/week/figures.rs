//! A week in numbers.

use std::collections::BTreeSet;

use forewarn_models::settle::Timed;
use forewarn_schema::{Became, TimeRange, Verdict};
use serde::{Deserialize, Serialize};

use super::{Announced, Missed, WeekRecords};
use crate::metrics::median;

/// Counts, and what follows from them. A share of nothing is `None`, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeekFigures {
    /// Requests that were emitted.
    pub requests: u64,
    /// Of them, those that people or the data call right.
    pub right: u64,
    /// Of them, those that were false alarms.
    pub false_alarms: u64,
    /// Breaches that a request announced.
    pub announced: u64,
    /// Breaches that none announced in time.
    pub missed: u64,
    /// Requests that were acted on, are reported to have helped, and whose breach did not come.
    pub saved: u64,
    /// `right / (right + false_alarms)`.
    pub precision: Option<f64>,
    /// `announced / (announced + missed)`.
    pub recall: Option<f64>,
    /// From request to breach, seconds.
    pub median_lead_seconds: Option<f64>,
    /// Of every kept prediction whose breach came, certificates left out: how far the median was off, as a share of the true time,
    /// at most 1 each.
    pub median_time_error: Option<f64>,
    /// Of the same predictions, the share whose 80 % interval held the truth.
    pub interval_coverage: Option<f64>,
    /// How many predictions the two figures above rest on.
    pub intervals: u64,
    /// Requests that were held back.
    pub held: u64,
    /// Labels that were given and still stand.
    pub labels: u64,
}

impl WeekFigures {
    pub(super) fn of(announced: &[Announced], missed: &[Missed], records: &WeekRecords, range: TimeRange) -> Self {
        let count = |wanted| announced.iter().filter(|a| a.verdict == Some(wanted)).count() as u64;
        let (right, false_alarms) = (count(Verdict::TruePositive), count(Verdict::FalsePositive));
        // Several requests may announce one breach: of the same service and kind, at the same time. What a person calls right counts as
        // come until the data have settled it.
        let breach = |a: &Announced| match (&a.became, a.verdict) {
            (Some(Became::Breached { at }), _) => Some(*at),
            (None, Some(Verdict::TruePositive)) => Some(a.predicted_breach.p50),
            _ => None,
        };
        let breaches: BTreeSet<_> =
            announced.iter().filter_map(|a| Some((a.service.as_str(), a.kind, breach(a)?))).collect();
        let (announced_breaches, missed) = (breaches.len() as u64, missed.len() as u64);
        let timed = Timed::of(records.settlements.iter().filter(|s| range.contains(s.at)));
        Self {
            requests: announced.len() as u64,
            right,
            false_alarms,
            announced: announced_breaches,
            missed,
            saved: announced.iter().filter(|a| a.saved).count() as u64,
            precision: share(right, right + false_alarms),
            recall: share(announced_breaches, announced_breaches + missed),
            median_lead_seconds: median(announced.iter().filter_map(|a| a.lead_seconds)),
            median_time_error: timed.median_error,
            interval_coverage: timed.coverage,
            intervals: timed.count as u64,
            held: records.held.iter().filter(|h| range.contains(h.since)).count() as u64,
            labels: records.labels.iter().filter(|l| range.contains(l.created_at)).count() as u64,
        }
    }

    /// The week, in a sentence or two.
    pub(super) fn headline(&self) -> String {
        let breaches = self.announced + self.missed;
        let of_breaches = match (breaches, self.missed) {
            (0, _) => "No breach came".to_owned(),
            (1, 0) => "The one breach was announced".to_owned(),
            (1, _) => "The one breach came unannounced".to_owned(),
            (_, 0) => format!("All {breaches} breaches were announced"),
            _ => format!("{} of {breaches} breaches were announced", self.announced),
        };
        let alarms = match self.false_alarms {
            0 => "no false alarm".to_owned(),
            1 => "1 false alarm".to_owned(),
            n => format!("{n} false alarms"),
        };
        let requests = match self.requests {
            1 => "1 request".to_owned(),
            n => format!("{n} requests"),
        };
        let saved = match self.saved {
            0 => String::new(),
            1 => " One breach did not come after something was done about it.".to_owned(),
            n => format!(" {n} breaches did not come after something was done about them."),
        };
        format!("{of_breaches}, {alarms} in {requests}.{saved}")
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
