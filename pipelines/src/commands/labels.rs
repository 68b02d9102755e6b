//! `forewarn labels export`: what people, alerts and the data say of what was predicted, as one Parquet file. Here labels meet
//! the predictions and requests that they are of; the file itself is written by `datasets`.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context as _, anyhow};
use forewarn_datasets::{LABELS_FORMAT_VERSION, LabelRow, labels_parquet};
use forewarn_inference::StateStore;
use forewarn_schema::{
    Announcement, BreachKind, Feedback, FeedbackSubject, Judge, LabelSet, Prediction, RemediationRequest, Settlement,
    Timestamp, loudest, speaking,
};
use serde_json::{Value, json};

use super::open;
use crate::cli::{Labels, LabelsExport};
use crate::config::Config;
use crate::outcome::Outcome;

pub(super) async fn labels(config: &Config, command: &Labels) -> anyhow::Result<Outcome> {
    match command {
        Labels::Export(arguments) => export(config, arguments).await,
    }
}

async fn export(config: &Config, arguments: &LabelsExport) -> anyhow::Result<Outcome> {
    let state = open::served_state(config).await?;
    let labels = state.feedback().await?;
    let settlements = state.settlements_since(Timestamp::from_millis(i64::MIN)).await?;
    let known = Known::look_up(&state, &labels).await?;
    let mut rows: Vec<LabelRow> = labels.iter().map(|label| of_label(label, &labels, &known)).collect();
    rows.extend(settlements.iter().map(|settled| of_settlement(settled, &labels)));
    rows.retain(|row| arguments.since.is_none_or(|since| row.given_at >= since));
    let out = arguments.out.display().to_string();
    let bytes = labels_parquet(&rows).map_err(|e| anyhow!("cannot encode {out}: {e}"))?;
    write_whole(&arguments.out, &bytes).with_context(|| format!("cannot write {out}"))?;
    let given = rows.iter().filter(|row| row.judge == Judge::Label).count();
    let settled = rows.len() - given;
    let said = json!({"out": arguments.out, "format_version": LABELS_FORMAT_VERSION, "labels": given,
        "settlements": settled, "bytes": bytes.len()});
    Ok(Outcome::new(format!("labels: {given}, settlements: {settled}, in {out}"), said))
}

/// Whole or not at all: somebody may be reading the file before. A link keeps its place, and what is no file (a device, a pipe) is
/// written to, not replaced.
fn write_whole(out: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = fs::canonicalize(out).unwrap_or_else(|_| out.to_owned());
    if fs::metadata(&place).is_ok_and(|there| !there.is_file()) {
        return fs::write(&place, bytes);
    }
    let mut beside = place.clone().into_os_string();
    beside.push(".part");
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, &place));
    if written.is_err() {
        // What is left of it says nothing; that it cannot be removed says less than why.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// What the state still has of what labels are of.
#[derive(Default)]
struct Known {
    predictions: BTreeMap<String, Prediction>,
    requests: BTreeMap<String, RemediationRequest>,
}

impl Known {
    async fn look_up(state: &StateStore, labels: &[Feedback]) -> anyhow::Result<Self> {
        let mut known = Self::default();
        for label in labels {
            let mut prediction_id = None;
            match &label.subject {
                FeedbackSubject::Prediction { prediction_id: id } => prediction_id = Some(id.clone()),
                FeedbackSubject::Request { request_id } if !known.requests.contains_key(request_id) => {
                    if let Some(stored) = state.request(request_id).await? {
                        prediction_id = Some(stored.request.prediction_id.clone());
                        known.requests.insert(request_id.clone(), stored.request);
                    }
                }
                FeedbackSubject::Request { .. } | FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => {}
            }
            if let Some(id) = prediction_id
                && !known.predictions.contains_key(&id)
                && let Some(prediction) = state.prediction(&id).await?
            {
                known.predictions.insert(id, prediction);
            }
        }
        Ok(known)
    }

    fn prediction(&self, subject: &FeedbackSubject) -> Option<&Prediction> {
        match subject {
            FeedbackSubject::Prediction { prediction_id } => self.predictions.get(prediction_id),
            FeedbackSubject::Request { request_id } => {
                self.predictions.get(&self.requests.get(request_id)?.prediction_id)
            }
            FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => None,
        }
    }
}

/// What a row says of what it is of.
#[derive(Default)]
struct Of {
    of: &'static str,
    prediction_id: Option<String>,
    request_id: Option<String>,
    service: Option<String>,
    kind: Option<BreachKind>,
    at: Option<Timestamp>,
    until: Option<Timestamp>,
}

fn of(subject: &FeedbackSubject, prediction: Option<&Prediction>) -> Of {
    let predicted = |of: &'static str| Of {
        of,
        prediction_id: prediction.map(|p| p.id.clone()),
        request_id: prediction.and_then(|p| p.request_id.clone()),
        service: prediction.map(|p| p.service.clone()),
        kind: prediction.map(|p| p.kind),
        at: prediction.map(|p| p.at),
        until: None,
    };
    match subject {
        FeedbackSubject::Prediction { prediction_id } => {
            Of { prediction_id: Some(prediction_id.clone()), ..predicted("prediction") }
        }
        FeedbackSubject::Request { request_id } => Of { request_id: Some(request_id.clone()), ..predicted("request") },
        FeedbackSubject::Breach { service, kind, at } => {
            Of { of: "breach", service: Some(service.clone()), kind: Some(*kind), at: Some(*at), ..Of::default() }
        }
        FeedbackSubject::Span { service, kind, range } => Of {
            of: "span",
            service: Some(service.clone()),
            kind: *kind,
            at: Some(range.start),
            until: Some(range.end),
            ..Of::default()
        },
    }
}

fn of_label(label: &Feedback, all: &[Feedback], known: &Known) -> LabelRow {
    let prediction = known.prediction(&label.subject);
    // Where it is known what was said, whatever label is about that; else those of the same thing.
    let counts = match prediction {
        Some(p) => speaking(all, &announced(p)),
        None => loudest(all.iter().filter(|other| other.subject == label.subject)),
    };
    let Of { of, prediction_id, request_id, service, kind, at, until } = of(&label.subject, prediction);
    LabelRow {
        judge: Judge::Label,
        id: label.id.clone(),
        of,
        prediction_id,
        request_id,
        service,
        signal: prediction.map(|p| p.signal.clone()),
        kind,
        labels: prediction.map(|p| target(&p.labels)),
        at,
        until,
        verdict: Some(label.verdict),
        became: None,
        probability: prediction.map(|p| p.breach_probability.get()),
        model_version: prediction.map(|p| p.model_version.to_string()),
        outweighed_by: counts.filter(|counts| counts.id != label.id).map(|counts| counts.id.clone()),
        note: label.note.clone(),
        source: Some(label.source.as_str()),
        who: Some(label.who.clone()).filter(|who| !who.is_empty()),
        given_at: label.created_at,
    }
}

fn of_settlement(settled: &Settlement, labels: &[Feedback]) -> LabelRow {
    let became = serde_json::to_value(&settled.became).unwrap_or_default();
    let is_miss = matches!(settled.became, forewarn_schema::Became::Missed { .. });
    let about = Announcement {
        prediction_id: &settled.id,
        request_id: settled.request_id.as_deref(),
        service: &settled.service,
        kind: settled.kind,
        at: settled.at,
    };
    // A breach that nobody announced is no announcement that a label could be about.
    let counts = if is_miss { None } else { speaking(labels, &about) };
    LabelRow {
        judge: Judge::Data,
        id: settled.id.clone(),
        of: if is_miss { "breach" } else { "prediction" },
        prediction_id: (!is_miss).then(|| settled.id.clone()),
        request_id: settled.request_id.clone(),
        service: Some(settled.service.clone()),
        signal: Some(settled.signal.clone()),
        kind: Some(settled.kind),
        labels: Some(target(&settled.labels)),
        at: Some(settled.at),
        until: None,
        verdict: settled.became.verdict(),
        became: became.get("was").and_then(Value::as_str).map(str::to_owned),
        probability: settled.probability.map(|p| p.get()),
        model_version: Some(settled.model_version.clone()),
        outweighed_by: counts.map(|label| label.id.clone()),
        note: None,
        source: None,
        who: None,
        given_at: settled.settled_at,
    }
}

fn announced(prediction: &Prediction) -> Announcement<'_> {
    Announcement {
        prediction_id: &prediction.id,
        request_id: prediction.request_id.as_deref(),
        service: &prediction.service,
        kind: prediction.kind,
        at: prediction.at,
    }
}

fn target(labels: &LabelSet) -> String {
    serde_json::to_string(labels).unwrap_or_default()
}
