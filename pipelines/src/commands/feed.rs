//! `[serve] pull`: the samples of a query API as a feed of the server. By remote read they come as they are, ends of series
//! included. By range selectors the ends are missing, because PromQL leaves them out: they are put in at the first step at which
//! the server no longer shows the series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forewarn_datasets::{
    Fetch, HistorySource as _, NoProgress, PrometheusSource, RawSeries, SampleQuery, SampleSource as _, SourceError,
};
use forewarn_inference::{FedSeries, FeedError, SampleFeed};
use forewarn_schema::{LabelMatcher, LabelSet, STALE_NAN_BITS, Sample, Step, TimeRange, Timestamp};
use tokio::sync::mpsc;

use crate::config::{Config, Source};

/// A value this old is gone, as in PromQL.
const LOOKBACK: Duration = Duration::from_secs(300);
/// The server waits for an answer: who does not give one soon is asked again at the next step.
const MOST_RETRIES: u32 = 1;
const NO_SAMPLES: &str = "the server gives no raw samples: it has no remote read, and refuses range selectors";

/// The feed that the configuration names; `None` where samples are written to us.
pub(super) fn of(config: &Config) -> Result<Option<Arc<dyn SampleFeed>>, SourceError> {
    let Some(source) = &config.serve.pull else { return Ok(None) };
    let mut options = source.prometheus_options();
    options.retries = options.retries.min(MOST_RETRIES);
    options.give_up_after = options.give_up_after.min(options.timeout);
    let (selectors, _) = forewarn_datasets::selectors_of(&config.signals);
    let feed = PullFeed {
        source: PrometheusSource::new(options)?,
        name: source.name.clone(),
        selectors,
        alive: Mutex::default(),
    };
    Ok(Some(Arc::new(feed)))
}

/// One line on how `source` would be pulled from; whoever cannot be asked, or gives no raw samples, is an error.
pub(super) async fn check(source: &Source) -> Result<String, SourceError> {
    let asked = PrometheusSource::new(source.prometheus_options())?;
    match asked.fetch_used().await? {
        Fetch::Steps => Err(SourceError::Options { source_name: source.name.clone(), reason: NO_SAMPLES.to_owned() }),
        fetch => Ok(format!("pull {}: reachable, by {fetch}\n", source.url)),
    }
}

struct PullFeed {
    source: PrometheusSource,
    name: String,
    selectors: Vec<Vec<LabelMatcher>>,
    /// Where ends are missing: the newest sample of each series that has not ended.
    alive: Mutex<BTreeMap<LabelSet, Timestamp>>,
}

#[async_trait]
impl SampleFeed for PullFeed {
    fn name(&self) -> &str {
        &self.name
    }

    async fn samples(&self, range: TimeRange, step: Step, sink: mpsc::Sender<FedSeries>) -> Result<(), FeedError> {
        let failed = |error: SourceError| FeedError::new(error.to_string());
        let query = SampleQuery { selectors: self.selectors.clone(), range };
        let (raw_sink, mut raw) = mpsc::channel::<RawSeries>(64);
        let shows_ends = match self.source.fetch_used().await.map_err(failed)? {
            Fetch::Steps => return Err(FeedError::new(NO_SAMPLES)),
            fetch => fetch != Fetch::Samples,
        };
        let passing_on = async {
            let mut kept = BTreeMap::new();
            while let Some(series) = raw.recv().await {
                let series =
                    FedSeries { labels: series.labels, samples: series.samples, histograms: series.histograms };
                if !shows_ends {
                    kept.insert(series.labels, series.samples);
                } else if sink.send(series).await.is_err() {
                    break;
                }
            }
            kept
        };
        let (fetched, kept) = tokio::join!(self.source.samples(&query, raw_sink, &NoProgress), passing_on);
        fetched.map_err(failed)?;
        if shows_ends {
            return Ok(());
        }
        let shown = self.shown(range, step).await.map_err(failed)?;
        for series in self.with_ends(kept, &shown, range, step) {
            if sink.send(series).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl PullFeed {
    /// Which series the server shows at each step.
    async fn shown(&self, range: TimeRange, step: Step) -> Result<BTreeSet<(Timestamp, LabelSet)>, SourceError> {
        let mut shown = BTreeSet::new();
        for selector in &self.selectors {
            for series in self.source.fetch(&forewarn_datasets::promql(selector), range, step).await? {
                shown.extend(series.samples.iter().map(|sample| (sample.at, series.labels.clone())));
            }
        }
        Ok(shown)
    }

    /// The samples, and an end at the first step at which a series that has a recent sample is not shown.
    fn with_ends(
        &self,
        mut kept: BTreeMap<LabelSet, Vec<Sample>>,
        shown: &BTreeSet<(Timestamp, LabelSet)>,
        range: TimeRange,
        step: Step,
    ) -> Vec<FedSeries> {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        for (labels, _) in alive.iter() {
            kept.entry(labels.clone()).or_default();
        }
        let mut fed = Vec::with_capacity(kept.len());
        for (labels, samples) in kept {
            let mut with_ends = Vec::with_capacity(samples.len() + 1);
            let (mut next, mut last) = (samples.iter().peekable(), alive.remove(&labels));
            let mut at = range.start.align_up(step);
            while at < range.end {
                while let Some(sample) = next.next_if(|sample| sample.at <= at) {
                    with_ends.push(*sample);
                    last = Some(sample.at);
                }
                let recent = last.is_some_and(|last| last + LOOKBACK > at && last < at);
                if recent && !shown.contains(&(at, labels.clone())) {
                    with_ends.push(Sample { at, value: f64::from_bits(STALE_NAN_BITS) });
                    last = None;
                }
                at = at + step.duration();
            }
            for sample in next {
                with_ends.push(*sample);
                last = Some(sample.at);
            }
            if let Some(last) = last.filter(|last| *last + LOOKBACK > range.end) {
                alive.insert(labels.clone(), last);
            }
            if !with_ends.is_empty() {
                fed.push(FedSeries { labels, samples: with_ends, histograms: Vec::new() });
            }
        }
        fed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_datasets::PrometheusOptions;
    use forewarn_schema::is_stale;

    fn feed() -> PullFeed {
        forewarn_storage::install_crypto_provider();
        let options = PrometheusOptions { url: "http://127.0.0.1:9".to_owned(), ..PrometheusOptions::default() };
        let source = PrometheusSource::new(options).unwrap();
        PullFeed { source, name: "x".to_owned(), selectors: vec![], alive: Mutex::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn fed(feed: &PullFeed, range: (i64, i64), samples: &[i64], shown: &[i64]) -> Vec<(i64, bool)> {
        let labels = LabelSet::from([("__name__", "up")]);
        let range = TimeRange { start: at(range.0), end: at(range.1) };
        let samples: Vec<Sample> = samples.iter().map(|s| Sample { at: at(*s), value: 1.0 }).collect();
        let kept = if samples.is_empty() { BTreeMap::new() } else { BTreeMap::from([(labels.clone(), samples)]) };
        let shown = shown.iter().map(|s| (at(*s), labels.clone())).collect();
        let series = feed.with_ends(kept, &shown, range, Step::MINUTE);
        let samples = series.iter().flat_map(|series| &series.samples);
        samples.map(|sample| (sample.at.millis() / 1000, is_stale(sample.value))).collect()
    }

    #[test]
    fn an_end_is_put_in_once_at_the_first_step_that_does_not_show_the_series() {
        let one = feed();
        assert_eq!(
            fed(&one, (0, 61), &[15, 30, 45, 60], &[0, 60]),
            [(15, false), (30, false), (45, false), (60, false)]
        );
        // 75 came, then the target went away.
        assert_eq!(fed(&one, (61, 121), &[75], &[]), [(75, false), (120, true)]);
        assert_eq!(fed(&one, (121, 181), &[], &[]), []);
        // It comes back.
        assert_eq!(fed(&one, (181, 241), &[230], &[240]), [(230, false)]);
        // And goes, with nothing new between: what was last seen a window ago ends as well.
        assert_eq!(fed(&one, (241, 301), &[], &[]), [(300, true)]);
    }

    #[test]
    fn silence_that_prometheus_does_not_call_an_end_is_none() {
        let one = feed();
        assert_eq!(fed(&one, (0, 61), &[45], &[60]), [(45, false)]);
        for minute in 1..5 {
            let (start, end) = (minute * 60 + 1, minute * 60 + 61);
            assert_eq!(fed(&one, (start, end), &[], &[minute * 60 + 60]), [], "still shown");
        }
        // Older than what PromQL looks back: gone by itself.
        assert_eq!(fed(&one, (301, 421), &[], &[]), []);
    }
}
