//! `forewarn label`: what was said, or not said in time, turned out to be, from the shell. It goes into the same log as the
//! labels of the page and the API, also while a server is running.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use forewarn_inference::{LabelText, MOST_LABELS, NewFeedback, StateStore, WrittenLabel, as_caller, read_labels};
use forewarn_schema::{Feedback, FeedbackSubject, LabelSource, Verdict};
use serde_json::json;

use super::{now, open};
use crate::cli::Label;
use crate::config::{Config, ConfigError};
use crate::outcome::Outcome;

/// A file of labels: a thousand of them with the longest notes.
const MOST_BYTES: u64 = 8 << 20;

/// What is written wrongly is said before the configuration is looked for.
pub(super) async fn label(
    arguments: &Label,
    config: impl FnOnce() -> Result<Config, ConfigError>,
) -> anyhow::Result<Outcome> {
    let Label { undo, redo, .. } = arguments;
    let new = if undo.is_empty() && redo.is_empty() { read(arguments)? } else { Vec::new() };
    let state = open::served_state(&config()?).await?;
    let work = async {
        match (undo.is_empty(), redo.is_empty()) {
            (false, _) => undo_all(&state, undo).await,
            (true, false) => redo_all(&state, redo).await,
            (true, true) => said(arguments.file.is_none(), &state.add_labels(&new, &[], now()).await?),
        }
    };
    as_caller(arguments.who.as_str().into(), work).await
}

async fn undo_all(state: &StateStore, ids: &[String]) -> anyhow::Result<Outcome> {
    match state.take_back(ids, now()).await? {
        0 => bail!("no label with id {}, or it is taken back already", ids.join(", ")),
        taken => Ok(Outcome::new(moved(taken, ids, "taken back"), json!({"taken_back": taken, "ids": ids}))),
    }
}

async fn redo_all(state: &StateStore, ids: &[String]) -> anyhow::Result<Outcome> {
    match state.restore(ids, now()).await? {
        0 => bail!("no label with id {} that was taken back", ids.join(", ")),
        given => Ok(Outcome::new(moved(given, ids, "given back"), json!({"given_back": given, "ids": ids}))),
    }
}

fn moved(count: usize, ids: &[String], how: &str) -> String {
    if count == ids.len() { format!("{} {how}", ids.join(", ")) } else { format!("{count} of {} {how}", ids.len()) }
}

fn read(arguments: &Label) -> Result<Vec<NewFeedback>, anyhow::Error> {
    if let Some(file) = &arguments.file {
        let text = text_of(file)?;
        let labels = read_labels(&text, LabelText::Lines, LabelSource::Shell);
        return Ok(labels.map_err(|e| ConfigError::new(format!("{}: {e}", file.display())))?.1);
    }
    let wrong = |what: String| Err(ConfigError::new(what).into());
    let Some((last, ids)) = arguments.words.split_last() else {
        return wrong("wanted a verdict, got nothing".to_owned());
    };
    let verdict = match last.parse::<Verdict>() {
        Ok(verdict) => verdict,
        Err(error) => return wrong(format!("the last word must be a verdict: {error}")),
    };
    let common = WrittenLabel { verdict: Some(verdict), note: arguments.note.clone(), ..WrittenLabel::default() };
    let written = if ids.is_empty() {
        vec![WrittenLabel {
            service: arguments.service.clone(),
            kind: arguments.kind,
            at: arguments.at,
            from: arguments.from,
            to: arguments.to,
            ..common
        }]
    } else if let Some(service) = &arguments.service {
        return wrong(format!("give ids or --service, got both ({} and {service})", ids.join(", ")));
    } else if ids.len() > MOST_LABELS {
        return wrong(format!("wanted at most {MOST_LABELS} ids, got {}", ids.len()));
    } else {
        ids.iter().map(|id| of_id(&common, id)).collect()
    };
    let labels = written.into_iter().map(|label| label.read(LabelSource::Shell));
    Ok(labels.collect::<Result<_, _>>().map_err(|e| ConfigError::new(e.to_string()))?)
}

fn of_id(common: &WrittenLabel, id: &str) -> WrittenLabel {
    let id = Some(id.to_owned());
    match &id {
        Some(text) if text.starts_with("r-") => WrittenLabel { request_id: id, ..common.clone() },
        _ => WrittenLabel { prediction_id: id, ..common.clone() },
    }
}

fn text_of(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let shown = file.display();
    if file == Path::new("-") {
        std::io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut text).context("cannot read standard input")?;
    } else {
        let opened = std::fs::File::open(file).map_err(|e| ConfigError::new(format!("cannot read {shown}: {e}")))?;
        opened.take(MOST_BYTES + 1).read_to_end(&mut text).with_context(|| format!("cannot read {shown}"))?;
    }
    if text.len() as u64 > MOST_BYTES {
        bail!("{shown} must be at most {MOST_BYTES} bytes");
    }
    Ok(text)
}

/// One label from the command line is an object, as it always was; several are a list of them.
fn said(is_alone: bool, stored: &[Feedback]) -> anyhow::Result<Outcome> {
    let line = |label: &Feedback| format!("{} is labelled {} ({})", of(&label.subject), label.verdict, label.id);
    Ok(match stored {
        [only] if is_alone => Outcome::new(line(only), serde_json::to_value(only)?),
        many => {
            let text = many.iter().map(line).collect::<Vec<_>>().join("\n");
            Outcome::new(text, json!({"labels": many}))
        }
    })
}

fn of(subject: &FeedbackSubject) -> String {
    match subject {
        FeedbackSubject::Prediction { prediction_id } => prediction_id.clone(),
        FeedbackSubject::Request { request_id } => request_id.clone(),
        FeedbackSubject::Breach { service, kind, at } => format!("{service}, {kind} at {at}"),
        FeedbackSubject::Span { service, kind, range } => {
            let kind = kind.map_or("every kind", |kind| kind.as_str());
            format!("{service}, {kind} from {range}")
        }
    }
}
