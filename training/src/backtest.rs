//! A backtest is a replay of the server: the same engine, fed step by step, asked at every origin.
//!
//! At each origin the engine has been given nothing later than that origin, which is why a backtest
//! may be handed the whole history. Not here: judging what comes out (`evaluate`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::ServiceStep;
use forewarn_models::{Engine, EngineOutput};
use forewarn_schema::{FanPoint, LabelSet, Prediction, RemediationRequest, Step, TimeRange, Timestamp};

/// A rolling-origin backtest: origins at `range.start`, then every `every`, each using all before it
/// (Tashman 2000).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollingOriginBacktest {
    /// The origins; the engine is warmed with what lies before.
    pub range: TimeRange,
    /// Between two origins; rounded up to a whole number of steps, at least one.
    pub every: Duration,
    /// Of the histories.
    pub step: Step,
}

/// What a backtest did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BacktestSummary {
    /// Steps that only warmed the engine.
    pub warm_steps: u64,
    /// Steps inside the range.
    pub steps: u64,
    /// Origins at which the engine was asked.
    pub origins: u64,
    /// Predictions made.
    pub predictions: u64,
    /// Requests emitted, in order.
    pub requests: Vec<RemediationRequest>,
    /// What stood behind each of them, in the same order.
    pub foremost: Vec<Foremost>,
}

/// Of the targets that a request is about, the one that was nearest to its breach when it went out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foremost {
    /// Its labels; those of the request where no such target can be drawn.
    pub labels: LabelSet,
    /// Where it was thought to go, in the signal's unit; empty where the clock says it all.
    pub fan: Vec<FanPoint>,
}

impl RollingOriginBacktest {
    /// Replays `histories` (per service, each sorted by time) through `engine`. `sink` gets the
    /// predictions of each origin, sorted by service, signal and labels.
    ///
    /// Earlier data as far back as the engine remembers warms it. A service without a step at some
    /// time is a gap, as it would be live. An empty range or no histories ask nothing.
    pub fn run(
        &self,
        histories: &BTreeMap<Arc<str>, Vec<ServiceStep>>,
        engine: &mut Engine,
        sink: &mut dyn FnMut(&Prediction),
    ) -> BacktestSummary {
        let mut replay = self.begin();
        replay.feed(histories, engine, sink);
        replay.finish()
    }

    /// The same for a history that comes in pieces, one after the other in time.
    pub fn begin(&self) -> Replaying {
        let start = self.range.start.align_up(self.step);
        Replaying { backtest: *self, at: None, next_origin: start, summary: BacktestSummary::default() }
    }

    fn millis_between_origins(&self) -> Duration {
        let step = self.step.duration();
        let steps = self.every.as_millis().div_ceil(step.as_millis()).max(1);
        step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
    }
}

/// A backtest under way: it has been fed the history up to some time.
#[derive(Clone, Debug)]
pub struct Replaying {
    backtest: RollingOriginBacktest,
    /// The next step; `None` before there was any.
    at: Option<Timestamp>,
    next_origin: Timestamp,
    summary: BacktestSummary,
}

impl Replaying {
    /// Replays the next piece, all of which lies after those before; see [`RollingOriginBacktest::run`]. The engine must
    /// be the same each time. Where pieces are cut changes nothing that is said.
    pub fn feed(
        &mut self,
        histories: &BTreeMap<Arc<str>, Vec<ServiceStep>>,
        engine: &mut Engine,
        sink: &mut dyn FnMut(&Prediction),
    ) {
        let (mut requests, mut leading) = (Vec::new(), Vec::new());
        self.feed_each(histories.values().map(Vec::as_slice).collect(), engine, &mut |engine, _, output| {
            output.predictions.iter().for_each(&mut *sink);
            leading.extend(output.requests.iter().map(|request| foremost(engine, output, request)));
            requests.append(&mut output.requests);
        });
        self.summary.foremost.append(&mut leading);
        self.summary.requests.append(&mut requests);
    }

    /// Goes on to where the history of the whole fleet ends, at the step `last`, with nothing more seen: for a part of the fleet, whose
    /// own history may end before. What is said until then is what the whole says of that part.
    pub fn rest(&mut self, last: Timestamp, engine: &mut Engine, sink: &mut dyn FnMut(&Prediction)) {
        let Some(at) = self.at else { return };
        let (mut requests, mut leading) = (Vec::new(), Vec::new());
        let end = self.backtest.range.end.min(last + self.backtest.step.duration());
        self.advance(&mut [], at, end, engine, &mut |engine, _, output| {
            output.predictions.iter().for_each(&mut *sink);
            leading.extend(output.requests.iter().map(|request| foremost(engine, output, request)));
            requests.append(&mut output.requests);
        });
        self.summary.foremost.append(&mut leading);
        self.summary.requests.append(&mut requests);
    }

    /// The same with the engine itself at each origin, and what it said there: for those who want to know more than its
    /// predictions. The summary then has no requests.
    pub(crate) fn feed_each(
        &mut self,
        mut histories: Vec<&[ServiceStep]>,
        engine: &mut Engine,
        at_origin: &mut dyn FnMut(&Engine, Timestamp, &mut EngineOutput),
    ) {
        let first = histories.iter().filter_map(|steps| steps.first()).map(|s| s.at).min();
        let last = histories.iter().filter_map(|steps| steps.last()).map(|s| s.at).max();
        let (Some(first), Some(last)) = (first, last) else { return };
        let RollingOriginBacktest { range, step, .. } = self.backtest;
        let start = range.start.align_up(step);
        let warm = || (start - engine.memory_horizon()).align_up(step).max(first.align_up(step)).min(start);
        let at = self.at.unwrap_or_else(warm);
        // What comes later may end a gap; until it comes, nothing is known past the last step.
        let end = range.end.min(last + step.duration());
        for steps in &mut histories {
            *steps = &steps[steps.partition_point(|s| s.at < at)..];
        }
        self.advance(&mut histories, at, end, engine, at_origin);
    }

    /// Step by step from `at` to `end`.
    fn advance(
        &mut self,
        histories: &mut [&[ServiceStep]],
        mut at: Timestamp,
        end: Timestamp,
        engine: &mut Engine,
        at_origin: &mut dyn FnMut(&Engine, Timestamp, &mut EngineOutput),
    ) {
        let RollingOriginBacktest { range, step, .. } = self.backtest;
        let start = range.start.align_up(step);
        let mut here: Vec<ServiceStep> = Vec::new();
        while at < end {
            here.clear();
            take_until(histories, at, &mut here);
            engine.observe(at, &here);
            if at < start {
                self.summary.warm_steps += 1;
            } else {
                self.summary.steps += 1;
            }
            if at == self.next_origin {
                self.ask(at, engine, at_origin);
            }
            at = at + step.duration();
        }
        self.at = Some(at);
    }

    fn ask(
        &mut self,
        at: Timestamp,
        engine: &mut Engine,
        at_origin: &mut dyn FnMut(&Engine, Timestamp, &mut EngineOutput),
    ) {
        let mut output = engine.predict(at);
        output.predictions.sort_by(|a, b| (&a.service, &a.signal, &a.labels).cmp(&(&b.service, &b.signal, &b.labels)));
        self.summary.origins += 1;
        self.summary.predictions += output.predictions.len() as u64;
        at_origin(engine, at, &mut output);
        self.next_origin = at + self.backtest.millis_between_origins();
    }

    /// What was done.
    pub fn finish(self) -> BacktestSummary {
        self.summary
    }
}

fn foremost(engine: &Engine, output: &EngineOutput, request: &RemediationRequest) -> Foremost {
    let of_it = |p: &&Prediction| {
        p.service == request.service
            && p.signal == request.signal
            && forewarn_models::settle::agree(&p.labels, &request.labels)
    };
    let mut targets: Vec<&Prediction> = output.predictions.iter().filter(of_it).collect();
    targets.sort_by(|a, b| soonest(a).total_cmp(&soonest(b)));
    let view = targets.into_iter().find_map(|p| engine.view(p));
    view.map_or_else(
        || Foremost { labels: request.labels.clone(), fan: Vec::new() },
        |view| Foremost { labels: view.labels, fan: view.fan },
    )
}

fn soonest(prediction: &Prediction) -> f64 {
    prediction.time_to_breach_seconds.map_or(f64::INFINITY, |t| t.p50())
}

/// Replays `histories` through `engine` over `range`; see [`RollingOriginBacktest::run`].
pub fn backtest(
    histories: &BTreeMap<Arc<str>, Vec<ServiceStep>>,
    mut engine: Engine,
    range: TimeRange,
    every: Duration,
    step: Step,
    sink: &mut dyn FnMut(&Prediction),
) -> BacktestSummary {
    RollingOriginBacktest { range, every, step }.run(histories, &mut engine, sink)
}

/// Moves every service's step at `at` into `here`, in the order of the services. A step off the
/// grid (an unaligned one) goes with the next aligned time.
fn take_until(cursors: &mut [&[ServiceStep]], at: Timestamp, here: &mut Vec<ServiceStep>) {
    for cursor in cursors {
        while let Some((next, rest)) = cursor.split_first() {
            if next.at > at {
                break;
            }
            here.push(next.clone());
            *cursor = rest;
        }
    }
}
