//! Series as they are kept over a restart.

use std::sync::Arc;

use forewarn_schema::{LabelSet, Sample, Timestamp};
use serde::{Deserialize, Serialize};

use super::native::FloatHistogram;
use super::series::{HistogramPoint, StoredSeries, Track};
use super::store::SampleStore;

/// One series and what was kept of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptSeries {
    labels: Arc<LabelSet>,
    samples: Vec<Sample>,
    histograms: Vec<(Timestamp, Arc<FloatHistogram>, bool)>,
}

impl KeptSeries {
    /// Its labels, metric name included.
    pub fn labels(&self) -> &LabelSet {
        &self.labels
    }

    /// The time of its newest point.
    pub fn newest(&self) -> Option<Timestamp> {
        self.samples.last().map(|s| s.at).max(self.histograms.last().map(|(at, ..)| *at))
    }

    fn of(series: &StoredSeries) -> Self {
        let histogram = |p: &HistogramPoint| (p.at, Arc::clone(&p.histogram), p.after_reset);
        Self {
            labels: Arc::clone(&series.labels),
            samples: series.floats.points().to_vec(),
            histograms: series.histograms().points().iter().map(histogram).collect(),
        }
    }

    fn is_well_formed(&self) -> bool {
        let histograms = &self.histograms;
        self.samples.windows(2).all(|p| p[0].at < p[1].at)
            && histograms.windows(2).all(|p| p[0].0 < p[1].0)
            && histograms.iter().all(|(_, histogram, _)| histogram.check().is_ok())
    }
}

impl SampleStore {
    /// Copies of the series at these places, as far as there are any.
    pub(crate) fn kept(&self, places: std::ops::Range<usize>) -> Vec<KeptSeries> {
        let (start, end) = (places.start.min(self.series_count()), places.end.min(self.series_count()));
        self.all()[start..end].iter().map(KeptSeries::of).collect()
    }

    /// Takes back a series that is not there yet; `false` where it is, where it does not hang together, or where there is no room.
    pub(crate) fn bring_back(&mut self, kept: KeptSeries) -> bool {
        let count = kept.samples.len() + kept.histograms.len();
        let Some(oldest) =
            kept.samples.first().map(|s| s.at).into_iter().chain(kept.histograms.first().map(|h| h.0)).min()
        else {
            return false;
        };
        if !kept.is_well_formed() || count > self.max_samples_per_series() || self.place(&kept.labels).is_some() {
            return false;
        }
        let point = |(at, histogram, after_reset)| HistogramPoint { at, histogram, after_reset };
        let histograms = kept.histograms.into_iter().map(point).collect();
        let tracks = (Track::from_sorted(kept.samples), Track::from_sorted(histograms));
        self.add_whole(&kept.labels, tracks, count, oldest)
    }
}
