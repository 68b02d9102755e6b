//! What was said, decided, judged and spent in a week.

use std::collections::BTreeMap;

use forewarn_models::guardrails::HeldBy;
use forewarn_schema::{Feedback, RunStepOutcome, TimeRange, Timestamp};
use serde::{Deserialize, Serialize};

use super::{WeekRecords, time_of_name};
use crate::drift::Moved;
use crate::gate::GateVerdict;

/// What a person or the program decided, from the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// When.
    pub at: Timestamp,
    /// Who; `forewarn` for the program itself.
    pub who: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub object: String,
    /// How, or why.
    pub detail: String,
}

impl Decided {
    pub(super) fn of(records: &WeekRecords, range: TimeRange, actions: &[&str]) -> Vec<Self> {
        let wanted = |d: &&Self| range.contains(d.at) && actions.contains(&d.action.as_str());
        records.decisions.iter().filter(wanted).cloned().collect()
    }
}

/// Labels that were given in the week and still stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelsGiven {
    /// How many of each verdict; a verdict that nobody gave is left out.
    pub by_verdict: BTreeMap<String, u64>,
    /// How many from where: page, API, shell, alerts, links.
    pub by_source: BTreeMap<String, u64>,
    /// How many were taken back in the week.
    pub taken_back: u64,
    /// Themselves, oldest first.
    pub labels: Vec<Feedback>,
}

impl LabelsGiven {
    pub(super) fn of(records: &WeekRecords, range: TimeRange) -> Self {
        let mut given = Self {
            taken_back: Decided::of(records, range, &["unlabel"]).len() as u64,
            labels: records.labels.iter().filter(|l| range.contains(l.created_at)).cloned().collect(),
            ..Self::default()
        };
        given.labels.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        for label in &given.labels {
            *given.by_verdict.entry(label.verdict.to_string()).or_default() += 1;
            *given.by_source.entry(label.source.as_str().to_owned()).or_default() += 1;
        }
        given
    }
}

/// What an evaluation of the week said of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The evaluation's report.
    pub report: String,
    /// The workload.
    pub service: String,
    /// The candidate.
    pub version: String,
    /// Whether it may serve.
    pub passed: bool,
    /// Why, or why not.
    pub reason: String,
}

impl Judgement {
    pub(super) fn of(records: &WeekRecords, range: TimeRange) -> Vec<Self> {
        let of_week = records.evaluations.iter().filter(|(name, _)| written_in(name, range));
        let judgements = of_week.flat_map(|(name, report)| {
            report.services.iter().filter_map(move |s| {
                let (passed, reason) = match s.verdict.as_ref()? {
                    GateVerdict::Pass { reason } => (true, reason.clone()),
                    GateVerdict::Refuse { reason } => (false, reason.clone()),
                };
                let version = s.candidate.as_ref()?.version.clone();
                Some(Self { report: name.clone(), service: s.service.clone(), version, passed, reason })
            })
        });
        judgements.collect()
    }
}

/// A signal that no longer looks like what was learnt from, by the newest evaluation of the week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drifted {
    /// The workload.
    pub service: String,
    /// The signal.
    pub signal: String,
    /// How far, in a word.
    pub moved: Moved,
    /// Of the median, in robust standard deviations.
    pub shift: Option<f64>,
}

impl Drifted {
    pub(super) fn of(records: &WeekRecords, range: TimeRange) -> Vec<Self> {
        let newest = records.evaluations.iter().rfind(|(name, _)| written_in(name, range));
        let Some((_, report)) = newest else { return Vec::new() };
        let all = report.services.iter().flat_map(|s| s.drift.iter().map(move |d| (s, d)));
        let moved = all.filter(|(_, d)| d.moved != Moved::Steady);
        moved
            .map(|(s, d)| Self { service: s.service.clone(), signal: d.signal.clone(), moved: d.moved, shift: d.shift })
            .collect()
    }
}

/// Requests that one reason held back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Why.
    pub by: HeldBy,
    /// How many.
    pub count: u64,
    /// Of which services, and how many of each.
    pub services: BTreeMap<String, u64>,
}

impl HeldBack {
    pub(super) fn of(records: &WeekRecords, range: TimeRange) -> Vec<Self> {
        let mut by_reason: BTreeMap<HeldBy, BTreeMap<String, u64>> = BTreeMap::new();
        for held in records.held.iter().filter(|h| range.contains(h.since)) {
            *by_reason.entry(held.by).or_default().entry(held.service.clone()).or_default() += 1;
        }
        let one =
            |(by, services): (HeldBy, BTreeMap<String, u64>)| Self { by, count: services.values().sum(), services };
        by_reason.into_iter().map(one).collect()
    }
}

/// What the pipeline's runs of the week took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Runs that began in the week.
    pub runs: u64,
    /// Of them, those that have not finished, or a step of which failed.
    pub unfinished: u64,
    /// Processor time by step, seconds.
    pub cpu_seconds: BTreeMap<String, f64>,
    /// From start to end by step, seconds.
    pub clock_seconds: BTreeMap<String, f64>,
}

impl Spent {
    pub(super) fn of(records: &WeekRecords, range: TimeRange) -> Self {
        let mut spent = Self::default();
        for run in records.runs.iter().filter(|r| range.contains(r.started_at)) {
            spent.runs += 1;
            let failed = run.steps.iter().any(|s| s.outcome == RunStepOutcome::Failed);
            spent.unfinished += u64::from(run.finished_at.is_none() || failed);
            for step in &run.steps {
                *spent.cpu_seconds.entry(step.name.clone()).or_default() += step.cpu_seconds.unwrap_or(0.0);
                let clock = step.finished_at.map_or(0.0, |end| end.seconds_since(step.started_at));
                *spent.clock_seconds.entry(step.name.clone()).or_default() += clock;
            }
        }
        spent
    }
}

/// Whether the report of that name was written in `range`; its name begins with the time.
fn written_in(name: &str, range: TimeRange) -> bool {
    time_of_name(name).is_some_and(|at| range.contains(at))
}
