//! Which model serves which service: follows the registry's pointers, swaps a bundle between two
//! steps, and never gives up one that works for one that cannot be loaded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use forewarn_models::ModelRegistry;
use forewarn_models::registry::VersionInfo;
use serde::Deserialize;

use crate::app::{ReloadReport, ServiceModel};
use crate::error::AppError;
use crate::metrics::Metrics;
use crate::scoring::{Scorer, blocking};
use crate::verdict::{Candidate, Verdict};

/// What each service is served by.
#[derive(Default)]
pub(crate) struct ModelSlots {
    slots: Mutex<BTreeMap<String, Slot>>,
    /// One reload at a time: two could swap in the older pointer last.
    reloading: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Slot {
    /// `None`: rules.
    serving: Option<String>,
    /// The promoted version that was refused, and why: it is not tried again until asked to.
    refused: Option<(String, String)>,
}

impl ModelSlots {
    /// Reads every pointer and serves what it names.
    pub(crate) async fn reload(
        &self,
        registry: &ModelRegistry,
        scorer: &Arc<Scorer>,
        metrics: &Metrics,
    ) -> Result<ReloadReport, AppError> {
        self.follow(registry, scorer, metrics, true).await
    }

    /// The same for the regular look: a version that was refused is not tried again and again.
    pub(crate) async fn poll(
        &self,
        registry: &ModelRegistry,
        scorer: &Arc<Scorer>,
        metrics: &Metrics,
    ) -> Result<ReloadReport, AppError> {
        self.follow(registry, scorer, metrics, false).await
    }

    async fn follow(
        &self,
        registry: &ModelRegistry,
        scorer: &Arc<Scorer>,
        metrics: &Metrics,
        again: bool,
    ) -> Result<ReloadReport, AppError> {
        let _one_at_a_time = self.reloading.lock().await;
        let mut report = ReloadReport::default();
        for service in registry.services().await? {
            let before = self.slot(&service);
            let (slot, error) = follow_one(registry, scorer, &service, &before, again).await;
            if let Some(error) = error {
                metrics.model_refused();
                tracing::error!(%service, %error, "promoted model refused, what served before still serves");
            } else if slot.serving != before.serving {
                let version = slot.serving.as_deref().unwrap_or(RULES);
                tracing::info!(%service, model_version = version, "model swapped");
            }
            report.serving.insert(service.clone(), slot.serving.clone().unwrap_or_else(|| RULES.to_owned()));
            if let Some((_, reason)) = &slot.refused {
                report.refused.insert(service.clone(), reason.clone());
            }
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).insert(service, slot);
        }
        Ok(report)
    }

    /// Every service with a model, and what serves it.
    pub(crate) async fn list(&self, registry: &ModelRegistry) -> Result<Vec<ServiceModel>, AppError> {
        let mut models = Vec::new();
        for service in registry.services().await? {
            models.push(self.one(registry, &service).await?.0);
        }
        models.sort_by(|a, b| a.service.cmp(&b.service));
        Ok(models)
    }

    /// One service with a model: what serves it, and its versions, newest first.
    pub(crate) async fn one(
        &self,
        registry: &ModelRegistry,
        service: &str,
    ) -> Result<(ServiceModel, Vec<VersionInfo>), AppError> {
        let slot = self.slot(service);
        let infos = registry.versions(service).await?;
        let mut versions: Vec<String> = infos.iter().map(|info| info.version.to_string()).collect();
        versions.sort_by(|a, b| b.cmp(a));
        let model = ServiceModel {
            current: registry.current(service).await?.map(|version| version.to_string()),
            candidate: registry.candidate(service).await?.map(|version| version.to_string()),
            serving: slot.serving,
            error: slot.refused.map(|(_, reason)| reason),
            versions,
            shadow: registry.shadow(service).await.ok().flatten(),
            service: service.to_owned(),
        };
        Ok((model, infos))
    }

    /// Service and version, for those served by a model.
    pub(crate) fn serving(&self) -> Vec<(String, String)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().filter_map(|(service, slot)| Some((service.clone(), slot.serving.clone()?))).collect()
    }

    fn slot(&self, service: &str) -> Slot {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(service).cloned().unwrap_or_default()
    }
}

const RULES: &str = "rules";

/// What serves `service` from now on, and why the promoted version does not where it was just refused.
async fn follow_one(
    registry: &ModelRegistry,
    scorer: &Arc<Scorer>,
    service: &str,
    before: &Slot,
    again: bool,
) -> (Slot, Option<String>) {
    let refuse = |version: &str, error: &dyn std::error::Error| {
        let reason = crate::error::chain(error);
        let slot = Slot { serving: before.serving.clone(), refused: Some((version.to_owned(), reason.clone())) };
        (slot, Some(reason))
    };
    let version = match registry.current(service).await {
        Ok(Some(version)) => version,
        Ok(None) => {
            if before.serving.is_some() {
                scorer.set_bundle(service, None);
            }
            return (Slot::default(), None);
        }
        Err(error) => return refuse("", &error),
    };
    let name = version.to_string();
    if before.serving.as_ref() == Some(&name) {
        return (Slot { serving: Some(name), refused: None }, None);
    }
    if !again && before.refused.as_ref().is_some_and(|(refused, _)| *refused == name) {
        return (before.clone(), None);
    }
    let bundle = match registry.load(service, &version).await {
        Ok(bundle) => Arc::new(bundle),
        Err(error) => return refuse(&name, &error),
    };
    let (scorer, owner) = (Arc::clone(scorer), service.to_owned());
    match blocking(move || scorer.set_bundle(&owner, Some(bundle))).await {
        Ok(()) => (Slot { serving: Some(name), refused: None }, None),
        Err(error) => refuse(&name, &error),
    }
}

/// What the gate said of `version` in an evaluation report: why it passed, or why it may not serve.
/// Reads the few members that it needs of `report.json`; the whole of it is training's.
pub(crate) fn gate(report: &[u8], service: &str, version: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Report {
        services: Vec<Judged>,
    }
    #[derive(Deserialize)]
    struct Judged {
        service: String,
        candidate: Option<Candidate>,
        verdict: Option<Verdict>,
    }
    let report: Report =
        serde_json::from_slice(report).map_err(|e| format!("the newest evaluation cannot be read: {e}"))?;
    let judged = report.services.into_iter().find(|judged| {
        judged.service == service && judged.candidate.as_ref().is_some_and(|candidate| candidate.version == version)
    });
    match judged.and_then(|judged| judged.verdict) {
        Some(Verdict::Pass { reason }) => Ok(reason),
        Some(Verdict::Refuse { reason }) => Err(reason),
        None => Err("the newest evaluation did not judge it; run `forewarn evaluate`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_that_passed_is_let_through() {
        let report = br#"{"services": [
            {"service": "cart", "candidate": {"version": "v2"}, "verdict": {"verdict": "pass", "reason": "better"}},
            {"service": "pay", "candidate": {"version": "v2"}, "verdict": {"verdict": "refuse", "reason": "worse"}},
            {"service": "web", "candidate": null, "verdict": null}
        ]}"#;
        assert_eq!(gate(report, "cart", "v2"), Ok("better".to_owned()));
        assert_eq!(gate(report, "pay", "v2"), Err("worse".to_owned()));
        for (service, version) in [("cart", "v3"), ("web", "v2"), ("none", "v2")] {
            assert!(gate(report, service, version).unwrap_err().contains("did not judge it"));
        }
        assert!(gate(b"{}", "cart", "v2").unwrap_err().contains("cannot be read"));
    }
}
