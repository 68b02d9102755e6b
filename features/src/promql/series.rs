//! One series in memory: points in time order, the newest appended, the oldest let go.
//!
//! Points are counted from the first that ever came, so that a window that slides over them can say
//! where it stands without knowing what was pruned since.

use std::sync::Arc;

use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Timestamp, is_stale};

use super::native::FloatHistogram;

/// What a [`Track`] holds.
pub(super) trait Point {
    /// When.
    fn at(&self) -> Timestamp;
    /// Whether it says that the series has ended.
    fn is_stale(&self) -> bool;
}

impl Point for Sample {
    fn at(&self) -> Timestamp {
        self.at
    }
    fn is_stale(&self) -> bool {
        is_stale(self.value)
    }
}

/// A native histogram at one time.
#[derive(Clone, Debug)]
pub(super) struct HistogramPoint {
    pub(super) at: Timestamp,
    pub(super) histogram: Arc<FloatHistogram>,
    /// Whether a counter was reset between the one before and this, staleness markers left out.
    pub(super) after_reset: bool,
}

impl Point for HistogramPoint {
    fn at(&self) -> Timestamp {
        self.at
    }
    fn is_stale(&self) -> bool {
        is_stale(self.histogram.sum)
    }
}

/// Points sorted by time, no time twice.
#[derive(Clone, Debug)]
pub(super) struct Track<P> {
    points: Vec<P>,
    /// How many at the front are forgotten; they are moved out once they are a fifth of all.
    forgotten: usize,
    /// How many came before `points[0]`.
    before: u64,
    /// Counts whatever happened to it but appending and forgetting.
    rewrites: u64,
}

impl<P> Default for Track<P> {
    fn default() -> Self {
        Self { points: Vec::new(), forgotten: 0, before: 0, rewrites: 0 }
    }
}

impl<P: Point> Track<P> {
    /// All of `points`, which must be sorted, no time twice.
    pub(super) fn from_sorted(points: Vec<P>) -> Self {
        Self { points, ..Self::default() }
    }

    /// All points that are kept.
    pub(super) fn points(&self) -> &[P] {
        &self.points[self.forgotten..]
    }

    /// The index of the first that is kept.
    pub(super) fn first(&self) -> u64 {
        self.before + self.forgotten as u64
    }

    /// One past the index of the last.
    pub(super) fn end(&self) -> u64 {
        self.before + self.points.len() as u64
    }

    /// Changes where indices no longer mean the same points.
    pub(super) fn rewrites(&self) -> u64 {
        self.rewrites
    }

    /// The points with these indices, as far as they are kept.
    pub(super) fn slice(&self, start: u64, end: u64) -> &[P] {
        let place = |index: u64| index.clamp(self.first(), self.end()) - self.before;
        let (start, end) = (place(start) as usize, place(end) as usize);
        &self.points[start..end.max(start)]
    }

    /// The point with this index.
    pub(super) fn get(&self, index: u64) -> Option<&P> {
        self.slice(index, index.saturating_add(1)).first()
    }

    /// The index of the first point at or after `ms`.
    pub(super) fn index_of(&self, ms: i64) -> u64 {
        self.first() + self.points().partition_point(|p| p.at().millis() < ms) as u64
    }

    /// The point at that time.
    pub(super) fn at(&self, at: Timestamp) -> Option<&P> {
        // Nearly every point is newer than all before it.
        if self.points().last().is_none_or(|last| last.at() < at) {
            return None;
        }
        self.get(self.index_of(at.millis())).filter(|p| p.at() == at)
    }

    /// Puts a point where it belongs, and returns its place among [`Self::points`]. There must be none at
    /// its time.
    pub(super) fn insert(&mut self, point: P) -> usize {
        if self.points().last().is_none_or(|last| last.at() < point.at()) {
            self.make_room();
            self.points.push(point);
            return self.points().len() - 1;
        }
        self.make_room();
        let place = self.points().partition_point(|p| p.at() < point.at());
        self.points.insert(self.forgotten + place, point);
        self.rewrites += 1;
        place
    }

    /// Room for one more, and for few others: a server holds a track for every series, and doubling would waste half of it.
    fn make_room(&mut self) {
        if self.points.len() == self.points.capacity() {
            self.points.reserve_exact(spare(self.points.len()));
        }
    }

    /// Forgets what is older than `before`.
    pub(super) fn forget(&mut self, before: Timestamp) {
        self.forgotten += self.points().iter().take_while(|p| p.at() < before).count();
        if self.forgotten >= spare(self.points().len()) {
            self.points.drain(..self.forgotten);
            self.before += self.forgotten as u64;
            self.forgotten = 0;
            // After a burst of old samples.
            let spare = spare(self.points.len());
            if self.points.capacity() > self.points.len() + 4 * spare {
                self.points.shrink_to(self.points.len() + 2 * spare);
            }
        }
    }

    /// Takes back what is at or after `from`.
    pub(super) fn take_back(&mut self, from: Timestamp) {
        let kept = self.points().partition_point(|p| p.at() < from);
        if kept < self.points().len() {
            self.points.truncate(self.forgotten + kept);
            self.rewrites += 1;
        }
    }
}

/// So many points more or less than `len` are worth moving all of them.
fn spare(len: usize) -> usize {
    8.max(len / 4)
}

/// One series. Its labels are shared with the vectors that evaluation makes.
#[derive(Clone, Debug)]
pub(super) struct StoredSeries {
    /// Told apart from every other series that the store ever had.
    pub(super) id: u64,
    pub(super) labels: Arc<LabelSet>,
    /// Without the metric name, as functions return them.
    pub(super) nameless: Arc<LabelSet>,
    pub(super) floats: Track<Sample>,
    pub(super) histograms: Track<HistogramPoint>,
}

impl StoredSeries {
    /// Without points.
    pub(super) fn new(id: u64, labels: Arc<LabelSet>) -> Self {
        let named = labels.get(METRIC_NAME).is_some();
        let nameless = if named { Arc::new(labels.without(&[METRIC_NAME])) } else { Arc::clone(&labels) };
        Self { id, labels, nameless, floats: Track::default(), histograms: Track::default() }
    }

    /// How many points it holds.
    pub(super) fn len(&self) -> usize {
        self.floats.points().len() + self.histograms.points().len()
    }

    /// The value at that time, of a histogram its sum.
    pub(super) fn value_at(&self, at: Timestamp) -> Option<f64> {
        self.floats.at(at).map(|s| s.value).or_else(|| self.histograms.at(at).map(|p| p.histogram.sum))
    }

    /// Forgets what is older than `before`.
    pub(super) fn forget(&mut self, before: Timestamp) {
        self.floats.forget(before);
        self.histograms.forget(before);
    }

    /// Takes back what is at or after `from`.
    pub(super) fn take_back(&mut self, from: Timestamp) {
        self.floats.take_back(from);
        self.histograms.take_back(from);
    }

    /// Puts a histogram where it belongs, and compares it with its neighbours.
    pub(super) fn insert_histogram(&mut self, at: Timestamp, histogram: Arc<FloatHistogram>) {
        let place = self.histograms.insert(HistogramPoint { at, histogram, after_reset: false });
        let forgotten = self.histograms.forgotten;
        let points = &mut self.histograms.points[forgotten..];
        let next = (place + 1..points.len()).find(|i| !points[*i].is_stale());
        for this in [Some(place), next].into_iter().flatten() {
            let before = points[..this].iter().rev().find(|p| !p.is_stale());
            points[this].after_reset =
                before.is_some_and(|before| points[this].histogram.is_after_reset(&before.histogram));
        }
    }
}
