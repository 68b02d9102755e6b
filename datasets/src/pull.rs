//! Filling the dataset: day by day, each day's missing windows at once, its file and then the manifest written whole.
//! A kill at any moment loses at most the day being fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use forewarn_features::{Role, SignalSet};
use forewarn_schema::{Series, Step, TimeRange, Timestamp};
use forewarn_storage::StoreError;
use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;

use crate::dataset::{Dataset, in_store};
use crate::error::DatasetError;
use crate::gaps::{gaps, union};
use crate::manifest::{self, DatasetManifest, DayFile, QueryCoverage, SourceRecord, query_digest, sha256};
use crate::parquet_file::{self, Encoded};
use crate::plan::{PlannedWindow, service_label};
use crate::source::{HistorySource, SourceError};
use crate::table::DayTable;
use crate::{Day, PullProgress};

/// Windows asked for at a time; a source may allow itself less.
const AT_A_TIME: usize = 16;

/// What a pull did. All zero where nothing was missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PullSummary {
    /// Windows fetched.
    pub windows: u64,
    /// Rows fetched.
    pub rows: u64,
    /// Parquet bytes written.
    pub bytes: u64,
    /// Day files written.
    pub days: u64,
    /// How many of them were written because the one that was there was damaged.
    pub repaired_days: u64,
}

impl Dataset {
    /// Fetches what is missing of `range` and writes it. Take the [`lock`](Dataset::lock) first.
    ///
    /// Where a signal's expression has changed, that signal's rows of the days in `range` are fetched anew. Rows of
    /// signals that are no longer there are kept. The same history gives the same bytes, however many pulls it took.
    pub async fn pull(
        &self,
        source: &dyn HistorySource,
        signals: &SignalSet,
        step: Step,
        range: TimeRange,
        progress: &dyn PullProgress,
    ) -> Result<PullSummary, DatasetError> {
        let (manifest, mut version) = self.load_manifest().await?;
        self.check(manifest.as_ref(), source.name(), step)?;
        if let Some(manifest) = &manifest {
            self.sweep(manifest, source.name())?;
        }
        let (plan, damaged) = self.plan_from(manifest.as_ref(), source.name(), signals, step, range).await?;
        let mut summary = PullSummary::default();
        if plan.is_empty() {
            return Ok(summary);
        }
        let mut manifest = manifest.unwrap_or_else(|| DatasetManifest::new(step));
        // Where it differed, `check` has seen that nothing was evaluated yet.
        manifest.step = step;
        let info = source.probe().await?;
        let record = SourceRecord { kind: info.kind, url: info.url, version: info.version };
        manifest.sources.insert(source.name().to_owned(), record);
        progress.started(plan.windows());
        for windows in plan.windows.chunk_by(|a, b| a.day == b.day) {
            let Some(day) = windows.first().map(|w| w.day) else { continue };
            let answers = fetch(source, windows, step, progress, &mut summary).await?;
            let old = manifest.file(source.name(), day).cloned();
            let repaired = damaged.contains(&day);
            let (table, coverage) = match &old {
                Some(file) if !repaired => (self.load_known(source.name(), day, file).await?, file.coverage.clone()),
                _ => (DayTable::default(), Coverage::new()),
            };
            let signals = signals.clone();
            let draft = Draft { source: source.name().to_owned(), day, step, signals, table, coverage };
            let (file, bytes) = draft.finish(answers).await.map_err(|reason| self.not_encoded(day, reason))?;
            self.store.put(&in_store(&file.path), bytes).await?;
            for window in windows {
                manifest.queries.insert(query_digest(&window.query), window.query.promql.clone());
            }
            summary.bytes += file.bytes;
            summary.days += 1;
            summary.repaired_days += u64::from(repaired);
            let superseded = old.map(|old| old.path).filter(|path| *path != file.path);
            manifest.files.entry(source.name().to_owned()).or_default().insert(day, file);
            manifest.format_version = manifest::FORMAT_VERSION;
            manifest.tidy();
            version = self.store.replace(&in_store(manifest::PATH), manifest.to_bytes().into(), &version).await?;
            if let Some(path) = superseded {
                self.store.delete(&in_store(&path)).await?;
            }
        }
        self.sweep(&manifest, source.name())?;
        Ok(summary)
    }

    /// A day as the manifest had it. Where another pull has replaced its file since, that is said, and not that it is gone.
    async fn load_known(&self, source: &str, day: Day, file: &DayFile) -> Result<DayTable, DatasetError> {
        match self.load_day(file).await {
            Err(e) if e.is_corrupt() => {
                let now = self.manifest().await?;
                if now.as_ref().and_then(|m| m.file(source, day)) == Some(file) {
                    return Err(e);
                }
                Err(StoreError::Changed { path: in_store(manifest::PATH) }.into())
            }
            other => other,
        }
    }

    /// Removes what killed pulls have left: day files that the manifest does not name, and half-written ones.
    fn sweep(&self, manifest: &DatasetManifest, source: &str) -> Result<(), DatasetError> {
        let named: BTreeSet<&str> =
            manifest.files.get(source).into_iter().flatten().map(|(_, f)| f.path.as_str()).collect();
        let is_day_file = |name: &str| {
            let stem = name.split(".parquet").next().unwrap_or_default();
            name.contains(".parquet") && stem.get(..10).is_some_and(|day| day.parse::<Day>().is_ok())
        };
        let removed = self.store.sweep(&in_store(source), |name| {
            is_day_file(name) && !named.contains(format!("{source}/{name}").as_str())
        })?;
        // How object_store names a file that it has not finished.
        let unfinished = format!("{}#", manifest::PATH);
        let removed = removed + self.store.sweep(&in_store(""), |name| name.starts_with(&unfinished))?;
        if removed > 0 {
            tracing::info!(source, removed, "removed what an interrupted pull had left");
        }
        Ok(())
    }

    fn not_encoded(&self, day: Day, reason: String) -> DatasetError {
        let (path, store) = (day.to_string(), self.store.url().to_owned());
        DatasetError::Failed { action: "encode", path, store, reason }
    }
}

/// What one window gave.
pub(crate) struct Answer {
    pub(crate) window: PlannedWindow,
    pub(crate) series: Vec<Series>,
}

/// Every window's answer, in the windows' order; the first error ends it.
pub(crate) async fn fetch(
    source: &dyn HistorySource,
    windows: &[PlannedWindow],
    step: Step,
    progress: &dyn PullProgress,
    summary: &mut PullSummary,
) -> Result<Vec<Answer>, DatasetError> {
    let mut waiting = windows.iter().enumerate();
    let mut in_flight = FuturesUnordered::new();
    let mut answers: Vec<(usize, Answer)> = Vec::with_capacity(windows.len());
    loop {
        while in_flight.len() < AT_A_TIME {
            let Some((i, window)) = waiting.next() else { break };
            in_flight.push(fetch_one(source, i, window, step, progress));
        }
        let Some(answer) = in_flight.next().await else { break };
        let (i, answer) = answer?;
        summary.windows += 1;
        summary.rows += answer.series.iter().map(|s| s.samples.len() as u64).sum::<u64>();
        progress.window_done(summary.rows, summary.bytes);
        answers.push((i, answer));
    }
    answers.sort_by_key(|(i, _)| *i);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

async fn fetch_one(
    source: &dyn HistorySource,
    i: usize,
    window: &PlannedWindow,
    step: Step,
    progress: &dyn PullProgress,
) -> Result<(usize, Answer), SourceError> {
    let series = source.fetch_with_progress(&window.query.promql, window.range, step, progress).await?;
    if let Some(reason) = misplaced(&series, window.range, step) {
        return Err(SourceError::Malformed { source_name: source.name().to_owned(), reason });
    }
    Ok((i, Answer { window: window.clone(), series }))
}

/// What is wrong with the times of an answer: a source is someone else's code.
fn misplaced(series: &[Series], range: TimeRange, step: Step) -> Option<String> {
    for one in series {
        let is_placed = |at: Timestamp| range.contains(at) && at.align_down(step) == at;
        if let Some(sample) = one.samples.iter().find(|s| !is_placed(s.at)) {
            let labels = &one.labels;
            return Some(format!(
                "times must be multiples of {step} within {range}, got {} (series {labels})",
                sample.at
            ));
        }
        if let Some(pair) = one.samples.windows(2).find(|pair| pair[0].at >= pair[1].at) {
            return Some(format!("times must go up, {} does not (series {})", pair[1].at, one.labels));
        }
    }
    None
}

type Coverage = BTreeMap<String, BTreeMap<Role, QueryCoverage>>;

/// A day's file in the making: what is there already, and what it came from.
struct Draft {
    source: String,
    day: Day,
    step: Step,
    signals: SignalSet,
    table: DayTable,
    coverage: Coverage,
}

impl Draft {
    /// Adds the answers and encodes, on a thread for blocking work. The error is what the encoder says.
    async fn finish(self, answers: Vec<Answer>) -> Result<(DayFile, Bytes), String> {
        let work = tokio::task::spawn_blocking(move || self.finish_now(answers));
        work.await.unwrap_or_else(|e| Err(e.to_string()))
    }

    fn finish_now(mut self, answers: Vec<Answer>) -> Result<(DayFile, Bytes), String> {
        self.place()?;
        for Answer { window, series } in answers {
            let (signal, role) = (window.query.signal.as_str(), window.query.role);
            let (digest, service) = (query_digest(&window.query), service_label(&self.signals, signal));
            let roles = self.coverage.entry(signal.to_owned()).or_default();
            if roles.get(&role).is_some_and(|known| !known.answers(&digest, service)) {
                // Rows of another expression do not mix with these.
                self.table.remove(signal, role);
                roles.remove(&role);
            }
            let known = roles.entry(role).or_insert_with(|| QueryCoverage {
                query: digest,
                covered: Vec::new(),
                series: 0,
                rows: 0,
                service: Some(service.to_owned()),
            });
            known.covered = union(known.covered.drain(..).chain([window.range]));
            self.table.add(&Arc::from(signal), role, service, series);
        }
        for (signal, roles) in &mut self.coverage {
            for (role, known) in roles {
                (known.series, known.rows) = self.table.count(signal, *role);
            }
        }
        let Encoded { bytes, footer } = parquet_file::encode(&self.table)?;
        let (bytes, footer) = (Bytes::from(bytes), Some(footer));
        let sha256 = sha256(&bytes);
        let mut file = DayFile {
            path: DayFile::path_of(&self.source, self.day, &sha256),
            rows: self.table.rows() as u64,
            bytes: bytes.len() as u64,
            sha256,
            resolution: self.step,
            coverage: self.coverage,
            gaps: Vec::new(),
            footer,
        };
        file.gaps = gaps(&file.covered(), &self.table.times(), self.step);
        Ok((file, bytes))
    }

    /// Sorts rows of format 1 to their services. Those of a signal that is no longer configured stay as they are.
    fn place(&mut self) -> Result<(), String> {
        for (signal, roles) in &mut self.coverage {
            let Some(service) = self.signals.get(signal).map(|signal| signal.service.as_str()) else { continue };
            for (role, known) in roles.iter_mut().filter(|(_, known)| known.service.is_none()) {
                self.table.place(signal, *role, service)?;
                known.service = Some(service.to_owned());
            }
        }
        Ok(())
    }
}
