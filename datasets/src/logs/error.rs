//! What can go wrong with logs, by what to do about it. Wrong lines and damaged objects are not errors: they are counted.

use forewarn_storage::{FailureKind, StoreError};

use crate::source::SourceError;

/// Logs cannot be read or counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogsError {
    /// The bucket of the logs or the dataset's store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the counts is missing or is not what was written.
    #[error("{path} is damaged: {reason}; remove its folder to count all objects anew")]
    Damaged {
        /// Path within the store.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration names other fields than those by which was counted so far.
    #[error("{folder} holds counts by other keys ({was}) than the configuration's ({now}); remove it to count anew")]
    RulesChanged {
        /// Path within the store.
        folder: String,
        /// By which was counted.
        was: String,
        /// Which are configured.
        now: String,
    },
}

impl LogsError {
    /// As the source of that name says it.
    pub(crate) fn of(self, source_name: &str, url: &str) -> SourceError {
        let (source_name, url, reason) = (source_name.to_owned(), url.to_owned(), self.to_string());
        match self {
            // Somebody else's turn: later is better.
            Self::Store(e) if e.is_unreachable() || e.is_in_use() => {
                SourceError::Unreachable { source_name, url, attempts: 1, reason }
            }
            Self::Store(e) if e.is_storage_full() => SourceError::StorageFull { source_name, reason },
            Self::Store(StoreError::Failed { kind: FailureKind::Denied, .. }) => {
                SourceError::Refused { source_name, url, what: "its objects".to_owned(), status: 403, reason }
            }
            Self::Store(_) | Self::Damaged { .. } => SourceError::Malformed { source_name, reason },
            Self::RulesChanged { .. } => SourceError::Options { source_name, reason },
        }
    }
}
