//! `forewarn schedule`: waits for each scheduled time and runs, one runner at a time over one store, until it is told to stop.
//!
//! What is due follows from the clock and the records alone, so nothing is forgotten by a runner that was away, and of many that
//! were away none does what another has done.

use std::time::Duration;

use forewarn_models::{RunLog, RunLogError, runs};
use forewarn_schema::Timestamp;
use forewarn_storage::{Store, StoreError};
use serde_json::{Value, json};

use super::{now, open, run, serve};
use crate::cli::Schedule as Arguments;
use crate::config::Config;
use crate::errors::one_line;
use crate::outcome::Outcome;
use crate::schedule::{Schedule, jitter};

/// The clock is looked at so often: it may jump, and a machine may have slept.
const LOOK: Duration = Duration::from_secs(30);
/// After a failure, and twice as long after the next.
const FIRST_RETRY: Duration = Duration::from_secs(15 * 60);
const LAST_RETRY: Duration = Duration::from_secs(6 * 3600);
/// Who finds another running looks again after this.
const BESIDE: Duration = Duration::from_secs(60);

pub(super) async fn schedule(config: &Config, arguments: &Arguments) -> anyhow::Result<Outcome> {
    let stop = serve::shutdown()?;
    let runner = Runner { config, offset: jitter(&who(config), config.train.jitter) };
    if arguments.once {
        return tokio::select! {
            outcome = runner.once() => outcome,
            () = stop => Ok(Outcome::new("stopped; the next one goes on from here", json!({"ran": false, "stopped": true}))),
        };
    }
    tokio::select! {
        never = runner.for_ever() => never,
        () = stop => {}
    }
    // Killed in the middle of a step is what a run is made for: the next one goes on.
    Ok(Outcome::new("", json!({})))
}

/// As `forewarn serve` has it with `[train] in_server`: for ever, beside the server.
pub(super) async fn beside_a_server(config: &Config) {
    Runner { config, offset: jitter(&who(config), config.train.jitter) }.for_ever().await;
}

/// Tells runners apart: the host, and what it works on.
fn who(config: &Config) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {} {}", host.trim(), config.serve.shard, config.store_url)
}

struct Runner<'a> {
    config: &'a Config,
    /// After each scheduled time.
    offset: Duration,
}

/// What became of one look.
enum Looked {
    /// Nothing is due before this.
    Wait(Timestamp),
    /// Somebody else runs.
    Beside,
    Ran(Box<Outcome>),
}

impl Runner<'_> {
    async fn once(&self) -> anyhow::Result<Outcome> {
        loop {
            let idle = |text: String, json: Value| Ok(Outcome::new(text, json));
            match self.look(Duration::ZERO).await? {
                Looked::Ran(outcome) => {
                    let mut said = outcome.json().clone();
                    said["ran"] = json!(true);
                    return idle(outcome.text().to_owned(), said);
                }
                Looked::Wait(next) => {
                    let text = format!("nothing is due before {next} ({})\n", self.config.train.schedule);
                    return idle(text, json!({"ran": false, "next": next}));
                }
                // Its run may fail, and ours is then due still.
                Looked::Beside => tokio::time::sleep(BESIDE / 30).await,
            }
        }
    }

    async fn for_ever(&self) {
        let schedule = &self.config.train.schedule;
        let offset = self.offset.as_secs();
        tracing::info!(%schedule, seconds_later = offset, next = %schedule.after(now()), "waiting for the schedule");
        let mut failures = 0;
        // What is done stays done: until then there is nothing to ask the store.
        let mut nothing_before: Option<Timestamp> = None;
        loop {
            if nothing_before.is_some_and(|at| now() < at) {
                tokio::time::sleep(until(nothing_before)).await;
                continue;
            }
            let wait = match self.look(self.offset).await {
                Ok(Looked::Ran(outcome)) => {
                    failures = 0;
                    tracing::info!(next = %schedule.after(now()), "{}", outcome.text().trim_end().replace('\n', "; "));
                    Duration::ZERO
                }
                Ok(Looked::Wait(at)) => {
                    nothing_before = Some(at);
                    until(nothing_before)
                }
                Ok(Looked::Beside) => BESIDE,
                Err(error) => {
                    let again = retry(failures);
                    failures += 1;
                    tracing::error!(error = one_line(&error), "run failed, trying again in {again:?}");
                    again
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Runs what is due, if anything is and nobody else does.
    async fn look(&self, offset: Duration) -> anyhow::Result<Looked> {
        // Looked at all week long: nothing is written before something is due.
        let log = RunLog::new(Store::open(&self.config.store_url)?);
        let at = match due(&log, &self.config.train.schedule, now(), offset).await? {
            Ok(at) => at,
            Err(next) => return Ok(Looked::Wait(next)),
        };
        let store = open::changing_store(self.config).await?;
        let lease = match store.lease(run::LEASE, run::SILENCE).await {
            Ok(lease) => lease,
            Err(StoreError::InUse { .. }) => return Ok(Looked::Beside),
            Err(e) => return Err(e.into()),
        };
        // Who had the lease before may have done it.
        if let Err(next) = due(&log, &self.config.train.schedule, now(), offset).await? {
            lease.release().await;
            return Ok(Looked::Wait(next));
        }
        tracing::info!(scheduled_for = %at, "a run is due");
        let id = run::id_of(at);
        let scope = run::Scope { id: &id, shard: None, until: None, pull: true };
        let outcome = run::held(lease, run::go_on(self.config, store, at, scope)).await?;
        Ok(Looked::Ran(Box::new(outcome)))
    }
}

/// The scheduled time that a run is due for, or else when the next one will be.
async fn due(
    log: &RunLog,
    schedule: &Schedule,
    now: Timestamp,
    offset: Duration,
) -> Result<Result<Timestamp, Timestamp>, RunLogError> {
    let last = schedule.at_or_before(now);
    let is_done = log.get(&run::id_of(last)).await?.is_some_and(|record| runs::is_done(&record));
    Ok(if is_done {
        Err(schedule.after(now) + offset)
    } else if now < last + offset {
        Err(last + offset)
    } else {
        Ok(last)
    })
}

/// The time until then, but not so long that a clock that jumped is missed.
fn until(at: Option<Timestamp>) -> Duration {
    let seconds = at.map_or(0.0, |at| at.seconds_since(now()));
    Duration::from_secs_f64(seconds.clamp(0.1, LOOK.as_secs_f64()))
}

fn retry(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.min(10)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use forewarn_schema::{RunRecord, RunStep, RunStepOutcome};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn record(scheduled: &str, outcome: RunStepOutcome) -> RunRecord {
        let at = at(scheduled);
        RunRecord {
            format_version: RunRecord::FORMAT_VERSION,
            id: run::id_of(at),
            scheduled_for: at,
            started_at: at,
            finished_at: Some(at),
            steps: vec![RunStep {
                name: "pull".to_owned(),
                started_at: at,
                finished_at: Some(at),
                outcome,
                cpu_seconds: None,
                detail: Value::Null,
            }],
        }
    }

    #[tokio::test]
    async fn what_is_due_follows_from_the_clock_and_the_records() {
        let dir = tempfile::tempdir().unwrap();
        let log = RunLog::new(Store::open(&format!("file://{}", dir.path().display())).unwrap());
        let schedule: Schedule = "Sun 03:00 UTC".parse().unwrap();
        let offset = Duration::from_secs(300);
        let due = async |now: &str| due(&log, &schedule, at(now), offset).await.unwrap();
        let sunday = at("2026-01-11T03:00:00Z");
        assert_eq!(due("2026-01-14T12:00:00Z").await, Ok(sunday), "never run: at once");
        assert_eq!(due("2026-01-11T03:02:00Z").await, Err(at("2026-01-11T03:05:00Z")), "each at its own time");
        log.put(&record("2026-01-11T03:00:00Z", RunStepOutcome::Failed)).await.unwrap();
        assert_eq!(due("2026-01-11T04:00:00Z").await, Ok(sunday), "a failed one still is");
        log.put(&record("2026-01-11T03:00:00Z", RunStepOutcome::Done)).await.unwrap();
        assert_eq!(due("2026-01-11T04:00:00Z").await, Err(at("2026-01-18T03:05:00Z")));
        // Five weeks away: one run makes up for all of them.
        let last = at("2026-02-15T03:00:00Z");
        assert_eq!(due("2026-02-16T00:00:00Z").await, Ok(last));
        log.put(&record("2026-02-15T03:00:00Z", RunStepOutcome::Done)).await.unwrap();
        assert_eq!(due("2026-02-16T00:00:00Z").await, Err(at("2026-02-22T03:05:00Z")));
    }

    #[test]
    fn failures_are_tried_again_less_and_less_often() {
        let minutes: Vec<u64> = (0..6).map(|n| retry(n).as_secs() / 60).collect();
        assert_eq!(minutes, [15, 30, 60, 120, 240, 360]);
        assert_eq!(retry(u32::MAX), LAST_RETRY);
    }
}
