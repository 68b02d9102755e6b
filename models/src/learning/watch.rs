//! Follows what is said of each target, to remember of each announcement how cautious one could have been and still have made it.
//!
//! It only looks: nothing that is decided depends on it. What was under way before a restart is followed anew from there, which
//! makes an announcement look weaker than it was, never stronger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_schema::{BreachKind, LabelSet, Prediction, RemediationRequest, Step, Timestamp};

use super::{Caution, CautionScale, Reached};
use crate::decision::BY_RACE;
use crate::settle::required_lead;

/// What one announcement has reached so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// Which.
    pub request_id: String,
    /// How cautious one could have been, and since when that would have announced it; by time.
    pub reached: Vec<Reached>,
}

/// See the module.
#[derive(Debug)]
pub struct Watch {
    step: Step,
    /// Steps without urgency that do not end it.
    lapse: Duration,
    targets: BTreeMap<Target, Vec<Run>>,
    open: Vec<Open>,
}

type Target = (String, String, Arc<LabelSet>);

/// Urgency by one rung.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    since: Option<Timestamp>,
    last: Timestamp,
}

#[derive(Debug)]
struct Open {
    followed: Followed,
    service: String,
    signal: String,
    labels: LabelSet,
    until: Timestamp,
    is_new: bool,
}

impl Watch {
    /// Follows nothing yet. `lapse` is [`DecisionParams::lapse`](crate::decision::DecisionParams::lapse), in steps.
    pub fn new(step: Step, lapse: u32) -> Self {
        Self { step, lapse: step.duration() * lapse, targets: BTreeMap::new(), open: Vec::new() }
    }

    /// Takes what was said at `at`, after the times before it. `start` says where the threshold of a prediction starts.
    pub fn observe(
        &mut self,
        at: Timestamp,
        predictions: &[Prediction],
        requests: &[RemediationRequest],
        start: impl Fn(&Prediction) -> Caution,
    ) {
        for request in requests {
            self.follow(request, &[]);
        }
        self.open.retain(|open| at <= open.until);
        let mut scale: Option<(Caution, CautionScale)> = None;
        for p in predictions {
            let start = start(p);
            // Most start alike.
            let (_, scale) = match scale.take() {
                Some(last) if last.0 == start => scale.insert(last),
                _ => scale.insert((start, CautionScale::from_start(start))),
            };
            let reached = self.reached(at, p, scale);
            if reached.is_empty() {
                continue;
            }
            for open in self.open.iter_mut().filter(|open| open.concerns(p)) {
                for caution in &reached {
                    if open.followed.reached.iter().all(|r| r.caution != *caution) {
                        open.followed.reached.push(Reached { caution: *caution, at });
                        open.is_new = true;
                    }
                }
            }
        }
        let lapse = self.lapse;
        self.targets.retain(|_, runs| runs.iter().any(|run| run.since.is_some() && at <= run.last + lapse));
    }

    /// Follows a request that was made before, and had reached so much.
    pub fn follow(&mut self, request: &RemediationRequest, reached: &[Reached]) {
        if self.open.iter().any(|open| open.followed.request_id == request.id) {
            return;
        }
        let seconds = request.predicted_breach.p90.seconds_since(request.at);
        let horizon = seconds.max(crate::scorer::horizon_seconds(request.kind));
        self.open.push(Open {
            followed: Followed { request_id: request.id.clone(), reached: reached.to_vec() },
            service: request.service.clone(),
            signal: request.signal.clone(),
            labels: request.labels.clone(),
            until: request.at + Duration::try_from_secs_f64(horizon).unwrap_or(Duration::ZERO),
            is_new: false,
        });
    }

    /// Follows a request no longer: it was never made.
    pub fn forget(&mut self, request_id: &str) {
        self.open.retain(|open| open.followed.request_id != request_id);
    }

    /// What has reached more since this was asked last.
    pub fn take_changed(&mut self) -> Vec<Followed> {
        let changed =
            self.open.iter_mut().filter_map(|open| std::mem::take(&mut open.is_new).then(|| open.followed.clone()));
        changed.collect()
    }

    /// The rungs by which this target would be announced now.
    fn reached(&mut self, at: Timestamp, p: &Prediction, scale: &CautionScale) -> Vec<Caution> {
        let said = p.uncalibrated().get();
        let rungs = scale.rungs();
        let urgent = |rung: &Caution| p.time_to_breach_seconds.is_some() && said >= rung.min_probability;
        if !rungs.first().is_some_and(urgent) {
            return Vec::new();
        }
        let runs = self.targets.entry((p.service.clone(), p.signal.clone(), Arc::clone(&p.labels))).or_default();
        runs.resize(rungs.len(), Run::default());
        let racing = p.explanation.forecast == BY_RACE;
        let mut reached = Vec::new();
        for (rung, run) in rungs.iter().zip(runs).filter(|(rung, _)| urgent(rung)) {
            let since = run.since.filter(|_| at <= run.last + self.lapse).unwrap_or(at);
            *run = Run { since: Some(since), last: at };
            let steps = if racing { rung.persistence_racing } else { rung.persistence };
            if since + self.step.duration() * steps <= at {
                reached.push(*rung);
            }
        }
        reached
    }
}

impl Open {
    fn concerns(&self, p: &Prediction) -> bool {
        let of_workload = || self.labels.iter().all(|(k, v)| p.labels.get(k) == Some(v));
        self.service == p.service && self.signal == p.signal && of_workload()
    }
}

/// Of what a true announcement made at `said` has reached, that which would still have been early enough for its breach.
pub fn in_time(reached: &[Reached], kind: BreachKind, said: Timestamp, breach: Timestamp) -> Vec<Reached> {
    let half = breach.seconds_since(said).max(0.0) / 2.0;
    let lead = Duration::from_secs_f64(required_lead(kind).as_secs_f64().min(half));
    reached.iter().copied().filter(|r| r.at <= breach - lead).collect()
}
