//! Whether a remediation helped, as the forecast sees it: the predicted breach moved out of sight and stayed out. That a job exited 0
//! says nothing. Pure: what was asked, what the controller reported and what is said at each step come in, a finding comes out; the
//! state between two steps is plain data, so that a restart goes on where it was. What a finding costs is the ladder's
//! ([`ladder`](crate::ladder)); who keeps the state is the server's affair.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forewarn_schema::{
    BreachKind, Direction, LabelSet, PredictedBreach, Prediction, RemediationRequest, Step, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::learning::Caution;

/// How long is watched, and how closely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationParams {
    /// After the outcome is reported the forecast gets so long to see what changed; only a breach counts meanwhile. Default 10 minutes.
    pub settling: Duration,
    /// The breach must stay out of sight for so long after that, at every step. Default 1 hour: twice what urgency must last before
    /// anything is asked, while the forecast itself looks hours ahead.
    pub hold: Duration,
    /// An outcome may come so long after the expiry; then silence counts as failure. Default 15 minutes.
    pub outcome_grace: Duration,
}

impl Default for VerificationParams {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { settling: minutes(10), hold: minutes(60), outcome_grace: minutes(15) }
    }
}

/// From this probability on a breach is in sight; or from that of the request or from where one would be announced, where that is less.
const IN_SIGHT: f64 = 0.5;
/// Another signal must be urgent for so many steps on end: a restart makes everything tremble.
const LASTING: u32 = 5;
/// Of the steps of the hold the target must be seen at this share at least.
const SEEN: f64 = 0.8;
/// A container is killed between two scrapes: from this share of the limit a fall by half, or the end, is taken for a kill.
const OOM_NEAR: f64 = 0.97;
const FALL: f64 = 0.5;
/// Errors are a rate over minutes, and a restart makes a burst of them: at the limit for so long is a breach.
const ERRORS_LAST: Duration = Duration::from_secs(8 * 60);
/// Siblings that are told apart from successors; of more, none of a workload is taken for a successor.
const MOST_BYSTANDERS: usize = 1000;

/// By what a step is judged.
#[derive(Clone, Copy)]
pub struct Standard<'a> {
    /// Of the request's signal.
    pub direction: Direction,
    /// Between two steps.
    pub step: Step,
    /// How long is watched.
    pub params: &'a VerificationParams,
    /// How cautious announcing is with what a prediction is about: [`Engine::caution`](crate::Engine::caution).
    pub caution: &'a (dyn Fn(&Prediction) -> Caution + Sync),
}

/// What the controller reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Nothing yet.
    Nothing,
    /// It helped.
    Succeeded {
        /// By the server's clock.
        at: Timestamp,
    },
    /// It did not: what is watched for is only whether it made things worse.
    Failed {
        /// By the server's clock.
        at: Timestamp,
    },
}

/// What came of a remediation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The breach moved out of sight and stayed out.
    Verified,
    /// It came back, or it came; or nobody said that anything was done.
    Failed,
    /// The same, and worse than before: people are needed.
    Worsened,
    /// Nobody can tell; it counts neither way.
    Undecided,
    /// Nothing was done: it was rejected, not approved in time, or did not arrive.
    NotDone,
}

impl Finding {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Verified, Self::Failed, Self::Worsened, Self::Undecided, Self::NotDone];

    /// As it is written in JSON, in metrics and in the state database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::Worsened => "worsened",
            Self::Undecided => "undecided",
            Self::NotDone => "not_done",
        }
    }
}

/// A finding, why, and what showed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What.
    pub finding: Finding,
    /// In a sentence.
    pub reason: String,
    /// What was said of the target that showed it; `None` where it is about what was not said.
    pub evidence: Option<Evidence>,
}

/// What was said at that step, as far as a person needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// When.
    pub at: Timestamp,
    /// Which signal.
    pub signal: String,
    /// Of which target.
    pub labels: LabelSet,
    /// Its value, in the signal's unit.
    pub value: f64,
    /// Its limit, in the same.
    pub limit: f64,
    /// That the breach comes within the horizon, 0..=1.
    pub breach_probability: f64,
    /// When it is predicted now; `None`: not in sight.
    pub predicted_breach: Option<PredictedBreach>,
    /// The forecast's own sentence.
    pub summary: String,
}

/// One remediation under watch; all that is remembered from step to step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Other pods of the workload when it was asked for: what becomes of them is another story. A pod that is not among them and not
    /// the request's own took its place.
    bystanders: BTreeSet<LabelSet>,
    /// The workload had more pods than are remembered.
    #[serde(default)]
    crowded: bool,
    /// The last step that was looked at; none is looked at twice.
    last: Option<Timestamp>,
    /// The first step after the outcome.
    begun: Option<Timestamp>,
    /// Signals of the service that were urgent then.
    afflicted: BTreeSet<String>,
    /// Steps of the hold at which the target was seen.
    seen: u32,
    /// Other signals, and for how many steps on end they have been urgent.
    newly: BTreeMap<String, u32>,
    /// Since when errors have been at their limit.
    at_limit: Option<Timestamp>,
    /// Containers that had almost all of their memory at the last step, and what they used.
    near: Vec<(LabelSet, f64)>,
    /// Before the outcome something happened that may have been a kill as well as the remediation.
    doubtful: bool,
}

impl Watch {
    /// Of a request made at a step at which `predictions` were said.
    pub fn new(request: &RemediationRequest, predictions: &[Prediction]) -> Self {
        let of_workload = predictions.iter().filter(|p| is_of_workload(request, p));
        let others = of_workload.filter(|p| !has(&p.labels, &request.labels)).map(|p| (*p.labels).clone());
        let mut bystanders: BTreeSet<LabelSet> = others.collect();
        let crowded = bystanders.len() > MOST_BYSTANDERS;
        if crowded {
            bystanders.clear();
        }
        Self { bystanders, crowded, ..Self::default() }
    }

    /// Looks at the step `at`; gives a finding once there is one, and is then over. `predictions`: all that was said at it.
    pub fn step(
        &mut self,
        request: &RemediationRequest,
        reported: Reported,
        at: Timestamp,
        predictions: &[Prediction],
        standard: &Standard<'_>,
    ) -> Option<Found> {
        if self.last.is_some_and(|last| at <= last) || at <= request.at {
            return None;
        }
        self.last = Some(at);
        let targets: Vec<&Prediction> = predictions.iter().filter(|p| self.is_target(request, p)).collect();
        let breach = self.breach(request, at, &targets, standard.direction);
        let outcome = match reported {
            Reported::Nothing => None,
            Reported::Succeeded { at } | Reported::Failed { at } => Some(at),
        };
        let failed = matches!(reported, Reported::Failed { .. });
        if self.begun.is_none() && outcome.is_some_and(|outcome| at >= outcome) {
            self.begun = Some(at);
            self.afflicted = urgent_signals(request, predictions, standard);
        }
        if let Some(hit) = breach {
            let worse = self.begun.is_some();
            let (finding, when) = if worse { (Finding::Worsened, "after") } else { (Finding::Failed, "before") };
            return Some(found(
                finding,
                hit,
                at,
                format!("the limit was reached {when} the remediation was reported done"),
            ));
        }
        let settled = self.begun? + standard.params.settling;
        if let Some(other) = self.newly_urgent(request, predictions, standard) {
            let reason = format!("{} became urgent after the remediation", other.signal);
            return Some(found(Finding::Worsened, other, at, reason));
        }
        if at < settled {
            return None;
        }
        if !targets.is_empty() {
            self.seen += 1;
        }
        let back = targets.iter().filter(|p| is_in_sight(request, p, standard));
        let back = back.min_by(|a, b| p50(a).total_cmp(&p50(b)));
        if let Some(back) = back {
            let p50 = at + Duration::from_secs_f64(p50(back).min(1e9));
            if p50 < request.predicted_breach.p10 {
                let was = request.predicted_breach.p50;
                let reason = format!("the breach is predicted for {p50} now, sooner than before ({was})");
                return Some(found(Finding::Worsened, back, at, reason));
            }
            if !failed {
                return Some(found(Finding::Failed, back, at, "the breach is in sight again".to_owned()));
            }
        }
        (at >= settled + standard.params.hold).then(|| self.at_the_end(failed, standard))
    }

    /// What there is to say where no breach and nothing worse came during the hold.
    fn at_the_end(&self, failed: bool, standard: &Standard<'_>) -> Found {
        let wanted = (standard.params.hold.as_secs_f64() / standard.step.seconds()).floor() + 1.0;
        let undecided = |reason: String| Found { finding: Finding::Undecided, reason, evidence: None };
        if failed {
            let reason = "the controller reported that it did not help".to_owned();
            Found { finding: Finding::Failed, reason, evidence: None }
        } else if f64::from(self.seen) < wanted * SEEN {
            undecided(format!("the target was seen at {} of {wanted:.0} steps, so nobody can tell", self.seen))
        } else if self.doubtful {
            undecided("it may have been killed for want of memory before it was remedied".to_owned())
        } else {
            let reason = "the breach moved out of sight and stayed out".to_owned();
            Found { finding: Finding::Verified, reason, evidence: None }
        }
    }

    /// The request's own target or what took its place.
    fn is_target(&self, request: &RemediationRequest, p: &Prediction) -> bool {
        let is_successor = || !self.crowded && !self.bystanders.contains(&*p.labels);
        is_of_workload(request, p) && (has(&p.labels, &request.labels) || is_successor())
    }

    /// The target that reached its limit, where one did.
    fn breach<'a>(
        &mut self,
        request: &RemediationRequest,
        at: Timestamp,
        targets: &[&'a Prediction],
        direction: Direction,
    ) -> Option<&'a Prediction> {
        let killed = self.killed(request, targets, direction);
        let hit = targets.iter().copied().find(|p| is_reached(p, direction));
        self.at_limit = hit.map(|_| self.at_limit.unwrap_or(at));
        let lasts =
            request.kind != BreachKind::ErrorRate || self.at_limit.is_some_and(|since| since + ERRORS_LAST <= at);
        hit.filter(|_| lasts).or(killed)
    }

    /// A container that had almost all of its memory and then fell; before the outcome that may be the remediation itself.
    fn killed<'a>(
        &mut self,
        request: &RemediationRequest,
        targets: &[&'a Prediction],
        direction: Direction,
    ) -> Option<&'a Prediction> {
        if request.kind != BreachKind::Oom || direction != Direction::Above {
            return None;
        }
        let is_near = |p: &&&Prediction| p.value.is_finite() && p.value >= p.limit * OOM_NEAR;
        let now = targets.iter().filter(is_near).map(|p| ((*p.labels).clone(), p.value));
        let before = std::mem::replace(&mut self.near, now.collect());
        let fell = |(labels, value): &(LabelSet, f64)| {
            let after = targets.iter().copied().find(|p| *p.labels == *labels);
            after.is_none_or(|p| p.value <= value * FALL).then_some(after)
        };
        let fall = before.iter().find_map(fell)?;
        if self.begun.is_none() {
            self.doubtful = true;
            return None;
        }
        // Where the container is gone, whatever is left of the workload stands for it.
        fall.or_else(|| targets.first().copied())
    }

    /// Another signal of the service that has been urgent for a while, and was not before.
    fn newly_urgent<'a>(
        &mut self,
        request: &RemediationRequest,
        predictions: &'a [Prediction],
        standard: &Standard<'_>,
    ) -> Option<&'a Prediction> {
        let urgent = urgent_signals(request, predictions, standard);
        let before = std::mem::take(&mut self.newly);
        for signal in urgent.iter().filter(|signal| !self.afflicted.contains(*signal)) {
            self.newly.insert(signal.clone(), before.get(signal).copied().unwrap_or(0) + 1);
        }
        let (signal, _) = self.newly.iter().find(|(_, steps)| **steps >= LASTING)?;
        predictions.iter().find(|p| p.service == request.service && p.signal == *signal && is_urgent(p, standard))
    }
}

fn found(finding: Finding, p: &Prediction, at: Timestamp, reason: String) -> Found {
    let after = |seconds: f64| p.at + Duration::from_secs_f64(seconds);
    let predicted_breach = p.time_to_breach_seconds.map(|ttb| PredictedBreach {
        p10: after(ttb.p10()),
        p50: after(ttb.p50()),
        p90: after(ttb.p90()),
    });
    let evidence = Evidence {
        at,
        signal: p.signal.clone(),
        labels: (*p.labels).clone(),
        value: p.value,
        limit: p.limit,
        breach_probability: p.breach_probability.get(),
        predicted_breach,
        summary: p.explanation.summary.clone(),
    };
    Found { finding, reason, evidence: Some(evidence) }
}

fn is_of_workload(request: &RemediationRequest, p: &Prediction) -> bool {
    let workload = request.labels.without(&["pod"]);
    p.service == request.service && p.signal == request.signal && has(&p.labels, &workload)
}

/// Whether a target has all labels that are meant.
fn has(labels: &LabelSet, meant: &LabelSet) -> bool {
    meant.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn is_reached(p: &Prediction, direction: Direction) -> bool {
    match direction {
        Direction::Above => p.value >= p.limit,
        Direction::Below => p.value <= p.limit,
    }
}

fn p50(p: &Prediction) -> f64 {
    p.time_to_breach_seconds.map_or(f64::INFINITY, |ttb| ttb.p50())
}

/// Probabilities are the models' own here, as thresholds are.
fn is_in_sight(request: &RemediationRequest, p: &Prediction, standard: &Standard<'_>) -> bool {
    let asked = request.evidence.uncalibrated.unwrap_or(request.probability).get();
    let from = IN_SIGHT.min(asked).min((standard.caution)(p).min_probability);
    p.uncalibrated().get() >= from || p50(p) <= p.horizon_seconds
}

/// As announcing sees it, but for how long it lasts.
fn is_urgent(p: &Prediction, standard: &Standard<'_>) -> bool {
    p.time_to_breach_seconds.is_some() && p.uncalibrated().get() >= (standard.caution)(p).min_probability
}

/// Other signals of the request's service that are urgent.
fn urgent_signals(
    request: &RemediationRequest,
    predictions: &[Prediction],
    standard: &Standard<'_>,
) -> BTreeSet<String> {
    let others = predictions.iter().filter(|p| p.service == request.service && p.signal != request.signal);
    others.filter(|p| is_urgent(p, standard)).map(|p| p.signal.clone()).collect()
}

#[cfg(test)]
mod tests;
