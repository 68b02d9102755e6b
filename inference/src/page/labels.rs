//! Labels on the page: which predictions have one, and how it reads.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_plots::{Marker, MarkerKind};
use forewarn_schema::{Announcement, Feedback, FeedbackSubject, LabelSource, Prediction, Timestamp, loudest, speaking};

use super::words;
use crate::app::AppState;
use crate::error::AppError;
use crate::state::StoredRequest;

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
    /// Who gave it, where somebody was asked; with a space before.
    pub(super) by: String,
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
    /// Of a request's box.
    pub(super) request_id: Option<String>,
    /// Whether there are links to label by.
    pub(super) has_links: bool,
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
    /// Those that labels are of.
    requests: BTreeMap<String, StoredRequest>,
    has_links: bool,
    now: Timestamp,
}

impl LabelBook {
    pub(super) async fn read(app: &AppState) -> Result<Self, AppError> {
        let feedback = app.feedback().await?;
        let kept = app.kept_predictions(MOST_KEPT).await?;
        let predictions = kept.into_iter().map(|p| (p.id.clone(), p)).collect();
        let of_requests = feedback.iter().any(|f| matches!(f.subject, FeedbackSubject::Request { .. }));
        let requests = if of_requests { app.requests().await? } else { Vec::new() };
        let requests = requests.into_iter().map(|r| (r.request.id.clone(), r)).collect();
        let has_links = !app.0.options.feedback.links_valid.is_zero();
        Ok(Self { feedback, predictions, requests, has_links, now: app.now() })
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
        let now = announcement(prediction, prediction.request_id.as_deref());
        // Newest first is how they are kept, oldest first how the last of equals speaks.
        let given = loudest(self.feedback.iter().rev().filter(|f| {
            let earlier = self.prediction_of(f).filter(|p| p.target_key() == key && p.at >= since);
            f.subject.covers(&now) || earlier.is_some()
        }));
        LabelBox {
            anchor: anchor.to_owned(),
            prediction_id: prediction.id.clone(),
            request_id: None,
            has_links: self.has_links,
            subject: subject(prediction),
            back: format!("{back}#l-{anchor}"),
            given: given.map(|f| self.given(f)),
        }
    }

    /// The box of a request.
    pub(super) fn of_request(&self, stored: &StoredRequest, subject: String, anchor: &str, back: &str) -> LabelBox {
        let request = &stored.request;
        let about = Announcement {
            prediction_id: &request.prediction_id,
            request_id: Some(&request.id),
            service: &request.service,
            kind: request.kind,
            at: request.at,
        };
        LabelBox {
            anchor: anchor.to_owned(),
            prediction_id: request.prediction_id.clone(),
            request_id: Some(request.id.clone()),
            has_links: self.has_links,
            subject,
            back: format!("{back}#l-{anchor}"),
            given: speaking(self.feedback.iter().rev(), &about).map(|f| self.given(f)),
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
            FeedbackSubject::Request { request_id } => {
                let request = &self.requests.get(request_id)?.request;
                self.predictions.get(&request.prediction_id)
            }
            FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => None,
        }
    }

    /// A label as it is shown.
    pub(super) fn given(&self, feedback: &Feedback) -> GivenLabel {
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
            by: match feedback.who.as_str() {
                // Where nobody is asked, and where it says nothing that the source does not.
                "" | "unauthenticated" | "link" => String::new(),
                who => format!(" by {who}"),
            },
            at: words::ago(feedback.created_at, self.now),
            subject,
            href: prediction.map(|p| format!("/targets/{}", words::percent_encoded(&p.target_key()))),
        }
    }
}

fn announcement<'a>(prediction: &'a Prediction, request_id: Option<&'a str>) -> Announcement<'a> {
    Announcement {
        prediction_id: &prediction.id,
        request_id,
        service: &prediction.service,
        kind: prediction.kind,
        at: prediction.at,
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
