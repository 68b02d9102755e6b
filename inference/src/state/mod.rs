//! The state database: what was decided (predictions, requests, what must leave) and what was said of
//! it (labels), in SQLite or PostgreSQL. A change is committed to disk before anything acts on it. Samples are not
//! here: they live in memory.

mod alert_labels;
mod backup;
mod database;
mod dead_letters;
mod error;
mod feedback;
mod judged;
mod ladder_moves;
mod leadership;
mod link_key;
mod lock;
mod modes;
mod outbox;
mod pointers;
mod predictions;
mod requests;
mod room;
mod safety;
mod settlements;
mod shadow;
mod trail;
mod unsettled;
mod verifications;
mod week;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forewarn_schema::Timestamp;
use sqlx::AnyPool;
use sqlx::any::AnyRow;

use self::database::{Change, Place};
pub use self::dead_letters::{MessageState, OutboxMessage};
pub use self::error::StateError;
pub(crate) use self::judged::JudgedMark;
pub use self::judged::ThresholdMove;
pub use self::ladder_moves::LadderMove;
pub(crate) use self::ladder_moves::Standing;
pub(crate) use self::leadership::{Seen, Term};
pub use self::lock::ServerLock;
pub use self::modes::StoredMode;
pub(crate) use self::modes::word;
pub(crate) use self::outbox::{Fate, OutboxEntry};
pub(crate) use self::predictions::StoredStep;
pub use self::requests::{Decision, Outcome, StoredRequest};
pub(crate) use self::room::Limits;
pub use self::safety::{Silence, Stop};
pub(crate) use self::settlements::word as became_word;
pub(crate) use self::shadow::{KeptBreach, KeptPeriod, ShadowStep};
pub use self::trail::AuditEntry;
pub(crate) use self::verifications::OpenVerification;
pub use self::verifications::{Verification, Worsened};

/// How long predictions without a label or a request, messages that left, and labels that were taken back are kept.
const RETENTION: Duration = Duration::from_secs(90 * 86_400);

/// The state database; a clone shares its connections.
#[derive(Clone, Debug)]
pub struct StateStore {
    pool: AnyPool,
    place: Place,
    /// Which targets the server of this store scores, see [`Self::of_shard`].
    shard: Arc<str>,
    /// In whose name this server asks and delivers; `None`: another one does.
    term: Arc<Mutex<Option<Term>>>,
    /// Why the last change could not be stored; `None` since one could.
    failure: Arc<Mutex<Option<String>>>,
}

impl StateStore {
    /// Opens a database and brings it up to date. `sqlite:///absolute/path` (or `sqlite:relative/path`) is created where
    /// it is absent, in a folder that exists; `sqlite::memory:` is a fresh one that ends with its last clone;
    /// `postgres://user:password@host:port/database` exists, and may hold other tables.
    pub async fn open(url: &str) -> Result<Self, StateError> {
        Self::open_capped(url, None).await
    }

    /// The same; SQLite refuses to grow beyond `max_bytes`: a change that does not fit is answered as a full
    /// disk would be.
    pub async fn open_capped(url: &str, max_bytes: Option<u64>) -> Result<Self, StateError> {
        let place = Place::of(url)?;
        let pool = database::open(&place, url, max_bytes).await?;
        Ok(Self { pool, place, shard: "".into(), term: Arc::default(), failure: Arc::default() })
    }

    /// For a server that scores the targets of one shard: what it asks for is delivered by this shard's leader.
    #[must_use]
    pub fn of_shard(self, shard: &str) -> Self {
        Self { shard: shard.into(), ..self }
    }

    /// Whether a database server answers, and which it is; `None` of a file. Nothing is made or changed.
    pub async fn greet(url: &str) -> Result<Option<String>, StateError> {
        database::greet(&Place::of(url)?, url).await
    }

    /// How a state URL is shown: without password and parameters.
    pub fn shown(url: &str) -> String {
        match Place::of(url) {
            Ok(Place::Server(shown)) => shown,
            _ if database::is_server(url) => "postgres://…".to_owned(),
            _ => url.to_owned(),
        }
    }

    /// The database's file; `None` in memory and on a server.
    pub fn path(&self) -> Option<&Path> {
        if let Place::File(path) = &self.place { Some(path) } else { None }
    }

    /// Whether servers on other machines may use it too.
    pub fn is_shared(&self) -> bool {
        matches!(self.place, Place::Server(_))
    }

    /// Takes the right to serve from this database, for as long as the lock lives. A database in
    /// memory is always free; on a server any number may serve, and one of them leads.
    pub fn lock_server(&self) -> Result<ServerLock, StateError> {
        ServerLock::take(self.path())
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
            "DELETE FROM predictions WHERE at_ms < $1 AND id NOT IN (SELECT prediction_id FROM requests) \
             AND id NOT IN (SELECT prediction_id FROM feedback WHERE prediction_id IS NOT NULL)",
            "DELETE FROM reached WHERE CAST($1 AS BIGINT) > 0 AND request_id NOT IN (SELECT id FROM requests)",
            "DELETE FROM outbox WHERE expires_at_ms < $1 AND state <> 'pending'",
            "DELETE FROM happenings WHERE at_ms < $1",
            "DELETE FROM unsettled WHERE due_ms < $1",
            "DELETE FROM settlements WHERE settled_at_ms < $1 AND request_id IS NULL AND was <> 'missed'",
            "DELETE FROM silences WHERE until_ms < $1",
            "DELETE FROM held WHERE at_ms < $1",
            "DELETE FROM sightings WHERE at_ms < $1",
            "DELETE FROM feedback WHERE taken_back_ms < $1",
            "DELETE FROM alert_labels WHERE at_ms < $1 AND feedback_id NOT IN (SELECT id FROM feedback)",
            "DELETE FROM shadow_pairs WHERE at_ms < $1",
            "DELETE FROM shadow_requests WHERE at_ms < $1",
            "DELETE FROM shadow_breaches WHERE at_ms < $1",
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
        let filler = sqlx::query("INSERT INTO probe VALUES ($1)").bind(vec![0u8; 65_536]);
        for statement in [filler, sqlx::query("DELETE FROM probe")] {
            let mut tx = self.begin(WHAT).await?;
            statement.execute(&mut *tx).await.map_err(|e| self.failed(WHAT, e))?;
            self.commit(tx, WHAT).await?;
        }
        Ok(())
    }

    /// Waits for running queries and closes; the WAL is folded back into the database.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Starts a change.
    async fn begin(&self, what: &'static str) -> Result<Change, StateError> {
        Change::begin(&self.pool, &self.place).await.map_err(|e| self.failed(what, e))
    }

    async fn commit(&self, change: Change, what: &'static str) -> Result<(), StateError> {
        change.commit().await.map_err(|e| self.failed(what, e))?;
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

async fn audit(tx: &mut Change, action: &str, object: &str, detail: &str, at: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO audit (at_ms, action, object, detail, who) VALUES ($1, $2, $3, $4, $5)")
        .bind(at.millis())
        .bind(action)
        .bind(plain(object))
        .bind(plain(detail))
        .bind(&*crate::access::caller())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Text as a column of its own: PostgreSQL takes no NUL in one. Bodies are JSON, which escapes it.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn corrupt(what: &'static str, id: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StateError {
    StateError::Corrupt { what, id: id.to_owned(), source: source.into() }
}

#[cfg(test)]
pub(crate) mod tests;
