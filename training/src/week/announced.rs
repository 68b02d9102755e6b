//! Requests beside what became of them, and breaches without any: people's word first, then the data's.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_schema::{
    Announcement, Became, BreachKind, Feedback, FeedbackSubject, Judge, LabelSet, Mode, PredictedBreach, RequestStatus,
    Settlement, TimeRange, Timestamp, Verdict, speaking,
};
use serde::{Deserialize, Serialize};

use super::{RequestRecord, WeekRecords};
use crate::report::Picture;

/// A breach that somebody labels and one that the data show are the same where they lie this close.
const SAME_BREACH: Duration = Duration::from_secs(3600);

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    /// The request's.
    pub id: String,
    /// Of the prediction that emitted it.
    pub prediction_id: String,
    /// When it was emitted.
    pub at: Timestamp,
    /// The workload.
    pub service: String,
    /// The signal.
    pub signal: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// The target.
    pub labels: LabelSet,
    /// When the breach was thought to come.
    pub predicted_breach: PredictedBreach,
    /// How probable it was called.
    pub probability: f64,
    /// What was suggested.
    pub playbook: Option<String>,
    /// How far it might act by itself.
    pub mode: Mode,
    /// Where it stands.
    pub status: RequestStatus,
    /// What the data say became of it; `None` while that is not known.
    pub became: Option<Became>,
    /// What it turned out to be; `None` while nobody can tell.
    pub verdict: Option<Verdict>,
    /// Who says so.
    pub judge: Option<Judge>,
    /// From the request to the breach, seconds; `None` where none came.
    pub lead_seconds: Option<f64>,
    /// Something was done about it, was reported to have helped, and the breach did not come.
    pub saved: bool,
    /// What was said, in a sentence.
    pub summary: String,
    /// Why it was a false alarm, as far as can be seen; `None` of others.
    pub cause: Option<String>,
    /// What the target did, where it was a false alarm and the dataset has it.
    pub picture: Option<Picture>,
}

/// A breach that no request announced in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// When it came.
    pub at: Timestamp,
    /// The workload.
    pub service: String,
    /// The signal, where the data show it.
    pub signal: Option<String>,
    /// What kind of breach.
    pub kind: BreachKind,
    /// The target, where the data show it.
    pub labels: LabelSet,
    /// The most that was said on the way; `None` where nothing was kept.
    pub probability: Option<f64>,
    /// Who says so.
    pub judge: Judge,
    /// Why, as far as can be seen.
    pub cause: String,
    /// What the target did, where the dataset has it.
    pub picture: Option<Picture>,
}

/// The requests that were emitted in `range`, by time.
pub(super) fn announced(records: &WeekRecords, range: TimeRange) -> Vec<Announced> {
    let settled: BTreeMap<&str, &Settlement> =
        records.settlements.iter().filter_map(|s| Some((s.request_id.as_deref()?, s))).collect();
    let of_week = records.requests.iter().filter(|r| range.contains(r.request.at));
    let mut all: Vec<Announced> =
        of_week.map(|r| one(r, settled.get(r.request.id.as_str()).copied(), label_of(records, r))).collect();
    all.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    all
}

fn one(record: &RequestRecord, settled: Option<&Settlement>, label: Option<&Feedback>) -> Announced {
    let request = &record.request;
    let became = settled.map(|s| s.became.clone());
    let (verdict, judge) = match label.map(|l| l.verdict) {
        Some(Verdict::Unclear) => (None, Some(Judge::Label)),
        Some(verdict) => (Some(verdict), Some(Judge::Label)),
        None => {
            let verdict = became.as_ref().and_then(Became::verdict);
            (verdict, verdict.map(|_| Judge::Data))
        }
    };
    let breached = match &became {
        Some(Became::Breached { at }) => Some(*at),
        _ => None,
    };
    let helped = record.status == RequestStatus::Succeeded;
    Announced {
        id: request.id.clone(),
        prediction_id: request.prediction_id.clone(),
        at: request.at,
        service: request.service.clone(),
        signal: request.signal.clone(),
        kind: request.kind,
        labels: request.labels.clone(),
        predicted_breach: request.predicted_breach,
        probability: request.probability.get(),
        playbook: request.playbook.clone(),
        mode: request.mode,
        status: record.status,
        verdict,
        judge,
        lead_seconds: breached.map(|at| at.seconds_since(request.at)),
        saved: helped && breached.is_none() && verdict != Some(Verdict::FalsePositive),
        became,
        summary: request.evidence.summary.clone(),
        cause: None,
        picture: None,
    }
}

/// What people or alerts say of a request.
fn label_of<'a>(records: &'a WeekRecords, record: &RequestRecord) -> Option<&'a Feedback> {
    let request = &record.request;
    let about = Announcement {
        prediction_id: &request.prediction_id,
        request_id: Some(&request.id),
        service: &request.service,
        kind: request.kind,
        at: request.at,
    };
    speaking(&records.labels, &about)
}

/// The breaches of `range` without a request, by time: those that the data show, and those that only people know of.
pub(super) fn missed(records: &WeekRecords, range: TimeRange) -> Vec<Missed> {
    let from_data = records.settlements.iter().filter_map(|s| match s.became {
        Became::Missed { at } if range.contains(at) => Some(Missed {
            at,
            service: s.service.clone(),
            signal: Some(s.signal.clone()),
            kind: s.kind,
            labels: s.labels.clone(),
            probability: s.probability.map(|p| p.get()),
            judge: Judge::Data,
            cause: String::new(),
            picture: None,
        }),
        _ => None,
    });
    let mut all: Vec<Missed> = from_data.collect();
    for label in records.labels.iter().filter(|l| l.verdict == Verdict::Missed) {
        let FeedbackSubject::Breach { service, kind, at } = &label.subject else { continue };
        let same = |m: &Missed| {
            m.service == *service && m.kind == *kind && m.at <= *at + SAME_BREACH && *at <= m.at + SAME_BREACH
        };
        if range.contains(*at) && !all.iter().any(same) {
            all.push(Missed {
                at: *at,
                service: service.clone(),
                signal: None,
                kind: *kind,
                labels: LabelSet::new(),
                probability: None,
                judge: Judge::Label,
                cause: label.note.clone().unwrap_or_default(),
                picture: None,
            });
        }
    }
    all.sort_by(|a, b| (a.at, &a.service, a.kind, &a.labels).cmp(&(b.at, &b.service, b.kind, &b.labels)));
    all
}
