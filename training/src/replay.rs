//! What one engine said over a range, kept small: a replay of ten days makes half a million predictions,
//! whose explanations would fill the memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_schema::{BreachKind, FanPoint, LabelSet, Prediction, RemediationRequest, Timestamp};

use forewarn_models::settle::{Breach, agree};

/// Everything that is judged of one replay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replay {
    /// Per service, kind and labels, by time.
    pub(crate) targets: BTreeMap<(String, BreachKind, Arc<LabelSet>), Vec<Said>>,
    /// Per service, by time.
    pub(crate) scores: BTreeMap<String, Vec<(Timestamp, f64)>>,
    pub(crate) requests: Vec<RemediationRequest>,
    /// By request.
    pub(crate) emitted: BTreeMap<String, Emitted>,
}

/// One prediction, without its words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) at: Timestamp,
    /// That the limit is reached within the horizon.
    pub(crate) probability: f64,
    pub(crate) horizon: Duration,
    /// `[p10, p50, p90]`, seconds; `None`: no breach in sight.
    pub(crate) time_to_breach: Option<[f64; 3]>,
}

/// What stood behind a request when it went out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Emitted {
    pub(crate) signal: String,
    pub(crate) model_version: String,
    pub(crate) summary: String,
    /// The target that was nearest to its limit: one of those that share the request.
    pub(crate) foremost: LabelSet,
    /// Where it was thought to go.
    pub(crate) fan: Vec<FanPoint>,
}

impl Replay {
    pub(crate) fn push(&mut self, prediction: &Prediction) {
        let horizon = Duration::try_from_secs_f64(prediction.horizon_seconds).unwrap_or(Duration::ZERO);
        if let Some(id) = &prediction.request_id {
            let emitted = self.emitted.entry(id.clone()).or_default();
            emitted.signal.clone_from(&prediction.signal);
            emitted.model_version = prediction.model_version.to_string();
            emitted.summary.clone_from(&prediction.explanation.summary);
        }
        let scores = self.scores.entry(prediction.service.clone()).or_default();
        if scores.last().is_none_or(|(at, _)| *at < prediction.at) {
            scores.push((prediction.at, prediction.anomaly_score.get()));
        }
        let key = (prediction.service.clone(), prediction.kind, prediction.labels.clone());
        self.targets.entry(key).or_default().push(Said {
            at: prediction.at,
            probability: prediction.breach_probability.get(),
            horizon,
            time_to_breach: prediction.time_to_breach_seconds.map(|t| [t.p10(), t.p50(), t.p90()]),
        });
    }

    /// What was said of the target of `breach` from `from` until it came, by time.
    pub(crate) fn said_on_the_way(&self, breach: &Breach, from: Timestamp) -> Vec<Said> {
        let targets = self.targets.iter().filter(|((service, kind, labels), _)| {
            **service == *breach.service && *kind == breach.kind && agree(labels, &breach.labels)
        });
        let said = targets.flat_map(|(_, said)| said.iter().copied());
        let mut said: Vec<Said> = said.filter(|s| from <= s.at && s.at < breach.at).collect();
        said.sort_by_key(|s| s.at);
        said
    }
}
