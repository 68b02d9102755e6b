//! Logs as a source of samples: what the folder's counts give, and how it is brought up to date.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use forewarn_schema::{LabelSet, TimeRange, Timestamp};
use forewarn_storage::Store;
use futures::StreamExt;
use tokio::sync::mpsc;
use url::Url;

use super::LogsOptions;
use super::error::LogsError;
use super::folder::Folder;
use super::ingest::{LogsSummary, take_in};
use super::ledger::{DayRecord, Ledger, Tally};
use super::matching::Matching;
use super::series::{DaySeries, Neighbours, absolute};
use super::survey::{LogsSurvey, survey};
use super::templates::Templates;
use crate::dataset::Dataset;
use crate::manifest::{is_source_name, sha256};
use crate::plan::days;
use crate::sample_source::{Aggregate, Provenance, RawSeries, SampleQuery, SampleSource};
use crate::source::{SourceError, SourceInfo};
use crate::{Day, PullProgress};

const MINUTE_MS: i64 = 60_000;

/// JSON lines of Fluent Bit in a bucket or a folder, as counts by service, level and template. The series are described in
/// `docs/formats/logs.md`.
#[derive(Clone, Debug)]
pub struct LogsSource {
    options: LogsOptions,
    objects: Store,
    pub(super) folder: Folder,
}

impl LogsSource {
    /// Opens the objects at `options.url`; the counts are kept in `dataset`. Nothing is read yet.
    pub fn new(options: LogsOptions, dataset: &Dataset) -> Result<Self, SourceError> {
        Self::new_with(options, dataset, &[])
    }

    /// The same; `s3_options` (object_store's keys, such as `aws_endpoint`) win over the environment's.
    pub fn new_with(options: LogsOptions, dataset: &Dataset, s3_options: &[(&str, &str)]) -> Result<Self, SourceError> {
        let wrong = |reason: String| SourceError::Options { source_name: options.name.clone(), reason };
        options.check().map_err(wrong)?;
        if !is_source_name(&options.name) {
            return Err(wrong(format!("a source's name must be a plain file name, got {:?}", options.name)));
        }
        // Opening a store makes its folder, which for somebody else's logs would hide a wrong path.
        let url = Url::parse(&options.url).ok().filter(|url| url.scheme() == "file");
        if let Some(path) = url.and_then(|url| url.to_file_path().ok())
            && !path.is_dir()
        {
            return Err(wrong(format!("url must be a folder that is there, got {:?}", options.url)));
        }
        let objects = Store::open_with(&options.url, s3_options).map_err(|e| wrong(e.to_string()))?;
        let folder = Folder::new(dataset.store.clone(), &options.name);
        Ok(Self { options, objects, folder })
    }

    /// Reads the objects that are new or have changed since the last time and adds up their lines. Take the dataset's
    /// [`lock`](Dataset::lock) first. What a kill interrupts is read again the next time.
    pub async fn take_in(&self) -> Result<LogsSummary, SourceError> {
        take_in(&self.objects, &self.folder, &self.options).await.map_err(|e| self.failed(e))
    }

    /// What is there, from a listing and the beginnings of the newest objects; counts nothing.
    pub async fn survey(&self) -> Result<LogsSurvey, SourceError> {
        survey(&self.objects, &self.options).await.map_err(|e| self.failed(e))
    }

    fn failed(&self, error: LogsError) -> SourceError {
        error.of(&self.options.name, &self.options.url)
    }

    async fn ledger(&self) -> Result<Ledger, SourceError> {
        self.folder.ledger(&self.options).await.map(|(ledger, _)| ledger).map_err(|e| self.failed(e))
    }

    /// The days of the range that have lines.
    fn days(&self, ledger: &Ledger, range: TimeRange) -> Result<Vec<Day>, SourceError> {
        let wrong = |e: crate::DatasetError| {
            let source_name = self.options.name.clone();
            SourceError::Options { source_name, reason: e.to_string() }
        };
        let days = days(range).map_err(wrong)?;
        Ok(days.into_iter().filter(|day| ledger.days.contains_key(day)).collect())
    }

    async fn day_series(
        &self,
        ledger: &Ledger,
        templates: &Templates,
        day: Day,
        matching: &Matching,
    ) -> Result<DaySeries, SourceError> {
        let counts = self.folder.day(ledger, day).await.map_err(|e| self.failed(e))?;
        let new = templates.first_seen(day);
        Ok(DaySeries::new(day, &counts, neighbours(ledger, day), &new, |labels| matching.wants(labels)))
    }

    fn matching(&self, query: &SampleQuery) -> Result<Matching, SourceError> {
        let wrong = |reason| SourceError::Options { source_name: self.options.name.clone(), reason };
        Matching::new(&query.selectors).map_err(wrong)
    }

    /// The series of every day of the range.
    async fn all_days(&self, ledger: &Ledger, query: &SampleQuery) -> Result<Vec<DaySeries>, SourceError> {
        let matching = self.matching(query)?;
        let templates = self.folder.templates(ledger).await.map_err(|e| self.failed(e))?;
        let mut all = Vec::new();
        for day in self.days(ledger, query.range)? {
            all.push(self.day_series(ledger, &templates, day, &matching).await?);
        }
        Ok(all)
    }

    fn provenance(&self, ledger: &Ledger, range: TimeRange) -> Result<Provenance, SourceError> {
        let days = self.days(ledger, range)?;
        let from = days.iter().filter_map(|day| ledger.days.get(day)).map(|day| day.file.path.clone()).collect();
        let mut skipped = BTreeMap::new();
        let touches = |days_of: &[Day]| days_of.iter().any(|day| days.contains(day));
        for object in ledger.objects.values().filter(|object| touches(&object.days)) {
            for (name, times) in Tally::skipped(&object.found) {
                *skipped.entry(name).or_insert(0) += times;
            }
        }
        Ok(Provenance { from, skipped: skipped.into_iter().collect(), ..Provenance::default() })
    }
}

/// Where the days before and after have lines.
fn neighbours(ledger: &Ledger, day: Day) -> Neighbours {
    let before = ledger.days.range(..day).next_back();
    let after = ledger.days.range(day..).find(|(other, _)| **other != day);
    Neighbours {
        before: before.map(|(day, record)| absolute(*day, record.last_minute)),
        after: after.map(|(day, record)| absolute(*day, record.first_minute)),
    }
}

#[async_trait]
impl SampleSource for LogsSource {
    fn name(&self) -> &str {
        &self.options.name
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        let failed = |e: forewarn_storage::StoreError| self.failed(e.into());
        let mut listing = std::pin::pin!(self.objects.objects("").map_err(failed)?);
        if let Some(first) = listing.next().await {
            first.map_err(failed)?;
        }
        Ok(SourceInfo { kind: "logs".to_owned(), url: self.options.url.clone(), version: None })
    }

    async fn state(&self, query: &SampleQuery) -> Result<Option<String>, SourceError> {
        let ledger = self.ledger().await?;
        let templates = self.folder.templates(&ledger).await.map_err(|e| self.failed(e))?;
        let mut text = String::new();
        for day in self.days(&ledger, query.range)? {
            let file = ledger.days.get(&day).map(|record| record.file.sha256.as_str());
            let new = templates.first_seen(day);
            text.push_str(&format!("{day} {file:?} {:?} {new:?}\n", neighbours(&ledger, day)));
        }
        Ok(Some(sha256(text.as_bytes())))
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        let ledger = self.ledger().await?;
        let (first, last) = (ledger.days.first_key_value(), ledger.days.last_key_value());
        let at = |(day, minute): (&Day, u16)| Timestamp::from_millis(absolute(*day, minute) * MINUTE_MS);
        let start = first.map(|(day, DayRecord { first_minute, .. })| at((day, *first_minute)));
        let end = last.map(|(day, DayRecord { last_minute, .. })| at((day, last_minute + 1)));
        Ok(start.zip(end).map(|(start, end)| TimeRange { start, end }))
    }

    async fn series(&self, query: &SampleQuery) -> Result<Vec<LabelSet>, SourceError> {
        let ledger = self.ledger().await?;
        let days = self.all_days(&ledger, query).await?;
        let mut labels: BTreeSet<&LabelSet> = days.iter().flat_map(DaySeries::labels).collect();
        labels.retain(|labels| days.iter().any(|day| !day.samples(labels, query.range).is_empty()));
        Ok(labels.into_iter().cloned().collect())
    }

    /// In memory are the counts of the days of the range, without the zeros; what is sent is one series of one day at a
    /// time.
    async fn samples(
        &self,
        query: &SampleQuery,
        sink: mpsc::Sender<RawSeries>,
        _progress: &dyn PullProgress,
    ) -> Result<Provenance, SourceError> {
        let ledger = self.ledger().await?;
        let days = self.all_days(&ledger, query).await?;
        let labels: BTreeSet<&LabelSet> = days.iter().flat_map(DaySeries::labels).collect();
        for labels in labels {
            for day in &days {
                let samples = day.samples(labels, query.range);
                if samples.is_empty() {
                    continue;
                }
                let piece =
                    RawSeries { labels: labels.clone(), aggregate: Aggregate::Raw, samples, histograms: Vec::new() };
                if sink.send(piece).await.is_err() {
                    return self.provenance(&ledger, query.range);
                }
            }
        }
        self.provenance(&ledger, query.range)
    }
}
