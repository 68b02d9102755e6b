//! What the newest evaluation measured of each service: read from its report once, since a report never changes. Reads the
//! few members that are shown; a report of another format shows nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use forewarn_plots::Unit;
use serde::Deserialize;

use crate::app::AppState;
use crate::error::AppError;
use crate::verdict::{Candidate, Verdict};

/// The newest report's figures, by the report's name.
#[derive(Default)]
pub(crate) struct QualityCache(Mutex<Option<(String, Arc<Evaluation>)>>);

/// One report's figures, by service.
#[derive(Default)]
pub(crate) struct Evaluation {
    pub(super) headline: String,
    services: BTreeMap<String, Judged>,
}

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    headline: String,
    services: Vec<Judged>,
}

#[derive(Deserialize)]
struct Judged {
    service: String,
    candidate: Option<Candidate>,
    current_version: Option<String>,
    verdict: Option<Verdict>,
    candidate_alarms: Option<Alarms>,
    current_alarms: Option<Alarms>,
    rules_alarms: Option<Alarms>,
    #[serde(default)]
    drift: Vec<Drift>,
}

#[derive(Deserialize)]
struct Drift {
    moved: Option<String>,
}

#[derive(Deserialize)]
struct Alarms {
    breaches: Option<u64>,
    predicted: Option<u64>,
    false_alarms_per_week: Option<f64>,
    median_lead_seconds: Option<f64>,
    median_time_to_breach_error: Option<f64>,
    interval_coverage: Option<f64>,
}

/// What the gate said of a candidate.
pub(super) struct Gate {
    pub(super) passed: bool,
    pub(super) reason: String,
}

/// A line of figures; a dash where there was nothing to measure.
pub(super) struct Figures {
    pub(super) who: &'static str,
    pub(super) version: String,
    pub(super) announced: String,
    pub(super) false_alarms: String,
    pub(super) lead: String,
    pub(super) error: String,
    pub(super) coverage: String,
}

impl QualityCache {
    /// Of each service that the report that is known is about: how many of its signals moved much.
    pub(crate) fn drifted(&self) -> Vec<(String, usize)> {
        self.drift_of().map(|(_, drifted)| drifted).unwrap_or_default()
    }

    /// The same with the report's name.
    pub(crate) fn drift_of(&self) -> Option<(String, Vec<(String, usize)>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, evaluation) = known.as_ref()?;
        let much = |judged: &Judged| judged.drift.iter().filter(|d| d.moved.as_deref() == Some("much")).count();
        let drifted = evaluation.services.iter().map(|(service, judged)| (service.clone(), much(judged)));
        Some((name.clone(), drifted.collect()))
    }

    /// Of the newest report of `reports` (newest first); `None` where there is none.
    pub(crate) async fn newest(&self, app: &AppState, reports: &[String]) -> Result<Option<Arc<Evaluation>>, AppError> {
        let Some(name) = reports.first() else { return Ok(None) };
        if let Some((known, evaluation)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner)
            && known == name
        {
            return Ok(Some(Arc::clone(evaluation)));
        }
        let bytes = app.report(name, "report.json").await?;
        let evaluation = Arc::new(crate::scoring::blocking(move || Evaluation::read(&bytes)).await?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.clone(), Arc::clone(&evaluation)));
        Ok(Some(evaluation))
    }
}

impl Evaluation {
    fn read(bytes: &[u8]) -> Self {
        let Ok(report) = serde_json::from_slice::<Report>(bytes) else { return Self::default() };
        let services = report.services.into_iter().map(|judged| (judged.service.clone(), judged)).collect();
        Self { headline: report.headline, services }
    }

    /// What the gate said of this version.
    pub(super) fn gate(&self, service: &str, version: &str) -> Option<Gate> {
        let judged = self.services.get(service)?;
        judged.candidate.as_ref().filter(|candidate| candidate.version == version)?;
        let (passed, reason) = match judged.verdict.as_ref()? {
            Verdict::Pass { reason } => (true, reason),
            Verdict::Refuse { reason } => (false, reason),
        };
        Some(Gate { passed, reason: super::view::full_sentence(reason) })
    }

    /// The candidate, what served, and the rules, side by side; empty where the service was not evaluated.
    pub(super) fn figures(&self, service: &str) -> Vec<Figures> {
        let Some(judged) = self.services.get(service) else { return Vec::new() };
        let candidate = judged.candidate.as_ref().map(|candidate| candidate.version.clone()).unwrap_or_default();
        let served = judged.current_version.clone().filter(|version| version != "rules");
        let mut lines = Vec::new();
        lines.extend(judged.candidate_alarms.as_ref().map(|alarms| alarms.line("Candidate", candidate)));
        if let (Some(version), Some(alarms)) = (served, &judged.current_alarms) {
            lines.push(alarms.line("Served", version));
        }
        lines.extend(judged.rules_alarms.as_ref().map(|alarms| alarms.line("Rules", String::new())));
        lines
    }
}

impl Alarms {
    fn line(&self, who: &'static str, version: String) -> Figures {
        let dash = || "–".to_owned();
        let share = |value: Option<f64>| value.map_or_else(dash, |share| Unit::Ratio.format(share));
        Figures {
            who,
            version,
            announced: match (self.predicted, self.breaches) {
                (Some(predicted), Some(breaches)) if breaches > 0 => format!("{predicted} of {breaches}"),
                _ => dash(),
            },
            false_alarms: self.false_alarms_per_week.map_or_else(dash, |rate| Unit::Count.format(rate)),
            lead: self.median_lead_seconds.map_or_else(dash, super::words::span),
            error: share(self.median_time_to_breach_error),
            coverage: share(self.interval_coverage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_side_by_side_and_nothing_measured_is_a_dash() {
        let report = br#"{"headline": "One passes.", "services": [{"service": "cart", "candidate": {"version": "v2"},
            "current_version": "v1", "verdict": {"verdict": "pass", "reason": "beats the rules"},
            "candidate_alarms": {"breaches": 4, "predicted": 3, "false_alarms_per_week": 0.5, "median_lead_seconds": 7200},
            "current_alarms": {"breaches": 4, "predicted": 2},
            "rules_alarms": {"breaches": 0, "predicted": 0}}]}"#;
        let evaluation = Evaluation::read(report);
        let lines = evaluation.figures("cart");
        let who: Vec<_> = lines.iter().map(|l| (l.who, l.announced.as_str(), l.coverage.as_str())).collect();
        assert_eq!(who, [("Candidate", "3 of 4", "–"), ("Served", "2 of 4", "–"), ("Rules", "–", "–")]);
        assert!(evaluation.gate("cart", "v2").unwrap().passed);
        assert!(evaluation.gate("cart", "v3").is_none() && evaluation.figures("web").is_empty());
    }

    #[test]
    fn a_report_of_another_format_shows_nothing() {
        assert!(Evaluation::read(b"{\"services\": 7}").figures("cart").is_empty());
    }
}
