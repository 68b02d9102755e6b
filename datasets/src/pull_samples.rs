//! Raw samples into the dataset, a file a day: three days at a time, each streamed from the source into a file beside its
//! place, then the manifest, then the old file goes. A kill loses at most the days being fetched.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use forewarn_schema::{LabelMatcher, Step, TimeRange, Timestamp};
use futures::stream::{self, StreamExt};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::TempPath;
use tokio::sync::mpsc;

use crate::dataset::{Dataset, in_store};
use crate::error::DatasetError;
use crate::gaps::{gaps, union};
use crate::manifest::{self, DatasetManifest, DayFile, SourceRecord, hex};
use crate::plan::days;
use crate::sample_source::{RawSeries, SampleQuery, SampleSource};
use crate::samples::{SampleFileError, SampleFileStats, SampleWriter};
use crate::samples_file::{SamplesFile, selection};
use crate::source::SourceError;
use crate::{Day, PullProgress};

/// Days that are fetched at a time: two that keep two cores busy, and one more while a day is put in its place.
const AT_A_TIME: usize = 3;
/// Pieces of series on their way from a source to the file.
const IN_FLIGHT: usize = 16;
/// How often a source may ask to be asked again for one day: once for each of its blocks that is damaged, and then some.
const MAX_AGAIN: usize = 64;
/// A century of days, and what kills have left.
const MAX_FILES: usize = 100_000;
/// A silence shorter than this is no gap: instant selectors look back as far.
const SHORTEST_GAP: Duration = Duration::from_secs(300);

/// What a pull of raw samples did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SamplesSummary {
    /// Days asked for.
    pub days: u64,
    /// How many of them were there already.
    pub unchanged_days: u64,
    /// Rows written.
    pub rows: u64,
    /// Parquet bytes written.
    pub bytes: u64,
    /// Times that the source should have and could not give, with the reason, in all of the range.
    pub missing: Vec<(TimeRange, String)>,
}

/// A day's file, written and not yet in its place.
struct Fetched {
    day: Day,
    file: SamplesFile,
    written: TempPath,
}

impl Dataset {
    /// Brings the samples of `range` of the selected series into the dataset. Take the [`lock`](Dataset::lock) first.
    ///
    /// A day is left as it is where it covers what is wanted, was asked for the same series, nothing is missing and the
    /// source says that nothing has changed. Where a day's samples change, what was evaluated from them (steps up to
    /// `look_back` later) is forgotten in the same write of the manifest.
    pub async fn pull_samples(
        &self,
        source: &dyn SampleSource,
        selectors: &[Vec<LabelMatcher>],
        step: Step,
        range: TimeRange,
        look_back: Duration,
        progress: &dyn PullProgress,
    ) -> Result<SamplesSummary, DatasetError> {
        let (manifest, mut version) = self.load_manifest().await?;
        self.check(manifest.as_ref(), source.name(), step)?;
        let mut manifest = manifest.unwrap_or_else(|| DatasetManifest::new(step));
        self.sweep_samples(&manifest, source.name())?;
        let (digest, texts) = selection(selectors);
        let sizes = self.sample_sizes(source.name()).await?;
        let mut summary = SamplesSummary::default();
        let mut wanted = Vec::new();
        for day in days(range)? {
            let Some(mut part) = day.range().intersect(&range) else { continue };
            summary.days += 1;
            let known = manifest.samples.get(source.name()).and_then(|days| days.get(&day));
            let state = source.state(&query(selectors, known.map_or(part, |k| hull(k.covered, part)))).await?;
            if let Some(known) = known {
                let is_there = sizes.get(&in_store(&known.path)) == Some(&known.bytes);
                if known.answers(part, &digest, state.as_deref()) && is_there {
                    summary.unchanged_days += 1;
                    continue;
                }
                // What was there has to come back too.
                part = hull(known.covered, part);
            }
            wanted.push((day, part, state));
        }
        progress.started(wanted.len() as u64);
        if !wanted.is_empty() {
            let info = source.probe().await?;
            let record = SourceRecord { kind: info.kind, url: info.url, version: info.version };
            manifest.sources.insert(source.name().to_owned(), record);
        }
        let mut fetched = stream::iter(wanted)
            .map(|(day, part, state)| self.fetch_day(source, selectors, &digest, day, part, state, progress))
            .buffered(AT_A_TIME);
        while let Some(day) = fetched.next().await {
            let Fetched { day, file, written } = day?;
            summary.rows += file.rows;
            summary.bytes += file.bytes;
            self.store.put_file(&in_store(&file.path), &written).await?;
            // Renamed or copied: what is left, if anything, goes.
            drop(written);
            manifest.selections.entry(digest.clone()).or_insert_with(|| texts.clone());
            let days = manifest.samples.entry(source.name().to_owned()).or_default();
            let path = file.path.clone();
            let mut gone: Vec<String> = days.insert(day, file).map(|old| old.path).into_iter().collect();
            let changed = gone.first() != Some(&path);
            gone.retain(|old| *old != path);
            if changed {
                gone.extend(forget_steps(&mut manifest, source.name(), day, look_back));
            }
            manifest.tidy();
            version = self.store.replace(&in_store(manifest::PATH), manifest.to_bytes().into(), &version).await?;
            for path in gone {
                self.store.delete(&in_store(&path)).await?;
            }
            progress.window_done(summary.rows, summary.bytes);
        }
        drop(fetched);
        let days = manifest.samples.get(source.name()).into_iter().flatten();
        let missing = days.flat_map(|(_, file)| &file.missing).filter(|m| m.range.intersect(&range).is_some());
        summary.missing = missing.map(|m| (m.range, m.reason.clone())).collect();
        self.sweep_samples(&manifest, source.name())?;
        Ok(summary)
    }

    /// Path → size of the files of samples that are there. Their digests are looked at when they are read.
    async fn sample_sizes(&self, source: &str) -> Result<BTreeMap<String, u64>, DatasetError> {
        let listed = self.store.walk(&in_store(&format!("{source}/samples")), MAX_FILES).await?;
        Ok(listed.into_iter().map(|object| (object.path, object.size)).collect())
    }

    #[allow(clippy::too_many_arguments, reason = "one call, in one place; a struct of them would only rename it")]
    async fn fetch_day(
        &self,
        source: &dyn SampleSource,
        selectors: &[Vec<LabelMatcher>],
        selection: &str,
        day: Day,
        covered: TimeRange,
        mut state: Option<String>,
        progress: &dyn PullProgress,
    ) -> Result<Fetched, DatasetError> {
        let query = query(selectors, covered);
        let place = in_store(&format!("{}/samples", source.name()));
        let mut reason = String::new();
        for attempt in 1..=MAX_AGAIN {
            let folder = self.store.workspace(&place)?;
            let failed = |e: &(dyn std::error::Error + 'static)| self.store.failed("write", &place, e);
            let (prefix, mut new) = (format!("{day}-"), tempfile::Builder::new());
            new.prefix(&prefix).suffix(".parquet#");
            #[cfg(unix)]
            new.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
            let (file, written) = new.tempfile_in(folder).map_err(|e| failed(&e))?.into_parts();
            let (sender, receiver) = mpsc::channel(IN_FLIGHT);
            let writer = tokio::task::spawn_blocking(move || write(receiver, file, covered));
            let answer = source.samples(&query, sender, progress).await;
            let done = writer.await.map_err(|e| failed(&e))?;
            let provenance = match answer {
                Ok(provenance) => provenance,
                Err(SourceError::Again { reason: why, .. }) => {
                    progress.retrying(&day.to_string(), u32::try_from(attempt).unwrap_or(u32::MAX), &why);
                    state = source.state(&query).await?;
                    reason = why;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let Written { stats, bytes, sha256, gaps } = done.map_err(|e| failed(&e))?;
            let mut file = SamplesFile {
                path: SamplesFile::path_of(source.name(), day, &sha256),
                rows: stats.rows,
                histograms: stats.histograms,
                series: stats.series,
                bytes,
                sha256,
                covered,
                selection: selection.to_owned(),
                state,
                from: Vec::new(),
                downsampled: Vec::new(),
                replicas: Vec::new(),
                missing: Vec::new(),
                skipped: BTreeMap::new(),
                gaps,
            };
            file.set_provenance(provenance);
            return Ok(Fetched { day, file, written });
        }
        let reason = format!("it asked to be asked again {MAX_AGAIN} times for {day}, last because {reason}");
        Err(SourceError::Malformed { source_name: source.name().to_owned(), reason }.into())
    }

    /// Removes what killed pulls have left among the files of samples.
    fn sweep_samples(&self, manifest: &DatasetManifest, source: &str) -> Result<(), DatasetError> {
        let named: Vec<&str> =
            manifest.samples.get(source).into_iter().flatten().map(|(_, f)| f.path.as_str()).collect();
        let folder = format!("{source}/samples");
        let is_ours = |name: &str| {
            let is_day = name.get(..10).is_some_and(|day| day.parse::<Day>().is_ok());
            is_day && name.contains(".parquet")
        };
        let removed = self
            .store
            .sweep(&in_store(&folder), |name| is_ours(name) && !named.contains(&format!("{folder}/{name}").as_str()))?;
        if removed > 0 {
            tracing::info!(source, removed, "removed samples that an interrupted pull had left");
        }
        Ok(())
    }
}

fn query(selectors: &[Vec<LabelMatcher>], range: TimeRange) -> SampleQuery {
    SampleQuery { selectors: selectors.to_vec(), range }
}

fn hull(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange { start: a.start.min(b.start), end: a.end.max(b.end) }
}

/// Takes out of the manifest what was evaluated from the samples of `day`, and gives the files that nothing names then.
fn forget_steps(manifest: &mut DatasetManifest, source: &str, day: Day, look_back: Duration) -> Vec<String> {
    let Some(files) = manifest.files.get_mut(source) else { return Vec::new() };
    let reaches = TimeRange { start: day.range().start, end: day.range().end + look_back };
    let (stale, kept): (BTreeMap<Day, DayFile>, BTreeMap<Day, DayFile>) =
        std::mem::take(files).into_iter().partition(|(day, _)| day.range().intersect(&reaches).is_some());
    *files = kept;
    if files.is_empty() {
        manifest.files.remove(source);
    }
    stale.into_values().map(|file| file.path).collect()
}

struct Written {
    stats: SampleFileStats,
    bytes: u64,
    sha256: String,
    gaps: Vec<TimeRange>,
}

/// Writes what comes until the sender is gone. Blocking.
fn write(mut series: mpsc::Receiver<RawSeries>, file: File, covered: TimeRange) -> Result<Written, SampleFileError> {
    let sink = Hashing { file: BufWriter::with_capacity(1 << 20, file), digest: Sha256::new(), bytes: 0 };
    let mut writer = SampleWriter::new(sink)?;
    let mut minutes = Minutes::of(covered);
    while let Some(one) = series.blocking_recv() {
        for at in one.samples.iter().map(|s| s.at).chain(one.histograms.iter().map(|h| h.at)) {
            minutes.see(at);
        }
        writer.push(&one)?;
    }
    let (mut sink, stats) = writer.finish()?;
    sink.flush()?;
    Ok(Written { stats, bytes: sink.bytes, sha256: hex(&sink.digest.finalize()), gaps: minutes.gaps(covered) })
}

/// Counts and digests what passes.
struct Hashing {
    file: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// At which minutes of a day anything was seen.
struct Minutes {
    start: i64,
    seen: Vec<bool>,
}

impl Minutes {
    fn of(covered: TimeRange) -> Self {
        let start = covered.start.align_down(Step::MINUTE).millis();
        let minutes = covered.duration().as_millis() / 60_000 + 2;
        Self { start, seen: vec![false; usize::try_from(minutes).unwrap_or(0)] }
    }

    fn see(&mut self, at: Timestamp) {
        let minute = (at.millis() - self.start) / 60_000;
        if let Some(seen) = usize::try_from(minute).ok().and_then(|minute| self.seen.get_mut(minute)) {
            *seen = true;
        }
    }

    fn gaps(&self, covered: TimeRange) -> Vec<TimeRange> {
        let seen = self.seen.iter().enumerate().filter(|(_, seen)| **seen);
        let seen: Vec<Timestamp> = seen.map(|(i, _)| Timestamp::from_millis(self.start + i as i64 * 60_000)).collect();
        let whole = TimeRange { start: covered.start.align_down(Step::MINUTE), end: covered.end };
        let silent = gaps(&[whole], &seen, Step::MINUTE);
        let within = silent.into_iter().filter_map(|gap| gap.intersect(&covered));
        union(within.filter(|gap| gap.duration() >= SHORTEST_GAP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_silent_minutes_are_a_gap_and_four_are_not() {
        let at = |minute: i64| Timestamp::from_seconds(minute * 60 + 7);
        let covered = TimeRange { start: Timestamp::from_seconds(0), end: Timestamp::from_seconds(3600) };
        let mut minutes = Minutes::of(covered);
        (0..60).filter(|m| !(10..14).contains(m) && !(20..25).contains(m)).for_each(|m| minutes.see(at(m)));
        let gap = TimeRange { start: Timestamp::from_seconds(1200), end: Timestamp::from_seconds(1500) };
        assert_eq!(minutes.gaps(covered), [gap]);
        assert_eq!(Minutes::of(covered).gaps(covered), [covered]);
    }
}
