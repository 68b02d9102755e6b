//! What the templates are given: texts that are ready to show, made from what the server knows.

use forewarn_features::SignalSet;
use forewarn_models::TargetView;
use forewarn_plots::{Marker, MarkerKind, format_utc};
use forewarn_schema::{Direction, Prediction, RequestStatus, Timestamp};

use super::became::BecameBook;
use super::chart::Charts;
use super::labels::LabelBox;
use super::toast::Toast;
use super::words::{self, When};
use crate::app::{AppState, Status};
use crate::state::StoredRequest;

/// What every page has around its content.
pub(super) struct Shell {
    pub(super) title: String,
    pub(super) version: &'static str,
    pub(super) now: String,
    pub(super) now_iso: String,
    /// The class of the light: `ok`, `warn` or `bad`.
    pub(super) light: &'static str,
    pub(super) state: String,
    pub(super) alerts: Vec<String>,
    pub(super) open_requests: usize,
    /// Nothing can be approved.
    pub(super) stopped: bool,
    /// The page's place in the navigation; empty for those that have none.
    pub(super) place: &'static str,
    pub(super) toast: Option<Toast>,
}

impl Shell {
    pub(super) async fn of(app: &AppState, title: &str) -> Self {
        let status = app.status().await;
        // An error here is shown where requests are: the frame must stand without them.
        let open = app.requests().await.map_or(0, |all| count_open(&all));
        Self::new(&status, "", title, open)
    }

    pub(super) fn new(status: &Status, place: &'static str, title: &str, open_requests: usize) -> Self {
        let mut alerts = Vec::new();
        if let Some(reason) = &status.not_ready {
            alerts.push(format!("The server does not take samples: {reason}."));
        }
        let is_stale = status.live_series > 0 && status.targets == 0 && status.evaluated_at.is_some();
        if is_stale && let Some(newest) = status.newest_sample {
            alerts.push(format!(
                "No fresh samples: the newest is of {} ({}). Predictions wait for Prometheus' remote write.",
                format_utc(newest),
                words::ago(newest, status.now)
            ));
        }
        if let Some(since) = status.stopped {
            let since = format_utc(since);
            alerts.push(format!(
                "Requests are stopped since {since}: none is made, sent or approved. Predictions go on."
            ));
        }
        let (light, state) = match status {
            status if !status.ready => ("bad", "not ready".to_owned()),
            status if status.stopped.is_some() => ("warn", "requests stopped".to_owned()),
            status if status.targets == 0 => ("warn", "waiting for data".to_owned()),
            status if status.targets == 1 => ("ok", "1 target".to_owned()),
            status => ("ok", format!("{} targets", status.targets)),
        };
        Self {
            title: format!("{title} · Forewarn"),
            version: status.version,
            now: format_utc(status.now),
            now_iso: status.now.to_rfc3339(),
            light,
            state,
            alerts,
            open_requests,
            stopped: status.stopped.is_some(),
            place,
            toast: None,
        }
    }
}

/// How many wait for somebody to decide.
pub(super) fn count_open(requests: &[StoredRequest]) -> usize {
    requests.iter().filter(|r| r.status == RequestStatus::Open).count()
}

/// One signal's part in a prediction.
pub(super) struct Evidence {
    pub(super) signal: String,
    pub(super) seen: String,
    pub(super) expected: String,
    pub(super) weight: f64,
    pub(super) weight_text: String,
}

/// The request that stands for a target.
pub(super) struct RequestLink {
    pub(super) id: String,
    pub(super) href: String,
    pub(super) status: &'static str,
    pub(super) tone: &'static str,
    pub(super) playbook: Option<String>,
    pub(super) is_open: bool,
}

/// A target in full.
pub(super) struct Card {
    pub(super) anchor: String,
    /// Whether it says itself which target it is of; else the page's heading does.
    pub(super) has_heading: bool,
    pub(super) href: String,
    pub(super) service: String,
    pub(super) kind: String,
    pub(super) target: String,
    pub(super) when: Option<When>,
    pub(super) probability: String,
    pub(super) probability_value: f64,
    pub(super) horizon: String,
    pub(super) value: String,
    pub(super) limit_text: String,
    /// How unusual the service looks; `None` where no model has learnt what is usual.
    pub(super) score: Option<String>,
    pub(super) model_version: String,
    pub(super) forecast: String,
    pub(super) summary: String,
    pub(super) evidence: Vec<Evidence>,
    pub(super) request: Option<RequestLink>,
    pub(super) chart_wide: String,
    pub(super) chart_narrow: String,
    pub(super) labels: Option<LabelBox>,
}

impl Card {
    pub(super) fn new(
        prediction: &Prediction,
        signals: &SignalSet,
        charts: Charts,
        request: Option<&StoredRequest>,
        labels: LabelBox,
        now: Timestamp,
    ) -> Self {
        let unit = words::unit(signals, &prediction.signal);
        let direction = signals.get(&prediction.signal).map_or(Direction::Above, |s| s.direction);
        let explanation = &prediction.explanation;
        let evidence = explanation.signals.iter().map(|e| Evidence {
            signal: e.signal.clone(),
            seen: words::reading(signals, &e.signal, e.seen),
            expected: e.expected.map_or_else(|| "still learning".to_owned(), |v| words::reading(signals, &e.signal, v)),
            weight: e.weight.clamp(0.0, 1.0),
            weight_text: forewarn_plots::Unit::Ratio.format(e.weight),
        });
        Self {
            anchor: anchor(prediction),
            has_heading: true,
            href: href(prediction),
            service: prediction.service.clone(),
            kind: words::kind(prediction.kind, &prediction.signal),
            target: words::target(&prediction.labels, &prediction.service),
            when: prediction.time_to_breach_seconds.map(|ttb| words::when(ttb, prediction.at, now)),
            probability: percent(prediction.breach_probability.get()),
            probability_value: prediction.breach_probability.get(),
            horizon: words::span(prediction.horizon_seconds),
            value: unit.format(prediction.value),
            limit_text: words::limit(unit, prediction.limit, direction),
            score: (&*prediction.model_version != "rules").then(|| unusual(prediction.anomaly_score.get())),
            model_version: prediction.model_version.to_string(),
            forecast: words::forecast(&explanation.forecast),
            summary: full_sentence(&explanation.summary),
            evidence: evidence.collect(),
            request: request.map(|r| RequestLink {
                id: r.request.id.clone(),
                href: format!("/requests#r-{}", r.request.id),
                status: words::status(r.status),
                tone: words::status_tone(r.status),
                playbook: r.request.playbook.clone(),
                is_open: r.status == RequestStatus::Open,
            }),
            chart_wide: charts.wide,
            chart_narrow: charts.narrow,
            labels: Some(labels),
        }
    }
}

/// A target in a line.
pub(super) struct Row {
    pub(super) anchor: String,
    pub(super) prediction_id: String,
    pub(super) href: String,
    pub(super) service: String,
    pub(super) kind: String,
    pub(super) target: String,
    pub(super) value: String,
    pub(super) limit: String,
    pub(super) probability: String,
    pub(super) horizon: String,
    pub(super) when: Option<When>,
    pub(super) is_urgent: bool,
}

impl Row {
    pub(super) fn new(prediction: &Prediction, signals: &SignalSet, now: Timestamp) -> Self {
        let unit = words::unit(signals, &prediction.signal);
        Self {
            anchor: anchor(prediction),
            prediction_id: prediction.id.clone(),
            href: href(prediction),
            service: prediction.service.clone(),
            kind: words::kind(prediction.kind, &prediction.signal),
            target: words::target(&prediction.labels, &prediction.service),
            value: unit.format(prediction.value),
            limit: unit.format(prediction.limit),
            probability: percent(prediction.breach_probability.get()),
            horizon: words::span(prediction.horizon_seconds),
            when: prediction.time_to_breach_seconds.map(|ttb| words::when(ttb, prediction.at, now)),
            is_urgent: will_breach(prediction),
        }
    }
}

/// Whether the page says "will": a time is known and the breach is likelier than not.
pub(super) fn will_breach(prediction: &Prediction) -> bool {
    prediction.time_to_breach_seconds.is_some() && prediction.breach_probability.get() >= 0.5
}

/// The newest request that is about this prediction's target: of the same signal, for the target itself
/// or for the whole workload.
pub(super) fn request_of<'a>(prediction: &Prediction, requests: &'a [StoredRequest]) -> Option<&'a StoredRequest> {
    requests.iter().find(|r| concerns(r, prediction) && !is_over(r.status))
}

/// Whether `request` is about this prediction's target.
pub(super) fn concerns(request: &StoredRequest, prediction: &Prediction) -> bool {
    let request = &request.request;
    let is_part = request.labels.iter().all(|(name, value)| prediction.labels.get(name) == Some(value));
    request.service == prediction.service && request.signal == prediction.signal && is_part
}

/// Requests as marks on a target's chart.
pub(super) fn request_markers(view: &TargetView, requests: &[StoredRequest], became: &BecameBook) -> Vec<Marker> {
    let mark = |r: &StoredRequest| {
        let name = r.request.playbook.as_ref().unwrap_or(&r.request.id);
        let text = format!("{name}{}", became.mark(&r.request.id));
        Marker { at: r.request.at, kind: MarkerKind::Request, text }
    };
    requests.iter().filter(|r| concerns(r, &view.prediction)).map(mark).collect()
}

pub(super) fn is_over(status: RequestStatus) -> bool {
    !matches!(status, RequestStatus::Open | RequestStatus::Approved)
}

/// Stable from step to step, so that the reader's place is kept.
pub(super) fn anchor(prediction: &Prediction) -> String {
    forewarn_schema::stable_id("t", &[&prediction.target_key()])
}

pub(super) fn href(prediction: &Prediction) -> String {
    format!("/targets/{}", words::percent_encoded(&prediction.target_key()))
}

/// A probability as a person says it: nothing is certain.
pub(super) fn percent(share: f64) -> String {
    if share > 0.99 {
        ">\u{a0}99\u{a0}%".to_owned()
    } else if share > 0.0 && share < 0.01 {
        "<\u{a0}1\u{a0}%".to_owned()
    } else {
        format!("{:.0}\u{a0}%", share * 100.0)
    }
}

/// A calibrated score in words and as a number.
fn unusual(score: f64) -> String {
    let word = match score {
        s if s >= 0.999 => "very",
        s if s >= 0.99 => "yes",
        s if s >= 0.95 => "a little",
        _ => "no",
    };
    format!("{word} (score {score:.3})")
}

pub(super) fn full_sentence(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_certain() {
        let plain = |share| percent(share).replace('\u{a0}', " ");
        assert_eq!([1.0, 0.5, 0.004, 0.0].map(plain), ["> 99 %", "50 %", "< 1 %", "0 %"]);
    }
}
