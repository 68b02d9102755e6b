//! Raw samples in memory, as little of them as the expressions need: series by metric name, each
//! sorted by time. Not a database: nothing is written down, and what is pruned is gone.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forewarn_schema::{HistogramSample, LabelSet, METRIC_NAME, Sample, Series, Timestamp};

use super::native::FloatHistogram;
use super::push_error::PushError;
use super::selector::Selector;
use super::series::{HistogramPoint, StoredSeries, Track};

/// A week of samples every 10 s fits; a sender that exceeds it is not sending metrics.
const MAX_SAMPLES_PER_SERIES: usize = 65_536;
/// A sample a second for twelve days; sums over times are sized for it.
const MOST_SAMPLES_PER_SERIES: usize = 1 << 20;

/// Where a series is in a [`SampleStore`], as long as [`SampleStore::moves`] is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesPlace(u32);

impl SeriesPlace {
    pub(crate) fn new(position: u32) -> Self {
        Self(position)
    }

    pub(crate) fn position(self) -> u32 {
        self.0
    }
}

/// Samples per series, found by metric name.
#[derive(Clone, Debug)]
pub struct SampleStore {
    series: Vec<StoredSeries>,
    by_labels: HashMap<Arc<LabelSet>, u32>,
    metrics: BTreeMap<String, Metric>,
    max_series: usize,
    /// No series is let in beside those that are here.
    full: bool,
    max_samples_per_series: usize,
    sample_count: usize,
    /// What is older has been pruned and is not taken back.
    oldest: Option<Timestamp>,
    next_id: u64,
    /// Changes whenever a series comes or goes.
    membership: u64,
    /// Changes whenever series change their places.
    moves: u64,
    /// The oldest sample since this was asked last.
    oldest_new: Option<Timestamp>,
}

/// The series of one metric name.
#[derive(Clone, Debug, Default)]
struct Metric {
    /// Positions among all series, sorted by labels up to `sorted`: sums are added up in the same order every time.
    order: Vec<u32>,
    /// What comes after is new, and is put where it belongs when somebody looks: many come at once.
    sorted: usize,
}

impl Metric {
    fn sort(&mut self, series: &[StoredSeries]) {
        if self.sorted < self.order.len() {
            sort_by_labels(&mut self.order, series);
            self.sorted = self.order.len();
        }
    }

    fn sorted(&self, series: &[StoredSeries]) -> Cow<'_, [u32]> {
        if self.sorted == self.order.len() {
            return Cow::Borrowed(&self.order);
        }
        let mut order = self.order.clone();
        sort_by_labels(&mut order, series);
        Cow::Owned(order)
    }
}

/// Stable, so that a few new ones behind many that are sorted cost little more than a merge.
fn sort_by_labels(order: &mut [u32], series: &[StoredSeries]) {
    let labels = |position: &u32| -> &LabelSet { &series[*position as usize].labels };
    order.sort_by(|a, b| labels(a).cmp(labels(b)));
}

impl SampleStore {
    /// An empty store that refuses more than `max_series` series, and more than 65,536 samples of one.
    pub fn new(max_series: usize) -> Self {
        Self {
            series: Vec::new(),
            by_labels: HashMap::new(),
            metrics: BTreeMap::new(),
            max_series,
            full: false,
            max_samples_per_series: MAX_SAMPLES_PER_SERIES,
            sample_count: 0,
            oldest: None,
            next_id: 0,
            membership: 0,
            moves: 0,
            oldest_new: None,
        }
    }

    /// The same with room for `max` samples of one series, at most 2^20: history may have one a second.
    pub fn with_max_samples_per_series(mut self, max: usize) -> Self {
        self.max_samples_per_series = max.min(MOST_SAMPLES_PER_SERIES);
        self
    }

    /// Takes one sample, in whatever order they come: a late one is put where it belongs, unless it is
    /// older than what [`Self::prune`] left. The same value at the same time twice is fine. NaN and the
    /// staleness marker are values like any other, compared by their bits.
    pub fn push(&mut self, labels: &LabelSet, sample: Sample) -> Result<(), PushError> {
        self.refuse_old(labels, sample.at)?;
        let index = self.find_or_add(labels)?;
        self.push_new(index, sample)
    }

    /// Takes one sample of a series whose place is known, as [`Self::push`] does.
    pub fn push_at(&mut self, place: SeriesPlace, sample: Sample) -> Result<(), PushError> {
        let index = place.0 as usize;
        if self.oldest.is_some_and(|oldest| sample.at < oldest) {
            self.refuse_old(&self.series[index].labels, sample.at)?;
        }
        self.push_new(index, sample)
    }

    /// Where a series is; `None` where there is none with these labels.
    pub fn place(&self, labels: &LabelSet) -> Option<SeriesPlace> {
        self.by_labels.get(labels).copied().map(SeriesPlace)
    }

    /// Changes whenever series change their places.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// The labels of the series at a place.
    pub fn labels_at(&self, place: SeriesPlace) -> &LabelSet {
        &self.series[place.0 as usize].labels
    }

    fn push_new(&mut self, index: usize, sample: Sample) -> Result<(), PushError> {
        let series = &self.series[index];
        if let Some(kept) = series.value_at(sample.at) {
            if series.floats.at(sample.at).is_some_and(|kept| kept.value.to_bits() == sample.value.to_bits()) {
                return Ok(());
            }
            let series = series.labels.to_string();
            return Err(PushError::Duplicate { series, at: sample.at, kept, got: sample.value });
        }
        self.refuse_more(index)?;
        self.series[index].floats.insert(sample);
        self.counted(1, sample.at);
        Ok(())
    }

    /// Takes one native histogram, as [`Self::push`] takes a sample. A series may change from one kind to
    /// the other.
    pub fn push_histogram(&mut self, labels: &LabelSet, sample: &HistogramSample) -> Result<(), PushError> {
        let at = sample.at;
        self.refuse_old(labels, at)?;
        let histogram = FloatHistogram::read(&sample.histogram).map_err(|wanted| PushError::BadHistogram {
            series: labels.to_string(),
            at,
            wanted,
        })?;
        let index = self.find_or_add(labels)?;
        let series = &self.series[index];
        if let Some(kept) = series.value_at(at) {
            if series.histograms().at(at).is_some_and(|p| p.histogram.same_bits(&histogram)) {
                return Ok(());
            }
            return Err(PushError::Duplicate { series: labels.to_string(), at, kept, got: histogram.sum });
        }
        self.refuse_more(index)?;
        self.series[index].insert_histogram(at, Arc::new(histogram));
        self.counted(1, at);
        Ok(())
    }

    /// Takes a whole series at once. Where it is new and its samples are sorted they are taken as they
    /// are, otherwise one by one.
    pub fn push_series(&mut self, series: Series) -> Result<(), PushError> {
        let sorted = series.samples.windows(2).all(|pair| pair[0].at < pair[1].at);
        let (Some(first), true) = (series.samples.first().map(|s| s.at), sorted) else {
            return series.samples.iter().try_for_each(|sample| self.push(&series.labels, *sample));
        };
        self.refuse_old(&series.labels, first)?;
        let index = self.find_or_add(&series.labels)?;
        if self.series[index].len() > 0 || series.samples.len() > self.max_samples_per_series {
            return series.samples.iter().try_for_each(|sample| self.push(&series.labels, *sample));
        }
        let count = series.samples.len();
        self.series[index].floats = Track::from_sorted(series.samples);
        self.counted(count, first);
        Ok(())
    }

    /// Forgets all samples before `before`, and the series that then have none. Never takes back what an
    /// earlier call forgot.
    pub fn prune(&mut self, before: Timestamp) {
        self.prune_metrics(before, |_| before);
    }

    /// The same with a time for each metric, none of them before `oldest`: not all are looked at over the same window.
    pub(crate) fn prune_metrics(&mut self, oldest: Timestamp, of_metric: impl Fn(&str) -> Timestamp) {
        let oldest = self.oldest.map_or(oldest, |known| known.max(oldest));
        self.oldest = Some(oldest);
        self.sample_count = 0;
        let mut emptied = false;
        for (name, metric) in &self.metrics {
            let before = of_metric(name).max(oldest);
            for position in &metric.order {
                let series = &mut self.series[*position as usize];
                series.forget(before);
                self.sample_count += series.len();
                emptied |= series.len() == 0;
            }
        }
        if emptied {
            self.series.retain(|series| series.len() > 0);
            self.index_anew();
        }
    }

    /// How many series it holds.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// How many samples it holds, native histograms included.
    pub fn sample_count(&self) -> usize {
        self.sample_count
    }

    /// The positions of the series that `selector` selects, sorted by metric name and then labels. They
    /// hold as long as [`Self::membership`] is the same.
    pub(super) fn select(&self, selector: &Selector) -> Vec<u32> {
        let exact = selector.metric_name().map(|name| self.metrics.get_key_value(name));
        let (one, many) = match exact {
            Some(found) => (found, None),
            None => (None, Some(self.metrics.iter().filter(|(name, _)| selector.matches_name(name)))),
        };
        one.into_iter()
            .chain(many.into_iter().flatten())
            .flat_map(|(_, metric)| metric.sorted(&self.series).into_owned())
            .filter(|at| selector.matches_rest(&self.series(*at).labels))
            .collect()
    }

    /// The series at a position that [`Self::select`] gave.
    pub(super) fn series(&self, position: u32) -> &StoredSeries {
        &self.series[position as usize]
    }

    /// All series, by their positions.
    pub(super) fn all(&self) -> &[StoredSeries] {
        &self.series
    }

    /// Changes whenever a series comes or goes.
    pub(super) fn membership(&self) -> u64 {
        self.membership
    }

    /// The time of the oldest sample that came since this was asked last.
    pub(crate) fn take_oldest_new(&mut self) -> Option<Timestamp> {
        self.oldest_new.take()
    }

    fn refuse_old(&self, labels: &LabelSet, at: Timestamp) -> Result<(), PushError> {
        match self.oldest.filter(|oldest| at < *oldest) {
            Some(oldest) => Err(PushError::OutOfOrder { series: labels.to_string(), at, oldest }),
            None => Ok(()),
        }
    }

    fn refuse_more(&self, index: usize) -> Result<(), PushError> {
        let (series, max) = (&self.series[index], self.max_samples_per_series);
        if series.len() >= max {
            return Err(PushError::TooManySamples { series: series.labels.to_string(), max });
        }
        Ok(())
    }

    fn find_or_add(&mut self, labels: &LabelSet) -> Result<usize, PushError> {
        if let Some(index) = self.by_labels.get(labels) {
            return Ok(*index as usize);
        }
        let position = u32::try_from(self.series.len())
            .ok()
            .filter(|position| *position < u32::MAX && !self.full && self.series.len() < self.max_series);
        let Some(position) = position else {
            let max = self.max_series.min(self.series.len());
            return Err(PushError::TooManySeries { series: labels.to_string(), max });
        };
        let index = self.series.len();
        let labels = Arc::new(labels.clone());
        if index == self.series.capacity() {
            self.series.reserve_exact(64.max(index / 8));
        }
        self.series.push(StoredSeries::new(self.next_id, Arc::clone(&labels)));
        self.next_id += 1;
        self.membership += 1;
        let name = labels.get(METRIC_NAME).unwrap_or("");
        if !self.metrics.contains_key(name) {
            self.metrics.insert(name.to_owned(), Metric::default());
        }
        self.metrics.get_mut(name).expect("inserted above where it was missing").order.push(position);
        self.by_labels.insert(labels, position);
        Ok(index)
    }

    /// Whether only series that are here are let in from now on.
    pub(crate) fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// How many points one series may have.
    pub(super) fn max_samples_per_series(&self) -> usize {
        self.max_samples_per_series
    }

    /// The time before which everything was forgotten.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// Adds a series of `count` points that is not there, the oldest at `oldest`; `false` where there is no room.
    pub(super) fn add_whole(
        &mut self,
        labels: &LabelSet,
        (floats, histograms): (Track<Sample>, Track<HistogramPoint>),
        count: usize,
        oldest: Timestamp,
    ) -> bool {
        let Ok(index) = self.find_or_add(labels) else { return false };
        self.series[index].set(floats, histograms);
        self.counted(count, oldest);
        true
    }

    fn counted(&mut self, samples: usize, oldest: Timestamp) {
        self.sample_count += samples;
        self.oldest_new = Some(self.oldest_new.map_or(oldest, |known| known.min(oldest)));
    }

    fn index_anew(&mut self) {
        self.membership += 1;
        self.moves += 1;
        self.by_labels.clear();
        self.metrics.values_mut().for_each(|metric| metric.order.clear());
        for (position, series) in (0..).zip(&self.series) {
            self.by_labels.insert(Arc::clone(&series.labels), position);
            let name = series.labels.get(METRIC_NAME).unwrap_or("");
            if let Some(metric) = self.metrics.get_mut(name) {
                metric.order.push(position);
            }
        }
        self.metrics.retain(|_, metric| !metric.order.is_empty());
        self.metrics.values_mut().for_each(|metric| metric.sorted = 0);
        self.sort();
    }

    /// Puts new series where they belong, so that selecting them does not have to each time.
    pub(crate) fn sort(&mut self) {
        let series = &self.series;
        self.metrics.values_mut().for_each(|metric| metric.sort(series));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::NativeHistogram;

    fn sample(seconds: i64, value: f64) -> Sample {
        Sample { at: Timestamp::from_seconds(seconds), value }
    }

    fn up(pod: &str) -> LabelSet {
        LabelSet::from([(METRIC_NAME, "up"), ("pod", pod)])
    }

    fn times(store: &SampleStore, labels: &LabelSet) -> Vec<i64> {
        let series = store.series(store.by_labels[labels]);
        series.floats.points().iter().map(|s| s.at.millis() / 1000).collect()
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

    #[test]
    fn a_whole_series_is_taken_at_once_or_one_by_one() {
        let mut store = SampleStore::new(10).with_max_samples_per_series(3);
        let series = |seconds: &[i64]| Series {
            labels: up("a"),
            samples: seconds.iter().map(|s| sample(*s, *s as f64)).collect(),
        };
        store.push_series(series(&[60, 120])).unwrap();
        store.push_series(series(&[120, 90])).unwrap();
        assert_eq!(times(&store, &up("a")), [60, 90, 120]);
        assert!(matches!(store.push_series(series(&[150])), Err(PushError::TooManySamples { max: 3, .. })));
        assert_eq!(store.sample_count(), 3);
    }

    #[test]
    fn a_histogram_has_its_place_among_the_samples_of_a_series() {
        let mut store = SampleStore::new(10);
        let histogram = |seconds, schema| HistogramSample {
            at: Timestamp::from_seconds(seconds),
            histogram: Arc::new(NativeHistogram { schema, ..NativeHistogram::default() }),
        };
        store.push_histogram(&up("a"), &histogram(60, 0)).unwrap();
        store.push_histogram(&up("a"), &histogram(60, 0)).unwrap();
        store.push(&up("a"), sample(120, 1.0)).unwrap();
        assert_eq!(store.sample_count(), 2);
        assert!(matches!(store.push(&up("a"), sample(60, 1.0)), Err(PushError::Duplicate { .. })));
        assert!(matches!(store.push_histogram(&up("a"), &histogram(60, 1)), Err(PushError::Duplicate { .. })));
        assert!(matches!(store.push_histogram(&up("a"), &histogram(180, 9)), Err(PushError::BadHistogram { .. })));
    }
}
