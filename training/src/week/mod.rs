//! The weekly report: what was said in a week, what came of it, and what was learnt and decided. A pure function of stored
//! records, so that every figure can be computed anew. Its JSON is `docs/formats/week.md`; reading the records and keeping the
//! files is the command's affair.

mod announced;
mod causes;
mod figures;
mod html;
mod learnt;
mod markdown;
mod patterns;
mod playbooks;

use std::collections::BTreeMap;
use std::sync::Arc;

use forewarn_features::{ServiceStep, SignalSet};
use forewarn_models::guardrails::Held;
use forewarn_schema::{
    Feedback, Prediction, RemediationRequest, RequestStatus, RunRecord, Settlement, Sighting, TimeRange, Timestamp,
};
use serde::{Deserialize, Serialize};

pub use self::announced::{Announced, Missed};
pub use self::figures::WeekFigures;
pub use self::html::render_week_html;
pub use self::learnt::{Decided, Drifted, HeldBack, Judgement, LabelsGiven, Spent};
pub use self::markdown::render_week_markdown;
pub use self::patterns::{Pattern, PatternEpisode};
pub use self::playbooks::PlaybookRecord;
use crate::report::EvaluationReport;

/// The version of the JSON form; a reader refuses what it does not know.
pub const WEEK_FORMAT_VERSION: u32 = 1;

/// A request and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestRecord {
    /// What was asked.
    pub request: RemediationRequest,
    /// Where it stands.
    pub status: RequestStatus,
    /// What was said with the last decision or outcome.
    pub note: Option<String>,
}

/// Everything stored that a weekly report is made of. Lists hold at least what is of the week and of the week before it; what
/// is older or newer is left out by [`weekly_report`]. Any may be empty.
#[derive(Clone, Debug, Default)]
pub struct WeekRecords {
    /// Predictions that were kept.
    pub predictions: Vec<Prediction>,
    /// Requests that were emitted.
    pub requests: Vec<RequestRecord>,
    /// Every label in force, whenever it was given: also a late one speaks for its request.
    pub labels: Vec<Feedback>,
    /// What became of announcements.
    pub settlements: Vec<Settlement>,
    /// Requests that were held back.
    pub held: Vec<Held>,
    /// Services that looked unusual.
    pub sightings: Vec<Sighting>,
    /// What people and the program decided.
    pub decisions: Vec<Decided>,
    /// Evaluations, by the names of their reports.
    pub evaluations: BTreeMap<String, EvaluationReport>,
    /// Runs of the pipeline.
    pub runs: Vec<RunRecord>,
}

/// What was seen of the services that something went wrong with, for the pictures.
#[derive(Clone, Copy)]
pub struct WeekHistory<'a> {
    /// Per service, sorted by time; may lack some.
    pub histories: &'a BTreeMap<Arc<str>, Vec<ServiceStep>>,
    /// What the steps are of.
    pub signals: &'a SignalSet,
}

/// See the module. Lists are sorted by time unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeeklyReport {
    /// [`WEEK_FORMAT_VERSION`].
    pub format_version: u32,
    /// The week, in two sentences.
    pub headline: String,
    /// Usually seven days.
    pub range: TimeRange,
    /// Of the week.
    pub figures: WeekFigures,
    /// Of as long a time before it.
    pub before: WeekFigures,
    /// Each request and what became of it.
    pub announced: Vec<Announced>,
    /// Each breach that no request announced.
    pub missed: Vec<Missed>,
    /// What people and alerts said.
    pub labels: LabelsGiven,
    /// Thresholds that moved.
    pub thresholds: Vec<Decided>,
    /// How far playbooks may act, where that changed.
    pub autonomy: Vec<Decided>,
    /// Which models were judged, and how; by report and service.
    pub models: Vec<Judgement>,
    /// Which models came to serve, or went.
    pub promotions: Vec<Decided>,
    /// Signals that no longer look like what was learnt from; by service and signal.
    pub drift: Vec<Drifted>,
    /// Anomalies that nothing explains, those that look alike together; the most frequent first.
    pub patterns: Vec<Pattern>,
    /// By playbook.
    pub playbooks: Vec<PlaybookRecord>,
    /// By reason.
    pub held: Vec<HeldBack>,
    /// What the pipeline took.
    pub spent: Spent,
    /// Who wrote it.
    pub forewarn_version: String,
}

/// Looks back at `range`. `history` is for pictures and causes alone: no figure rests on it.
pub fn weekly_report(records: &WeekRecords, range: TimeRange, history: Option<WeekHistory<'_>>) -> WeeklyReport {
    let earlier = TimeRange { start: range.start - range.duration(), end: range.start };
    let (mut announced, mut missed) = (announced::announced(records, range), announced::missed(records, range));
    let figures = WeekFigures::of(&announced, &missed, records, range);
    let before = WeekFigures::of(
        &announced::announced(records, earlier),
        &announced::missed(records, earlier),
        records,
        earlier,
    );
    announced.iter_mut().for_each(|a| causes::explain_false_alarm(a, history));
    missed.iter_mut().for_each(|m| causes::explain_miss(m, records, history));
    WeeklyReport {
        format_version: WEEK_FORMAT_VERSION,
        headline: figures.headline(),
        range,
        figures,
        before,
        labels: LabelsGiven::of(records, range),
        thresholds: Decided::of(records, range, &["threshold"]),
        autonomy: Decided::of(records, range, &["mode"]),
        models: Judgement::of(records, range),
        promotions: Decided::of(records, range, &["promote", "rollback", "shadow"]),
        drift: Drifted::of(records, range),
        patterns: patterns::patterns(records, &announced, &missed, range),
        playbooks: playbooks::playbooks(records, &announced),
        held: HeldBack::of(records, range),
        spent: Spent::of(records, range),
        announced,
        missed,
        forewarn_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// When a report was written, by its name (`20260108T000000Z…`); `None` of other names.
pub fn time_of_name(name: &str) -> Option<Timestamp> {
    let (day, time) = name.get(..16)?.strip_suffix('Z')?.split_once('T')?;
    let all_digits = |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if !(all_digits(day, 8) && all_digits(time, 6)) {
        return None;
    }
    let text = format!("{}-{}-{}T{}:{}:{}Z", &day[..4], &day[4..6], &day[6..], &time[..2], &time[2..4], &time[4..]);
    text.parse().ok()
}

#[cfg(test)]
mod tests;
