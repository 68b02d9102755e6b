//! One service, scored: its steps in, a prediction a target out.
//!
//! Holds the running state of a service (feature memory, a ring of values a target) beside what was
//! learnt of it. Not here: whether a prediction becomes a request (`decision`).

mod anomaly;
mod forecast;
mod history;
mod life;
mod memory;
mod pyramid;
mod teeth;
mod warming;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{FeatureState, Observation, ServiceStep, Signal, SignalSet};
use forewarn_schema::{
    BandPoint, BreachKind, Direction, Explanation, FanPoint, LabelSet, Prediction, Probability, Step, TimeToBreach,
    Timestamp, format_duration,
};

use crate::baselines::{Baselines, value_at};
use crate::bundle::{ForecastModel, ModelBundle};
use crate::decision::{BY_RACE, RULES_VERSION};
use crate::engine::TargetView;
use crate::growth::{Ahead, CLASSES, Growth, Shape};
use crate::time_to_breach::{breach_probability, estimate_time_to_breach};
use anomaly::Anomaly;
use forecast::Known;
use history::TargetHistory;
pub use memory::ServiceMemory;
use pyramid::{Joined, Pyramid};
pub use warming::FleetPrior;
use warming::Warming;

/// A service has been watched for this many steps before a target that appears is taken for new.
const WATCHED: f64 = 30.0;
/// How much what one replica shows says of the others: half, as they see the same load.
const SIBLINGS: f64 = 0.5;
/// A service without a bundle that has been watched for less is warming up: not even its day is known.
const WARMING: Duration = Duration::from_secs(86_400);
/// So many times as wide as the data of a warming service say are its intervals: what they do not show is how it usually goes on.
const WARMING_WIDTH: f64 = 1.5;

/// How far ahead a kind of breach is asked about: far enough to act calmly, near enough to be sure.
pub fn horizon_seconds(kind: BreachKind) -> f64 {
    const HOUR: f64 = 3600.0;
    match kind {
        BreachKind::Oom | BreachKind::PoolExhaustion | BreachKind::ErrorRate | BreachKind::Custom => 6.0 * HOUR,
        BreachKind::DiskFull => 12.0 * HOUR,
        BreachKind::CertificateExpiry => 72.0 * HOUR,
    }
}

type TargetKey = (Arc<str>, Arc<LabelSet>);

/// The running state of one service.
pub struct ServiceScorer {
    service: Arc<str>,
    signals: Arc<SignalSet>,
    step: Step,
    bundle: Option<Arc<ModelBundle>>,
    /// Of the bundle.
    version: Arc<str>,
    feature_state: FeatureState,
    first: Option<Timestamp>,
    latest: Option<ServiceStep>,
    /// The load that was seen, relative to the learnt mean; `None` where that is not known.
    loads: Option<Pyramid>,
    row: Vec<f32>,
    /// Boxed: the nodes of a tree are half empty.
    targets: BTreeMap<TargetKey, Box<TargetHistory>>,
    /// While there is no bundle.
    warming: Warming,
}

/// What is said of where one target goes.
struct Forecast {
    time_to_breach: Option<TimeToBreach>,
    /// Of a breach within the kind's horizon.
    probability: Probability,
    /// By what, in a word.
    by: &'static str,
}

impl ServiceScorer {
    /// How many steps a target remembers.
    pub const MEMORY_STEPS: u32 = pyramid::CAPACITY as u32;

    /// A service of which nothing has been seen. Without a bundle the rules serve it.
    pub fn new(service: Arc<str>, signals: Arc<SignalSet>, step: Step, bundle: Option<Arc<ModelBundle>>) -> Self {
        let mut scorer = Self {
            service,
            signals,
            step,
            bundle: None,
            version: RULES_VERSION.into(),
            feature_state: FeatureState::default(),
            first: None,
            latest: None,
            loads: None,
            row: Vec::new(),
            targets: BTreeMap::new(),
            warming: Warming::default(),
        };
        scorer.set_bundle(bundle);
        scorer
    }

    /// Swaps what was learnt. What was seen of the targets stays; the feature memory starts anew.
    pub fn set_bundle(&mut self, bundle: Option<Arc<ModelBundle>>) {
        self.feature_state = bundle.as_ref().map(|b| b.pipeline.new_state()).unwrap_or_default();
        self.row.clear();
        // What was seen was relative to another mean.
        self.loads = None;
        self.warming = Warming::default();
        self.version = bundle.as_ref().map_or_else(|| RULES_VERSION.into(), |b| b.manifest.version.to_string().into());
        self.bundle = bundle;
    }

    /// What services alike have in common, for as long as there is no bundle.
    pub fn set_prior(&mut self, prior: Option<Arc<FleetPrior>>) {
        self.warming.set_prior(prior);
    }

    /// Whether too little was seen, and nothing learnt.
    fn is_warming(&self, at: Timestamp) -> bool {
        self.bundle.is_none() && self.first.is_none_or(|first| at < first + WARMING)
    }

    /// Takes one step. Steps come in the order of time; a late one changes nothing.
    pub fn observe(&mut self, step: &ServiceStep) {
        if self.latest.as_ref().is_some_and(|latest| latest.at >= step.at) {
            return;
        }
        if let Some(bundle) = &self.bundle {
            self.row = bundle.pipeline.transform(&mut self.feature_state, step);
        } else {
            self.warming.observe(step, &self.signals);
        }
        if let Some(load) = self.bundle.as_ref().and_then(|b| b.baselines.load.as_ref()?.seen(step)) {
            self.loads.get_or_insert_with(|| Pyramid::new(self.step, Joined::Mean, step.at)).push(step.at, load);
        }
        self.first.get_or_insert(step.at);
        for observation in &step.observations {
            self.observe_target(step.at, observation);
        }
        self.targets.retain(|_, history| !history.is_forgotten(step.at));
        self.latest = Some(step.clone());
    }

    /// Whether nothing was seen of it for as long as it remembers.
    pub(crate) fn is_forgotten(&self, at: Timestamp) -> bool {
        let remembers = self.step.duration() * Self::MEMORY_STEPS;
        self.targets.values().all(|history| history.is_forgotten(at))
            && self.latest.as_ref().is_none_or(|latest| latest.at + remembers < at)
    }

    /// Whether it remembers how busy the service was.
    pub(crate) fn remembers_load(&self) -> bool {
        self.loads.is_some()
    }

    fn observe_target(&mut self, at: Timestamp, observation: &Observation) {
        let Some(signal) = self.signals.get(&observation.signal) else { return };
        let (Some(kind), Some(limit)) = (signal.kind.breach(), observation.limit) else { return };
        let key = (Arc::clone(&observation.signal), Arc::clone(&observation.labels));
        let (direction, step) = (signal.direction, self.step);
        let began = self.first.is_some_and(|first| at.seconds_since(first) > WATCHED * step.seconds());
        let history = self.targets.entry(key).or_insert_with(|| {
            Box::new(TargetHistory::new(direction, step, at, observation.value, began, kind == BreachKind::Oom))
        });
        history.push(at, observation.value, limit);
    }

    /// A prediction for every target that is live at `at`, sorted by signal and labels.
    pub fn predict(&self, at: Timestamp) -> Vec<Prediction> {
        let anomaly = self.anomaly(at);
        let live: Vec<(&TargetKey, &TargetHistory, &Signal, BreachKind)> = self
            .targets
            .iter()
            .filter(|(_, history)| history.is_live(at))
            .filter_map(|(key, history)| {
                let signal = self.signals.get(&key.0)?;
                Some((key, &**history, signal, signal.kind.breach()?))
            })
            .collect();
        let mut growths: Vec<Option<Growth>> = live
            .iter()
            .map(|(_, history, signal, kind)| {
                if *kind == BreachKind::CertificateExpiry { None } else { forecast::grow(history, &self.known(signal)) }
            })
            .collect();
        agree(&live.iter().map(|(key, ..)| *key).collect::<Vec<_>>(), &mut growths);
        let ahead = OnceCell::new();
        live.iter()
            .zip(&growths)
            .map(|((key, history, signal, kind), growth)| {
                let forecast = self.judge(signal, *kind, history, growth.as_ref(), at, &ahead);
                self.prediction(signal, *kind, &key.1, history, at, forecast, &anomaly)
            })
            .collect()
    }

    fn judge(
        &self,
        signal: &Signal,
        kind: BreachKind,
        history: &TargetHistory,
        growth: Option<&Growth>,
        at: Timestamp,
        ahead: &OnceCell<Ahead>,
    ) -> Forecast {
        let horizon = horizon_seconds(kind);
        if kind == BreachKind::CertificateExpiry {
            let time_to_breach = clock(history);
            let probability = breach_probability(time_to_breach.as_ref(), horizon);
            return Forecast { time_to_breach, probability, by: "clock" };
        }
        let known = self.known(signal);
        let Some(growth) = growth else {
            return Forecast { time_to_breach: None, probability: Probability::default(), by: "seasonal_naive" };
        };
        let by = match growth.likeliest().0 {
            Shape::Flat if known.lstm.is_none() => "seasonal_naive",
            _ if forecast::is_racing(history) => BY_RACE,
            _ if known.lstm.is_some() => "lstm",
            _ => "trend",
        };
        if history.level() >= 1.0 {
            let now = TimeToBreach::new(0.0, 0.0, 0.0).ok();
            return Forecast { time_to_breach: now, probability: Probability::saturating(1.0), by };
        }
        let ahead = ahead.get_or_init(|| forecast::look_ahead(&known, at));
        let passage = forecast::passage(growth, history, &known, ahead);
        Forecast {
            time_to_breach: estimate_time_to_breach(&passage, self.step),
            probability: Probability::saturating(passage.within(horizon / self.step.seconds())),
            by,
        }
    }

    fn known(&self, signal: &Signal) -> Known<'_> {
        static NOTHING_LEARNT: Baselines = Baselines { signals: BTreeMap::new(), load: None };
        let bundle = self.bundle.as_deref();
        let baselines = bundle.map_or(&NOTHING_LEARNT, |b| &b.baselines);
        let lstm = bundle.filter(|b| b.forecast == ForecastModel::Lstm).and_then(|b| b.lstm.as_ref());
        Known {
            kind: signal.kind.breach().unwrap_or(BreachKind::Custom),
            baselines,
            baseline: baselines.signals.get(&signal.name),
            lstm,
            loads: self.loads.as_ref(),
            shapes: bundle.and_then(|b| b.rehearsed.shapes.get(&signal.name)),
            stretch: bundle.zip(signal.kind.breach()).map_or(1.0, |(b, kind)| b.rehearsed.stretch(kind)),
            step: self.step,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one caller; a struct of these would only be taken apart again")]
    fn prediction(
        &self,
        signal: &Signal,
        kind: BreachKind,
        labels: &Arc<LabelSet>,
        history: &TargetHistory,
        at: Timestamp,
        forecast: Forecast,
        anomaly: &Anomaly,
    ) -> Prediction {
        let warming = self.is_warming(at);
        let time_to_breach = forecast.time_to_breach.map(|ttb| if warming { ttb.widened(WARMING_WIDTH) } else { ttb });
        let mut summary = summary(signal, history, time_to_breach, forecast.by);
        if warming {
            summary.push_str("; warming up: less than a day was seen of this service, and nothing is learnt of it yet");
        }
        if !anomaly.missed.is_empty() {
            summary.push_str("; ");
            summary.push_str(&anomaly.missed);
        }
        Prediction {
            id: Prediction::derive_id(&self.service, &signal.name, labels, at),
            at,
            service: self.service.to_string(),
            signal: signal.name.clone(),
            kind,
            labels: Arc::clone(labels),
            value: history.value(),
            limit: history.limit(),
            breach_probability: forecast.probability,
            horizon_seconds: horizon_seconds(kind),
            time_to_breach_seconds: time_to_breach,
            request_id: None,
            anomaly_score: anomaly.score,
            model_version: Arc::clone(&self.version),
            explanation: Explanation {
                summary,
                signals: Arc::clone(&anomaly.evidence),
                forecast: forecast.by.into(),
                warming,
                uncalibrated: None,
            },
        }
    }

    /// The share of each class of growth in what one target does now, and what was believed of it beforehand; `None` where nothing
    /// is likely to grow or the target is not known.
    pub fn classes(&self, signal: &str, labels: &LabelSet) -> Option<[[f64; CLASSES]; 2]> {
        let signal = self.signals.get(signal)?;
        let history = self.targets.get(&(Arc::<str>::from(signal.name.as_str()), Arc::new(labels.clone())))?;
        forecast::grow(history, &self.known(signal))?.classes()
    }

    /// Everything to draw of one target: what it did, what is normal, where it goes.
    pub fn view(&self, at: Timestamp, prediction: &Prediction) -> Option<TargetView> {
        let signal = self.signals.get(&prediction.signal)?;
        let kind = signal.kind.breach()?;
        let key = (Arc::<str>::from(prediction.signal.as_str()), Arc::clone(&prediction.labels));
        let history = self.targets.get(&key)?;
        let to_value = |f: f64| value_at(signal.direction, f, history.limit(), history.reference());
        // What to draw ends a quarter past the breach, or after as much as is shown of the past.
        let shown = history.len() as f64 * self.step.seconds();
        let ahead = prediction.time_to_breach_seconds.map_or(shown / 2.0, |t| (1.25 * t.p90()).min(4.0 * t.p50()));
        let known = self.known(signal);
        let growth = if kind == BreachKind::CertificateExpiry { None } else { forecast::grow(history, &known) };
        let reach = ahead / self.step.seconds();
        let fan: Vec<FanPoint> = growth.map_or_else(Vec::new, |growth| {
            let points = forecast::fan(&growth, &known, at, reach);
            let point = |p: crate::growth::Fan| {
                let (a, b) = (to_value(p.low), to_value(p.high));
                let at = Timestamp::from_millis(at.millis() + (p.steps * self.step.millis() as f64) as i64);
                FanPoint { at, p10: a.min(b), p50: to_value(p.mid), p90: a.max(b) }
            };
            points.into_iter().map(point).collect()
        });
        let expected = known.baseline.map_or_else(Vec::new, |baseline| {
            let back = (0..history.len() as u32).rev().step_by(15).map(|steps| at - self.step.duration() * steps);
            let times = back.chain(fan.iter().map(|p| p.at));
            times
                .take_while(|t| t.seconds_since(at) <= ahead)
                .map(|t| {
                    let (level, spread) = baseline.profile.expected(t);
                    let (a, b) = (to_value(level - 2.0 * spread), to_value(level + 2.0 * spread));
                    BandPoint { at: t, low: a.min(b), mid: to_value(level), high: a.max(b) }
                })
                .collect()
        });
        Some(TargetView {
            service: self.service.to_string(),
            signal: signal.name.clone(),
            kind,
            labels: (*prediction.labels).clone(),
            direction: signal.direction,
            history: history.values().map(|(at, value)| forewarn_schema::Sample { at, value }).collect(),
            expected,
            fan,
            limit: history.limit(),
            value: history.value(),
            prediction: prediction.clone(),
        })
    }

    /// The quietest hour of traffic between `from` and `to`, by the learnt profile; `None` where it is
    /// not known or less than an hour is left.
    pub fn quietest_hour(&self, from: Timestamp, to: Timestamp) -> Option<forewarn_schema::TimeRange> {
        const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
        let expected = self.bundle.as_ref()?.baselines.load.as_ref()?;
        let mut best: Option<(f64, Timestamp)> = None;
        let mut start = from;
        while start + HOUR <= to {
            // The middle of each quarter: by their beginnings, the hour would be looked for half a quarter late.
            let load: f64 = (0..4).map(|q| expected.level(start + HOUR / 8 + HOUR * q / 4)).sum();
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, start));
            }
            start = start + HOUR / 4;
        }
        best.map(|(_, start)| forewarn_schema::TimeRange { start, end: start + HOUR })
    }
}

/// Replicas of one workload share their code, so that what grows in one grows alike in the others: each is weighed by what
/// its siblings show. `growths` are those of `targets`, sorted.
fn agree(targets: &[&TargetKey], growths: &mut [Option<Growth>]) {
    let workload = |key: &TargetKey| (Arc::clone(&key.0), key.1.without(&["pod"]));
    let mut siblings: BTreeMap<(Arc<str>, LabelSet), Vec<usize>> = BTreeMap::new();
    for (i, key) in targets.iter().enumerate() {
        siblings.entry(workload(key)).or_default().push(i);
    }
    for members in siblings.values().filter(|members| members.len() > 1) {
        let shown: Vec<(usize, [f64; CLASSES])> =
            members.iter().filter_map(|i| Some((*i, growths[*i].as_ref()?.evidence()?))).collect();
        for (i, _) in &shown {
            let of_others = |class: usize| {
                let logs = shown.iter().filter(|(j, _)| j != i).map(|(_, evidence)| SIBLINGS * evidence[class].ln());
                logs.sum::<f64>()
            };
            let logs: [f64; CLASSES] = std::array::from_fn(of_others);
            let most = logs.iter().copied().fold(f64::MIN, f64::max);
            if let Some(growth) = &mut growths[*i] {
                growth.weigh(&logs.map(|log| (log - most).exp()));
            }
        }
    }
}

/// A certificate's end is known: only the clocks can differ.
fn clock(history: &TargetHistory) -> Option<TimeToBreach> {
    const FURTHEST_CERTIFICATE: f64 = 30.0 * 86_400.0;
    let left = (history.value() - history.limit()).max(0.0);
    if left > FURTHEST_CERTIFICATE {
        return None;
    }
    TimeToBreach::new((left - 60.0).max(0.0), left, left + 60.0).ok()
}

fn summary(signal: &Signal, history: &TargetHistory, ttb: Option<TimeToBreach>, forecast: &str) -> String {
    let side = match signal.direction {
        Direction::Above => "limit",
        Direction::Below => "floor",
    };
    match ttb {
        None => format!("{} is not on its way to its {side}", signal.name),
        Some(ttb) if ttb.p50() == 0.0 => format!("{} is past its {side} now", signal.name),
        Some(ttb) => {
            let rough = |s: f64| {
                let minutes = (s / 60.0).round().max(1.0) as u64;
                format_duration(std::time::Duration::from_secs(
                    60 * if minutes > 180 { minutes / 10 * 10 } else { minutes },
                ))
            };
            let done = 100.0 * history.level();
            let why = match forecast {
                "clock" => String::new(),
                "lstm" => format!("; at {done:.0} % of the way, by the learnt forecast"),
                BY_RACE => format!("; at {done:.0} % of the way already, and rising ever since its start"),
                "trend" => format!("; at {done:.0} % of the way and rising steadily above what is normal at this time"),
                _ => format!("; at {done:.0} % of the way, and the usual daily rise is still to come"),
            };
            format!(
                "{} reaches its {side} in about {} ({} to {}){why}",
                signal.name,
                rough(ttb.p50()),
                rough(ttb.p10()),
                rough(ttb.p90())
            )
        }
    }
}
