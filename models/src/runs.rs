//! The records of the weekly job's runs, in the store beside the models: `runs/<id>.json`, and a copy of the one that was done
//! last. `docs/formats/run.md`. Not here: what a run does (the binary).

use bytes::Bytes;
use forewarn_schema::{RunRecord, RunStepOutcome};
use forewarn_storage::{Store, StoreError};

/// A record holds a few hundred bytes a service.
const MAX_RECORD_BYTES: u64 = 64 << 20;
/// The last run that was done whole.
const LAST_DONE: &str = "runs/last-done.json";
/// What an id is made of, besides ASCII letters and digits.
const PUNCTUATION: &str = "._-";
const MAX_ID: usize = 100;

/// The records of one store. Cheap to clone; every call reads the store anew.
#[derive(Clone, Debug)]
pub struct RunLog {
    store: Store,
}

/// A record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RunLogError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is there is no record of ours.
    #[error("{path} is no run's record: {reason}")]
    Malformed {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// Not an id.
    #[error(
        "a run's id must have 1 to {MAX_ID} letters, digits, points, - and _, and not begin with a point, got {0:?}"
    )]
    Id(String),
}

impl RunLog {
    /// Over a store that is open already.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// One record; `None` where there is none.
    pub async fn get(&self, id: &str) -> Result<Option<RunRecord>, RunLogError> {
        self.read(&path_of(id)?).await
    }

    /// The run that was done whole last; `None` where none was.
    pub async fn last_done(&self) -> Result<Option<RunRecord>, RunLogError> {
        self.read(LAST_DONE).await
    }

    /// Every record, the one that began last first. One that cannot be read is left out.
    pub async fn all(&self) -> Result<Vec<RunRecord>, RunLogError> {
        let mut records = Vec::new();
        for file in self.store.files("runs").await? {
            let path = format!("runs/{file}");
            if path == LAST_DONE || !file.ends_with(".json") {
                continue;
            }
            match self.read(&path).await {
                Ok(record) => records.extend(record),
                Err(RunLogError::Malformed { path, reason }) => tracing::warn!(path, reason, "no record of a run"),
                Err(error) => return Err(error),
            }
        }
        records.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
        Ok(records)
    }

    /// Writes a record whole, in place of what was known of the run.
    pub async fn put(&self, record: &RunRecord) -> Result<(), RunLogError> {
        let path = path_of(&record.id)?;
        let json = serde_json::to_vec_pretty(record)
            .map_err(|e| RunLogError::Malformed { path: path.clone(), reason: e.to_string() })?;
        let json = Bytes::from(json);
        self.store.put(&path, json.clone()).await?;
        if is_done(record) {
            self.store.put(LAST_DONE, json).await?;
        }
        Ok(())
    }

    async fn read(&self, path: &str) -> Result<Option<RunRecord>, RunLogError> {
        let Some(bytes) = self.store.get(path, MAX_RECORD_BYTES).await? else { return Ok(None) };
        let malformed = |reason: String| RunLogError::Malformed { path: path.to_owned(), reason };
        let record: RunRecord = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
        let wanted = RunRecord::FORMAT_VERSION;
        if record.format_version != wanted {
            return Err(malformed(format!("format_version must be {wanted}, got {}", record.format_version)));
        }
        Ok(Some(record))
    }
}

/// Whether the run has ended, and every step of it was done.
pub fn is_done(record: &RunRecord) -> bool {
    record.finished_at.is_some() && record.steps.iter().all(|step| step.outcome == RunStepOutcome::Done)
}

/// Where what belongs to the run `id` lies; refuses what is no id.
pub fn folder_of(id: &str) -> Result<String, RunLogError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || PUNCTUATION.contains(c);
    // `last-done` has a meaning here, and `.lock` and the like are not for others.
    if id.is_empty() || id.len() > MAX_ID || id.starts_with('.') || id == "last-done" || !id.chars().all(plain) {
        return Err(RunLogError::Id(id.to_owned()));
    }
    Ok(format!("runs/{id}"))
}

fn path_of(id: &str) -> Result<String, RunLogError> {
    Ok(format!("{}.json", folder_of(id)?))
}

#[cfg(test)]
mod tests {
    use forewarn_schema::{RunStep, Timestamp};

    use super::*;

    fn record(id: &str, started: i64, outcome: RunStepOutcome) -> RunRecord {
        let at = Timestamp::from_seconds(started);
        let step = RunStep {
            name: "pull".to_owned(),
            started_at: at,
            finished_at: Some(at),
            outcome,
            cpu_seconds: Some(1.5),
            detail: serde_json::json!({"rows": 3}),
        };
        let (scheduled_for, finished_at) = (at, Some(at));
        let format_version = RunRecord::FORMAT_VERSION;
        RunRecord { format_version, id: id.to_owned(), scheduled_for, started_at: at, finished_at, steps: vec![step] }
    }

    #[tokio::test]
    async fn records_are_listed_newest_first_and_the_last_done_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", dir.path().display())).unwrap();
        let log = RunLog::new(store.clone());
        assert_eq!((log.all().await.unwrap(), log.last_done().await.unwrap()), (vec![], None));
        let (done, failed) = (record("b", 10, RunStepOutcome::Done), record("a", 20, RunStepOutcome::Failed));
        log.put(&done).await.unwrap();
        log.put(&failed).await.unwrap();
        store.put("runs/broken.json", Bytes::from_static(b"{")).await.unwrap();
        store.put("runs/b/known.json", Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(log.all().await.unwrap(), [failed, done.clone()]);
        assert_eq!(log.last_done().await.unwrap(), Some(done.clone()));
        assert_eq!(log.get("b").await.unwrap(), Some(done));
        assert!(log.get("broken").await.is_err());
    }

    #[test]
    fn an_id_is_a_plain_name() {
        for id in ["20260111T030000Z", "forewarn-weekly-29384820", "a.b_c"] {
            assert!(folder_of(id).is_ok(), "{id}");
        }
        for id in ["", ".lock", "a/b", "..", "last-done", "é"] {
            assert!(folder_of(id).is_err(), "{id}");
        }
    }
}
