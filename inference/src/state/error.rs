//! What can go wrong with the state database, by what the caller can do about it.

use std::path::PathBuf;

/// The state database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A kind of database that this version cannot use.
    #[error("state must be sqlite:///absolute/path/state.db or postgres://user@host/database, got {url}: {reason}")]
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
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The database failed otherwise; nothing of the change was stored.
    #[error("state database failed, cannot {what}")]
    Failed {
        /// What was to be done.
        what: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// Another server asks and delivers; nothing of the change was stored.
    #[error("another server leads, cannot {what}")]
    NotLeading {
        /// What was to be stored.
        what: &'static str,
    },
    /// A copy could not be made.
    #[error("state cannot be copied to {}: {reason}", path.display())]
    Backup {
        /// Where the copy was to be.
        path: PathBuf,
        /// What is in the way.
        reason: String,
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

    /// Another server leads.
    pub fn is_not_leading(&self) -> bool {
        matches!(self, Self::NotLeading { .. })
    }

    /// The database's server does not answer, or has no room for another connection; the same call may work later.
    pub fn is_unreachable(&self) -> bool {
        let Self::Open { source, .. } = self else { return false };
        let error = match source.downcast_ref() {
            Some(sqlx::migrate::MigrateError::Execute(error)) => Some(error),
            _ => source.downcast_ref::<sqlx::Error>(),
        };
        match error {
            // Invalid is what TLS calls a certificate that it does not believe: that is no matter of time.
            Some(sqlx::Error::Io(error)) => error.kind() != std::io::ErrorKind::InvalidData,
            Some(sqlx::Error::PoolTimedOut) => true,
            // Of PostgreSQL: it starts up or shuts down, or has no connection left.
            Some(error) => sql_state(error).is_some_and(|state| state.starts_with("57P") || state == "53300"),
            None => false,
        }
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

/// SQLITE_FULL (13), the I/O error that a full disk gives when shared memory grows (4874), and PostgreSQL's disk_full.
fn is_full(error: &sqlx::Error) -> bool {
    if let Some(state) = sql_state(error) {
        return state == "53100";
    }
    let Some(code) = error.as_database_error().and_then(|e| e.code()) else { return false };
    code.parse::<u32>().is_ok_and(|code| code & 0xff == 13 || code == 4874)
}

/// What PostgreSQL calls SQLSTATE; `None` of SQLite.
fn sql_state(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
    Some(error.code())
}
