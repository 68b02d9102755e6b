//! Remediation requests as cards: where each stands, when it would hurt least, and what to decide.

use forewarn_plots::format_utc;
use forewarn_schema::{Prediction, RequestStatus, Timestamp};

use super::became::{BecameBadge, BecameBook};
use super::labels::{LabelBook, LabelBox};
use super::{view, words};
use crate::state::StoredRequest;

pub(super) struct RequestCard {
    pub(super) id: String,
    pub(super) anchor: String,
    pub(super) href: Option<String>,
    pub(super) service: String,
    pub(super) kind: String,
    pub(super) target: String,
    pub(super) status: &'static str,
    pub(super) status_key: &'static str,
    pub(super) tone: &'static str,
    pub(super) status_at: String,
    pub(super) playbook: Option<String>,
    pub(super) window: String,
    pub(super) breach: String,
    pub(super) breach_interval: String,
    pub(super) probability: String,
    pub(super) mode: &'static str,
    pub(super) delivery: String,
    pub(super) delivery_failed: bool,
    pub(super) expires: String,
    pub(super) summary: String,
    pub(super) note: Option<String>,
    /// What came of it, and the class of its badge.
    pub(super) found: Option<(&'static str, &'static str, String)>,
    pub(super) is_open: bool,
    pub(super) labels: Option<LabelBox>,
    /// What the data say became of it.
    pub(super) became: Option<BecameBadge>,
}

impl RequestCard {
    /// `live`: what is said now, for the link to the target. `has_webhook`: whether requests go anywhere.
    /// `back`: the page that it is on.
    pub(super) fn new(
        stored: &StoredRequest,
        live: &[Prediction],
        book: &LabelBook,
        has_webhook: bool,
        now: Timestamp,
        back: &str,
    ) -> Self {
        let request = &stored.request;
        // A request for a whole workload leads to the pod that breaches soonest.
        let target = live.iter().find(|p| view::concerns(stored, p));
        let anchor = format!("r-{}", request.id);
        let kind = words::kind(request.kind, &request.signal);
        let subject = format!("{}, {}", request.service, kind.to_lowercase());
        let breach = request.predicted_breach;
        let (delivery, delivery_failed) = delivery(stored, has_webhook, now);
        Self {
            id: request.id.clone(),
            href: target.map(view::href),
            service: request.service.clone(),
            target: words::target(&request.labels, &request.service),
            kind,
            status: words::status(stored.status),
            status_key: stored.status.as_str(),
            tone: words::status_tone(stored.status),
            status_at: format_utc(stored.status_at),
            playbook: request.playbook.clone(),
            window: match request.window {
                Some(window) => words::times(window.start, window.end),
                None => "as soon as possible".to_owned(),
            },
            breach: format_utc(breach.p50),
            breach_interval: words::times(breach.p10, breach.p90),
            probability: view::percent(request.probability.get()),
            mode: words::mode(request.mode),
            delivery,
            delivery_failed,
            expires: format_utc(request.expires_at),
            summary: view::full_sentence(&request.evidence.summary),
            note: stored.note.clone().filter(|note| !note.is_empty()),
            found: stored.verification.as_ref().map(|v| {
                let (text, tone) = words::finding(v.finding);
                (text, tone, view::full_sentence(&v.reason))
            }),
            is_open: stored.status == RequestStatus::Open,
            labels: Some(book.of_request(stored, subject, &anchor, back)),
            anchor,
            became: None,
        }
    }

    /// The same with what became of it.
    pub(super) fn settled(self, book: &BecameBook) -> Self {
        Self { became: book.of(&self.id), ..self }
    }
}

/// Where the message is, and whether that is a failure.
fn delivery(stored: &StoredRequest, has_webhook: bool, now: Timestamp) -> (String, bool) {
    let tries = |n: u32| if n == 1 { "1 try".to_owned() } else { format!("{n} tries") };
    match (&stored.delivered_at, &stored.last_error) {
        (Some(at), _) => (format!("delivered {}", words::ago(*at, now)), false),
        (None, Some(error)) => (format!("not delivered after {}: {error}", tries(stored.attempts)), true),
        (None, None) if stored.attempts > 0 => (format!("under way, {}", tries(stored.attempts)), false),
        (None, None) if has_webhook && !view::is_over(stored.status) => ("about to be sent".to_owned(), false),
        (None, None) if has_webhook => ("not sent".to_owned(), false),
        (None, None) => ("shown here only: no webhook is set".to_owned(), false),
    }
}
