//! `[feedback]`: links to label by, and what alerts of others are about.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_inference::{AlertMapping, FeedbackOptions};
use forewarn_schema::{BreachKind, format_duration};
use serde::Deserialize;

use super::ConfigError;
use super::resolve::Place;
use super::units::Span;

/// Predictions are not kept for longer.
const LONGEST: Duration = Duration::from_secs(90 * 86_400);

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FeedbackSection {
    /// Whether thresholds and probabilities follow labels.
    pub(super) learn: bool,
    /// 0: there are no links.
    links_valid: Span,
    alertmanager: AlertmanagerSection,
}

/// `[feedback.alertmanager]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AlertmanagerSection {
    /// The first that an alert has names the workload.
    service_labels: Vec<String>,
    /// The first whose value is a kind counts.
    kind_labels: Vec<String>,
    /// By the name of the alert; these come first.
    kinds: BTreeMap<String, BreachKind>,
}

impl Default for FeedbackSection {
    fn default() -> Self {
        let links_valid = Span(FeedbackOptions::default().links_valid);
        Self { learn: true, links_valid, alertmanager: AlertmanagerSection::default() }
    }
}

impl Default for AlertmanagerSection {
    fn default() -> Self {
        let AlertMapping { service_labels, kind_labels, kinds } = AlertMapping::default();
        Self { service_labels, kind_labels, kinds }
    }
}

pub(super) fn feedback(place: &Place<'_>, section: &FeedbackSection) -> Result<FeedbackOptions, ConfigError> {
    let valid = section.links_valid.0;
    if valid > LONGEST {
        let what = format!("must be at most 90d, after which predictions are not kept; got {}", format_duration(valid));
        return Err(place.wrong("feedback", 0, "links_valid", what));
    }
    let alerts = &section.alertmanager;
    for (key, names) in [("service_labels", &alerts.service_labels), ("kind_labels", &alerts.kind_labels)] {
        if names.is_empty() {
            let what = "wanted at least one label's name, got none";
            return Err(place.wrong("feedback.alertmanager", 0, key, what));
        }
    }
    Ok(FeedbackOptions {
        links_valid: valid,
        alerts: AlertMapping {
            service_labels: alerts.service_labels.clone(),
            kind_labels: alerts.kind_labels.clone(),
            kinds: alerts.kinds.clone(),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn alerts_of_others_say_what_they_are_about_in_their_own_words() {
        let text = "[feedback]\nlinks_valid = \"2d\"\n[feedback.alertmanager]\nservice_labels = [\"app\"]\n\
                    [feedback.alertmanager.kinds]\nKubeMemory = \"oom\"\n";
        let read = |text| Config::from_text(Path::new("/etc/forewarn.toml"), text, &[]).unwrap().feedback;
        let feedback = read(text);
        assert_eq!(feedback.links_valid, Duration::from_secs(2 * 86_400));
        assert_eq!(feedback.alerts.service_labels, ["app"]);
        assert_eq!(feedback.alerts.kinds["KubeMemory"], BreachKind::Oom);
        assert_eq!(feedback.alerts.kind_labels, AlertMapping::default().kind_labels, "what is not said stays");
        assert_eq!(read(""), FeedbackOptions::default());
    }
}
