//! `forewarn evaluate`: candidates against what serves now and the baselines, on history that they have
//! not seen; the report goes into the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use forewarn_features::{ServiceStep, SignalSet};
use forewarn_models::{Engine, EngineOptions, ModelBundle, ModelRegistry, ModelVersion};
use forewarn_schema::{Feedback, RemediationRequest, Step, TimeRange, Timestamp};
use forewarn_training::drift::{SignalDrift, drift};
use forewarn_training::report::FORMAT_VERSION;
use forewarn_training::{
    EvaluationInput, EvaluationReport, GateVerdict, PromotionGate, demote_forecasters, render_html,
};
use serde::Deserialize;
use serde_json::json;

use super::promote::candidates;
use super::{now, open};
use crate::cli::{Evaluate, Shard};
use crate::config::{Config, ConfigError};
use crate::outcome::Outcome;

/// The report's files.
pub(super) const REPORT_JSON: &str = "report.json";
pub(super) const REPORT_HTML: &str = "report.html";

pub(super) async fn evaluate(config: &Config, arguments: &Evaluate) -> anyhow::Result<Outcome> {
    let registry = open::registry(config).await?;
    let _lock = registry.lock()?;
    Ok(evaluate_range(config, &registry, Fitted::default(), arguments.from, arguments.to).await?.0)
}

/// What was fitted before it is judged. The default is nothing that anybody knows of: the candidates are.
#[derive(Clone, Default)]
pub(super) struct Fitted {
    /// To be judged, whatever was published since.
    pub(super) versions: BTreeMap<String, ModelVersion>,
    /// It is a part of the fleet, and nothing else is looked at; others may be doing the same at this moment.
    pub(super) part: Option<Shard>,
}

/// Evaluates, stores the report and returns it.
pub(super) async fn evaluate_range(
    config: &Config,
    registry: &ModelRegistry,
    fitted: Fitted,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> anyhow::Result<(Outcome, EvaluationReport)> {
    let (dataset, manifest) = open::dataset(config).await?;
    let covered = open::covered(&manifest)?;
    let Fitted { versions: fitted, part } = fitted;
    let mut versions = if part.is_some() { BTreeMap::new() } else { candidates(registry, &[]).await? };
    for (service, version) in &fitted {
        match registry.current(service).await? {
            Some(current) if current == *version => versions.remove(service),
            _ => versions.insert(service.clone(), version.clone()),
        };
    }
    let mut bundles = load(registry, &versions).await?;
    let range = held_out(&bundles, covered, from, to, config.train.holdout)?;
    let current = match part {
        None => open::current_bundles(registry).await?,
        Some(_) => open::bundles_of(registry, fitted.keys().cloned()).await?,
    };
    let options = open::engine_options(config);
    // What lies before the range warms the engine and settles what was under way at its start.
    let memory = Engine::new(Arc::clone(&config.signals), options.clone()).memory_horizon();
    let warm_from = (range.start - memory).max(covered.start);
    // What the models learnt from is read for the drift alone, and let go.
    let trained_from = trained_on(&bundles, &current).values().map(|t| t.start).min().unwrap_or(warm_from);
    let needed = TimeRange::new(warm_from.min(trained_from.max(covered.start)), range.end)?;
    let mut histories = match part {
        None => dataset.read(&config.signals, needed).await?,
        Some(_) => dataset.read_services(&config.signals, needed, &fitted.keys().cloned().collect()).await?,
    };
    let drift = drift_of(&histories, &config.signals, &trained_on(&bundles, &current), range);
    for steps in histories.values_mut() {
        steps.drain(..steps.partition_point(|s| s.at < warm_from));
    }
    histories.retain(|_, steps| !steps.is_empty());
    let (feedback, requested) = open::feedback(config).await?;
    let judged = Arc::new(Judged {
        histories,
        signals: Arc::clone(&config.signals),
        step: config.step,
        range,
        current,
        feedback,
        requested,
        options,
        drift,
    });
    let (with, candidates) = (Arc::clone(&judged), bundles.clone());
    let demoted = tokio::task::spawn_blocking(move || demote_forecasters(&with.input(&candidates))).await?;
    for (service, bundle) in demoted {
        let version = registry.publish(&bundle).await?;
        tracing::info!(service, %version, forecast = ?bundle.forecast, "the LSTM lost, a baseline takes its place");
        bundles.insert(service, Arc::new(bundle.sealed()?));
    }
    let report = tokio::task::spawn_blocking(move || forewarn_training::evaluate(&judged.input(&bundles))).await?;
    let name = store(registry, &report, part).await?;
    Ok((outcome(config, &name, &report), report))
}

/// Everything an evaluation looks at but the candidates.
struct Judged {
    histories: BTreeMap<Arc<str>, Vec<ServiceStep>>,
    signals: Arc<SignalSet>,
    step: Step,
    range: TimeRange,
    current: BTreeMap<String, Arc<ModelBundle>>,
    feedback: Vec<Feedback>,
    requested: Vec<RemediationRequest>,
    options: EngineOptions,
    drift: BTreeMap<String, Vec<SignalDrift>>,
}

/// What the model that is measured has learnt from, by service: the candidate's data, or else that of what
/// serves now.
fn trained_on(
    candidates: &BTreeMap<String, Arc<ModelBundle>>,
    current: &BTreeMap<String, Arc<ModelBundle>>,
) -> BTreeMap<String, TimeRange> {
    current.iter().chain(candidates).map(|(service, b)| (service.clone(), b.manifest.created_from)).collect()
}

fn drift_of(
    histories: &BTreeMap<Arc<str>, Vec<ServiceStep>>,
    signals: &SignalSet,
    trained_on: &BTreeMap<String, TimeRange>,
    range: TimeRange,
) -> BTreeMap<String, Vec<SignalDrift>> {
    let of = |(service, training): (&String, &TimeRange)| {
        let steps = histories.get(service.as_str())?;
        Some((service.clone(), drift(steps, signals, *training, range)))
    };
    trained_on.iter().filter_map(of).collect()
}

impl Judged {
    fn input<'a>(&'a self, candidates: &'a BTreeMap<String, Arc<ModelBundle>>) -> EvaluationInput<'a> {
        EvaluationInput {
            histories: &self.histories,
            signals: &self.signals,
            step: self.step,
            range: self.range,
            every: EvaluationInput::EVERY.max(self.step.duration()),
            candidates,
            current: &self.current,
            feedback: &self.feedback,
            requested: &self.requested,
            options: self.options.clone(),
            gate: PromotionGate::default(),
            drift: &self.drift,
        }
    }
}

async fn load(
    registry: &ModelRegistry,
    versions: &BTreeMap<String, ModelVersion>,
) -> anyhow::Result<BTreeMap<String, Arc<ModelBundle>>> {
    let mut bundles = BTreeMap::new();
    for (service, version) in versions {
        match registry.load(service, version).await {
            Ok(bundle) => {
                bundles.insert(service.clone(), Arc::new(bundle));
            }
            Err(e) if e.is_refused_model() => {
                let error = crate::errors::one_line(&e.into());
                tracing::warn!(service, %version, %error, "candidate refused, it is not judged");
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bundles)
}

/// What is judged: by default from where the newest candidate's training ends, and never before where
/// any of them ends.
fn held_out(
    bundles: &BTreeMap<String, Arc<ModelBundle>>,
    covered: TimeRange,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    holdout: std::time::Duration,
) -> anyhow::Result<TimeRange> {
    let trained_until = bundles.values().map(|b| b.manifest.created_from.end).max();
    if let (Some(from), Some(trained)) = (from, trained_until)
        && from < trained
    {
        let what = format!("--from must not be before {trained}, where the candidates' training data ends, got {from}");
        return Err(ConfigError::new(what).into());
    }
    let from = from.or(trained_until).unwrap_or_else(|| (covered.end - holdout).max(covered.start));
    let to = to.unwrap_or(covered.end).min(covered.end);
    if to <= from {
        let what = format!(
            "nothing is held out: the dataset ends at {to} and the candidates have seen data up to {from}; \
             train with an earlier --until, or pull newer history"
        );
        return Err(ConfigError::new(what).into());
    }
    Ok(TimeRange::new(from, to)?)
}

async fn store(registry: &ModelRegistry, report: &EvaluationReport, part: Option<Shard>) -> anyhow::Result<String> {
    // Parts may be done in the same second.
    let part = part.map(|part| format!("-{}-of-{}", part.index, part.count)).unwrap_or_default();
    let name = format!("{}-until-{}{part}", compact(now()), compact(report.range.end));
    let json = serde_json::to_vec_pretty(report)?;
    let html = render_html(report);
    let files = BTreeMap::from([(REPORT_JSON.to_owned(), json.into()), (REPORT_HTML.to_owned(), html.into())]);
    registry.put_report(&name, &files).await?;
    Ok(name)
}

/// A time as the name of a report begins with it: `20260108T000000Z`.
pub(super) fn compact(at: Timestamp) -> String {
    at.align_down(one_second()).to_rfc3339().replace(['-', ':'], "")
}

/// The evaluation of that name; one of another format is refused.
pub(super) async fn read_report(registry: &ModelRegistry, name: &str) -> anyhow::Result<EvaluationReport> {
    let bytes = registry.report(name, REPORT_JSON).await?;
    let version: Version = serde_json::from_slice(&bytes).with_context(|| format!("report {name} cannot be read"))?;
    if version.format_version != FORMAT_VERSION {
        let got = version.format_version;
        bail!("report {name} must be of format {FORMAT_VERSION}, got {got}; run `forewarn evaluate` with this version");
    }
    serde_json::from_slice(&bytes).with_context(|| format!("report {name} cannot be read"))
}

#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

pub(super) fn one_second() -> forewarn_schema::Step {
    forewarn_schema::Step::new(std::time::Duration::from_secs(1)).unwrap_or(forewarn_schema::Step::MINUTE)
}

fn outcome(config: &Config, name: &str, report: &EvaluationReport) -> Outcome {
    let html = format!("{}/reports/{name}/{REPORT_HTML}", config.store_url.trim_end_matches('/'));
    let mut text = format!("{}\njudged on {}\n", report.headline, report.range);
    let mut verdicts = BTreeMap::new();
    for service in &report.services {
        let (word, reason) = match &service.verdict {
            Some(GateVerdict::Pass { reason }) => ("pass", reason.as_str()),
            Some(GateVerdict::Refuse { reason }) => ("refuse", reason.as_str()),
            None => ("no candidate", ""),
        };
        text.push_str(&format!("  {}: {word} {reason}\n", service.service));
        verdicts.insert(service.service.clone(), json!({"verdict": word, "reason": reason}));
    }
    text.push_str(&format!("report: {html}\n"));
    Outcome::new(
        text,
        json!({
            "report": name,
            "html": html,
            "headline": report.headline,
            "range": report.range,
            "candidate": report.candidate,
            "current": report.current,
            "rules": report.rules,
            "services": verdicts,
            "labels": report.feedback.labels.len(),
        }),
    )
}
