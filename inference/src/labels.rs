//! Labels: what one says, how it is written, and what the server does with it. The page, the API, the shell, links and
//! alerts all come through here, so that one rule says what a label may be of.

use forewarn_schema::{BreachKind, Feedback, FeedbackSubject, LabelSource, TimeRange, Timestamp, Verdict};
use serde::Deserialize;

use crate::app::{AppState, check_note};
use crate::error::AppError;

/// Labels in one call: more are refused before any is stored.
pub const MOST_LABELS: usize = 1000;
/// A service's name, in bytes.
const MOST_SERVICE: usize = 1024;

/// A label as it comes in; id, time and who gives it are the server's.
#[derive(Clone, Debug, PartialEq)]
pub struct NewFeedback {
    /// What it is of.
    pub subject: FeedbackSubject,
    /// What that turned out to be.
    pub verdict: Verdict,
    /// Why, in the labeller's words; at most 4096 bytes.
    pub note: Option<String>,
    /// Where it comes from.
    pub source: LabelSource,
}

/// Which labels are wanted; all by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelFilter {
    /// Of this workload; of a prediction or a request, the one that it is about.
    pub service: Option<String>,
    /// Of this kind; a span of every kind is of it, too.
    pub kind: Option<BreachKind>,
    /// With this verdict.
    pub verdict: Option<Verdict>,
    /// Which came this way.
    pub source: Option<LabelSource>,
    /// Given at or after this time.
    pub since: Option<Timestamp>,
    /// Older than the label of this id.
    pub before: Option<String>,
    /// Those that were taken back, and only them.
    pub taken_back: bool,
}

/// A label as it is written, in a body, in a file, in a form: of a prediction or a request by its id; of a span of time
/// by service, from and to, and a kind unless it is of every one; of a breach that nobody announced by service, kind and at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenLabel {
    /// Of a prediction: its id.
    pub prediction_id: Option<String>,
    /// Of a request: its id.
    pub request_id: Option<String>,
    /// Of a span or a breach: the workload.
    pub service: Option<String>,
    /// Of a breach, and of a span that is not of every kind.
    pub kind: Option<BreachKind>,
    /// Of a breach: when it came.
    pub at: Option<Timestamp>,
    /// Of a span: when it begins.
    pub from: Option<Timestamp>,
    /// Of a span: when it is over; not included.
    pub to: Option<Timestamp>,
    /// What it turned out to be.
    pub verdict: Option<Verdict>,
    /// Why, in the labeller's words.
    pub note: Option<String>,
}

impl WrittenLabel {
    /// What it says; the error says in a line what is missing or too much.
    pub fn read(self, source: LabelSource) -> Result<NewFeedback, WrittenLabelError> {
        let wrong = |reason: &str| Err(WrittenLabelError::Wrong(reason.to_owned()));
        let Some(verdict) = self.verdict else {
            return wrong("a label must have a verdict: true_positive, false_positive, missed or unclear");
        };
        let missed = verdict == Verdict::Missed;
        let subject = match (self.prediction_id, self.request_id, self.service, self.kind, self.at, self.from, self.to)
        {
            (Some(_), None, None, None, None, None, None) | (None, Some(_), None, None, None, None, None) if missed => {
                return wrong(
                    "what was predicted cannot be missed; label the breach: service, kind, at, verdict missed",
                );
            }
            (Some(prediction_id), None, None, None, None, None, None) => FeedbackSubject::Prediction { prediction_id },
            (None, Some(request_id), None, None, None, None, None) => FeedbackSubject::Request { request_id },
            (None, None, Some(service), Some(kind), Some(at), None, None) if missed => {
                FeedbackSubject::Breach { service, kind, at }
            }
            (None, None, Some(_), Some(_), Some(_), None, None) => {
                return wrong(
                    "a breach that nobody announced must have verdict missed; label a prediction by prediction_id",
                );
            }
            (None, None, Some(_), _, None, Some(_), Some(_)) if missed => {
                return wrong("a span of time cannot be missed; label each breach: service, kind, at");
            }
            (None, None, Some(service), kind, None, Some(from), Some(to)) => match TimeRange::new(from, to) {
                Ok(range) if !range.is_empty() => FeedbackSubject::Span { service, kind, range },
                _ => return Err(WrittenLabelError::Wrong(format!("from must be before to, got {from} and {to}"))),
            },
            _ => {
                return wrong(
                    "a label must have either prediction_id, or request_id, or service, from and to (and perhaps kind), \
                         or service, kind and at with verdict missed",
                );
            }
        };
        if let FeedbackSubject::Breach { service, .. } | FeedbackSubject::Span { service, .. } = &subject
            && !(1..=MOST_SERVICE).contains(&service.len())
        {
            let reason = format!("service must have 1 to {MOST_SERVICE} bytes, got {}", service.len());
            return Err(WrittenLabelError::Wrong(reason));
        }
        Ok(NewFeedback { subject, verdict, note: self.note, source })
    }
}

/// How labels are written one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelText {
    /// JSON: one object, or an array of them.
    Json,
    /// JSON objects one after the other, usually each on a line of its own.
    Lines,
}

/// What is written is no label.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WrittenLabelError {
    /// It cannot be read at all.
    #[error("{0}")]
    Unreadable(String),
    /// It can be read and says nothing that a label could.
    #[error("{0}")]
    Wrong(String),
}

/// Labels as they are written: whether it is a single object, and what each says. More than [`MOST_LABELS`], none at all, and any
/// one that is wrong is an error that says which.
pub fn read_labels(
    text: &[u8],
    as_text: LabelText,
    source: LabelSource,
) -> Result<(bool, Vec<NewFeedback>), WrittenLabelError> {
    let unreadable = |error: serde_json::Error, number: Option<usize>| {
        let which = number.map(|number| format!("label {number}: ")).unwrap_or_default();
        let text = format!("{which}{error}");
        if error.is_data() { WrittenLabelError::Wrong(text) } else { WrittenLabelError::Unreadable(text) }
    };
    let is_array = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let is_single = as_text == LabelText::Json && !is_array;
    let written: Vec<WrittenLabel> = match as_text {
        LabelText::Json if is_single => vec![serde_json::from_slice(text).map_err(|e| unreadable(e, None))?],
        LabelText::Json => serde_json::from_slice(text).map_err(|e| unreadable(e, None))?,
        LabelText::Lines => {
            let mut all = Vec::new();
            for label in serde_json::Deserializer::from_slice(text).into_iter().take(MOST_LABELS + 1) {
                all.push(label.map_err(|e| unreadable(e, Some(all.len() + 1)))?);
            }
            all
        }
    };
    if written.is_empty() || written.len() > MOST_LABELS {
        let got = if written.is_empty() { "none".to_owned() } else { format!("more than {MOST_LABELS}") };
        return Err(WrittenLabelError::Wrong(format!("wanted 1 to {MOST_LABELS} labels at a time, got {got}")));
    }
    let mut labels = Vec::with_capacity(written.len());
    for (place, label) in written.into_iter().enumerate() {
        let label = label.read(source).and_then(|label| match check_note(label.note.as_deref()) {
            Ok(()) => Ok(label),
            Err(error) => Err(WrittenLabelError::Wrong(error.to_string())),
        });
        let numbered = |error: WrittenLabelError| match error {
            WrittenLabelError::Wrong(reason) if !is_single => {
                WrittenLabelError::Wrong(format!("label {}: {reason}", place + 1))
            }
            error => error,
        };
        labels.push(label.map_err(numbered)?);
    }
    Ok((is_single, labels))
}

impl From<WrittenLabelError> for AppError {
    fn from(error: WrittenLabelError) -> Self {
        Self::Invalid { reason: error.to_string() }
    }
}

impl AppState {
    /// Every label, newest first, at most 1000.
    pub async fn feedback(&self) -> Result<Vec<Feedback>, AppError> {
        self.labels(&LabelFilter::default(), 1000).await
    }

    /// Labels that `filter` takes, newest first, at most `limit`.
    pub async fn labels(&self, filter: &LabelFilter, limit: u32) -> Result<Vec<Feedback>, AppError> {
        Ok(self.0.store.labels(filter, limit).await?)
    }

    /// Stores a label, see [`add_labels`](Self::add_labels).
    pub async fn add_feedback(&self, new: NewFeedback) -> Result<Feedback, AppError> {
        let stored = self.add_labels(std::slice::from_ref(&new)).await?;
        Ok(stored.into_iter().next().expect("one label was stored"))
    }

    /// Stores labels, all or none. Labelling a prediction keeps that prediction, also one that would not have been kept; one
    /// that the server no longer knows is refused.
    pub async fn add_labels(&self, new: &[NewFeedback]) -> Result<Vec<Feedback>, AppError> {
        let mut keep = Vec::new();
        for label in new {
            check_note(label.note.as_deref())?;
            if let FeedbackSubject::Prediction { prediction_id } = &label.subject {
                keep.extend(self.0.scorer.recent(prediction_id));
            }
        }
        let stored = self.0.store.add_labels(new, &keep, self.now()).await?;
        for label in &stored {
            self.0.metrics.labels(label.verdict, label.source);
        }
        Ok(stored)
    }

    /// Stores what an alert says, once; `false` where that was said before.
    pub(crate) async fn add_alert_label(&self, alert: Option<&str>, new: &NewFeedback) -> Result<bool, AppError> {
        check_note(new.note.as_deref())?;
        let keep = match &new.subject {
            FeedbackSubject::Prediction { prediction_id } => self.0.scorer.recent(prediction_id),
            _ => None,
        };
        let stored = self.0.store.add_alert_label(alert, new, keep.as_slice(), self.now()).await?;
        if let Some(label) = &stored {
            self.0.metrics.labels(label.verdict, label.source);
        }
        Ok(stored.is_some())
    }

    /// Takes a label back; `false` where there was none. What spoke before it speaks again.
    pub async fn delete_feedback(&self, id: &str) -> Result<bool, AppError> {
        Ok(self.take_back(&[id.to_owned()]).await? == 1)
    }

    /// Takes several back at once; returns how many there were.
    pub async fn take_back(&self, ids: &[String]) -> Result<usize, AppError> {
        Ok(self.0.store.take_back(ids, self.now()).await?)
    }

    /// Gives labels back that were taken back, as they were; returns how many there were.
    pub async fn restore(&self, ids: &[String]) -> Result<usize, AppError> {
        Ok(self.0.store.restore(ids, self.now()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<NewFeedback, WrittenLabelError> {
        serde_json::from_str::<WrittenLabel>(json).unwrap().read(LabelSource::Api)
    }

    #[test]
    fn a_label_is_of_one_thing() {
        assert!(matches!(
            of(r#"{"request_id":"r-1","verdict":"true_positive"}"#).unwrap().subject,
            FeedbackSubject::Request { .. }
        ));
        let span =
            of(r#"{"service":"cart","from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z","verdict":"unclear"}"#);
        assert!(matches!(span.unwrap().subject, FeedbackSubject::Span { kind: None, .. }));
        let missed = of(r#"{"service":"cart","kind":"oom","at":"2026-01-01T00:00:00Z","verdict":"missed"}"#);
        assert!(matches!(missed.unwrap().subject, FeedbackSubject::Breach { .. }));
        for (wrong, says) in [
            (r#"{"prediction_id":"p-1"}"#, "must have a verdict"),
            (r#"{"prediction_id":"p-1","request_id":"r-1","verdict":"unclear"}"#, "either prediction_id"),
            (r#"{"request_id":"r-1","verdict":"missed"}"#, "cannot be missed"),
            (r#"{"service":"cart","kind":"oom","at":"2026-01-01T00:00:00Z","verdict":"unclear"}"#, "verdict missed"),
            (
                r#"{"service":"c","from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z","verdict":"missed"}"#,
                "cannot be missed",
            ),
            (
                r#"{"service":"c","from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:00:00Z","verdict":"unclear"}"#,
                "from must be before to",
            ),
            (
                r#"{"service":"","from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z","verdict":"unclear"}"#,
                "1 to 1024 bytes",
            ),
            (r#"{"service":"cart","verdict":"missed"}"#, "either prediction_id"),
        ] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }

    #[test]
    fn many_labels_are_an_array_or_lines_and_the_wrong_one_is_named() {
        let (a, b) = (r#"{"prediction_id":"p-1","verdict":"unclear"}"#, r#"{"request_id":"r-1","verdict":"unclear"}"#);
        let read = |text: &str, as_text| read_labels(text.as_bytes(), as_text, LabelSource::Api);
        assert!(read(a, LabelText::Json).unwrap().0, "one object");
        let (single, two) = read(&format!(" [{a},{b}]"), LabelText::Json).unwrap();
        assert_eq!((single, two.len()), (false, 2));
        assert_eq!(read(&format!("{a}\n\n{b}\n"), LabelText::Lines).unwrap(), (false, two));
        for (text, as_text, says) in [
            (format!("{a}\n{{\"verdict\":\"unclear\"}}"), LabelText::Lines, "label 2: a label must have either"),
            (format!("{a}\n{{"), LabelText::Lines, "label 2: EOF"),
            (format!("[{a},{{\"verdict\":\"maybe\"}}]"), LabelText::Json, "unknown variant `maybe`"),
            (format!("{a} {b}"), LabelText::Json, "trailing characters"),
            ("[]".to_owned(), LabelText::Json, "got none"),
            (String::new(), LabelText::Lines, "got none"),
            (format!("{a}\n").repeat(MOST_LABELS + 1), LabelText::Lines, "got more than 1000"),
            (format!("[{}{a}]", format!("{a},").repeat(MOST_LABELS)), LabelText::Json, "got more than 1000"),
        ] {
            let error = read(&text, as_text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(read(&format!("{a}\n").repeat(MOST_LABELS), LabelText::Lines).is_ok());
    }
}
