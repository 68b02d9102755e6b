//! Taking in what is new: the listing against the ledger, the new and changed objects in the order in which they were
//! written, and every so often a commit. What is read is a fold over the objects in that order, so it does not matter in how
//! many runs it was read, or where one was killed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use forewarn_schema::Timestamp;
use forewarn_storage::{ObjectInfo, Store, Version};
use futures::StreamExt;

use super::LogsOptions;
use super::counts::DayCounts;
use super::error::LogsError;
use super::fetch::{Chunks, Fetch};
use super::folder::Folder;
use super::ledger::{DayRecord, Ledger, ObjectRecord};
use super::object::{Counter, ObjectCounts};
use super::record::RecordReader;
use super::seen::Seen;
use super::templates::Templates;
use crate::Day;

/// Objects that are fetched at a time.
const AHEAD: usize = 4;
/// Numbers in memory after which is written down, whatever their objects' size.
const COMMIT_NUMBERS: usize = 2_000_000;

/// What was taken in. All zero where there was nothing new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogsSummary {
    /// Objects that were read.
    pub objects: u64,
    /// How many of them had been read in another version.
    pub changed_objects: u64,
    /// Objects that could not be opened, and will be tried again.
    pub unreadable_objects: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// Lines that were counted.
    pub lines: u64,
}

/// Reads what is new below the source and adds it to the folder. Under the dataset's lock.
pub(crate) async fn take_in(source: &Store, folder: &Folder, options: &LogsOptions) -> Result<LogsSummary, LogsError> {
    let (ledger, version) = folder.ledger(options).await?;
    folder.sweep(&ledger)?;
    let pending = pending(source, &ledger).await?;
    let mut summary = LogsSummary::default();
    if pending.is_empty() {
        return Ok(summary);
    }
    tracing::info!(url = source.url(), objects = pending.len(), "new log objects");
    let mined = Mined {
        options: options.clone(),
        reader: Arc::new(RecordReader::new(options)),
        templates: folder.templates(&ledger).await?,
        seen: folder.seen(&ledger, options).await?,
    };
    let mut batch = Batch { folder, version, now: ledger.clone(), before: ledger, mined, delta: Delta::default() };
    let mut waiting = pending.into_iter();
    let mut fetches = VecDeque::new();
    loop {
        while fetches.len() < AHEAD
            && let Some(info) = waiting.next()
        {
            fetches.push_back((info.path.clone(), Fetch::start(source, info.path)));
        }
        let Some((path, fetch)) = fetches.pop_front() else { break };
        match fetch.opened().await {
            Ok(Some((info, chunks))) => batch = batch.read(path, info, chunks, &mut summary).await?,
            // Removed since it was listed.
            Ok(None) => {}
            Err(e) if e.is_unreachable() => return Err(e.into()),
            Err(error) => {
                tracing::warn!(%error, "a log object cannot be opened");
                summary.unreadable_objects += 1;
            }
        }
        if batch.delta.bytes >= options.commit_bytes || batch.delta.numbers >= COMMIT_NUMBERS {
            batch.commit().await?;
        }
    }
    batch.commit().await?;
    Ok(summary)
}

/// Objects that are not empty and that the ledger does not have in that version, in the order in which they were written, then by key.
async fn pending(source: &Store, ledger: &Ledger) -> Result<Vec<ObjectInfo>, LogsError> {
    let mut pending = Vec::new();
    let mut listing = std::pin::pin!(source.objects("")?);
    while let Some(info) = listing.next().await {
        let info = info?;
        if info.size > 0 && ledger.objects.get(&info.path).is_none_or(|known| known.etag != info.etag) {
            pending.push(info);
        }
    }
    pending.sort_by(|a, b| (a.last_modified_ms, &a.path).cmp(&(b.last_modified_ms, &b.path)));
    Ok(pending)
}

/// What reading one object leaves for the next.
struct Mined {
    options: LogsOptions,
    reader: Arc<RecordReader>,
    templates: Templates,
    seen: Seen,
}

/// What was read since the last commit.
#[derive(Default)]
struct Delta {
    days: BTreeMap<Day, DayCounts>,
    /// Numbers of objects whose lines are taken back, and the days they were in.
    taken_back: BTreeSet<u64>,
    thinned: BTreeSet<Day>,
    objects: u64,
    bytes: u64,
    numbers: usize,
}

/// On the way from one commit to the next.
struct Batch<'a> {
    folder: &'a Folder,
    version: Version,
    before: Ledger,
    now: Ledger,
    mined: Mined,
    delta: Delta,
}

impl Batch<'_> {
    /// Reads one object; an older version of it is taken back first.
    async fn read(
        mut self,
        path: String,
        info: ObjectInfo,
        mut chunks: Chunks,
        summary: &mut LogsSummary,
    ) -> Result<Self, LogsError> {
        if let Some(old) = self.now.objects.remove(&path) {
            self.mined.seen.take_back(old.number);
            self.delta.taken_back.insert(old.number);
            self.delta.thinned.extend(old.days);
            summary.changed_objects += 1;
        }
        let number = self.now.next_object;
        self.now.next_object += 1;
        let written = Timestamp::from_millis(info.last_modified_ms);
        let mut mined = self.mined;
        let counting = tokio::task::spawn_blocking(move || {
            let Mined { options, reader, templates, seen } = &mut mined;
            let mut counter = Counter { options, reader, templates, seen };
            let counts = counter.count(&mut chunks, number, written);
            (mined, counts, chunks.failure)
        });
        let (mined, counts, failure) = match counting.await {
            Ok(done) => done,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        };
        self.mined = mined;
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        let ObjectCounts { days, found } = counts;
        if let Some(how) = &found.ended {
            tracing::warn!(path, how, lines = found.lines, "a log object did not end as it should");
        }
        summary.objects += 1;
        summary.bytes += info.size;
        summary.lines += found.lines;
        let ObjectInfo { size, etag, .. } = info;
        let record = ObjectRecord { number, etag, size, written, days: days.keys().copied().collect(), found };
        self.now.objects.insert(path, record);
        self.delta.objects += 1;
        self.delta.bytes += size;
        for (day, counts) in days {
            self.delta.numbers += counts.len();
            self.delta.days.entry(day).or_default().merge(counts);
        }
        Ok(self)
    }

    /// Writes down what was read: days, templates, what was seen; then the ledger; then removes what it replaced.
    async fn commit(&mut self) -> Result<(), LogsError> {
        let delta = std::mem::take(&mut self.delta);
        if delta.objects == 0 {
            return Ok(());
        }
        let touched: BTreeSet<Day> = delta.thinned.iter().chain(delta.days.keys()).copied().collect();
        let mut added = delta.days;
        for day in touched {
            let mut counts = self.folder.day(&self.before, day).await?;
            counts.take_back(&delta.taken_back);
            counts.merge(added.remove(&day).unwrap_or_default());
            self.write_day(day, &counts).await?;
        }
        if !delta.taken_back.is_empty() {
            self.mined.templates.forget_sightings();
            for day in self.now.days.keys() {
                self.mined.templates.saw(*day, &self.folder.day(&self.now, *day).await?);
            }
        }
        let not_encoded = |reason| LogsError::Damaged { path: "templates".to_owned(), reason };
        let templates = self.mined.templates.to_bytes().map_err(not_encoded)?;
        let (of_templates, of_seen) = (self.before.templates.as_ref(), self.before.seen.as_ref());
        self.now.templates = Some(self.folder.write("templates", "json", templates, of_templates).await?);
        self.now.seen = Some(self.folder.write("seen", "bin", self.mined.seen.to_bytes(), of_seen).await?);
        self.version = self.folder.commit(&self.before, &self.now, &self.version).await?;
        self.before = self.now.clone();
        Ok(())
    }

    async fn write_day(&mut self, day: Day, counts: &DayCounts) -> Result<(), LogsError> {
        let minutes = counts.minutes();
        let (Some(first_minute), Some(last_minute)) = (minutes.first().copied(), minutes.last().copied()) else {
            self.now.days.remove(&day);
            return Ok(());
        };
        let bytes = counts.to_bytes(day).map_err(|reason| LogsError::Damaged { path: day.to_string(), reason })?;
        let before = self.before.days.get(&day).map(|record| &record.file);
        let file = self.folder.write(&day.to_string(), "json.zst", bytes, before).await?;
        self.now.days.insert(day, DayRecord { file, lines: counts.lines(), first_minute, last_minute });
        Ok(())
    }
}
