//! Expressions over raw samples: what a query API would answer, from the samples that the dataset holds.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use async_trait::async_trait;
use forewarn_features::SignalSet;
use forewarn_features::promql::{Expression, PushError, SampleStore};
use forewarn_schema::{LabelMatcher, LabelSet, Sample, Series, Step, TimeRange, Timestamp};
use tokio::sync::{Semaphore, mpsc};

use crate::dataset::{Dataset, in_store};
use crate::manifest::DatasetManifest;
use crate::sample_source::{RawSeries, SampleQuery, SampleSource};
use crate::samples::{MAX_FILE_BYTES, SampleFilter, SampleReader};
use crate::samples_file::SamplesFile;
use crate::source::{HistorySource, SourceError, SourceInfo};
use crate::{Aggregate, NoProgress};

/// Expressions that are evaluated at a time.
const AT_A_TIME: usize = 2;
/// Samples of one expression that are in memory at a time: 64 MiB. A range that needs more is halved.
const MAX_SAMPLES: usize = 4 << 20;
/// And series.
const MAX_SERIES: usize = 1 << 20;

/// A source of raw samples, asked in PromQL. [`fetch`](HistorySource::fetch) reads the files that
/// [`Dataset::pull_samples`] wrote; the other questions go to the source itself.
pub struct SampledHistory<'a> {
    source: &'a dyn SampleSource,
    dataset: &'a Dataset,
    manifest: Option<DatasetManifest>,
    /// Each expression may fill the memory it is allowed, so few are evaluated at a time.
    turn: Semaphore,
}

/// Every selector of every expression, for [`Dataset::pull_samples`], and how far back the expressions look.
pub fn selectors_of(signals: &SignalSet) -> (Vec<Vec<LabelMatcher>>, Duration) {
    let (mut selectors, mut look_back) = (Vec::new(), Duration::ZERO);
    for query in signals.queries() {
        // A signal set holds no expression that does not parse.
        let Ok(expression) = Expression::parse(&query.promql) else { continue };
        look_back = look_back.max(expression.window());
        selectors.extend(expression.selectors().iter().map(|s| s.label_matchers()));
    }
    selectors.sort();
    selectors.dedup();
    (selectors, look_back)
}

impl<'a> SampledHistory<'a> {
    /// Over what the dataset holds now.
    pub async fn new(source: &'a dyn SampleSource, dataset: &'a Dataset) -> Result<Self, crate::DatasetError> {
        let manifest = dataset.manifest().await?;
        Ok(Self { source, dataset, manifest, turn: Semaphore::new(AT_A_TIME) })
    }

    fn malformed(&self, reason: String) -> SourceError {
        SourceError::Malformed { source_name: self.source.name().to_owned(), reason }
    }

    fn parse(&self, promql: &str) -> Result<Expression, SourceError> {
        let source_name = self.source.name().to_owned();
        Expression::parse(promql).map_err(|e| SourceError::Options { source_name, reason: e.to_string() })
    }

    /// The files that hold samples of `range`, by day.
    fn files(&self, range: TimeRange) -> impl Iterator<Item = &SamplesFile> {
        let days = self.manifest.as_ref().and_then(|m| m.samples.get(self.source.name()));
        let overlaps = move |file: &&SamplesFile| file.covered.intersect(&range).is_some();
        days.into_iter().flat_map(BTreeMap::values).filter(overlaps)
    }

    /// A file as a local one.
    async fn local(&self, file: &SamplesFile) -> Result<File, SourceError> {
        let path = in_store(&file.path);
        let failed = |e: &dyn std::fmt::Display| self.malformed(format!("{path}: {e}"));
        if let Some(local) = self.dataset.store.local_file(&path).map_err(|e| failed(&e))? {
            return File::open(local).map_err(|e| failed(&e));
        }
        let mut copy = tempfile::tempfile().map_err(|e| failed(&e))?;
        let cap = file.bytes.min(MAX_FILE_BYTES);
        match self.dataset.store.get_file(&path, cap, &mut copy).await.map_err(|e| failed(&e))? {
            true => Ok(copy),
            false => Err(failed(&"it is missing; pull that day again")),
        }
    }
}

#[async_trait]
impl HistorySource for SampledHistory<'_> {
    fn name(&self) -> &str {
        self.source.name()
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        self.source.probe().await
    }

    async fn fetch(&self, promql: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
        let expression = self.parse(promql)?;
        let read = TimeRange { start: range.start - expression.window(), end: range.end };
        let _turn = self.turn.acquire().await.map_err(|e| self.malformed(e.to_string()))?;
        let mut files = Vec::new();
        for file in self.files(read) {
            if let Some(coarse) = file.downsampled.iter().find(|d| d.range.intersect(&read).is_some()) {
                return Err(self.malformed(format!(
                    "only samples every {} s are left of {}; expressions are evaluated over raw samples only",
                    coarse.resolution_ms / 1000,
                    coarse.range,
                )));
            }
            files.push(self.local(file).await?);
        }
        // Also because a panic there is an error here: the Parquet library may panic on damaged bytes.
        let work = tokio::task::spawn_blocking(move || evaluate_over(&expression, &files, range, step));
        match work.await {
            Ok(series) => series.map_err(|reason| self.malformed(format!("{promql}: {reason}"))),
            Err(_) => Err(self.malformed("a file of samples cannot be read; pull that day again".to_owned())),
        }
    }

    async fn count(&self, promql: &str, at: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        count(self.source, promql, at).await
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        self.source.extent().await
    }
}

/// The label sets that `promql` gives at `at`, asked of the source itself; sorted.
pub async fn count(source: &dyn SampleSource, promql: &str, at: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
    let source_name = || source.name().to_owned();
    let expression = Expression::parse(promql)
        .map_err(|e| SourceError::Options { source_name: source_name(), reason: e.to_string() })?;
    let selectors: Vec<_> = expression.selectors().iter().map(|s| s.label_matchers()).collect();
    let range = TimeRange { start: at - expression.window(), end: at + Duration::from_millis(1) };
    let query = SampleQuery { selectors, range };
    let wrong = |reason: String| SourceError::Malformed { source_name: source_name(), reason };
    loop {
        let mut store = empty_store();
        if !query.selectors.is_empty() {
            let (sender, mut receiver) = mpsc::channel::<RawSeries>(16);
            let filling = async {
                let mut filled = Ok(());
                while let Some(series) = receiver.recv().await {
                    if filled.is_ok() && series.aggregate == Aggregate::Raw {
                        filled = fill(&mut store, series);
                    }
                }
                filled
            };
            let (answer, filled) = tokio::join!(source.samples(&query, sender, &NoProgress), filling);
            match answer {
                Err(SourceError::Again { .. }) => continue,
                Err(e) => return Err(e),
                Ok(_) => filled.map_err(|e| wrong(e.to_string()))?,
            }
        }
        let vector = expression.eval(&store, at).map_err(|e| wrong(format!("{promql}: {e}")))?;
        return Ok(vector.into_iter().map(|(labels, _)| labels).collect());
    }
}

fn empty_store() -> SampleStore {
    SampleStore::new(MAX_SERIES)
}

/// Adds a series to what expressions read.
fn fill(store: &mut SampleStore, series: RawSeries) -> Result<(), PushError> {
    let RawSeries { labels, samples, histograms, .. } = series;
    histograms.iter().try_for_each(|sample| store.push_histogram(&labels, sample))?;
    store.push_series(Series { labels, samples })
}

/// Evaluates at every step of the range, in as many parts as memory wants.
fn evaluate_over(expression: &Expression, files: &[File], range: TimeRange, step: Step) -> Result<Vec<Series>, String> {
    let start = range.start.align_up(step);
    let mut answer: BTreeMap<LabelSet, Vec<Sample>> = BTreeMap::new();
    let mut todo = vec![TimeRange { start, end: range.end.max(start) }];
    while let Some(part) = todo.pop() {
        match load(expression, files, part)? {
            Some(store) => evaluate(expression, &store, part, step, &mut answer)?,
            None => {
                let half = Duration::from_millis(part.end.millis().abs_diff(part.start.millis()) / 2);
                let middle = (part.start + half).align_up(step);
                if middle <= part.start || middle >= part.end {
                    return Err(format!("one step of it must read at most {MAX_SAMPLES} samples, got more"));
                }
                todo.push(TimeRange { start: middle, end: part.end });
                todo.push(TimeRange { start: part.start, end: middle });
            }
        }
    }
    Ok(answer.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
}

/// What the expression reads for the steps of a range; `None` where that is too much.
fn load(expression: &Expression, files: &[File], part: TimeRange) -> Result<Option<SampleStore>, String> {
    let selectors: Vec<_> = expression.selectors().iter().map(|s| s.label_matchers()).collect();
    let mut store = empty_store();
    if selectors.is_empty() {
        return Ok(Some(store));
    }
    let read = TimeRange { start: part.start - expression.window(), end: part.end };
    let filter = SampleFilter::new(&selectors).map_err(|e| e.to_string())?;
    for file in files {
        let file = file.try_clone().map_err(|e| e.to_string())?;
        for series in SampleReader::open(file, Some(filter.clone()), read).map_err(|e| e.to_string())? {
            match fill(&mut store, series.map_err(|e| e.to_string())?) {
                Ok(()) => {}
                Err(PushError::TooManySamples { .. }) => return Ok(None),
                Err(e) => return Err(e.to_string()),
            }
            if store.sample_count() > MAX_SAMPLES {
                return Ok(None);
            }
        }
    }
    Ok(Some(store))
}

/// Appends the values at every step of the range.
fn evaluate(
    expression: &Expression,
    store: &SampleStore,
    part: TimeRange,
    step: Step,
    answer: &mut BTreeMap<LabelSet, Vec<Sample>>,
) -> Result<(), String> {
    for series in expression.eval_range(store, part, step).map_err(|e| e.to_string())? {
        answer.entry(series.labels).or_default().extend(series.samples);
    }
    Ok(())
}
