//! What can go wrong with a dataset, by what to do about it.

use forewarn_schema::{Step, TimeRange};
use forewarn_storage::StoreError;

use crate::source::SourceError;

/// A dataset cannot be pulled or read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The store cannot be used, or another process is pulling into it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something other than the store failed on the way.
    #[error("cannot {action} {path} in {store}: {reason}")]
    Failed {
        /// Such as `encode`.
        action: &'static str,
        /// What it is of the dataset.
        path: String,
        /// The store's URL.
        store: String,
        /// The cause, in one line.
        reason: String,
    },
    /// The manifest is not one that this version can use.
    #[error("{path} cannot be used: {reason}")]
    Manifest {
        /// Path within the store.
        path: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A file that the manifest names is missing or is not what was written.
    #[error("{path} is damaged: {reason}; `forewarn pull` over that day fetches it again")]
    Corrupt {
        /// Path within the store.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A dataset has one step.
    #[error(
        "the dataset in {store} has a step of {has}, got {wanted}; use another store, or remove its dataset folder"
    )]
    StepChanged {
        /// The store's URL.
        store: String,
        /// The dataset's.
        has: Step,
        /// The one asked for.
        wanted: Step,
    },
    /// A range outside the calendar or longer than a dataset may be.
    #[error("a pull must lie in the years 1 to 9999 and cover at most {max_days} days, got {range}")]
    Range {
        /// What was asked for.
        range: TimeRange,
        /// The most days.
        max_days: usize,
    },
    /// The source's name becomes a folder.
    #[error("a source's name must be letters, digits, '-', '_' and '.', not start with '.', at most 64, got {0:?}")]
    SourceName(String),
    /// The source did not give what it was asked for.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl DatasetError {
    /// Whether the source or the store did not answer: try later.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Source(e) => e.is_unreachable(),
            Self::Store(e) => e.is_unreachable(),
            _ => false,
        }
    }

    /// Whether another process holds the dataset.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(e) if e.is_in_use())
    }

    /// Whether no space is left: free some, then pull again.
    pub fn is_storage_full(&self) -> bool {
        match self {
            Self::Store(e) => e.is_storage_full(),
            Self::Source(e) => e.is_storage_full(),
            _ => false,
        }
    }

    /// Whether a file of the dataset is missing or damaged.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }
}
