//! Reading the dataset back, as one [`ServiceStep`] a service and time: equal to what [`forewarn_features::join`] gives
//! for the same vectors, but by walking each series once instead of joining at every step. Which bytes of a file are
//! read for some of the services only is in `read_parts`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use forewarn_features::observation::target_labels;
use forewarn_features::{Observation, Role, ServiceStep, Signal, SignalLimit, SignalSet};
use forewarn_schema::{LabelSet, METRIC_NAME, TimeRange, Timestamp};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::Day;
use crate::dataset::{Dataset, corrupt};
use crate::error::DatasetError;
use crate::manifest::{DatasetManifest, DayFile, query_digest};
use crate::parquet_file::labels_of;
use crate::plan::service_label;
use crate::table::{DayTable, Point, merge, role_of, role_text};

/// Files that are in memory at a time, besides what was read from them.
const FILES_AT_A_TIME: usize = 4;

/// Per (signal, role): each series' labels and points, sorted by labels.
pub(crate) type History = BTreeMap<(Arc<str>, Role), BTreeMap<LabelSet, Vec<Point>>>;

impl Dataset {
    /// What the dataset holds of `signals` in `range`, per service, ordered by time. Rows that came from another
    /// expression than a signal has now are left out; so is a step at which a service has no value at all.
    ///
    /// Where several sources have the same series at the same time, the first source by name wins.
    ///
    /// Sees the whole range at once, and leaks no future: each step holds what the expressions gave at its time.
    pub async fn read(
        &self,
        signals: &SignalSet,
        range: TimeRange,
    ) -> Result<BTreeMap<Arc<str>, Vec<ServiceStep>>, DatasetError> {
        self.read_some(signals, range, None).await
    }

    /// The same for these services only, without reading the others' rows: of a file, its footer and the parts in which
    /// one of them is. A service that is not there is left out.
    pub async fn read_services(
        &self,
        signals: &SignalSet,
        range: TimeRange,
        services: &BTreeSet<String>,
    ) -> Result<BTreeMap<Arc<str>, Vec<ServiceStep>>, DatasetError> {
        self.read_some(signals, range, Some(services)).await
    }

    async fn read_some(
        &self,
        signals: &SignalSet,
        range: TimeRange,
        services: Option<&BTreeSet<String>>,
    ) -> Result<BTreeMap<Arc<str>, Vec<ServiceStep>>, DatasetError> {
        let mut manifest = self.manifest().await?;
        loop {
            let Some(known) = &manifest else { return Ok(BTreeMap::new()) };
            let error = match self.read_history(known, signals, range, services).await {
                Ok(history) => {
                    let signals = signals.clone();
                    let steps = tokio::task::spawn_blocking(move || assemble(&signals, history)).await;
                    let mut steps = steps.map_err(|e| self.broken_task(&e))?;
                    steps.retain(|service, _| services.is_none_or(|wanted| wanted.contains(&**service)));
                    return Ok(steps);
                }
                Err(error) if error.is_corrupt() => error,
                Err(error) => return Err(error),
            };
            // A pull may have replaced a file since the manifest was read; then there is a newer manifest.
            let newer = self.manifest().await?;
            if newer == manifest {
                return Err(error);
            }
            manifest = newer;
        }
    }

    async fn read_history(
        &self,
        manifest: &DatasetManifest,
        signals: &SignalSet,
        range: TimeRange,
        services: Option<&BTreeSet<String>>,
    ) -> Result<History, DatasetError> {
        let mut history = History::new();
        for days in manifest.files.values() {
            let files: Vec<&DayFile> =
                days.iter().filter(|(day, _)| overlaps(**day, range)).map(|(_, file)| file).collect();
            let mut of_source = OfSource::new(signals);
            let mut tables = stream::iter(files)
                .map(|file| async move { self.load_some(file, signals, services).await.map(|table| (file, table)) })
                .buffered(FILES_AT_A_TIME);
            while let Some((file, table)) = tables.try_next().await? {
                of_source.add(file, table, range).map_err(|reason| corrupt(file, reason))?;
            }
            drop(tables);
            for (query, series) in of_source.history {
                let known = history.entry(query).or_default();
                for (labels, points) in series {
                    let earlier = known.entry(labels).or_default();
                    // Sources go by name, so what is known already wins.
                    *earlier = merge(std::mem::take(earlier), points);
                }
            }
        }
        Ok(history)
    }

    fn broken_task(&self, error: &tokio::task::JoinError) -> DatasetError {
        DatasetError::Failed {
            action: "assemble",
            path: "dataset".to_owned(),
            store: self.store.url().to_owned(),
            reason: error.to_string(),
        }
    }
}

fn overlaps(day: Day, range: TimeRange) -> bool {
    day.range().intersect(&range).is_some()
}

/// One source's history, day after day.
struct OfSource {
    /// (Signal, role) → the digest of its PromQL now, and the label of its service.
    queries: BTreeMap<(String, Role), (String, String)>,
    /// Each labels text is parsed once.
    labels: HashMap<Arc<str>, LabelSet>,
    history: History,
}

impl OfSource {
    fn new(signals: &SignalSet) -> Self {
        let service = |signal: &str| service_label(signals, signal).to_owned();
        let queries = signals.queries().into_iter().map(|q| {
            let is_now = (query_digest(&q), service(&q.signal));
            ((q.signal, q.role), is_now)
        });
        Self { queries: queries.collect(), labels: HashMap::new(), history: History::new() }
    }

    /// Adds a later day than those before.
    fn add(&mut self, file: &DayFile, table: DayTable, range: TimeRange) -> Result<(), String> {
        let answers = |query: &(String, Role), now: &(String, String)| {
            file.query(&query.0, query.1).is_some_and(|known| known.answers(&now.0, &now.1))
        };
        let wanted: BTreeSet<(Arc<str>, &str)> = (self.queries.iter())
            .filter(|(query, now)| answers(query, now))
            .map(|((signal, role), _)| (signal.as_str().into(), role_text(*role)))
            .collect();
        for (key, points) in table.series {
            let Some(role) = role_of(key.role).filter(|_| wanted.contains(&(key.signal.clone(), key.role))) else {
                continue;
            };
            let from = points.partition_point(|p| p.0 < range.start.millis());
            let to = points.partition_point(|p| p.0 < range.end.millis());
            let Some(points) = points.get(from..to).filter(|p| !p.is_empty()) else { continue };
            let labels = match self.labels.get(&key.labels) {
                Some(labels) => labels,
                None => self.labels.entry(Arc::clone(&key.labels)).or_insert(labels_of(&key.labels)?),
            };
            let known = self.history.entry((key.signal, role)).or_default();
            match known.get_mut(labels) {
                Some(earlier) if earlier.last().zip(points.first()).is_some_and(|(a, b)| a.0 < b.0) => {
                    earlier.extend_from_slice(points);
                }
                Some(earlier) => *earlier = merge(std::mem::take(earlier), points.to_vec()),
                None => {
                    known.insert(labels.clone(), points.to_vec());
                }
            }
        }
        Ok(())
    }
}

/// One target of one service: its values without NaN, and its limit.
struct Target {
    signal: Arc<str>,
    labels: Arc<LabelSet>,
    values: Vec<Point>,
    limit: Limit,
}

enum Limit {
    None,
    Always(f64),
    /// NaN where it is not a number.
    Points(Vec<Point>),
}

/// The steps of every service: what [`forewarn_features::join`] gives at each time, in the order of time.
pub(crate) fn assemble(signals: &SignalSet, mut history: History) -> BTreeMap<Arc<str>, Vec<ServiceStep>> {
    let mut services: BTreeMap<String, Vec<Target>> = BTreeMap::new();
    for signal in signals.iter() {
        let name: Arc<str> = signal.name.as_str().into();
        let values = history.remove(&(Arc::clone(&name), Role::Value)).unwrap_or_default();
        let limits = history.remove(&(Arc::clone(&name), Role::Limit)).unwrap_or_default();
        for (service, target) in targets(signal, &name, values, limits) {
            services.entry(service).or_default().push(target);
        }
    }
    let mut histories = BTreeMap::new();
    for (service, targets) in services {
        let service: Arc<str> = service.into();
        let steps = steps_of(&service, targets);
        if !steps.is_empty() {
            histories.insert(service, steps);
        }
    }
    histories
}

/// The targets of one signal with their service, sorted by service, then labels.
fn targets(
    signal: &Signal,
    name: &Arc<str>,
    values: BTreeMap<LabelSet, Vec<Point>>,
    limits: BTreeMap<LabelSet, Vec<Point>>,
) -> Vec<(String, Target)> {
    // Series that differ only in `__name__` are one: of limits the last counts, of values the first that is a number.
    let mut limits_by_labels: BTreeMap<LabelSet, Vec<Point>> = BTreeMap::new();
    for (labels, points) in limits {
        let known = limits_by_labels.entry(labels.without(&[METRIC_NAME])).or_default();
        *known = merge(points, std::mem::take(known));
    }
    let mut found: BTreeMap<(String, LabelSet), Target> = BTreeMap::new();
    for (labels, mut points) in values {
        points.retain(|(_, value)| value.is_finite());
        let labels = labels.without(&[METRIC_NAME]);
        let Some(service) = labels.get(&signal.service) else { continue };
        let key = (service.to_owned(), target_labels(signal, &labels));
        match found.get_mut(&key) {
            Some(target) => target.values = merge(std::mem::take(&mut target.values), points),
            None => {
                let target_labels = Arc::new(key.1.clone());
                let limit = limit_of(signal, &labels, &limits_by_labels);
                let target = Target { signal: Arc::clone(name), labels: target_labels, values: points, limit };
                found.insert(key, target);
            }
        }
    }
    found.into_iter().map(|((service, _), target)| (service, target)).collect()
}

/// The limit of the value with these labels: its own, else its service's, else the one for all, at each time anew.
fn limit_of(signal: &Signal, labels: &LabelSet, limits: &BTreeMap<LabelSet, Vec<Point>>) -> Limit {
    match &signal.limit {
        None => Limit::None,
        Some(SignalLimit::Number(limit)) => Limit::Always(*limit),
        Some(SignalLimit::Expression(_)) => {
            let keys = [labels.clone(), labels.only(&[signal.service.as_str()]), LabelSet::new()];
            let points = keys.iter().filter_map(|key| limits.get(key));
            Limit::Points(points.fold(Vec::new(), |nearer, wider| merge(nearer, wider.clone())))
        }
    }
}

/// One service's steps from its targets, which are sorted by signal and labels.
fn steps_of(service: &Arc<str>, targets: Vec<Target>) -> Vec<ServiceStep> {
    let mut times: Vec<i64> = targets.iter().flat_map(|t| t.values.iter().map(|p| p.0)).collect();
    times.sort_unstable();
    // How many observations each time has, so that no step takes more memory than it needs.
    let mut steps: Vec<ServiceStep> = times
        .chunk_by(|a, b| a == b)
        .map(|same| ServiceStep {
            service: Arc::clone(service),
            at: Timestamp::from_millis(same[0]),
            observations: Vec::with_capacity(same.len()),
        })
        .collect();
    drop(times);
    for target in targets {
        let mut at_step = steps.iter_mut();
        let mut limits = match &target.limit {
            Limit::Points(points) => points.as_slice(),
            _ => &[],
        };
        for (at, value) in &target.values {
            let limit = match target.limit {
                Limit::None => None,
                Limit::Always(limit) => Some(limit),
                Limit::Points(_) => {
                    while let [first, rest @ ..] = limits
                        && first.0 < *at
                    {
                        limits = rest;
                    }
                    limits.first().filter(|p| p.0 == *at).map(|p| p.1).filter(|limit| limit.is_finite())
                }
            };
            let (signal, labels) = (Arc::clone(&target.signal), Arc::clone(&target.labels));
            // Every value's time is among the steps', and both go up.
            if let Some(step) = at_step.find(|step| step.at.millis() == *at) {
                step.observations.push(Observation { signal, labels, value: *value, limit });
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_features::{VectorSample, join};
    use forewarn_schema::{BreachKind, Direction, SignalKind};
    use proptest::prelude::*;

    fn signal(name: &str, service: &str, limit: Option<SignalLimit>) -> Signal {
        let kind = if limit.is_some() { SignalKind::Breach(BreachKind::Custom) } else { SignalKind::Context };
        let (name, service, value) = (name.to_owned(), service.to_owned(), name.to_owned());
        Signal { name, kind, service, value, limit, direction: Direction::Above, playbook: None }
    }

    fn signals() -> SignalSet {
        let expression = || Some(SignalLimit::Expression("limit".to_owned()));
        let custom = vec![
            signal("c", "service", None),
            signal("a", "service", expression()),
            signal("b", "node", Some(SignalLimit::Number(7.0))),
            signal("d", "node", expression()),
        ];
        SignalSet::new(&[], custom).unwrap()
    }

    /// Few names and values, so that label sets meet.
    fn label_set() -> impl Strategy<Value = LabelSet> {
        let one = |name: &'static str| (Just(name), prop_oneof![Just(""), Just("x"), Just("y")]);
        (one(METRIC_NAME), one("service"), one("node"), one("pod"))
            .prop_map(|(a, b, c, d)| LabelSet::from([a, b, c, d]))
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![3 => (0_i32..9).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)]
    }

    type Vectors = BTreeMap<(String, Role), BTreeMap<LabelSet, f64>>;

    fn vectors() -> impl Strategy<Value = Vec<Vectors>> {
        let query = (
            prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")],
            prop_oneof![Just(Role::Value), Just(Role::Limit)],
        );
        let vector = proptest::collection::btree_map(label_set(), value(), 0..8);
        let at_one_time = proptest::collection::btree_map(query.prop_map(|(s, r)| (s.to_owned(), r)), vector, 0..8);
        proptest::collection::vec(at_one_time, 0..6)
    }

    proptest! {
        #[test]
        fn what_is_read_equals_the_join_of_the_same_vectors(vectors in vectors()) {
            let signals = signals();
            let (mut history, mut expected) = (History::new(), BTreeMap::<Arc<str>, Vec<ServiceStep>>::new());
            for (k, at_one_time) in vectors.into_iter().enumerate() {
                let at = Timestamp::from_seconds(60 * k as i64);
                for ((signal, role), vector) in &at_one_time {
                    let series = history.entry((signal.as_str().into(), *role)).or_default();
                    for (labels, value) in vector {
                        series.entry(labels.clone()).or_default().push((at.millis(), *value));
                    }
                }
                let results: BTreeMap<(String, Role), Vec<VectorSample>> =
                    at_one_time.into_iter().map(|(query, vector)| (query, vector.into_iter().collect())).collect();
                for step in join(&signals, at, &results).0 {
                    expected.entry(Arc::clone(&step.service)).or_default().push(step);
                }
            }
            prop_assert_eq!(assemble(&signals, history), expected);
        }
    }
}
