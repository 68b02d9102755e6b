//! The pull plan: what of a range is not in the dataset yet. Pure, so that its law can be tested: what is planned and
//! what is covered make the whole, and do not overlap.

use std::collections::BTreeSet;

use forewarn_features::{SignalQuery, SignalSet};
use forewarn_schema::{Step, TimeRange};

use crate::Day;
use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::gaps::{aligned, missing, union};
use crate::manifest::{DatasetManifest, is_source_name, query_digest};
use crate::source::HistorySource;

/// A century.
const MAX_DAYS: usize = 36_525;

/// One expression over one part of one day.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedWindow {
    /// The day whose file it will be in.
    pub day: Day,
    /// What will be asked.
    pub query: SignalQuery,
    /// For which times; starts and ends on a step.
    pub range: TimeRange,
}

/// What a pull would fetch, by day.
#[derive(Clone, Debug, PartialEq)]
pub struct PullPlan {
    pub(crate) windows: Vec<PlannedWindow>,
}

impl PullPlan {
    pub(crate) fn new(
        manifest: Option<&DatasetManifest>,
        source: &str,
        signals: &SignalSet,
        step: Step,
        range: TimeRange,
        damaged: &[Day],
    ) -> Result<Self, DatasetError> {
        let mut windows = Vec::new();
        let whole = aligned(range, step);
        for day in days(range)? {
            let file = manifest.and_then(|m| m.file(source, day));
            // Multiples of the step that lie in this day: steps need not divide a day.
            let Some(wanted) = whole.and_then(|w| w.intersect(&day.range())) else { continue };
            if aligned(wanted, step).is_none() {
                continue;
            }
            for query in signals.queries() {
                let (digest, service) = (query_digest(&query), service_label(signals, &query.signal));
                let known = file.and_then(|f| f.query(&query.signal, query.role));
                let known = known.filter(|c| c.answers(&digest, service));
                let covered = known.map(|c| c.covered.clone()).unwrap_or_default();
                let ranges = if damaged.contains(&day) {
                    // What was there has to come back too.
                    union(covered.into_iter().chain([wanted]))
                } else {
                    missing(wanted, &covered)
                };
                windows.extend(ranges.into_iter().map(|range| PlannedWindow { day, query: query.clone(), range }));
            }
        }
        Ok(Self { windows })
    }

    /// How many windows there are to fetch.
    pub fn windows(&self) -> u64 {
        self.windows.len() as u64
    }

    /// The windows, by day, then signal.
    pub fn iter(&self) -> impl Iterator<Item = &PlannedWindow> {
        self.windows.iter()
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

/// The label that names the services of a signal.
pub(crate) fn service_label<'a>(signals: &'a SignalSet, signal: &str) -> &'a str {
    signals.get(signal).map_or("", |signal| signal.service.as_str())
}

/// The days of a range that a dataset may have.
pub(crate) fn days(range: TimeRange) -> Result<Vec<Day>, DatasetError> {
    let refused = || DatasetError::Range { range, max_days: MAX_DAYS };
    let days = Day::touched_by(range).ok_or_else(refused)?;
    if days.clone().take(MAX_DAYS + 1).count() > MAX_DAYS {
        return Err(refused());
    }
    Ok(days.collect())
}

impl Dataset {
    /// What [`pull`](Dataset::pull) would fetch. Looks at the files of the range, to find damaged ones, and asks the
    /// source nothing.
    pub async fn plan(
        &self,
        source: &dyn HistorySource,
        signals: &SignalSet,
        step: Step,
        range: TimeRange,
    ) -> Result<PullPlan, DatasetError> {
        let (manifest, _) = self.load_manifest().await?;
        self.check(manifest.as_ref(), source.name(), step)?;
        self.plan_from(manifest.as_ref(), source.name(), signals, step, range).await.map(|(plan, _)| plan)
    }

    /// The plan, and the days whose file cannot be used.
    pub(crate) async fn plan_from(
        &self,
        manifest: Option<&DatasetManifest>,
        source: &str,
        signals: &SignalSet,
        step: Step,
        range: TimeRange,
    ) -> Result<(PullPlan, Vec<Day>), DatasetError> {
        let plan = PullPlan::new(manifest, source, signals, step, range, &[])?;
        let Some(known) = manifest else { return Ok((plan, Vec::new())) };
        let changing: BTreeSet<Day> = plan.iter().map(|window| window.day).collect();
        let damaged = self.damaged(known, source, days(range)?, &changing).await?;
        if damaged.is_empty() {
            return Ok((plan, damaged));
        }
        Ok((PullPlan::new(manifest, source, signals, step, range, &damaged)?, damaged))
    }

    /// Refuses a source whose name cannot be a folder, and another step than the dataset's.
    pub(crate) fn check(
        &self,
        manifest: Option<&DatasetManifest>,
        source: &str,
        step: Step,
    ) -> Result<(), DatasetError> {
        if !is_source_name(source) {
            return Err(DatasetError::SourceName(source.to_owned()));
        }
        match manifest {
            Some(m) if m.step != step && m.range().is_some() => {
                Err(DatasetError::StepChanged { store: self.store.url().to_owned(), has: m.step, wanted: step })
            }
            _ => Ok(()),
        }
    }
}
