//! The state database: what was decided (predictions, requests, what must leave) and what was said of
//! it (labels), in SQLite. A change is committed to disk before anything acts on it. Samples are not
//! here: they live in memory.

mod dead_letters;
mod error;
mod feedback;
mod lock;
mod modes;
mod outbox;
mod pointers;
mod predictions;
mod requests;
mod safety;
mod trail;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forewarn_schema::Timestamp;
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

pub use self::dead_letters::{MessageState, OutboxMessage};
pub use self::error::StateError;
pub use self::lock::ServerLock;
pub use self::modes::StoredMode;
pub(crate) use self::modes::word;
pub(crate) use self::outbox::{Fate, OutboxEntry};
pub use self::requests::{Decision, Outcome, StoredRequest};
pub use self::safety::{Silence, Stop};
pub use self::trail::AuditEntry;

/// How long predictions without a label or a request, and messages that left, are kept.
const RETENTION: Duration = Duration::from_secs(90 * 86_400);

/// A connection inside a transaction, until [`StateStore::commit`]; dropped, the transaction is undone.
/// Not sqlx's own transaction: that loses count where SQLite itself undoes one, as it does when the
/// disk is full, and its connection is of no use from then on.
type Change = PoolConnection<Sqlite>;

/// The state database; a clone shares its connections.
#[derive(Clone, Debug)]
pub struct StateStore {
    pool: SqlitePool,
    /// `None` in memory.
    path: Option<PathBuf>,
    /// Why the last change could not be stored; `None` since one could.
    failure: Arc<Mutex<Option<String>>>,
}

impl StateStore {
    /// Opens `sqlite:///absolute/path` (or `sqlite:relative/path`), creates it where it is absent and
    /// brings it up to date; `sqlite::memory:` is a fresh one that ends with its last clone. The
    /// folder must exist.
    pub async fn open(url: &str) -> Result<Self, StateError> {
        Self::open_capped(url, None).await
    }

    /// The same, refusing to grow beyond `max_bytes`: a change that does not fit is answered as a full
    /// disk would be.
    pub async fn open_capped(url: &str, max_bytes: Option<u64>) -> Result<Self, StateError> {
        let path = database_path(url)?;
        let shown = path.as_ref().map_or_else(|| "in memory".to_owned(), |p| p.display().to_string());
        let open = |source| StateError::Open { path: shown.clone(), source };
        let mut options = SqliteConnectOptions::new()
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .synchronous(SqliteSynchronous::Full);
        options = match &path {
            Some(path) => options.filename(path).journal_mode(SqliteJournalMode::Wal),
            None => options.in_memory(true),
        };
        if let Some(max_bytes) = max_bytes {
            const PAGE: u64 = 4096;
            options = options.pragma("max_page_count", (max_bytes / PAGE).max(1).to_string());
        }
        // A database in memory is its connection: one, for ever.
        let connections = if path.is_some() { 4 } else { 1 };
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            // No minimum: the pool would open it beside the first connection, and of two that make a new
            // database a WAL one, SQLite answers one with "locked" at once. The first stays: nothing ends it.
            .idle_timeout(None)
            .max_lifetime(None)
            .after_release(|connection, _| {
                Box::pin(async move {
                    // Fails where nothing is open, which is what is wanted. What was dropped half-way (an
                    // error, a caller that hung up) must not reach the next user of the connection.
                    let _ = sqlx::query("ROLLBACK").execute(connection).await;
                    Ok(true)
                })
            })
            .connect_with(options)
            .await
            .map_err(|e| open(e.into()))?;
        bring_up_to_date(&pool).await.map_err(|e| open(e.into()))?;
        Ok(Self { pool, path, failure: Arc::default() })
    }

    /// Where the database is; `None` in memory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Takes the right to serve from this database, for as long as the lock lives. A database in
    /// memory is always free.
    pub fn lock_server(&self) -> Result<ServerLock, StateError> {
        ServerLock::take(self.path.as_deref())
    }

    /// Notes what a person or the program decided.
    pub async fn audit(&self, action: &str, object: &str, detail: &str, at: Timestamp) -> Result<(), StateError> {
        let mut tx = self.begin("note a decision").await?;
        audit(&mut tx, action, object, detail, at).await.map_err(|e| self.failed("note a decision", e))?;
        self.commit(tx, "note a decision").await
    }

    /// Drops what is older than the retention and that nobody refers to.
    pub(crate) async fn prune(&self, now: Timestamp) -> Result<(), StateError> {
        const WHAT: &str = "drop old rows";
        let before = (now - RETENTION).millis();
        let mut tx = self.begin(WHAT).await?;
        for statement in [
            "DELETE FROM predictions WHERE at_ms < ? AND id NOT IN (SELECT prediction_id FROM requests) \
             AND id NOT IN (SELECT prediction_id FROM feedback WHERE prediction_id IS NOT NULL)",
            "DELETE FROM outbox WHERE expires_at_ms < ? AND state <> 'pending'",
            "DELETE FROM silences WHERE until_ms < ?",
        ] {
            sqlx::query(statement).bind(before).execute(&mut *tx).await.map_err(|e| self.failed(WHAT, e))?;
        }
        self.commit(tx, WHAT).await
    }

    /// Why the last change could not be stored; `None` where it could.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes something and takes it away: clears [`failure`](Self::failure) once there is room again.
    pub(crate) async fn probe(&self) -> Result<(), StateError> {
        const WHAT: &str = "write a test row";
        for statement in ["INSERT INTO probe VALUES (zeroblob(65536))", "DELETE FROM probe"] {
            let mut tx = self.begin(WHAT).await?;
            sqlx::query(statement).execute(&mut *tx).await.map_err(|e| self.failed(WHAT, e))?;
            self.commit(tx, WHAT).await?;
        }
        Ok(())
    }

    /// Waits for running queries and closes; the WAL is folded back into the database.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Starts a change. It takes the write lock at once: a change that first reads cannot then lose
    /// the race for it.
    async fn begin(&self, what: &'static str) -> Result<Change, StateError> {
        let mut change = self.pool.acquire().await.map_err(|e| self.failed(what, e))?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *change).await.map_err(|e| self.failed(what, e))?;
        Ok(change)
    }

    async fn commit(&self, mut change: Change, what: &'static str) -> Result<(), StateError> {
        sqlx::query("COMMIT").execute(&mut *change).await.map_err(|e| self.failed(what, e))?;
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn failed(&self, what: &'static str, source: sqlx::Error) -> StateError {
        let detail = source.to_string();
        let error = StateError::query(what, source);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error}: {detail}"));
        error
    }
}

/// Of two processes that open a new database at once, both find nothing there, and the second one's migration meets the
/// first one's tables. It looks again, and finds them done.
async fn bring_up_to_date(pool: &SqlitePool) -> Result<(), sqlx::migrate::MigrateError> {
    const LOOKS: u32 = 5;
    let migrations = sqlx::migrate!("./migrations");
    for _ in 1..LOOKS {
        if migrations.run(pool).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    migrations.run(pool).await
}

async fn audit(tx: &mut Change, action: &str, object: &str, detail: &str, at: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO audit (at_ms, action, object, detail, who) VALUES (?, ?, ?, ?, ?)")
        .bind(at.millis())
        .bind(action)
        .bind(object)
        .bind(detail)
        .bind(&*crate::access::caller())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The file that `url` names; `None` for one in memory.
fn database_path(url: &str) -> Result<Option<PathBuf>, StateError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let reason = "PostgreSQL is not supported by this version";
        return Err(StateError::Unsupported { url: "postgres://…".to_owned(), reason });
    }
    let Some(rest) = url.strip_prefix("sqlite:") else {
        let scheme = url.split(':').next().unwrap_or_default();
        return Err(StateError::Unsupported { url: format!("{scheme}:…"), reason: "the scheme must be sqlite" });
    };
    if rest == ":memory:" || rest == "//:memory:" {
        return Ok(None);
    }
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.contains('?') {
        return Err(StateError::Unsupported { url: url.to_owned(), reason: "a path must follow, without parameters" });
    }
    Ok(Some(PathBuf::from(path)))
}

fn corrupt(what: &'static str, id: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StateError {
    StateError::Corrupt { what, id: id.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests;
