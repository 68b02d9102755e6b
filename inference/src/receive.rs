//! Samples that come in, by whichever door: the good ones kept, the others accounted for.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::promql::{PushError, SeriesPlace};
use forewarn_features::{Known, LiveSignals};
use forewarn_schema::{HistogramSample, LabelSet, Sample, TimeRange, Timestamp};
use forewarn_wire::otlp;
use forewarn_wire::remote_write::{DecodeError, Incoming, IncomingSeries, Limits, Version, read};

use crate::scoring::Scorer;

/// What became of the samples of one request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Account {
    /// In memory now, or already.
    pub(crate) kept: usize,
    /// No signal wants them.
    pub(crate) unwanted: usize,
    /// Native histograms in memory now, or already: not counted among the samples.
    pub(crate) histograms_kept: usize,
    /// Native histograms that no signal wants.
    pub(crate) histograms_unwanted: usize,
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

    /// Counts what nobody wants.
    fn leave(&mut self, samples: usize, series: &IncomingSeries) {
        self.unwanted += samples;
        self.histograms_unwanted += series.histograms as usize;
    }

    fn refuse(&mut self, reason: &'static str, samples: usize, example: impl FnOnce() -> String) {
        *self.refused.entry(reason).or_insert(0) += samples;
        self.example.get_or_insert_with(example);
    }

    /// Keeps one sample, unless it lies outside `timely`.
    fn take(&mut self, live: &mut LiveSignals, series: Series<'_>, sample: Sample, timely: TimeRange) {
        let at = sample.at;
        if let Some(reason) = untimely(at, timely) {
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
                self.note(at);
            }
            Err(error) => self.refuse(reason(&error), 1, || format!("{} at {at}: {error}", series.labels(live))),
        }
    }

    /// Keeps one native histogram, as [`Self::take`] keeps a sample; or accounts for what is wrong with it.
    fn take_histogram(
        &mut self,
        live: &mut LiveSignals,
        labels: &LabelSet,
        sample: Result<HistogramSample, String>,
        timely: TimeRange,
    ) {
        let sample = match sample {
            Ok(sample) => sample,
            Err(reason) => return self.refuse("bad_histogram", 1, || format!("{labels}: {reason}")),
        };
        let at = sample.at;
        if let Some(reason) = untimely(at, timely) {
            let example = || format!("{labels} at {at}, taken from {} to {}", timely.start, timely.end);
            return self.refuse(reason, 1, example);
        }
        match live.push_histogram(labels, &sample) {
            Ok(()) => {
                self.histograms_kept += 1;
                self.note(at);
            }
            Err(error) => self.refuse(reason(&error), 1, || format!("{labels} at {at}: {error}")),
        }
    }

    /// Tells that samples came.
    fn tell(&self, scorer: &Scorer) {
        if let Some((oldest, newest)) = self.span {
            scorer.arrived(oldest, newest);
        }
    }

    fn note(&mut self, at: Timestamp) {
        let (oldest, newest) = self.span.unwrap_or((at, at));
        self.span = Some((oldest.min(at), newest.max(at)));
    }
}

fn untimely(at: Timestamp, timely: TimeRange) -> Option<&'static str> {
    match at {
        at if at < timely.start => Some("too_old"),
        at if at >= timely.end => Some("too_far_in_future"),
        _ => None,
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
pub(crate) fn receive(
    body: &[u8],
    version: Version,
    max_decoded_bytes: usize,
    scorer: &Scorer,
    timely: Timely,
) -> Result<Account, DecodeError> {
    let mut incoming = read(body, version, Limits { max_decoded_bytes, seed: scorer.fingerprint_seed() })?;
    let mut account = Account {
        exemplars: incoming.exemplars,
        refused: std::mem::take(&mut incoming.refused),
        example: incoming.example.take(),
        ..Account::default()
    };
    let timely = timely.range();
    let strangers = take_known(&incoming, scorer, timely, &mut account);
    if !strangers.is_empty() {
        meet(&incoming, &strangers, scorer, timely, &mut account);
    }
    account.tell(scorer);
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
    // All looked up before anything is kept: of a large table each is waited for in memory, and so they are waited for together.
    let known: Vec<Option<Known>> = incoming.series().iter().map(|series| live.known(series.fingerprint)).collect();
    for (series, known) in incoming.series().iter().zip(known) {
        let samples = incoming.samples(series);
        match known {
            Some(Known::Unwanted) => account.leave(samples.len(), series),
            Some(Known::At(place)) => {
                samples.iter().for_each(|sample| account.take(&mut live, Series::Known(place), *sample, timely));
                if series.histograms > 0 {
                    let labels = live.labels_at(place).clone();
                    incoming.histograms(series).for_each(|h| account.take_histogram(&mut live, &labels, h, timely));
                }
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
                Err(reason) => {
                    let samples = incoming.samples(series).len() + series.histograms as usize;
                    account.refuse("invalid_labels", samples, || reason);
                }
            }
        }
    }
    let mut live = scorer.live_mut();
    for (series, labels, wanted) in named {
        let samples = incoming.samples(series);
        if !wanted {
            account.leave(samples.len(), series);
            live.remember(series.fingerprint, &labels);
            continue;
        }
        let kept = account.kept + account.histograms_kept;
        samples.iter().for_each(|sample| account.take(&mut live, Series::Stranger(&labels), *sample, timely));
        incoming.histograms(series).for_each(|h| account.take_histogram(&mut live, &labels, h, timely));
        if account.kept + account.histograms_kept > kept {
            live.remember(series.fingerprint, &labels);
        }
    }
}

/// How far from the clock a sample may be: one sender with a wrong clock must not move the time of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timely {
    pub(crate) now: Timestamp,
    pub(crate) future: Duration,
    pub(crate) past: Duration,
}

impl Timely {
    fn range(self) -> TimeRange {
        TimeRange { start: self.now - self.past, end: self.now + self.future + Duration::from_millis(1) }
    }
}

/// A series with what came of it, labels unfolded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NamedSeries {
    pub(crate) labels: LabelSet,
    pub(crate) samples: Vec<Sample>,
    pub(crate) histograms: Vec<HistogramSample>,
}

/// Keeps what is good of `series`, all of which is wanted. Slow where there is much, so call it off the async threads.
pub(crate) fn take_named(series: &[NamedSeries], scorer: &Scorer, timely: Timely) -> Account {
    let (mut account, timely) = (Account::default(), timely.range());
    {
        let mut live = scorer.live_mut();
        for NamedSeries { labels, samples, histograms } in series {
            samples.iter().for_each(|sample| account.take(&mut live, Series::Stranger(labels), *sample, timely));
            for histogram in histograms {
                account.take_histogram(&mut live, labels, Ok(histogram.clone()), timely);
            }
        }
    }
    account.tell(scorer);
    account
}

/// Keeps what is good of an OTLP message, which is already read; refuses a point of which anything is refused, and counts it in
/// `incoming`.
pub(crate) fn take_points(incoming: &mut otlp::Incoming, scorer: &Scorer, timely: Timely) -> Account {
    let (mut account, timely) = (Account { unwanted: incoming.unwanted_samples, ..Account::default() }, timely.range());
    {
        let mut live = scorer.live_mut();
        for point in std::mem::take(&mut incoming.points) {
            let before = account.refused.clone();
            for (labels, sample) in &point.floats {
                account.take(&mut live, Series::Stranger(labels), *sample, timely);
            }
            if let Some((labels, histogram)) = point.histogram {
                account.take_histogram(&mut live, &labels, Ok(histogram), timely);
            }
            let why = account.refused.iter().find(|(reason, count)| before.get(**reason) != Some(count));
            if let Some((why, _)) = why {
                let example = account.example.clone().unwrap_or_default();
                incoming.refuse(why, 1, || example);
            }
        }
    }
    account.tell(scorer);
    account
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

#[cfg(test)]
mod tests;
