//! From when to when a server has data. The query API has no such question, so it is searched: a server lists label
//! names only where a time range meets some of its data.

use std::time::Duration;

use forewarn_schema::{Step, TimeRange, Timestamp};

use super::answer;
use super::client::{Client, Failure};
use super::seconds;
use crate::NoProgress;
use crate::source::SourceError;

/// 2010: Prometheus is younger.
const EARLIEST: Timestamp = Timestamp::from_seconds(1_262_304_000);
/// A server with data of the last minutes is live. What was measured in the last two may still be on its way into it.
const LIVE: Duration = Duration::from_secs(300);
const ON_ITS_WAY: Duration = Duration::from_secs(120);
const PRECISION: Step = Step::MINUTE;

/// See [`HistorySource::extent`](crate::HistorySource::extent). Some 50 small requests; where data lies in blocks, as
/// exact as their bounds.
pub(super) async fn extent(client: &Client) -> Result<Option<TimeRange>, SourceError> {
    let now = Timestamp::from_millis(chrono::Utc::now().timestamp_millis());
    if !any_data(client, EARLIEST, now).await? {
        return Ok(None);
    }
    let end = if any_data(client, now - LIVE, now).await? {
        let settled = now - ON_ITS_WAY;
        if any_data(client, EARLIEST, settled).await? { settled } else { now }
    } else {
        // Invariant: there is data from `before` on, and none from `after` on.
        let (mut before, mut after) = (EARLIEST, now);
        while let Some(middle) = middle(before, after) {
            if any_data(client, middle, after).await? { before = middle } else { after = middle }
        }
        after
    };
    // Invariant: there is no data up to `before`, and some up to `after`.
    let (mut before, mut after) = (EARLIEST, end);
    while let Some(middle) = middle(before, after) {
        if any_data(client, before, middle).await? { after = middle } else { before = middle }
    }
    // Both are in one minute, or a millisecond apart: then the first sample is at `after`, which may begin a minute.
    let extent = TimeRange { start: after.align_down(PRECISION), end: end.align_up(PRECISION) };
    Ok((!extent.is_empty()).then_some(extent))
}

/// The time half-way; `None` where both are within the same minute, which is all that is wanted.
fn middle(before: Timestamp, after: Timestamp) -> Option<Timestamp> {
    let span = after.millis() - before.millis();
    let same_minute = before.align_down(PRECISION) == after.align_down(PRECISION);
    (span > 1 && !same_minute).then(|| Timestamp::from_millis(before.millis() + span / 2))
}

async fn any_data(client: &Client, start: Timestamp, end: Timestamp) -> Result<bool, SourceError> {
    let form = [
        ("start", seconds(start)),
        ("end", seconds(end)),
        ("partial_response", "false".to_owned()),
        ("limit", "1".to_owned()),
    ];
    let what = format!("label names from {start} to {end}");
    let body = client.post("/api/v1/labels", &form, &what, client.options.retries, &NoProgress).await;
    let body = body.map_err(Failure::into_error)?;
    match answer::any_names(&body) {
        // A server that knows `limit` warns that it cut the list short: there was something to cut.
        Err(answer::AnswerError::Partial(warnings)) if warnings.iter().all(|w| w.contains("truncated")) => Ok(true),
        other => other.map_err(|e| client.answer_error(e, &what)),
    }
}
