//! Links to label by, in what leaves: only there. Who may look at requests here may not therefore label, so what is stored and
//! shown has none; who gets a message may.

use std::collections::BTreeMap;

use forewarn_schema::{FeedbackSubject, RemediationRequest, Timestamp, Verdict};
use serde::Deserialize;

use crate::app::AppState;
use crate::links::Links;

/// What of a message links are made from.
#[derive(Deserialize)]
struct About {
    id: String,
    expires_at: Timestamp,
}

/// Links for a request. They are the same whenever they are made, so that a message that is sent again is the same.
fn of_request(links: &Links, request_id: &str, expires_at: Timestamp) -> Vec<(Verdict, String)> {
    let subject = FeedbackSubject::Request { request_id: request_id.to_owned() };
    links.of(&subject, None, links.until(expires_at))
}

/// `payload`, a JSON object, with the member `label_links` where there are links.
pub(super) async fn added(app: &AppState, payload: &str) -> String {
    let Some(links) = app.links_for_messages().await else { return payload.to_owned() };
    let made = serde_json::from_str(payload).ok().and_then(|About { id, expires_at }| {
        let all: BTreeMap<&str, String> =
            of_request(&links, &id, expires_at).into_iter().map(|(verdict, url)| (verdict.as_str(), url)).collect();
        let all = (!all.is_empty()).then(|| serde_json::to_string(&all).ok())??;
        Some(format!("{},\"label_links\":{all}}}", payload.strip_suffix('}')?))
    });
    made.unwrap_or_else(|| payload.to_owned())
}

/// The same as annotations of an alert, `label_true_positive` and so on.
pub(super) fn annotations(links: Option<&Links>, request: &RemediationRequest) -> Vec<(&'static str, String)> {
    let all = links.map(|links| of_request(links, &request.id, request.expires_at)).unwrap_or_default();
    let named = |(verdict, url): (Verdict, String)| match verdict {
        Verdict::TruePositive => Some(("label_true_positive", url)),
        Verdict::FalsePositive => Some(("label_false_positive", url)),
        Verdict::Unclear => Some(("label_unclear", url)),
        Verdict::Missed => None,
    };
    all.into_iter().filter_map(named).collect()
}
