//! What happens to every target, noticed as it happens: breaches and restarts by the rules that histories are judged by, and besides
//! what only shows from step to step: rollouts, scaling, other limits. And what became of what was said of it.
//!
//! Nothing here feeds a model or the engine. Per target it holds what was not judged yet and what was found lately; values of the past
//! are asked of whoever remembers them, see [`Lives`].

mod happened;
mod memory;
mod settling;
mod target;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{Observation, ServiceStep, SignalSet};
use forewarn_schema::{BreachKind, Happening, LabelSet, Prediction, TimeRange, Timestamp};

pub use self::happened::{Happened, What};
pub use self::memory::{WatchMemory, WatchedService};
pub use self::settling::{Announced, Settled};
use self::target::{Change, WatchedTarget};
use self::workload::Workload;
use super::life::{Life, Point, WouldHave};
use super::walk::Rules;
use super::{ENDED, GRACE, agree};
use crate::scorer::horizon_seconds;

/// A request is waited for so long after its deadline, at most, while its target stands nearer to its limit than when it was made.
pub const PATIENCE: Duration = Duration::from_secs(7 * 86_400);
/// A deadline has to be so long ago before anything but a breach is certain: what looked like a breach may not have lasted, and what is
/// not seen may come back.
pub const CERTAIN_AFTER: Duration = GRACE;

/// Who remembers what targets did.
pub trait Lives {
    /// What is remembered of one target; nothing where it is not known.
    fn life(&self, service: &Arc<str>, signal: &Arc<str>, labels: &Arc<LabelSet>) -> Box<dyn Life + '_>;
}

/// The targets of one service, by signal and labels.
/// Boxed: the nodes of a tree are half empty.
type ByLabels = BTreeMap<Arc<LabelSet>, Box<WatchedTarget>>;
type Targets = BTreeMap<Arc<str>, (Workload, ByLabels)>;

/// Every target that is watched.
#[derive(Clone, Debug)]
pub struct Watch {
    signals: Arc<SignalSet>,
    services: BTreeMap<Arc<str>, Targets>,
    /// The first and the last step.
    seen: Option<(Timestamp, Timestamp)>,
    /// Times without a step, between two.
    blind: Vec<TimeRange>,
    /// The last values of what is read as an event where it rises, and when that was.
    counters: BTreeMap<CounterKey, (f64, Timestamp)>,
}

/// Service, signal, labels.
type CounterKey = (Arc<str>, Arc<str>, Arc<LabelSet>);

/// A counter that was not seen for so long is forgotten.
const COUNTED: Duration = Duration::from_secs(86_400);

impl Watch {
    /// Nothing was seen.
    pub fn new(signals: Arc<SignalSet>) -> Self {
        Self { signals, services: BTreeMap::new(), seen: None, blind: Vec::new(), counters: BTreeMap::new() }
    }

    /// The last step that was seen.
    pub fn latest(&self) -> Option<Timestamp> {
        self.seen.map(|(_, latest)| latest)
    }

    /// Takes the steps of one time, which is later than any before, and says what is certain to have happened since, sorted by service,
    /// signal and labels. [`Watch::heard`] comes after, with what is said at that time.
    pub fn observe(&mut self, at: Timestamp, steps: &[ServiceStep], lives: &dyn Lives) -> Vec<Happened> {
        let mut happened = Vec::new();
        if self.latest().is_some_and(|latest| latest >= at) {
            return happened;
        }
        self.note_step(at);
        let since = self.seen.map_or(at, |(first, _)| first);
        for step in steps {
            let targets = self.services.entry(Arc::clone(&step.service)).or_default();
            for observation in &step.observations {
                let Some((rules, point)) = limited(&self.signals, at, observation) else { continue };
                observe_target(&step.service, targets, observation, rules, point, lives, &mut happened);
            }
        }
        for step in steps {
            self.count_events(at, step, &mut happened);
        }
        self.counters.retain(|_, (_, last)| *last + COUNTED > at);
        for (service, targets) in &mut self.services {
            for (signal, (workload, targets)) in targets.iter_mut() {
                let Some(kind) = self.signals.get(signal).and_then(|s| s.kind.breach()) else { continue };
                workload.look(at, since, service, signal, kind, targets, &mut happened);
                targets.retain(|_, target| !target.is_forgotten(at, kind));
            }
            targets.retain(|_, (_, targets)| !targets.is_empty());
        }
        self.services.retain(|_, targets| !targets.is_empty());
        happened.sort_by(|a, b| a.key().cmp(&b.key()));
        happened
    }

    /// What is said at the last step of what was seen then.
    pub fn heard(&mut self, predictions: &[Prediction]) {
        for prediction in predictions {
            let targets = self.services.get_mut(prediction.service.as_str());
            let of_signal = targets.and_then(|targets| targets.get_mut(prediction.signal.as_str()));
            if let Some(target) = of_signal.and_then(|(_, targets)| targets.get_mut(&prediction.labels)) {
                target.heard(prediction);
            }
        }
    }

    /// The most that was said to be likely of a target between two times, as far as that is remembered: two horizons back, in steps of
    /// 1/255.
    pub fn most_likely(&self, service: &str, signal: &str, labels: &LabelSet, range: TimeRange) -> Option<f64> {
        let (_, targets) = self.services.get(service)?.get(signal)?;
        let kind = self.signals.get(signal)?.kind.breach()?;
        targets.get(labels)?.most_likely(kind, range)
    }

    /// How many targets are watched, those that ended lately among them.
    pub fn len(&self) -> usize {
        self.services.values().flat_map(BTreeMap::values).map(|(_, targets)| targets.len()).sum()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Reads what rises as something that happened to the targets that agree with it.
    fn count_events(&mut self, at: Timestamp, step: &ServiceStep, happened: &mut Vec<Happened>) {
        for seen in &step.observations {
            let Some(what) = forewarn_features::presets::event(&seen.signal) else { continue };
            let key = (Arc::clone(&step.service), Arc::clone(&seen.signal), Arc::clone(&seen.labels));
            let before = self.counters.insert(key, (seen.value, at));
            if before.is_none_or(|(before, _)| seen.value <= before) {
                continue;
            }
            for (signal, (_, targets)) in self.services.get_mut(&step.service).into_iter().flatten() {
                let kind = self.signals.get(signal).and_then(|s| s.kind.breach());
                let Some(kind) = kind.filter(|kind| what != Happening::OomKilled || *kind == BreachKind::Oom) else {
                    continue;
                };
                for (labels, target) in targets.iter_mut().filter(|(labels, _)| agree(labels, &seen.labels)) {
                    let would_have = target.would_have;
                    target.changed(Change { at, what, would_have, ends: false });
                    let (service, signal, labels) = (Arc::clone(&step.service), Arc::clone(signal), Arc::clone(labels));
                    happened.push(Happened {
                        service,
                        signal,
                        kind,
                        labels,
                        at,
                        what: What::Happening(what),
                        would_have,
                    });
                }
            }
        }
    }

    fn note_step(&mut self, at: Timestamp) {
        if let Some(latest) = self.latest().filter(|latest| *latest + ENDED < at) {
            self.blind.push(TimeRange { start: latest, end: at });
        }
        let (first, _) = *self.seen.get_or_insert((at, at));
        self.seen = Some((first, at));
        let asked_for = PATIENCE + keep(BreachKind::CertificateExpiry);
        self.blind.retain(|gap| gap.end + asked_for > at);
    }
}

/// How long what happened to a target is asked for.
fn keep(kind: BreachKind) -> Duration {
    Duration::from_secs_f64(2.0 * horizon_seconds(kind)) + Duration::from_secs(86_400)
}

/// How a target with a limit is judged, and what was seen of it.
fn limited(signals: &SignalSet, at: Timestamp, observation: &Observation) -> Option<(Rules, Point)> {
    let signal = signals.get(&observation.signal)?;
    let rules = Rules { kind: signal.kind.breach()?, direction: signal.direction };
    let limit = observation.limit.filter(|limit| limit.is_finite() && !observation.value.is_nan())?;
    Some((rules, Point { at, value: observation.value, limit, would_have: WouldHave::Unknown }))
}

fn observe_target(
    service: &Arc<str>,
    targets: &mut Targets,
    observation: &Observation,
    rules: Rules,
    point: Point,
    lives: &dyn Lives,
    happened: &mut Vec<Happened>,
) {
    let (signal, labels) = (&observation.signal, &observation.labels);
    let (_, of_signal) = targets.entry(Arc::clone(signal)).or_default();
    let target = of_signal.entry(Arc::clone(labels)).or_insert_with(|| Box::new(WatchedTarget::new(point.at)));
    let life = Asked { lives, service, signal, labels };
    target.observe(point, rules, &life, |at, what, would_have| {
        let (service, signal, labels) = (Arc::clone(service), Arc::clone(signal), Arc::clone(labels));
        happened.push(Happened { service, signal, kind: rules.kind, labels, at, what, would_have });
    });
}

/// A life that is asked for only where it is needed.
struct Asked<'a> {
    lives: &'a dyn Lives,
    service: &'a Arc<str>,
    signal: &'a Arc<str>,
    labels: &'a Arc<LabelSet>,
}

impl Life for Asked<'_> {
    fn between(&self, after: Option<Timestamp>, until: Timestamp) -> Vec<Point> {
        self.lives.life(self.service, self.signal, self.labels).between(after, until)
    }

    fn last(&self, after: Option<Timestamp>, until: Timestamp, count: usize) -> Vec<Point> {
        self.lives.life(self.service, self.signal, self.labels).last(after, until, count)
    }
}

#[cfg(test)]
mod tests;
