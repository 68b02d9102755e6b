//! Raw samples: by remote read, or by range selectors in instant queries. Each selector is asked for in windows of time, several
//! selectors at a time; what comes is put in order by a spool before it is given on.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use forewarn_schema::{LabelMatcher, LabelSet, TimeRange, Timestamp};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;

use super::client::{Answer, Failure, Payload, Question};
use super::fetch::{Fetch, SourceResolution};
use super::remote_read::{self, SampleSeries, Skipped};
use super::selector::{promql, without_parts_of_others};
use super::spool::Spool;
use super::windows::Windows;
use super::{PROBE_RETRIES, PrometheusSource, answer, extent, seconds};
use crate::sample_source::{Aggregate, Provenance, RawSeries, SampleQuery, SampleSource};
use crate::source::{SourceError, SourceInfo};
use crate::{NoProgress, PullProgress};

/// No series is called that: a question whose answer says only that there is one.
const NOTHING: &str = "forewarn_asks_what_you_can";

/// What one query has found so far, besides the samples.
#[derive(Default)]
struct Found {
    skipped: Skipped,
    coarsest: SourceResolution,
    /// What was asked at a coarser resolution.
    coarse: Vec<String>,
}

/// Samples, and what is to be said of them.
struct Collected {
    spool: Mutex<Spool>,
    found: Mutex<Found>,
}

impl PrometheusSource {
    /// What is asked of the server: as configured, and for [`Fetch::Auto`] the best that it can, which is asked once.
    pub async fn fetch_used(&self) -> Result<Fetch, SourceError> {
        match self.client.options.fetch {
            Fetch::Auto => self.best.get_or_try_init(|| self.best_of_all()).await.copied(),
            configured => Ok(configured),
        }
    }

    async fn best_of_all(&self) -> Result<Fetch, SourceError> {
        let nothing = LabelMatcher {
            name: forewarn_schema::METRIC_NAME.to_owned(),
            op: forewarn_schema::MatchOp::Equal,
            value: NOTHING.to_owned(),
        };
        let now = Timestamp::from_millis(chrono::Utc::now().timestamp_millis());
        let second = TimeRange { start: now - std::time::Duration::from_secs(1), end: now };
        let retries = self.client.options.retries.min(PROBE_RETRIES);
        let selector = [nothing];
        match self.remote_read(&selector, second, retries, &NoProgress).await {
            Ok(answer) if remote_read::is_answer(&answer.content_type) => return Ok(Fetch::RemoteRead),
            // Whatever answers so has no remote read.
            Ok(_) => {}
            Err(failure) => unless_refused(failure)?,
        }
        match self.range_selector(&selector, second, SourceResolution::Raw, retries, &NoProgress).await {
            Ok(body) if answer::samples(&body, second).is_ok() => Ok(Fetch::Samples),
            Ok(_) => Ok(Fetch::Steps),
            Err(failure) => unless_refused(failure).map(|()| Fetch::Steps),
        }
    }

    async fn remote_read(
        &self,
        selector: &[LabelMatcher],
        window: TimeRange,
        retries: u32,
        progress: &dyn PullProgress,
    ) -> Result<Answer, Failure> {
        let what = format!("remote read of {} over {window}", promql(selector));
        let request = remote_read::request(selector, window).map_err(|e| self.failed(&what, &e))?;
        let question = Question { path: remote_read::PATH, payload: Payload::RemoteRead(&request), what: &what };
        self.client.ask(&question, retries, progress).await
    }

    async fn range_selector(
        &self,
        selector: &[LabelMatcher],
        window: TimeRange,
        resolution: SourceResolution,
        retries: u32,
        progress: &dyn PullProgress,
    ) -> Result<Vec<u8>, Failure> {
        // Up to the last millisecond of the window; and from one before it, see `answer::samples`.
        let last = Timestamp::from_millis(window.end.millis() - 1);
        let span = window.end.millis() - window.start.millis();
        let mut form = vec![("query", format!("{}[{span}ms]", promql(selector))), ("time", seconds(last))];
        form.extend(self.parameters(resolution));
        self.client.post("/api/v1/query", &form, &what_of(selector, window), retries, progress).await
    }

    /// Every sample of one selector, window by window, into the spool.
    async fn collect(
        &self,
        fetch: Fetch,
        selector: &[LabelMatcher],
        range: TimeRange,
        collected: &Arc<Collected>,
        progress: &dyn PullProgress,
    ) -> Result<(), SourceError> {
        let mut windows = Windows::of(range);
        while let Some(window) = windows.current() {
            let done = match fetch {
                Fetch::RemoteRead => self.window_by_remote_read(selector, window, collected, progress).await,
                _ => self.window_by_selector(selector, window, collected, progress).await,
            };
            match done {
                Ok(()) => windows.answered(),
                Err(Failure::TooMuch(error)) if windows.halve() => {
                    let reason = error.to_string();
                    tracing::debug!(source = self.client.options.name, %window, reason, "window halved");
                }
                Err(failure) => return Err(failure.into_error()),
            }
        }
        Ok(())
    }

    async fn window_by_remote_read(
        &self,
        selector: &[LabelMatcher],
        window: TimeRange,
        collected: &Arc<Collected>,
        progress: &dyn PullProgress,
    ) -> Result<(), Failure> {
        let answer = self.remote_read(selector, window, self.client.options.retries, progress).await?;
        let (kept, cap) = (Arc::clone(collected), self.client.options.max_answer_bytes);
        let decoded = off_the_runtime(move || {
            let mut failed = None;
            let mut spool = kept.spool.lock().unwrap_or_else(PoisonError::into_inner);
            let mut keep = |piece: SampleSeries| {
                spool.keep(&piece).map_err(|e| {
                    let text = e.to_string();
                    failed = Some(e);
                    text
                })
            };
            let decoded = remote_read::decode(&answer.content_type, Bytes::from(answer.body), window, cap, &mut keep);
            match failed {
                Some(e) => Err(e),
                None => Ok(decoded),
            }
        });
        let what = format!("remote read of {} over {window}", promql(selector));
        let decoded = decoded.await.map_err(|e| Failure::Final(self.cannot_keep(&e)))?;
        // A server that fails half-way says so in the middle of its answer: less may do.
        let skipped = decoded.map_err(|e| Failure::TooMuch(self.client.malformed(format!("{what}: {e}"))))?;
        let mut found = collected.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, count) in skipped {
            *found.skipped.entry(name).or_default() += count;
        }
        Ok(())
    }

    async fn window_by_selector(
        &self,
        selector: &[LabelMatcher],
        window: TimeRange,
        collected: &Arc<Collected>,
        progress: &dyn PullProgress,
    ) -> Result<(), Failure> {
        for resolution in self.client.options.max_source_resolution.ladder() {
            let retries = self.client.options.retries;
            let body = self.range_selector(selector, window, resolution, retries, progress).await?;
            let kept = Arc::clone(collected);
            let decoded = off_the_runtime(move || {
                let series = match answer::samples(&body, window) {
                    Ok(series) => series,
                    Err(e) => return Ok(Err(e)),
                };
                let any = !series.is_empty();
                let mut spool = kept.spool.lock().unwrap_or_else(PoisonError::into_inner);
                for (labels, samples) in series {
                    spool.keep(&SampleSeries { labels, samples, histograms: Vec::new() })?;
                }
                Ok(Ok(any))
            });
            let decoded = decoded.await.map_err(|e| Failure::Final(self.cannot_keep(&e)))?;
            let what = what_of(selector, window);
            let any = decoded.map_err(|e| Failure::Final(self.client.answer_error(e, &what)))?;
            if any {
                if resolution > SourceResolution::Raw {
                    let mut found = collected.found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.coarsest = found.coarsest.max(resolution);
                    found.coarse.push(format!("{what} at {}", resolution.parameter()));
                }
                return Ok(());
            }
        }
        Ok(())
    }

    fn failed(&self, what: &str, reason: &str) -> Failure {
        Failure::Final(SourceError::Options {
            source_name: self.client.options.name.clone(),
            reason: format!("{what}: {reason}"),
        })
    }

    fn cannot_keep(&self, error: &io::Error) -> SourceError {
        let (source_name, reason) = (self.client.options.name.clone(), format!("in a temporary file: {error}"));
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                SourceError::StorageFull { source_name, reason }
            }
            _ => SourceError::Temporary { source_name, reason: error.to_string() },
        }
    }
}

#[async_trait]
impl SampleSource for PrometheusSource {
    fn name(&self) -> &str {
        &self.client.options.name
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        self.info().await
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        extent::extent(&self.client).await
    }

    /// Remote read adds the server's external labels to each series; here they are not.
    async fn series(&self, query: &SampleQuery) -> Result<Vec<LabelSet>, SourceError> {
        if query.range.is_empty() {
            return Ok(Vec::new());
        }
        let last = Timestamp::from_millis(query.range.end.millis() - 1);
        let mut form: Vec<(&str, String)> = query.selectors.iter().map(|s| ("match[]", promql(s))).collect();
        form.extend([("start", seconds(query.range.start)), ("end", seconds(last))]);
        form.extend(self.parameters(self.client.options.max_source_resolution));
        let what = format!("series over {}", query.range);
        let body = self.client.post("/api/v1/series", &form, &what, self.client.options.retries, &NoProgress).await;
        answer::series(&body.map_err(Failure::into_error)?).map_err(|e| self.client.answer_error(e, &what))
    }

    /// All of it is fetched before the first series is sent, so that a pull that fails sends nothing. In memory are
    /// the answers under way, the label sets, and one series beside those in the channel; samples wait in a temporary
    /// file. A receiver that is dropped leaves what is under way and gives an empty provenance.
    async fn samples(
        &self,
        query: &SampleQuery,
        sink: mpsc::Sender<RawSeries>,
        progress: &dyn PullProgress,
    ) -> Result<Provenance, SourceError> {
        let fetch = self.fetch_used().await?;
        if fetch == Fetch::Steps {
            return Err(SourceError::Options {
                source_name: self.client.options.name.clone(),
                reason: "raw samples are wanted, and it fetches steps: set fetch = \"auto\"".to_owned(),
            });
        }
        let selectors = without_parts_of_others(&query.selectors);
        let empty = Collected { spool: Mutex::new(Spool::new()), found: Mutex::default() };
        let collected = Arc::new(empty);
        let each: Vec<_> =
            selectors.iter().map(|s| self.collect(fetch, s, query.range, &collected, progress)).collect();
        let all = futures::stream::iter(each)
            .buffer_unordered(self.client.options.concurrency)
            .try_for_each(|()| std::future::ready(Ok(())));
        tokio::select! {
            () = sink.closed() => return Ok(Provenance::default()),
            done = all => done?,
        }
        let found = std::mem::take(&mut *collected.found.lock().unwrap_or_else(PoisonError::into_inner));
        off_the_runtime(move || {
            let spool =
                std::mem::replace(&mut *collected.spool.lock().unwrap_or_else(PoisonError::into_inner), Spool::new());
            for series in spool.sorted()? {
                let SampleSeries { labels, samples, histograms } = series?;
                let series = RawSeries { labels, aggregate: Aggregate::Raw, samples, histograms };
                if sink.blocking_send(series).is_err() {
                    break;
                }
            }
            Ok(())
        })
        .await
        .map_err(|e| self.cannot_keep(&e))?;
        let mut from: Vec<String> = selectors.iter().map(|s| format!("{fetch} {}", promql(s))).collect();
        from.extend(found.coarse);
        from.sort();
        Ok(Provenance {
            from,
            skipped: found.skipped.into_iter().collect(),
            resolution_ms: found.coarsest.millis(),
            ..Provenance::default()
        })
    }
}

/// A refusal says that the server cannot; anything else is an error.
fn unless_refused(failure: Failure) -> Result<(), SourceError> {
    match failure.into_error() {
        // Whoever is not let in has not learnt anything about the server.
        SourceError::Refused { status, .. } if !matches!(status, 401 | 403) => Ok(()),
        error => Err(error),
    }
}

fn what_of(selector: &[LabelMatcher], window: TimeRange) -> String {
    format!("samples of {} over {window}", promql(selector))
}

/// Decoding and files must not hold up the runtime's threads.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
