//! A request as Alertmanager's API v2 takes it.
//!
//! Labels are what identifies an alert there: they say who is concerned and how to route it, and are the same at every telling and from
//! every replica. Whatever may change, and what is for people to read, is an annotation.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_schema::{RemediationRequest, Timestamp};
use serde::Serialize;

use crate::state::{Worsened, word};

/// The `alertname` of every alert of ours; what `POST /api/v1/alertmanager` does not take for something that happened.
pub(crate) const ALERT_NAME: &str = "ForewarnPredictedBreach";
/// The `alertname` where a remediation made things worse.
pub(crate) const WORSENED_NAME: &str = "ForewarnRemediationWorsened";
/// Names of labels that are ours; a target's own label of such a name is called `target_…`.
const OURS: [&str; 6] = ["alertname", "service", "kind", "signal", "playbook", "mode"];
/// Clocks that differ by less tell the same time.
const SAME: i64 = 60_000;

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    #[serde(skip)]
    pub(super) is_firing: bool,
}

/// The time of the data and the time of the world: apart only where the former is replayed. Alertmanager lives in the latter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) now: Timestamp,
    wall: Timestamp,
}

impl Clocks {
    pub(super) fn new(now: Timestamp, wall: Timestamp) -> Self {
        Self { now, wall }
    }

    fn on_the_wall(&self, at: Timestamp) -> Timestamp {
        let apart = self.wall.millis().saturating_sub(self.now.millis());
        // Two looks at one clock: the difference is how long it took, and would make times tremble.
        let apart = if apart.abs() < SAME { 0 } else { apart };
        Timestamp::from_millis(at.millis().saturating_add(apart)).min(self.wall)
    }
}

impl Alert {
    /// Fires for `valid` from now, or is over since `ended`.
    pub(super) fn new(
        request: &RemediationRequest,
        ended: Option<Timestamp>,
        valid: Duration,
        clocks: &Clocks,
        public_url: &str,
    ) -> Self {
        let starts_at = clocks.on_the_wall(request.at);
        let ends_at = match ended {
            None => clocks.wall + valid,
            // An alert that ends before it starts is refused.
            Some(ended) => clocks.on_the_wall(ended).max(starts_at + Duration::from_millis(1)),
        };
        Self {
            labels: labels(request),
            annotations: annotations(request),
            starts_at,
            ends_at,
            generator_url: format!("{public_url}/#r-{}", request.id),
            is_firing: ended.is_none(),
        }
    }
}

impl Alert {
    /// People are needed: a remediation made things worse. Fires for `valid` from now, or is over since `ended`.
    pub(super) fn worsened(
        worsened: &Worsened,
        ended: Option<Timestamp>,
        valid: Duration,
        clocks: &Clocks,
        public_url: &str,
    ) -> Self {
        let (request, found) = (&worsened.request, &worsened.verification);
        let mut alert = Self::new(request, ended, valid, clocks, public_url);
        alert.starts_at = clocks.on_the_wall(found.at);
        alert.ends_at = alert.ends_at.max(alert.starts_at + Duration::from_millis(1));
        alert.labels.insert("alertname".to_owned(), WORSENED_NAME.to_owned());
        let playbook = request.playbook.as_deref().unwrap_or("the remediation");
        alert.annotations.insert("summary", format!("{}: {playbook} made it worse", request.service));
        alert.annotations.insert("description", found.reason.clone());
        alert
    }
}

fn labels(request: &RemediationRequest) -> BTreeMap<String, String> {
    let ours = [
        ("alertname", ALERT_NAME),
        ("service", &request.service),
        ("kind", request.kind.as_str()),
        ("signal", &request.signal),
        ("playbook", request.playbook.as_deref().unwrap_or_default()),
        ("mode", word(request.mode)),
    ];
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in request.labels.iter() {
        let name = if OURS.contains(&name) { format!("target_{name}") } else { classic(name) };
        labels.insert(name, value.to_owned());
    }
    labels.extend(ours.map(|(name, value)| (name.to_owned(), value.to_owned())));
    // An empty label is none.
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// As Alertmanager of all versions takes a name: letters, digits and underscores, no digit first.
fn classic(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(kept).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn annotations(request: &RemediationRequest) -> BTreeMap<&'static str, String> {
    let breach = request.predicted_breach;
    let mut all = BTreeMap::from([
        ("summary", format!("{}: {} is coming", request.service, request.kind.as_str().replace('_', " "))),
        ("description", request.evidence.summary.clone()),
        ("request_id", request.id.clone()),
        ("prediction_id", request.prediction_id.clone()),
        ("probability", format!("{:.2}", request.probability.get())),
        ("predicted_breach_p10", breach.p10.to_string()),
        ("predicted_breach_p50", breach.p50.to_string()),
        ("predicted_breach_p90", breach.p90.to_string()),
        ("expires_at", request.expires_at.to_string()),
    ]);
    if let Some(window) = &request.window {
        all.insert("suggested_window", format!("{} to {}", window.start, window.end));
    }
    if let Some(url) = &request.outcome_url {
        all.insert("outcome_url", url.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use forewarn_schema::{BreachKind, Explanation, LabelSet, Mode, PredictedBreach, Probability};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn request(labels: LabelSet) -> RemediationRequest {
        RemediationRequest {
            id: "r-1".into(),
            prediction_id: "p-1".into(),
            at: at(1000),
            service: "cart".into(),
            signal: "memory".into(),
            kind: BreachKind::Oom,
            labels,
            predicted_breach: PredictedBreach { p10: at(5000), p50: at(6000), p90: at(7000) },
            probability: Probability::saturating(0.91),
            evidence: Explanation::default(),
            playbook: None,
            window: None,
            mode: Mode::Approval,
            expires_at: at(7000),
            outcome_url: None,
        }
    }

    fn alert(request: &RemediationRequest, ended: Option<i64>, now: i64, wall: i64) -> Alert {
        let clocks = Clocks::new(at(now), at(wall));
        Alert::new(request, ended.map(at), Duration::from_secs(240), &clocks, "http://forewarn:9797")
    }

    #[test]
    fn labels_route_and_do_not_change_with_what_is_said() {
        let mut asked =
            request(LabelSet::from([("pod", "cart-1"), ("mode", "rw"), ("app.kubernetes.io/name", "cart")]));
        let first = alert(&asked, None, 1100, 1100);
        let labels: Vec<_> = first.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            labels,
            [
                ("alertname", "ForewarnPredictedBreach"),
                ("app_kubernetes_io_name", "cart"),
                ("kind", "oom"),
                ("mode", "approval"),
                ("pod", "cart-1"),
                ("service", "cart"),
                ("signal", "memory"),
                ("target_mode", "rw"),
            ]
        );
        asked.probability = Probability::saturating(0.5);
        asked.id = "r-2".into();
        assert_eq!(alert(&asked, None, 1200, 1200).labels, first.labels);
        assert_eq!(first.generator_url, "http://forewarn:9797/#r-r-1");
    }

    #[test]
    fn what_was_made_worse_is_an_alert_of_its_own() {
        let worsened = Worsened {
            request: request(LabelSet::from([("pod", "cart-1")])),
            verification: crate::state::Verification {
                finding: forewarn_models::verification::Finding::Worsened,
                reason: "the limit was reached".into(),
                at: at(1500),
            },
        };
        let clocks = Clocks::new(at(1600), at(1600));
        let alert = Alert::worsened(&worsened, None, Duration::from_secs(240), &clocks, "http://forewarn:9797");
        assert_eq!(alert.labels["alertname"], "ForewarnRemediationWorsened");
        assert_eq!((alert.labels["service"].as_str(), alert.labels["pod"].as_str()), ("cart", "cart-1"));
        assert_eq!((alert.starts_at, alert.annotations["description"].as_str()), (at(1500), "the limit was reached"));
    }

    #[test]
    fn an_alert_ends_after_it_starts_and_never_in_the_future_once_it_is_over() {
        let asked = request(LabelSet::new());
        let firing = alert(&asked, None, 1100, 1100);
        assert_eq!((firing.starts_at, firing.ends_at), (at(1000), at(1340)));
        let over = alert(&asked, Some(1050), 1100, 1100);
        assert_eq!((over.ends_at, over.is_firing), (at(1050), false));
        let at_once = alert(&asked, Some(1000), 1100, 1100);
        assert!(at_once.ends_at > at_once.starts_at);
    }

    #[test]
    fn a_replayed_clock_is_moved_to_the_wall() {
        let asked = request(LabelSet::new());
        let day = 86_400;
        let replayed = alert(&asked, Some(1050), 1100, 1100 + day);
        assert_eq!((replayed.starts_at, replayed.ends_at), (at(1000 + day), at(1050 + day)));
        assert_eq!(alert(&asked, None, 1100, 1130).starts_at, at(1000), "two looks at one clock");
    }
}
