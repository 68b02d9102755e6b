//! What can go wrong with the state database, by what the caller can do about it.

use std::path::PathBuf;

/// The state database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A kind of database that this version cannot use.
    #[error("state must be sqlite:///absolute/path/state.db, got {url}: {reason}")]
    Unsupported {
        /// The URL, without what may be secret in it.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It could not be opened, created or brought up to date.
    #[error("state database {path} cannot be opened")]
    Open {
        /// Where it is.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another server serves from it.
    #[error("state database {} is in use by another forewarn server", path.display())]
    InUse {
        /// The lock that the other one holds.
        path: PathBuf,
    },
    /// The disk (or the cap on the database) is full; nothing of the change was stored.
    #[error("state storage is full, cannot {what}")]
    Full {
        /// What was to be stored.
        what: &'static str,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// The database failed otherwise; nothing of the change was stored.
    #[error("state database failed, cannot {what}")]
    Failed {
        /// What was to be done.
        what: &'static str,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// A row that this version cannot read.
    #[error("state database holds a {what} that cannot be read, id {id}")]
    Corrupt {
        /// What the row should be.
        what: &'static str,
        /// Its id.
        id: String,
        /// Why it is not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing of that id.
    #[error("no {what} with id {id}")]
    NotFound {
        /// What was wanted.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// A message that is not sent again.
    #[error("message {id} is not sent again: {why}")]
    NotResent {
        /// The message.
        id: String,
        /// Why not.
        why: String,
    },
    /// It is too late for that.
    #[error("request {id} is {status} already")]
    Decided {
        /// The request.
        id: String,
        /// Where it stands.
        status: &'static str,
    },
}

impl StateError {
    /// Another process holds it.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }

    /// There is no room; the same call may work later.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// The URL is none that this version can use.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. })
    }

    /// Nothing of that id.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    pub(crate) fn query(what: &'static str, source: sqlx::Error) -> Self {
        if is_full(&source) { Self::Full { what, source } } else { Self::Failed { what, source } }
    }
}

/// SQLITE_FULL (13), and the I/O error that a full disk gives when shared memory grows (4874).
fn is_full(error: &sqlx::Error) -> bool {
    let Some(code) = error.as_database_error().and_then(|e| e.code()) else { return false };
    code.parse::<u32>().is_ok_and(|code| code & 0xff == 13 || code == 4874)
}
