//! Labels on the page: which predictions have one, and how it reads.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_plots::{Marker, MarkerKind};
use forewarn_schema::{Feedback, FeedbackSubject, LabelSource, Prediction, Timestamp};

use super::words;
use crate::app::AppState;
use crate::error::AppError;

/// A prediction is made anew at every step. A label given to one of them stands for its target on the
/// page for this long; after that the question is asked again.
const STANDS: Duration = Duration::from_secs(6 * 3600);
const MOST_KEPT: u32 = 1000;

/// A label as it is shown.
#[derive(Clone, Debug)]
pub(super) struct GivenLabel {
    pub(super) id: String,
    pub(super) verdict: &'static str,
    pub(super) verdict_key: &'static str,
    pub(super) tone: &'static str,
    pub(super) note: Option<String>,
    pub(super) source: &'static str,
    pub(super) at: String,
    /// Of what: `checkout, out of memory`.
    pub(super) subject: String,
    pub(super) href: Option<String>,
}

/// The label of a prediction, or the buttons to give it one.
#[derive(Clone, Debug)]
pub(super) struct LabelBox {
    pub(super) anchor: String,
    pub(super) prediction_id: String,
    /// For screen readers: of what.
    pub(super) subject: String,
    /// Where a form without the script comes back to.
    pub(super) back: String,
    pub(super) given: Option<GivenLabel>,
}

/// All labels, newest first, with the predictions that they are of.
pub(super) struct LabelBook {
    feedback: Vec<Feedback>,
    predictions: BTreeMap<String, Prediction>,
    now: Timestamp,
}

impl LabelBook {
    pub(super) async fn read(app: &AppState) -> Result<Self, AppError> {
        let feedback = app.feedback().await?;
        let kept = app.kept_predictions(MOST_KEPT).await?;
        let predictions = kept.into_iter().map(|p| (p.id.clone(), p)).collect();
        Ok(Self { feedback, predictions, now: app.now() })
    }

    /// Those at `places`, newest first, as they are shown.
    pub(super) fn shown(&self, places: std::ops::Range<usize>) -> Vec<GivenLabel> {
        self.feedback.iter().skip(places.start).take(places.len()).map(|f| self.given(f)).collect()
    }

    /// The label of that id.
    pub(super) fn find(&self, id: &str) -> Option<GivenLabel> {
        self.feedback.iter().find(|f| f.id == id).map(|f| self.given(f))
    }

    /// How many there are, of those that are read.
    pub(super) fn len(&self) -> usize {
        self.feedback.len()
    }

    /// The box of a prediction that is made anew at every step: a label on an earlier prediction of the
    /// same target counts.
    pub(super) fn of_target(&self, prediction: &Prediction, anchor: &str, back: &str) -> LabelBox {
        let key = prediction.target_key();
        let since = self.now - STANDS;
        let given = self.feedback.iter().find(|f| {
            self.prediction_of(f).is_some_and(|p| p.target_key() == key && (p.at >= since || p.id == prediction.id))
        });
        LabelBox {
            anchor: anchor.to_owned(),
            prediction_id: prediction.id.clone(),
            subject: subject(prediction),
            back: format!("{back}#l-{anchor}"),
            given: given.map(|f| self.given(f)),
        }
    }

    /// The box of one prediction, by its id.
    pub(super) fn of_prediction(&self, id: &str, subject: String, anchor: &str, back: &str) -> LabelBox {
        let is_it =
            |f: &&Feedback| matches!(&f.subject, FeedbackSubject::Prediction { prediction_id } if prediction_id == id);
        LabelBox {
            anchor: anchor.to_owned(),
            prediction_id: id.to_owned(),
            subject,
            back: format!("{back}#l-{anchor}"),
            given: self.feedback.iter().find(is_it).map(|f| self.given(f)),
        }
    }

    /// The labels of a target as marks on its chart.
    pub(super) fn markers(&self, target_key: &str) -> Vec<Marker> {
        let of_target = |f: &Feedback| {
            let prediction = self.prediction_of(f).filter(|p| p.target_key() == target_key)?;
            Some(Marker { at: prediction.at, kind: MarkerKind::Label, text: words::verdict(f.verdict).to_owned() })
        };
        self.feedback.iter().filter_map(of_target).collect()
    }

    fn prediction_of(&self, feedback: &Feedback) -> Option<&Prediction> {
        match &feedback.subject {
            FeedbackSubject::Prediction { prediction_id } => self.predictions.get(prediction_id),
            FeedbackSubject::Request { .. } | FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => None,
        }
    }

    fn given(&self, feedback: &Feedback) -> GivenLabel {
        let prediction = self.prediction_of(feedback);
        let subject = match (&feedback.subject, prediction) {
            (_, Some(prediction)) => subject(prediction),
            (FeedbackSubject::Prediction { prediction_id }, None) => prediction_id.clone(),
            (FeedbackSubject::Request { request_id }, None) => request_id.clone(),
            (FeedbackSubject::Span { service, kind, range }, None) => {
                let kind = kind.map_or_else(|| "everything".to_owned(), |k| words::kind(k, "a signal").to_lowercase());
                let [start, end] = [range.start, range.end].map(forewarn_plots::format_utc);
                format!("{service}, {kind} from {start} to {end}")
            }
            (FeedbackSubject::Breach { service, kind, at }, None) => {
                format!(
                    "{service}, {} at {}",
                    words::kind(*kind, "a signal").to_lowercase(),
                    forewarn_plots::format_utc(*at)
                )
            }
        };
        GivenLabel {
            id: feedback.id.clone(),
            verdict: words::verdict(feedback.verdict),
            verdict_key: feedback.verdict.as_str(),
            tone: words::verdict_tone(feedback.verdict),
            note: feedback.note.clone(),
            source: match feedback.source {
                LabelSource::Api => "over the API",
                LabelSource::Page => "on this page",
                LabelSource::Shell => "from the shell",
                LabelSource::Alertmanager => "by Alertmanager",
                LabelSource::Link => "by a link",
            },
            at: words::ago(feedback.created_at, self.now),
            subject,
            href: prediction.map(|p| format!("/targets/{}", words::percent_encoded(&p.target_key()))),
        }
    }
}

fn subject(prediction: &Prediction) -> String {
    let kind = words::kind(prediction.kind, &prediction.signal).to_lowercase();
    let target = words::target(&prediction.labels, &prediction.service);
    if target.is_empty() {
        format!("{}, {kind}", prediction.service)
    } else {
        format!("{}, {target}, {kind}", prediction.service)
    }
}
