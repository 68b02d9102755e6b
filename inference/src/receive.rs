//! One remote write: read, its good samples kept, the others accounted for.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::promql::{PushError, SeriesPlace};
use forewarn_features::{Known, LiveSignals};
use forewarn_schema::{LabelSet, Sample, TimeRange, Timestamp};
use forewarn_wire::remote_write::{DecodeError, Incoming, IncomingSeries, Limits, Version, read};

use crate::scoring::Scorer;

/// What became of the samples of one request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Account {
    /// In memory now, or already.
    pub(crate) kept: usize,
    /// No signal wants them.
    pub(crate) unwanted: usize,
    /// Native histograms, which no signal reads yet: not counted among the samples.
    pub(crate) histograms: usize,
    /// Exemplars, which nobody reads.
    pub(crate) exemplars: usize,
    /// Never acceptable, by reason.
    pub(crate) refused: BTreeMap<&'static str, usize>,
    /// What was wrong with the first refused.
    pub(crate) example: Option<String>,
    /// From the oldest to the newest that was kept.
    span: Option<(Timestamp, Timestamp)>,
}

impl Account {
    /// How many were refused, for any reason.
    pub(crate) fn refused_count(&self) -> usize {
        self.refused.values().sum()
    }

    fn refuse(&mut self, reason: &'static str, samples: usize, example: impl FnOnce() -> String) {
        *self.refused.entry(reason).or_insert(0) += samples;
        self.example.get_or_insert_with(example);
    }

    /// Keeps one sample, unless it lies outside `timely`.
    fn take(&mut self, live: &mut LiveSignals, series: Series<'_>, sample: Sample, timely: TimeRange) {
        let at = sample.at;
        if at < timely.start || at >= timely.end {
            let reason = if at < timely.start { "too_old" } else { "too_far_in_future" };
            let example = || format!("{} at {at}, taken from {} to {}", series.labels(live), timely.start, timely.end);
            return self.refuse(reason, 1, example);
        }
        let pushed = match series {
            Series::Known(place) => live.push_at(place, sample),
            Series::Stranger(labels) => live.push(labels, sample),
        };
        match pushed {
            Ok(()) => {
                self.kept += 1;
                let (oldest, newest) = self.span.unwrap_or((at, at));
                self.span = Some((oldest.min(at), newest.max(at)));
            }
            Err(error) => self.refuse(reason(&error), 1, || format!("{} at {at}: {error}", series.labels(live))),
        }
    }
}

/// Whose sample it is.
#[derive(Clone, Copy)]
enum Series<'a> {
    /// Met before.
    Known(SeriesPlace),
    /// Met for the first time.
    Stranger(&'a LabelSet),
}

impl Series<'_> {
    fn labels(self, live: &LiveSignals) -> String {
        match self {
            Self::Known(place) => live.labels_at(place).to_string(),
            Self::Stranger(labels) => labels.to_string(),
        }
    }
}

/// Keeps what is good in `body`. The same body again keeps the same: a sender that resends after a
/// failure is told that all is well. Slow for large bodies, so call it off the async threads.
///
/// A sample more than `future` after `now`, or more than `past` before it, is refused: one sender with a
/// wrong clock must not move the time of all.
pub(crate) fn receive(
    body: &[u8],
    version: Version,
    max_decoded_bytes: usize,
    scorer: &Scorer,
    now: Timestamp,
    future: Duration,
    past: Duration,
) -> Result<Account, DecodeError> {
    let mut incoming = read(body, version, Limits { max_decoded_bytes, seed: scorer.fingerprint_seed() })?;
    let mut account = Account {
        histograms: incoming.histograms,
        exemplars: incoming.exemplars,
        refused: std::mem::take(&mut incoming.refused),
        example: incoming.example.take(),
        ..Account::default()
    };
    let timely = TimeRange { start: now - past, end: now + future + Duration::from_millis(1) };
    let strangers = take_known(&incoming, scorer, timely, &mut account);
    if !strangers.is_empty() {
        meet(&incoming, &strangers, scorer, timely, &mut account);
    }
    if let Some((oldest, newest)) = account.span {
        scorer.arrived(oldest, newest);
    }
    Ok(account)
}

/// Takes the samples of series that were met before, which are nearly all; returns the others.
fn take_known<'a>(
    incoming: &'a Incoming,
    scorer: &Scorer,
    timely: TimeRange,
    account: &mut Account,
) -> Vec<&'a IncomingSeries> {
    let mut strangers = Vec::new();
    let mut live = scorer.live_mut();
    for series in incoming.series() {
        let samples = incoming.samples(series);
        match live.known(series.fingerprint) {
            Some(Known::Unwanted) => account.unwanted += samples.len(),
            Some(Known::At(place)) => {
                samples.iter().for_each(|sample| account.take(&mut live, Series::Known(place), *sample, timely));
            }
            None => strangers.push(series),
        }
    }
    strangers
}

/// Unfolds the labels of series that were never met, and takes their samples.
fn meet(incoming: &Incoming, strangers: &[&IncomingSeries], scorer: &Scorer, timely: TimeRange, account: &mut Account) {
    let mut named: Vec<(&IncomingSeries, LabelSet, bool)> = Vec::with_capacity(strangers.len());
    {
        let live = scorer.live();
        for series in strangers {
            match incoming.labels(series) {
                Ok(labels) => {
                    let wanted = live.wants(&labels);
                    named.push((series, labels, wanted));
                }
                Err(reason) => account.refuse("invalid_labels", incoming.samples(series).len(), || reason),
            }
        }
    }
    let mut live = scorer.live_mut();
    for (series, labels, wanted) in named {
        let samples = incoming.samples(series);
        if !wanted {
            account.unwanted += samples.len();
            live.remember(series.fingerprint, &labels);
            continue;
        }
        let kept = account.kept;
        samples.iter().for_each(|sample| account.take(&mut live, Series::Stranger(&labels), *sample, timely));
        if account.kept > kept {
            live.remember(series.fingerprint, &labels);
        }
    }
}

fn reason(error: &PushError) -> &'static str {
    match error {
        PushError::OutOfOrder { .. } => "too_old",
        PushError::Duplicate { .. } => "duplicate_timestamp",
        PushError::BadHistogram { .. } => "bad_histogram",
        PushError::TooManySeries { .. } => "too_many_series",
        PushError::TooManySamples { .. } => "too_many_samples",
    }
}
