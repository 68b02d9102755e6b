//! Reading some of a day's services: the footer tells where their rows are, and only those byte ranges are fetched. A
//! file of format 1, or one whose rows lie by another label than the signals name now, is read whole.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use forewarn_features::SignalSet;
use forewarn_schema::TimeRange;
use forewarn_storage::StoreError;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::Day;
use crate::dataset::{Dataset, corrupt, decoding, in_store};
use crate::error::DatasetError;
use crate::manifest::{DayFile, Footer, sha256};
use crate::parquet_file::{self, MAX_BYTES, MAX_FOOTER_BYTES, Part, Parts};
use crate::plan::service_label;
use crate::table::DayTable;

/// Byte ranges that are fetched at a time.
const RANGES_AT_A_TIME: usize = 4;

impl Dataset {
    /// The services that the dataset has rows of in `range` (to the day), sorted. They need not have a value: a service
    /// that only has limits is here, and is not in what [`read`](Self::read) gives. Reads the files' footers.
    pub async fn services(&self, signals: &SignalSet, range: TimeRange) -> Result<BTreeSet<String>, DatasetError> {
        let Some(manifest) = self.manifest().await? else { return Ok(BTreeSet::new()) };
        let touched = |day: Day| day.range().intersect(&range).is_some();
        let files = manifest.day_files().filter(|(_, day, _)| touched(*day)).map(|(_, _, file)| file);
        let files: Vec<&DayFile> = files.collect();
        let mut of_files = stream::iter(files)
            .map(|file| async move { self.services_of(file, signals).await })
            .buffered(RANGES_AT_A_TIME);
        let mut services = BTreeSet::new();
        while let Some(of_file) = of_files.try_next().await? {
            services.extend(of_file);
        }
        services.remove("");
        Ok(services)
    }

    async fn services_of(&self, file: &DayFile, signals: &SignalSet) -> Result<BTreeSet<String>, DatasetError> {
        let Some(footer) = file.footer.as_ref().filter(|_| is_placed(file, signals)) else {
            return self.services_of_whole(file, signals).await;
        };
        let parts = self.load_parts(file, footer).await?;
        Ok(parts.parts.into_iter().flat_map(|part| part.services).collect())
    }

    async fn services_of_whole(&self, file: &DayFile, signals: &SignalSet) -> Result<BTreeSet<String>, DatasetError> {
        let mut table = self.load_day(file).await?;
        for query in signals.queries() {
            let service = service_label(signals, &query.signal);
            table.place(&query.signal, query.role, service).map_err(|reason| corrupt(file, reason))?;
        }
        Ok(table.series.into_keys().map(|key| key.service.to_string()).collect())
    }

    /// A file's rows of these services and of no service (limits for all), as far as `signals` need them; every row
    /// where `services` is `None` or where the file does not tell.
    pub(crate) async fn load_some(
        &self,
        file: &DayFile,
        signals: &SignalSet,
        services: Option<&BTreeSet<String>>,
    ) -> Result<DayTable, DatasetError> {
        let footer = file.footer.as_ref().filter(|_| is_placed(file, signals));
        let (Some(wanted), Some(footer)) = (services, footer) else { return self.load_day(file).await };
        let file_parts = self.load_parts(file, footer).await?;
        let is_wanted = |service: &str| service.is_empty() || wanted.contains(service);
        let chosen: Vec<Part> =
            file_parts.parts.iter().filter(|part| part.services.iter().any(|s| is_wanted(s))).cloned().collect();
        let mut read = Vec::with_capacity(chosen.len());
        let mut runs = stream::iter(adjacent(chosen))
            .map(|run| async move { self.load_run(file, run).await })
            .buffered(RANGES_AT_A_TIME);
        while let Some(parts) = runs.try_next().await? {
            read.extend(parts);
        }
        let wanted = wanted.clone();
        decoding(file, move || {
            let is_wanted = |service: &str| service.is_empty() || wanted.contains(service);
            parquet_file::decode_parts(&file_parts, read, &is_wanted)
        })
        .await
    }

    async fn load_parts(&self, file: &DayFile, footer: &Footer) -> Result<Parts, DatasetError> {
        let (size, wanted) = (file.bytes, footer.sha256.clone());
        if size > MAX_BYTES || footer.bytes > MAX_FOOTER_BYTES {
            let got = format!("{size} and {}", footer.bytes);
            let caps = format!("it must have at most {MAX_BYTES} bytes, {MAX_FOOTER_BYTES} of them in its footer");
            return Err(corrupt(file, format!("{caps}, got {got}")));
        }
        let bytes = self.load_range(file, size.saturating_sub(footer.bytes)..size).await?;
        decoding(file, move || {
            let got = sha256(&bytes);
            if got != wanted {
                return Err(format!("the SHA-256 of its footer must be {wanted}, got {got}"));
            }
            parquet_file::parts(bytes, size)
        })
        .await
    }

    /// Parts that follow each other, with one request.
    async fn load_run(&self, file: &DayFile, run: Vec<Part>) -> Result<Vec<(Part, Bytes)>, DatasetError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Vec::new()) };
        let start = first.range.start;
        let bytes = self.load_range(file, start..last.range.end).await?;
        // Each part lies within the run, and a range that was not whole would have been an error.
        let within = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX).min(bytes.len());
        let of_part = |part: &Part| bytes.slice(within(part.range.start)..within(part.range.end));
        Ok(run.iter().map(|part| (part.clone(), of_part(part))).collect())
    }

    async fn load_range(&self, file: &DayFile, range: Range<u64>) -> Result<Bytes, DatasetError> {
        match self.store.get_range(&in_store(&file.path), range).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(corrupt(file, "it is missing".to_owned())),
            Err(StoreError::Short { wanted, got, .. }) => {
                Err(corrupt(file, format!("it must have {wanted} bytes where they were asked for, got {got}")))
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// Whether the file's rows of these signals lie by the labels that name their services now.
fn is_placed(file: &DayFile, signals: &SignalSet) -> bool {
    signals.queries().iter().all(|query| {
        let known = file.query(&query.signal, query.role);
        known.is_none_or(|known| known.service.as_deref() == Some(service_label(signals, &query.signal)))
    })
}

/// Parts, in runs that have no gap.
fn adjacent(parts: Vec<Part>) -> Vec<Vec<Part>> {
    let mut runs: Vec<Vec<Part>> = Vec::new();
    for part in parts {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| last.range.end == part.range.start) => run.push(part),
            _ => runs.push(vec![part]),
        }
    }
    runs
}
