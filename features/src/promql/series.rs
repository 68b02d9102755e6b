//! One series in memory: points in time order, the newest appended, the oldest let go.
//!
//! Points are counted from the first that ever came, so that a window that slides over them can say
//! where it stands without knowing what was pruned since.

use std::sync::{Arc, OnceLock};

use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Timestamp, is_stale};

use super::native::FloatHistogram;
use super::value::Value;

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
    /// How many came before `points[0]`.
    before: u64,
    /// How many at the front are forgotten; they are moved out once they are an eighth of all.
    forgotten: u32,
    /// Counts whatever happened to it but appending and forgetting.
    rewrites: u32,
}

impl<P> Track<P> {
    /// Without points.
    pub(super) const fn new() -> Self {
        Self { points: Vec::new(), before: 0, forgotten: 0, rewrites: 0 }
    }
}

impl<P> Default for Track<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Point> Track<P> {
    /// All of `points`, which must be sorted, no time twice.
    pub(super) fn from_sorted(points: Vec<P>) -> Self {
        Self { points, ..Self::default() }
    }

    /// All points that are kept.
    pub(super) fn points(&self) -> &[P] {
        &self.points[self.forgotten as usize..]
    }

    /// The index of the first that is kept.
    pub(super) fn first(&self) -> u64 {
        self.before + u64::from(self.forgotten)
    }

    /// One past the index of the last.
    pub(super) fn end(&self) -> u64 {
        self.before + self.points.len() as u64
    }

    /// Changes where indices no longer mean the same points.
    pub(super) fn rewrites(&self) -> u32 {
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

    /// The newest point from `from_ms` to `to_ms`, both included.
    pub(super) fn newest(&self, from_ms: i64, to_ms: i64) -> Option<&P> {
        let points = self.points();
        let newest = match points.last() {
            Some(last) if last.at().millis() > to_ms => {
                points.partition_point(|p| p.at().millis() <= to_ms).checked_sub(1).map(|place| &points[place])
            }
            last => last,
        };
        newest.filter(|p| p.at().millis() >= from_ms)
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
        self.points.insert(self.forgotten as usize + place, point);
        self.rewrite();
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
        let forgotten = self.forgotten as usize + self.points().iter().take_while(|p| p.at() < before).count();
        self.forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        if forgotten >= spare(self.points().len()) {
            self.points.drain(..forgotten);
            self.before += forgotten as u64;
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
            self.points.truncate(self.forgotten as usize + kept);
            self.rewrite();
        }
    }

    /// Wraps after four thousand million, of which a window that stands still would have to miss all.
    fn rewrite(&mut self) {
        self.rewrites = self.rewrites.wrapping_add(1);
    }
}

/// So many points more or less than `len` are worth moving all of them.
fn spare(len: usize) -> usize {
    2.max(len / 8)
}

/// One series. Its labels are shared with the vectors that evaluation makes. A server holds one of these for every series, so that
/// what most do without takes no room in it.
#[derive(Clone, Debug)]
pub(super) struct StoredSeries {
    /// Told apart from every other series that the store ever had.
    pub(super) id: u64,
    pub(super) labels: Arc<LabelSet>,
    nameless: OnceLock<Arc<LabelSet>>,
    pub(super) floats: Track<Sample>,
    histograms: Option<Box<Track<HistogramPoint>>>,
}

impl StoredSeries {
    /// Without points.
    pub(super) fn new(id: u64, labels: Arc<LabelSet>) -> Self {
        Self { id, labels, nameless: OnceLock::new(), floats: Track::default(), histograms: None }
    }

    /// Its labels without the metric name, as functions return them.
    pub(super) fn nameless(&self) -> &Arc<LabelSet> {
        self.nameless.get_or_init(|| match self.labels.get(METRIC_NAME) {
            Some(_) => Arc::new(self.labels.without(&[METRIC_NAME])),
            None => Arc::clone(&self.labels),
        })
    }

    /// Its native histograms.
    pub(super) fn histograms(&self) -> &Track<HistogramPoint> {
        static NONE: Track<HistogramPoint> = Track::new();
        self.histograms.as_deref().unwrap_or(&NONE)
    }

    /// Replaces all points.
    pub(super) fn set(&mut self, floats: Track<Sample>, histograms: Track<HistogramPoint>) {
        self.floats = floats;
        self.histograms = (!histograms.points().is_empty()).then(|| Box::new(histograms));
    }

    /// How many points it holds.
    pub(super) fn len(&self) -> usize {
        self.floats.points().len() + self.histograms().points().len()
    }

    /// The value at that time, of a histogram its sum.
    pub(super) fn value_at(&self, at: Timestamp) -> Option<f64> {
        self.floats.at(at).map(|s| s.value).or_else(|| self.histograms().at(at).map(|p| p.histogram.sum))
    }

    /// Time and value of the newest point from `from_ms` to `to_ms`, both included, unless that is a staleness marker.
    pub(super) fn newest(&self, from_ms: i64, to_ms: i64) -> Option<(i64, Value)> {
        let (float, histogram) = (self.floats.newest(from_ms, to_ms), self.histograms().newest(from_ms, to_ms));
        match (float, histogram) {
            (Some(float), histogram) if histogram.is_none_or(|h| h.at < float.at) => {
                (!float.is_stale()).then_some((float.at.millis(), Value::Float(float.value)))
            }
            (_, Some(point)) if !point.is_stale() => {
                Some((point.at.millis(), Value::Histogram(Arc::clone(&point.histogram))))
            }
            _ => None,
        }
    }

    /// Forgets what is older than `before`.
    pub(super) fn forget(&mut self, before: Timestamp) {
        self.floats.forget(before);
        if let Some(histograms) = &mut self.histograms {
            histograms.forget(before);
        }
    }

    /// Takes back what is at or after `from`.
    pub(super) fn take_back(&mut self, from: Timestamp) {
        self.floats.take_back(from);
        if let Some(histograms) = &mut self.histograms {
            histograms.take_back(from);
        }
    }

    /// Puts a histogram where it belongs, and compares it with its neighbours.
    pub(super) fn insert_histogram(&mut self, at: Timestamp, histogram: Arc<FloatHistogram>) {
        let histograms = self.histograms.get_or_insert_default();
        let place = histograms.insert(HistogramPoint { at, histogram, after_reset: false });
        let forgotten = histograms.forgotten as usize;
        let points = &mut histograms.points[forgotten..];
        let next = (place + 1..points.len()).find(|i| !points[*i].is_stale());
        for this in [Some(place), next].into_iter().flatten() {
            let before = points[..this].iter().rev().find(|p| !p.is_stale());
            points[this].after_reset =
                before.is_some_and(|before| points[this].histogram.is_after_reset(&before.histogram));
        }
    }
}
