//! `forewarn promote`: candidates become current where the newest evaluation let them pass.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use forewarn_models::registry::Shadow;
use forewarn_models::{ModelRegistry, ModelVersion};
use forewarn_training::report::ModelCard;
use forewarn_training::{EvaluationReport, GateVerdict};
use serde_json::json;

use super::{evaluate, now, open};
use crate::cli::Promote;
use crate::config::Config;
use crate::outcome::Outcome;

/// What was decided on one candidate.
enum Decision {
    Promoted {
        reason: String,
    },
    /// It scores beside what serves.
    InShadow {
        reason: String,
    },
    Refused {
        reason: String,
    },
}

pub(super) async fn promote(config: &Config, arguments: &Promote) -> anyhow::Result<Outcome> {
    let registry = open::moving_registry(config).await?;
    let _lock = registry.lock()?;
    let candidates = candidates(&registry, &arguments.service).await?;
    if candidates.is_empty() {
        bail!("there is no candidate to promote; run `forewarn train`");
    }
    let report = newest_report(&registry).await?;
    let shadow = arguments.shadow.unwrap_or(if arguments.force { Duration::ZERO } else { config.train.shadow });
    promote_candidates(&registry, &candidates, report.as_ref(), arguments.force, shadow).await
}

/// Every candidate, or those of the services named; a named service without one is an error.
pub(super) async fn candidates(
    registry: &ModelRegistry,
    only: &[String],
) -> anyhow::Result<BTreeMap<String, ModelVersion>> {
    let services = if only.is_empty() { registry.services().await? } else { only.to_vec() };
    let mut candidates = BTreeMap::new();
    for service in services {
        match registry.candidate(&service).await? {
            Some(version) => {
                candidates.insert(service, version);
            }
            None if only.is_empty() => {}
            None => bail!("service {service:?} has no candidate; run `forewarn train --service {service}`"),
        }
    }
    Ok(candidates)
}

/// Promotes what passes (with `force`, all), or lets it score beside what serves for `shadow` first; refused where at least one was.
pub(super) async fn promote_candidates(
    registry: &ModelRegistry,
    candidates: &BTreeMap<String, ModelVersion>,
    report: Option<&EvaluationReport>,
    force: bool,
    shadow: Duration,
) -> anyhow::Result<Outcome> {
    let mut text = String::new();
    let mut services = BTreeMap::new();
    let mut any_refused = false;
    for (service, version) in candidates {
        let decision = match (verdict(report, service, version), force) {
            (Ok(GateVerdict::Pass { reason }), _) => Decision::Promoted { reason },
            (Ok(GateVerdict::Refuse { reason }) | Err(reason), true) => {
                Decision::Promoted { reason: format!("forced against the gate: {reason}") }
            }
            (Ok(GateVerdict::Refuse { reason }) | Err(reason), false) => Decision::Refused { reason },
        };
        let decision = match decision {
            Decision::Promoted { reason } if !shadow.is_zero() => {
                in_shadow(registry, service, version, shadow, reason, force).await?
            }
            other => other,
        };
        let (word, reason) = match &decision {
            Decision::InShadow { reason } => ("in shadow", reason),
            Decision::Promoted { reason } => {
                registry.promote(service, version, now(), reason).await?;
                ("promoted", reason)
            }
            Decision::Refused { reason } => {
                any_refused = true;
                ("refused", reason)
            }
        };
        text.push_str(&format!("  {service}: {word} {version}: {reason}\n"));
        services.insert(service, json!({"version": version, "decision": word, "reason": reason}));
    }
    let outcome = Outcome::new(text, json!({ "services": services }));
    Ok(if any_refused { outcome.refused() } else { outcome })
}

/// Begins the shadow period of what may be promoted, unless it is in one or was refused by one.
async fn in_shadow(
    registry: &ModelRegistry,
    service: &str,
    version: &ModelVersion,
    shadow: Duration,
    reason: String,
    force: bool,
) -> anyhow::Result<Decision> {
    let known = registry.shadow(service).await?.filter(|known| known.version == *version);
    match known.map(|known| (known.until, known.ended)) {
        Some((until, None)) => Ok(Decision::InShadow { reason: format!("its shadow period goes on until {until}") }),
        Some((_, Some(end))) if !force => {
            Ok(Decision::Refused { reason: format!("its shadow period refused it: {}", end.reason) })
        }
        _ => {
            let since = now();
            let begun = Shadow::new(service, version.clone(), (since, since + shadow), &reason);
            registry.start_shadow(&begun).await?;
            Ok(Decision::InShadow { reason: format!("until {}: {reason}", begun.until) })
        }
    }
}

fn verdict(report: Option<&EvaluationReport>, service: &str, version: &ModelVersion) -> Result<GateVerdict, String> {
    let report = report.ok_or("it was never evaluated; run `forewarn evaluate`")?;
    let of_service = report.services.iter().find(|s| s.service == service);
    let judged = of_service.and_then(|s| Some((s.candidate.as_ref()?, s.verdict.clone()?)));
    match judged {
        Some((card, verdict)) if card.version == version.to_string() => Ok(verdict),
        _ => Err(format!("the newest evaluation did not judge {version}; run `forewarn evaluate`")),
    }
}

async fn newest_report(registry: &ModelRegistry) -> anyhow::Result<Option<EvaluationReport>> {
    let Some(name) = registry.evaluations().await?.into_iter().next() else { return Ok(None) };
    evaluate::read_report(registry, &name).await.map(Some)
}

/// The candidates that a report has judged.
pub(super) fn judged(report: &EvaluationReport) -> anyhow::Result<BTreeMap<String, ModelVersion>> {
    let candidates = report.services.iter().filter_map(|s| Some((s.service.clone(), s.candidate.as_ref()?)));
    let version = |(service, card): (String, &ModelCard)| {
        let version = card.version.parse().ok();
        Ok((service, version.with_context(|| format!("the report's version {:?}", card.version))?))
    };
    candidates.map(version).collect()
}
