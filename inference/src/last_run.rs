//! When the weekly job was last done, for those who watch: read from its records in the store, never written here.

use std::sync::{Mutex, PoisonError};

use forewarn_models::{RunLog, RunLogError};
use forewarn_schema::Timestamp;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct LastRun(Mutex<Option<Timestamp>>);

impl LastRun {
    /// Looks at the records again.
    pub(crate) async fn look(&self, log: &RunLog) -> Result<(), RunLogError> {
        let began = log.last_done().await?.map(|record| record.started_at);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = began;
        Ok(())
    }

    /// When the last run began that was done whole; `None` where none was, or nobody looked yet.
    pub(crate) fn began(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
