//! Samples fetched from a Prometheus instead of being written to us: every step asks for what came since the one before. Time goes
//! on only as far as samples were fetched, so that nothing is evaluated on samples that are still to come; what an outage held
//! up is fetched in order, a window at a time, once the server answers again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forewarn_schema::{HistogramSample, LabelSet, Sample, Step, TimeRange, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::app::AppState;
use crate::error::AppError;
use crate::receive::{NamedSeries, take_named};
use crate::scoring::blocking;

/// Fetched at once after a gap, at most.
const WINDOW: Duration = Duration::from_secs(600);
/// Series taken at a time.
const BATCH: usize = 256;
/// How long to wait after the first failure, and at most after many.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where samples are fetched from. Bound to the selectors of what is wanted.
#[async_trait]
pub trait SampleFeed: Send + Sync {
    /// What it is called in messages; nothing secret.
    fn name(&self) -> &str;

    /// Sends every sample in `range` of the series that are wanted. Where a series has ended, a staleness marker comes no later
    /// than the first multiple of `step` at which it was gone. What was sent before an error may be sent again.
    async fn samples(&self, range: TimeRange, step: Step, sink: mpsc::Sender<FedSeries>) -> Result<(), FeedError>;
}

/// Samples of one series, each list sorted by time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FedSeries {
    /// Metric name included.
    pub labels: LabelSet,
    /// Floats, staleness markers among them.
    pub samples: Vec<Sample>,
    /// Native histograms.
    pub histograms: Vec<HistogramSample>,
}

/// A feed did not give what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FeedError(String);

impl FeedError {
    /// One line, without credentials.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// How far it has come.
pub(crate) struct Pulling {
    feed: Arc<dyn SampleFeed>,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy)]
struct Progress {
    /// Everything before is fetched; `None` before the first fetch.
    until: Option<Timestamp>,
    failures: u32,
    next_try: Option<Instant>,
}

/// For whoever watches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PullState {
    pub(crate) up: bool,
    pub(crate) until: Option<Timestamp>,
}

impl Pulling {
    pub(crate) fn new(feed: Arc<dyn SampleFeed>) -> Self {
        Self { feed, progress: Mutex::new(Progress { until: None, failures: 0, next_try: None }) }
    }

    pub(crate) fn state(&self) -> PullState {
        let progress = self.progress();
        PullState { up: progress.until.is_some() && progress.failures == 0, until: progress.until }
    }

    /// Fetches what is due at `now`, one window of it at most. Gives the time up to which steps may be evaluated, by a clock that
    /// waits for the samples; `None` while nothing was fetched.
    pub(crate) async fn advance(&self, app: &AppState, now: Timestamp) -> Option<Timestamp> {
        let options = &app.0.options;
        let lateness = options.lateness.min(options.step.duration());
        let Progress { until, next_try, .. } = self.progress();
        // A step at t reads samples at t too.
        let due = (now - lateness).align_down(options.step) + Duration::from_millis(1);
        // The first step reads as far back as the widest expression does.
        let first = options.warmed_until.unwrap_or(now).min(now) - app.0.scorer.keeps();
        let oldest = now - options.max_catch_up + options.step.duration();
        let from = until.unwrap_or(first).max(oldest);
        let waits = next_try.is_some_and(|at| Instant::now() < at);
        if from < due && !waits {
            let end = due
                .min((from + WINDOW).align_down(options.step) + Duration::from_millis(1))
                .max(from + Duration::from_millis(1));
            // What came late is fetched as well; what is known already is not taken twice.
            let start = if until.is_some() { from - lateness } else { from };
            match self.fetch(app, TimeRange { start, end }).await {
                Ok(()) => self.fetched(end),
                Err(error) => self.failed(app, &error),
            }
        }
        let until = self.progress().until?;
        Some(now.min(until - Duration::from_millis(1) + lateness))
    }

    async fn fetch(&self, app: &AppState, range: TimeRange) -> Result<(), String> {
        let (sink, mut incoming) = mpsc::channel(BATCH);
        let taking = async {
            let mut batch = Vec::with_capacity(BATCH);
            while incoming.recv_many(&mut batch, BATCH).await > 0 {
                let (series, scorer, timely) = (std::mem::take(&mut batch), app.0.scorer.clone(), app.timely());
                let taken = blocking(move || {
                    let named = series.into_iter().map(|FedSeries { labels, samples, histograms }| NamedSeries {
                        labels,
                        samples,
                        histograms,
                    });
                    take_named(&named.collect::<Vec<_>>(), &scorer, timely)
                });
                app.0.metrics.pulled(&taken.await?);
            }
            Ok::<_, AppError>(())
        };
        let (fetched, taken) = tokio::join!(self.feed.samples(range, app.0.options.step, sink), taking);
        fetched.map_err(|e| e.to_string())?;
        taken.map_err(|e| e.to_string())
    }

    fn fetched(&self, end: Timestamp) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.failures > 0 {
            tracing::info!(from = self.feed.name(), "samples are fetched again");
        }
        *progress = Progress { until: Some(end), failures: 0, next_try: None };
    }

    fn failed(&self, app: &AppState, error: &str) {
        app.0.metrics.pull_failed();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = FIRST_PAUSE.saturating_mul(1 << progress.failures.min(16)).min(LONGEST_PAUSE);
        progress.failures = progress.failures.saturating_add(1);
        progress.next_try = Some(Instant::now() + pause);
        tracing::warn!(from = self.feed.name(), error, pause_s = pause.as_secs(), "samples not fetched, trying again");
    }

    fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
