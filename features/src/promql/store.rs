//! Raw samples in memory, as little of them as the expressions need: series by metric name, each
//! sorted by time. Not a database: nothing is written down, and what is pruned is gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Timestamp};

use super::selector::Selector;

/// A week of samples every 10 s fits; a sender that exceeds it is not sending metrics.
const MAX_SAMPLES_PER_SERIES: usize = 65_536;

/// Samples per series, found by metric name.
#[derive(Clone, Debug)]
pub struct SampleStore {
    metrics: BTreeMap<String, Metric>,
    max_series: usize,
    series_count: usize,
    sample_count: usize,
    /// What is older has been pruned and is not taken back.
    oldest: Option<Timestamp>,
}

/// All series of one metric name.
#[derive(Clone, Debug, Default)]
struct Metric {
    series: Vec<StoredSeries>,
    by_labels: HashMap<Arc<LabelSet>, usize>,
    /// Indices into `series`, sorted by labels: sums are added up in the same order every time.
    order: Vec<usize>,
}

/// One series. Its labels are shared with the vectors that evaluation makes.
#[derive(Clone, Debug)]
pub(super) struct StoredSeries {
    pub(super) labels: Arc<LabelSet>,
    /// Without the metric name, as functions return them.
    pub(super) nameless: Arc<LabelSet>,
    pub(super) samples: Vec<Sample>,
}

/// A sample was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PushError {
    /// Older than what is still kept.
    #[error("a sample must not be older than {oldest}, got {at} (series {series})")]
    OutOfOrder {
        /// The series.
        series: String,
        /// The sample's time.
        at: Timestamp,
        /// The oldest time still kept.
        oldest: Timestamp,
    },
    /// The series has another value at that time. The first one stays.
    #[error("a series has one value at a time, got {got} after {kept} at {at} (series {series})")]
    Duplicate {
        /// The series.
        series: String,
        /// The sample's time.
        at: Timestamp,
        /// The value that stays.
        kept: f64,
        /// The value refused.
        got: f64,
    },
    /// One series more than the store may hold.
    #[error("at most {max} series are kept in memory, got one more (series {series})")]
    TooManySeries {
        /// The series refused.
        series: String,
        /// The cap.
        max: usize,
    },
    /// One sample more than a series may hold.
    #[error("at most {max} samples of a series are kept in memory, got one more (series {series})")]
    TooManySamples {
        /// The series.
        series: String,
        /// The cap.
        max: usize,
    },
}

impl SampleStore {
    /// An empty store that refuses more than `max_series` series.
    pub fn new(max_series: usize) -> Self {
        Self { metrics: BTreeMap::new(), max_series, series_count: 0, sample_count: 0, oldest: None }
    }

    /// Takes one sample, in whatever order they come: a late one is put where it belongs, unless it is
    /// older than what [`Self::prune`] left. The same value at the same time twice is fine. NaN and the
    /// staleness marker are values like any other, compared by their bits.
    pub fn push(&mut self, labels: &LabelSet, sample: Sample) -> Result<(), PushError> {
        if let Some(oldest) = self.oldest.filter(|oldest| sample.at < *oldest) {
            return Err(PushError::OutOfOrder { series: labels.to_string(), at: sample.at, oldest });
        }
        let name = labels.get(METRIC_NAME).unwrap_or("");
        let known = self.metrics.get(name).and_then(|metric| metric.by_labels.get(labels)).copied();
        if known.is_none() && self.series_count >= self.max_series {
            return Err(PushError::TooManySeries { series: labels.to_string(), max: self.max_series });
        }
        if !self.metrics.contains_key(name) {
            self.metrics.insert(name.to_owned(), Metric::default());
        }
        let metric = self.metrics.get_mut(name).expect("inserted above where it was missing");
        let index = match known {
            Some(index) => index,
            None => {
                self.series_count += 1;
                metric.insert(labels)
            }
        };
        if insert_sorted(&mut metric.series[index], sample)? {
            self.sample_count += 1;
        }
        Ok(())
    }

    /// Forgets all samples before `before`, and the series that then have none. Never takes back what an
    /// earlier call forgot.
    pub fn prune(&mut self, before: Timestamp) {
        let before = self.oldest.map_or(before, |oldest| oldest.max(before));
        self.oldest = Some(before);
        self.sample_count = 0;
        self.series_count = 0;
        for metric in self.metrics.values_mut() {
            metric.prune(before);
            self.series_count += metric.series.len();
            self.sample_count += metric.series.iter().map(|s| s.samples.len()).sum::<usize>();
        }
        self.metrics.retain(|_, metric| !metric.series.is_empty());
    }

    /// How many series it holds.
    pub fn series_count(&self) -> usize {
        self.series_count
    }

    /// How many samples it holds.
    pub fn sample_count(&self) -> usize {
        self.sample_count
    }

    /// The series that `selector` selects, sorted by metric name and then labels.
    pub(super) fn select<'s>(&'s self, selector: &'s Selector) -> impl Iterator<Item = &'s StoredSeries> {
        let exact = selector.metric_name().map(|name| self.metrics.get_key_value(name));
        let (one, many) = match exact {
            Some(found) => (found, None),
            None => (None, Some(self.metrics.iter().filter(|(name, _)| selector.matches_name(name)))),
        };
        one.into_iter()
            .chain(many.into_iter().flatten())
            .flat_map(|(_, metric)| metric.order.iter().map(|i| &metric.series[*i]))
            .filter(|series| selector.matches_rest(&series.labels))
    }
}

impl StoredSeries {
    /// The newest sample in `[from, to]`, also where that is a staleness marker.
    pub(super) fn newest(&self, from: i64, to: i64) -> Option<Sample> {
        let end = self.samples.partition_point(|s| s.at.millis() <= to);
        let sample = *self.samples.get(end.checked_sub(1)?)?;
        (sample.at.millis() >= from).then_some(sample)
    }

    /// The samples in `[from, to]`, both ends included.
    pub(super) fn window(&self, from: i64, to: i64) -> &[Sample] {
        let start = self.samples.partition_point(|s| s.at.millis() < from);
        let end = self.samples.partition_point(|s| s.at.millis() <= to);
        &self.samples[start..end.max(start)]
    }
}

impl Metric {
    fn insert(&mut self, labels: &LabelSet) -> usize {
        let labels = Arc::new(labels.clone());
        let nameless = Arc::new(labels.without(&[METRIC_NAME]));
        let index = self.series.len();
        let place = self.order.partition_point(|i| self.series[*i].labels < labels);
        self.order.insert(place, index);
        self.by_labels.insert(Arc::clone(&labels), index);
        self.series.push(StoredSeries { labels, nameless, samples: Vec::new() });
        index
    }

    fn prune(&mut self, before: Timestamp) {
        let mut emptied = false;
        for series in &mut self.series {
            let gone = series.samples.partition_point(|s| s.at < before);
            series.samples.drain(..gone);
            emptied |= series.samples.is_empty();
        }
        if !emptied {
            return;
        }
        self.series.retain(|s| !s.samples.is_empty());
        self.by_labels = self.series.iter().enumerate().map(|(i, s)| (Arc::clone(&s.labels), i)).collect();
        self.order = (0..self.series.len()).collect();
        let series = &self.series;
        self.order.sort_by(|a, b| series[*a].labels.cmp(&series[*b].labels));
    }
}

/// Whether the sample was added; `false` where it was there already.
fn insert_sorted(series: &mut StoredSeries, sample: Sample) -> Result<bool, PushError> {
    let samples = &mut series.samples;
    let place = match samples.last() {
        // Nearly every sample is newer than all before it.
        Some(last) if last.at >= sample.at => samples.partition_point(|s| s.at < sample.at),
        _ => samples.len(),
    };
    if let Some(kept) = samples.get(place).filter(|s| s.at == sample.at) {
        if kept.value.to_bits() == sample.value.to_bits() {
            return Ok(false);
        }
        let series = series.labels.to_string();
        return Err(PushError::Duplicate { series, at: sample.at, kept: kept.value, got: sample.value });
    }
    if samples.len() >= MAX_SAMPLES_PER_SERIES {
        let series = series.labels.to_string();
        return Err(PushError::TooManySamples { series, max: MAX_SAMPLES_PER_SERIES });
    }
    samples.insert(place, sample);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: i64, value: f64) -> Sample {
        Sample { at: Timestamp::from_seconds(seconds), value }
    }

    fn up(pod: &str) -> LabelSet {
        LabelSet::from([(METRIC_NAME, "up"), ("pod", pod)])
    }

    fn times(store: &SampleStore, labels: &LabelSet) -> Vec<i64> {
        let metric = &store.metrics["up"];
        metric.series[metric.by_labels[labels]].samples.iter().map(|s| s.at.millis() / 1000).collect()
    }

    #[test]
    fn a_late_sample_is_put_in_order_and_one_older_than_what_is_kept_is_refused() {
        let mut store = SampleStore::new(10);
        for seconds in [60, 180, 120, 240] {
            store.push(&up("a"), sample(seconds, 1.0)).unwrap();
        }
        assert_eq!(times(&store, &up("a")), [60, 120, 180, 240]);
        store.prune(Timestamp::from_seconds(120));
        assert_eq!(times(&store, &up("a")), [120, 180, 240]);
        assert!(matches!(store.push(&up("a"), sample(119, 1.0)), Err(PushError::OutOfOrder { .. })));
        store.push(&up("a"), sample(130, 1.0)).unwrap();
        assert_eq!(store.sample_count(), 4);
    }

    #[test]
    fn the_same_value_twice_is_fine_and_another_is_refused() {
        let mut store = SampleStore::new(10);
        for value in [1.0, f64::NAN] {
            let at = 60 + value as i64;
            store.push(&up("a"), sample(at, value)).unwrap();
            store.push(&up("a"), sample(at, value)).unwrap();
        }
        let refused = store.push(&up("a"), sample(61, 2.0));
        assert!(matches!(refused, Err(PushError::Duplicate { kept: 1.0, got: 2.0, .. })));
        assert_eq!(store.sample_count(), 2);
    }

    #[test]
    fn series_are_capped_and_pruning_makes_room() {
        let mut store = SampleStore::new(2);
        store.push(&up("a"), sample(60, 1.0)).unwrap();
        store.push(&up("b"), sample(120, 1.0)).unwrap();
        assert!(matches!(store.push(&up("c"), sample(120, 1.0)), Err(PushError::TooManySeries { max: 2, .. })));
        store.push(&up("b"), sample(180, 1.0)).unwrap();
        store.prune(Timestamp::from_seconds(100));
        assert_eq!((store.series_count(), store.sample_count()), (1, 2));
        store.push(&up("c"), sample(120, 1.0)).unwrap();
        assert_eq!(times(&store, &up("b")), [120, 180]);
    }
}
