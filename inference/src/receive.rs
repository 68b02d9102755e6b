//! One remote write: decoded, its good samples kept, the others accounted for.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::promql::PushError;
use forewarn_schema::Timestamp;
use forewarn_wire::remote_write::{DecodeError, Limits, decode};

use crate::scoring::Scorer;

/// What became of the samples of one request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Account {
    /// In memory now, or already.
    pub(crate) kept: usize,
    /// No signal wants them.
    pub(crate) unwanted: usize,
    /// Never acceptable, by reason.
    pub(crate) refused: BTreeMap<&'static str, usize>,
    /// What was wrong with the first refused.
    pub(crate) example: Option<String>,
}

impl Account {
    /// How many were refused, for any reason.
    pub(crate) fn refused_count(&self) -> usize {
        self.refused.values().sum()
    }

    fn refuse(&mut self, reason: &'static str, example: impl FnOnce() -> String) {
        *self.refused.entry(reason).or_insert(0) += 1;
        self.example.get_or_insert_with(example);
    }
}

/// Keeps what is good in `body`. The same body again keeps the same: a sender that resends after a
/// failure is told that all is well. Slow for large bodies, so call it off the async threads.
///
/// A sample more than `future` after `now`, or more than `past` before it, is refused: one sender with a
/// wrong clock must not move the time of all.
pub(crate) fn receive(
    body: &[u8],
    limits: Limits,
    scorer: &Scorer,
    now: Timestamp,
    future: Duration,
    past: Duration,
) -> Result<Account, DecodeError> {
    let decoded = {
        let live = scorer.live();
        decode(body, limits, |labels| live.wants(labels))?
    };
    let mut account =
        Account { kept: 0, unwanted: decoded.unwanted, refused: decoded.refused, example: decoded.example };
    if decoded.wanted.is_empty() {
        return Ok(account);
    }
    let (earliest, latest) = (now - past, now + future);
    let mut span: Option<(Timestamp, Timestamp)> = None;
    let mut live = scorer.live_mut();
    for (labels, samples) in &decoded.wanted {
        for sample in samples {
            if sample.at > latest {
                account.refuse("too_far_in_future", || format!("{labels} at {}, now is {now}", sample.at));
                continue;
            }
            if sample.at < earliest {
                account.refuse("too_old", || format!("{labels} at {}, now is {now}", sample.at));
                continue;
            }
            match live.push(labels, *sample) {
                Ok(()) => {
                    account.kept += 1;
                    let (oldest, newest) = span.unwrap_or((sample.at, sample.at));
                    span = Some((oldest.min(sample.at), newest.max(sample.at)));
                }
                Err(error) => account.refuse(reason(&error), || format!("{labels} at {}: {error}", sample.at)),
            }
        }
    }
    drop(live);
    if let Some((oldest, newest)) = span {
        scorer.arrived(oldest, newest);
    }
    Ok(account)
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
