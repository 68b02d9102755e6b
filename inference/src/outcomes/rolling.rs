//! How good it has been lately, from what was settled. Pure: the same settlements and labels, the same figures.
//!
//! A label outweighs what the data say. No figure is made of nothing: what there is no case of is `None`.

use std::collections::{BTreeMap, BTreeSet};

use forewarn_models::metrics::median;
use forewarn_models::settle::Timed;
use forewarn_schema::{Became, BreachKind, Settlement, TimeRange, Timestamp, Verdict};
use serde::Serialize;

use super::Labels;

/// Of how many cases figures are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cases {
    /// Requests that turned out right or wrong.
    pub requests: u32,
    /// Breaches that could have been announced.
    pub breaches: u32,
    /// Breaches announced in time whose lead is known.
    pub leads: u32,
    /// Predictions with an interval whose breach came.
    pub intervals: u32,
}

/// Figures of one kind of breach, of one service, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rolling {
    /// The share of breaches that a request announced in time, 0 to 1; a breach that something else forestalled counts where the last
    /// forecast says it would have come.
    pub recall: Option<f64>,
    /// The share of requests that were right, 0 to 1.
    pub precision: Option<f64>,
    /// Requests that were wrong, a week.
    pub false_alarms_per_week: Option<f64>,
    /// How long before its breach a request came, seconds, the median over the breaches.
    pub median_lead_seconds: Option<f64>,
    /// The share of breaches that came within the 80 % interval said of them, 0 to 1; of certificates, whose end is known, not.
    pub interval_coverage: Option<f64>,
    /// How far the median time to breach was off, as a share of the true one, the median over predictions; at most 1.
    pub time_to_breach_error: Option<f64>,
    /// Of how many cases.
    pub cases: Cases,
}

/// Of which breaches; of all where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// Those of one service.
    pub service: Option<&'a str>,
    /// Those of one kind.
    pub kind: Option<BreachKind>,
}

impl Scope<'_> {
    fn holds(&self, service: &str, kind: BreachKind) -> bool {
        self.service.is_none_or(|of| of == service) && self.kind.is_none_or(|of| of == kind)
    }
}

/// Service, signal, and when it came; of one that never came, which request said so.
type WhichBreach<'a> = (&'a str, &'a str, Result<Timestamp, &'a str>);

impl Rolling {
    /// Of what was settled within `range`. A range of no length has no weeks and no false alarms a week.
    pub fn of(settled: &[Settlement], labels: &Labels, range: TimeRange, scope: Scope<'_>) -> Self {
        let is_in = |s: &&Settlement| range.contains(s.settled_at) && scope.holds(&s.service, s.kind);
        let settled: Vec<&Settlement> = settled.iter().filter(is_in).collect();
        let is_miss = |s: &&Settlement| matches!(s.became, Became::Missed { .. });
        let verdict = |s: &Settlement| labels.verdict_of(s).or_else(|| s.became.verdict());
        let missed: Vec<&Settlement> = settled.iter().copied().filter(is_miss).collect();
        let missed_times: BTreeSet<_> = missed.iter().map(|s| (&s.service, &s.signal, s.at)).collect();
        // A label against a miss says that it was no breach.
        let misses = missed.iter().filter(|s| verdict(s) == Some(Verdict::Missed)).count();
        let others = labels.misses(range, &missed).filter(|miss| scope.holds(&miss.service, miss.kind));
        let misses = misses + others.count();

        let requests = settled.iter().filter(|s| s.request_id.is_some() && !is_miss(s));
        let (mut right, mut wrong) = (0_u32, 0_u32);
        // By breach, the earliest request that announced it; one that never came counts by its request.
        let mut announced: BTreeMap<WhichBreach<'_>, Option<f64>> = BTreeMap::new();
        for request in requests {
            match verdict(request) {
                Some(Verdict::TruePositive) => right += 1,
                Some(Verdict::FalsePositive) => {
                    wrong += 1;
                    continue;
                }
                Some(Verdict::Missed | Verdict::Unclear) | None => continue,
            }
            let (breach, lead) = match request.became {
                // It came too late to help.
                Became::Breached { at } if missed_times.contains(&(&request.service, &request.signal, at)) => continue,
                Became::Breached { at } => (Ok(at), Some(at.seconds_since(request.at))),
                _ => (Err(request.id.as_str()), None),
            };
            let known = announced.entry((&request.service, &request.signal, breach)).or_default();
            *known = known.iter().copied().chain(lead).reduce(f64::max);
        }
        let breaches = announced.len() as u32 + misses as u32;
        let leads: Vec<f64> = announced.values().flatten().copied().collect();
        let timed = Timed::of(settled.iter().copied());
        let weeks = range.duration().as_secs_f64() / (7.0 * 86_400.0);
        let any = right + wrong + breaches > 0;
        Self {
            recall: (breaches > 0).then(|| announced.len() as f64 / f64::from(breaches)),
            precision: (right + wrong > 0).then(|| f64::from(right) / f64::from(right + wrong)),
            false_alarms_per_week: (any && weeks > 0.0).then(|| f64::from(wrong) / weeks),
            median_lead_seconds: median(leads.iter().copied()),
            interval_coverage: timed.coverage,
            time_to_breach_error: timed.median_error,
            cases: Cases {
                requests: right + wrong,
                breaches,
                leads: leads.len() as u32,
                intervals: timed.count as u32,
            },
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.cases == Cases::default()
    }
}

#[cfg(test)]
#[path = "rolling_tests.rs"]
mod tests;
