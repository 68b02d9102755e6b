//! Live signals: samples in as they arrive, one [`ServiceStep`] a service out at each step.
//!
//! The expressions and the join are those of history, so a step evaluated here equals the step that
//! is later read back from the dataset. Keeps no more of the past than the widest expression needs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use forewarn_schema::{HistogramSample, LabelSet, METRIC_NAME, Sample, Step, Timestamp};

use crate::known::{Known, KnownSeries};
use crate::observation::{ServiceStep, join};
use crate::promql::{EvalError, Evaluator, Expression, KeptSeries, PushError, SampleStore, Selector, SeriesPlace};
use crate::signal::{Role, SignalError, SignalSet};

/// How many steps longer than the widest window samples are kept, for what is evaluated or sent late.
const SPARE_STEPS: u32 = 5;

/// A set of signals with its expressions parsed, and the samples that they need.
#[derive(Debug)]
pub struct LiveSignals {
    signals: Arc<SignalSet>,
    queries: Vec<Query>,
    wanted: HashMap<String, Vec<Selector>>,
    /// Selectors without one metric name: they are tested on every series.
    wanted_by_labels: Vec<Selector>,
    store: SampleStore,
    known: KnownSeries,
    keeps: Keeps,
    latest: Option<Timestamp>,
    failures: Vec<QueryFailure>,
    without_service: usize,
}

#[derive(Debug)]
struct Query {
    signal: String,
    role: Role,
    expression: Expression,
    evaluator: Evaluator,
}

/// How far back samples are kept: one long window must not keep the samples of all.
#[derive(Debug, Default)]
struct Keeps {
    by_metric: HashMap<String, Duration>,
    /// By selectors without one metric name, of every metric.
    of_all: Duration,
    longest: Duration,
}

impl Keeps {
    fn add(&mut self, metric: Option<&str>, keep: Duration) {
        let known = match metric {
            Some(metric) => self.by_metric.entry(metric.to_owned()).or_default(),
            None => &mut self.of_all,
        };
        *known = keep.max(*known);
        self.longest = keep.max(self.longest);
    }

    fn of(&self, metric: &str) -> Duration {
        self.by_metric.get(metric).map_or(self.of_all, |keep| self.of_all.max(*keep))
    }
}

/// An expression that gave nothing at the last step, because the data did not fit it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryFailure {
    /// The signal's name.
    pub signal: String,
    /// Which of its expressions.
    pub role: Role,
    /// Why.
    pub error: EvalError,
}

impl LiveSignals {
    /// Parses every expression of `signals`; at most `max_series` series are kept in memory.
    pub fn new(signals: Arc<SignalSet>, step: Step, max_series: usize) -> Result<Self, SignalError> {
        let mut queries = Vec::new();
        let mut wanted: HashMap<String, Vec<Selector>> = HashMap::new();
        let mut wanted_by_labels = Vec::new();
        let mut keeps = Keeps::default();
        for query in signals.queries() {
            let expression = Expression::parse(&query.promql).map_err(|e| SignalError::Expression {
                signal: query.signal.clone(),
                role: query.role,
                reason: e.to_string(),
            })?;
            for (selector, reach) in expression.selectors_with_reach() {
                keeps.add(selector.metric_name(), reach + step.duration() * SPARE_STEPS);
                match selector.metric_name() {
                    Some(name) => wanted.entry(name.to_owned()).or_default().push(selector.clone()),
                    None => wanted_by_labels.push(selector.clone()),
                }
            }
            let evaluator = Evaluator::new(&expression);
            queries.push(Query { signal: query.signal, role: query.role, expression, evaluator });
        }
        Ok(Self {
            signals,
            queries,
            wanted,
            wanted_by_labels,
            store: SampleStore::new(max_series),
            known: KnownSeries::default(),
            keeps,
            latest: None,
            failures: Vec::new(),
            without_service: 0,
        })
    }

    /// Whether any expression reads a series with these labels; cheap where none reads its metric.
    pub fn wants(&self, labels: &LabelSet) -> bool {
        let of_name = self.wanted.get(labels.get(METRIC_NAME).unwrap_or(""));
        let mut candidates = of_name.into_iter().flatten().chain(&self.wanted_by_labels);
        candidates.any(|selector| selector.matches(labels))
    }

    /// Takes one sample of a series that [`Self::wants`] wants; it does not ask again. Late samples are
    /// put where they belong, as long as what they belong to is still kept.
    pub fn push(&mut self, labels: &LabelSet, sample: Sample) -> Result<(), PushError> {
        self.store.push(labels, sample)?;
        self.latest = self.latest.max(Some(sample.at));
        Ok(())
    }

    /// What is known of the series with this fingerprint of its labels (128 bits, uniform, by one and the same secret seed).
    pub fn known(&self, fingerprint: u128) -> Option<Known> {
        self.known.get(fingerprint)
    }

    /// Remembers what the fingerprint stands for: a series that was pushed, or one that nobody wants.
    pub fn remember(&mut self, fingerprint: u128, labels: &LabelSet) {
        self.known.remember(fingerprint, self.store.place(labels).map_or(Known::Unwanted, Known::At));
    }

    /// Takes one sample of a series that [`Self::known`] knows the place of, as [`Self::push`] does.
    pub fn push_at(&mut self, place: SeriesPlace, sample: Sample) -> Result<(), PushError> {
        self.store.push_at(place, sample)?;
        self.latest = self.latest.max(Some(sample.at));
        Ok(())
    }

    /// The labels of the series at a place.
    pub fn labels_at(&self, place: SeriesPlace) -> &LabelSet {
        self.store.labels_at(place)
    }

    /// Takes one native histogram, as [`Self::push`] takes a sample.
    pub fn push_histogram(&mut self, labels: &LabelSet, sample: &HistogramSample) -> Result<(), PushError> {
        self.store.push_histogram(labels, sample)?;
        self.latest = self.latest.max(Some(sample.at));
        Ok(())
    }

    /// What is to be kept over a restart of the series at these places, counted from the first; empty past the last.
    pub fn kept(&self, places: std::ops::Range<usize>) -> Vec<KeptSeries> {
        self.store.kept(places)
    }

    /// The time before which samples were forgotten; none is taken back from before it.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.store.oldest()
    }

    /// Goes on from what was kept, where nothing came yet; returns how many series were taken back. Left out is what no expression
    /// reads any more, what does not hang together, and what there is no room for.
    pub fn bring_back(&mut self, oldest: Option<Timestamp>, series: impl IntoIterator<Item = KeptSeries>) -> usize {
        let mut count = 0;
        for series in series {
            if self.wants(series.labels()) {
                let newest = series.newest();
                if self.store.bring_back(series) {
                    self.latest = self.latest.max(newest);
                    count += 1;
                }
            }
        }
        if let Some(oldest) = oldest {
            self.store.prune(oldest);
        }
        count
    }

    /// Evaluates every expression at `at` and joins the results, one step a service, sorted by service;
    /// then forgets what no later step needs. Times must not go back further than a few steps.
    ///
    /// An expression that the data does not fit gives nothing and is in [`Self::failures`] until the
    /// next step; the others are not held up by it. An error is returned only where all fail.
    pub fn step(&mut self, at: Timestamp) -> Result<Vec<ServiceStep>, EvalError> {
        let mut results = BTreeMap::new();
        self.failures.clear();
        self.store.sort();
        let oldest_new = self.store.take_oldest_new();
        for query in &mut self.queries {
            if let Some(oldest_new) = oldest_new {
                query.evaluator.sample_came(oldest_new);
            }
            match query.evaluator.eval(&query.expression, &self.store, at) {
                Ok(vector) => {
                    results.insert((query.signal.clone(), query.role), vector);
                }
                Err(error) => {
                    let (signal, role) = (query.signal.clone(), query.role);
                    self.failures.push(QueryFailure { signal, role, error });
                }
            }
        }
        let moves = self.store.moves();
        self.store.prune_metrics(at - self.keeps.longest, |metric| at - self.keeps.of(metric));
        if self.store.moves() != moves {
            self.known.forget_places();
        }
        if let (true, Some(failure)) = (results.is_empty(), self.failures.first()) {
            return Err(failure.error.clone());
        }
        let (steps, without_service) = join(&self.signals, at, &results);
        self.without_service = without_service;
        Ok(steps)
    }

    /// The expressions that gave nothing at the last step because the data did not fit them.
    pub fn failures(&self) -> &[QueryFailure] {
        &self.failures
    }

    /// How many values of the last step had no service label and were left out.
    pub fn without_service(&self) -> usize {
        self.without_service
    }

    /// How far back samples are kept of the metric that is looked back on furthest.
    pub fn keeps(&self) -> Duration {
        self.keeps.longest
    }

    /// How far back samples of a metric are kept.
    pub fn keeps_of(&self, metric: &str) -> Duration {
        self.keeps.of(metric)
    }

    /// The newest sample's time so far.
    pub fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// How many series it holds.
    pub fn series_count(&self) -> usize {
        self.store.series_count()
    }

    /// Whether samples of other series than those that it holds are refused from now on.
    pub fn set_full(&mut self, full: bool) {
        self.store.set_full(full);
    }

    /// How many samples it holds.
    pub fn sample_count(&self) -> usize {
        self.store.sample_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::NAMES;
    use crate::signal::Signal;
    use forewarn_schema::STALE_NAN_BITS;

    fn live(presets: &[&str], custom: Vec<Signal>) -> LiveSignals {
        let presets: Vec<String> = presets.iter().map(|n| (*n).to_owned()).collect();
        let signals = SignalSet::new(&presets, custom).unwrap();
        LiveSignals::new(Arc::new(signals), Step::MINUTE, 1000).unwrap()
    }

    fn memory(pod: &str) -> LabelSet {
        let name = "container_memory_working_set_bytes";
        LabelSet::from([(METRIC_NAME, name), ("service", "cart"), ("pod", pod), ("container", "app")])
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_seconds(minute * 60)
    }

    #[test]
    fn only_series_that_an_expression_reads_are_wanted() {
        let live = live(&NAMES, vec![]);
        assert!(live.wants(&memory("cart-1")));
        assert!(!live.wants(&memory("cart-1").without(&["container"])));
        let cpu = LabelSet::from([(METRIC_NAME, "kube_pod_container_resource_limits"), ("resource", "cpu")]);
        assert!(!live.wants(&cpu));
        assert!(!live.wants(&LabelSet::from([(METRIC_NAME, "go_goroutines")])));
    }

    #[test]
    fn a_step_sees_live_pods_and_not_those_that_ended_or_fell_silent() {
        let mut live = live(&["kubernetes"], vec![]);
        for minute in 0..10 {
            live.push(&memory("cart-1"), Sample { at: at(minute), value: minute as f64 }).unwrap();
        }
        live.push(&memory("cart-2"), Sample { at: at(9), value: f64::from_bits(STALE_NAN_BITS) }).unwrap();
        live.push(&memory("cart-3"), Sample { at: at(3), value: 7.0 }).unwrap();
        let steps = live.step(at(9)).unwrap();
        let seen: Vec<_> = steps[0].observations.iter().map(|o| (&*o.signal, o.labels.to_string(), o.value)).collect();
        assert_eq!(seen, [("memory", r#"{pod="cart-1"}"#.to_owned(), 9.0), ("replicas", "{}".to_owned(), 1.0)]);
    }

    #[test]
    fn a_late_sample_counts_and_memory_stays_bounded() {
        let mut live = live(&["kubernetes"], vec![]);
        for minute in 0..100 {
            live.push(&memory("cart-1"), Sample { at: at(minute), value: 1.0 }).unwrap();
            live.step(at(minute)).unwrap();
        }
        assert_eq!(live.sample_count(), 11, "a 5-minute look-back and 5 spare steps, both ends");
        live.push(&memory("cart-2"), Sample { at: at(95), value: 2.0 }).unwrap();
        assert!(matches!(
            live.push(&memory("cart-2"), Sample { at: at(80), value: 2.0 }),
            Err(PushError::OutOfOrder { .. })
        ));
        assert_eq!(live.step(at(99)).unwrap()[0].observations.len(), 3);
        assert_eq!(live.latest(), Some(at(99)));
    }

    #[test]
    fn a_late_sample_reaches_into_a_subquery_that_was_evaluated_already() {
        let text = r#"{"name": "peak", "kind": "context", "value": "max_over_time(sum by (service) (container_memory_working_set_bytes)[10m:1m])"}"#;
        let mut live = live(&[], vec![serde_json::from_str(text).unwrap()]);
        let mut peak = |samples: &[(i64, f64)], minute| {
            for (minute, value) in samples {
                live.push(&memory("cart-1"), Sample { at: at(*minute), value: *value }).unwrap();
            }
            live.step(at(minute)).unwrap()[0].observations[0].value
        };
        assert_eq!(peak(&[(1, 1.0), (2, 2.0), (4, 3.0)], 5), 3.0);
        assert_eq!(peak(&[(3, 9.0)], 6), 9.0);
        assert_eq!(peak(&[], 14), 3.0);
    }

    #[test]
    fn one_expression_that_fails_does_not_hold_up_the_others() {
        let text = r#"{"name": "ambiguous", "kind": "context", "value": "container_memory_working_set_bytes + on(service) container_memory_working_set_bytes"}"#;
        let mut live = live(&["kubernetes"], vec![serde_json::from_str(text).unwrap()]);
        for pod in ["cart-1", "cart-2"] {
            live.push(&memory(pod), Sample { at: at(1), value: 1.0 }).unwrap();
        }
        assert_eq!(live.step(at(1)).unwrap()[0].observations.len(), 3);
        assert_eq!(live.failures()[0].signal, "ambiguous");
    }
}
