//! What people decided about requests: the stop, silences, and what is under way because of them.

use forewarn_schema::{RequestStatus, Timestamp};
use serde::Serialize;
use sqlx::Row;

use super::{AnyRow, StateError, StateStore, audit, plain};
use crate::access::caller;

/// Requests are stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stop {
    /// Since when.
    pub since: Timestamp,
    /// By whom.
    pub who: String,
    /// Why, in their words.
    pub note: Option<String>,
}

/// A time in which nothing is asked of a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// Which service; `None`: every one.
    pub service: Option<String>,
    /// When it begins.
    pub from: Timestamp,
    /// When it is over; not included.
    pub until: Timestamp,
    /// Who asked for it.
    pub who: String,
    /// Why, in their words.
    pub note: Option<String>,
}

impl Silence {
    /// Whether `at` lies in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

impl StateStore {
    /// Whether requests are stopped.
    pub async fn stopped(&self) -> Result<Option<Stop>, StateError> {
        let failed = |e| StateError::query("read whether requests are stopped", e);
        let row = sqlx::query("SELECT since_ms, who, note FROM stops WHERE id = 1")
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        let read = |row: &AnyRow| -> Result<Stop, sqlx::Error> {
            let since = Timestamp::from_millis(row.try_get(0)?);
            Ok(Stop { since, who: row.try_get(1)?, note: row.try_get(2)? })
        };
        row.map(|row| read(&row)).transpose().map_err(failed)
    }

    /// Stops requests. Where they are stopped already, the first stop stays.
    pub(crate) async fn stop(&self, note: Option<&str>, now: Timestamp) -> Result<(), StateError> {
        const WHAT: &str = "stop requests";
        let mut tx = self.begin(WHAT).await?;
        let change = async {
            sqlx::query(
                "INSERT INTO stops (id, since_ms, who, note) VALUES (1, $1, $2, $3) ON CONFLICT (id) DO NOTHING",
            )
            .bind(now.millis())
            .bind(&*caller())
            .bind(note.map(plain))
            .execute(&mut *tx)
            .await?;
            audit(&mut tx, "stop", "requests", note.unwrap_or_default(), now).await
        };
        change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await
    }

    /// Lets requests be made again.
    pub(crate) async fn resume(&self, note: Option<&str>, now: Timestamp) -> Result<(), StateError> {
        const WHAT: &str = "resume requests";
        let mut tx = self.begin(WHAT).await?;
        let change = async {
            sqlx::query("DELETE FROM stops").execute(&mut *tx).await?;
            audit(&mut tx, "resume", "requests", note.unwrap_or_default(), now).await
        };
        change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await
    }

    /// Silences that are not over at `now`, soonest end first.
    pub async fn silences(&self, now: Timestamp) -> Result<Vec<Silence>, StateError> {
        let failed = |e| StateError::query("read silences", e);
        let rows = sqlx::query(
            "SELECT id, service, from_ms, until_ms, who, note FROM silences WHERE until_ms > $1 ORDER BY until_ms, id",
        )
        .bind(now.millis())
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let read = |row: &AnyRow| -> Result<Silence, sqlx::Error> {
            Ok(Silence {
                id: row.try_get(0)?,
                service: row.try_get(1)?,
                from: Timestamp::from_millis(row.try_get(2)?),
                until: Timestamp::from_millis(row.try_get(3)?),
                who: row.try_get(4)?,
                note: row.try_get(5)?,
            })
        };
        rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
    }

    /// Stores a silence.
    pub(crate) async fn add_silence(&self, silence: &Silence, now: Timestamp) -> Result<(), StateError> {
        const WHAT: &str = "store a silence";
        let mut tx = self.begin(WHAT).await?;
        let detail = format!(
            "{} from {} until {}: {}",
            silence.service.as_deref().unwrap_or("every service"),
            silence.from,
            silence.until,
            silence.note.as_deref().unwrap_or_default()
        );
        let change = async {
            sqlx::query(
                "INSERT INTO silences (id, service, from_ms, until_ms, who, note, created_at_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(&silence.id)
            .bind(silence.service.as_deref().map(plain))
            .bind(silence.from.millis())
            .bind(silence.until.millis())
            .bind(&silence.who)
            .bind(silence.note.as_deref().map(plain))
            .bind(now.millis())
            .execute(&mut *tx)
            .await?;
            audit(&mut tx, "silence", &silence.id, &detail, now).await
        };
        change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await
    }

    /// Ends a silence now; `false` where there is none that is not over.
    pub(crate) async fn end_silence(&self, id: &str, now: Timestamp) -> Result<bool, StateError> {
        const WHAT: &str = "end a silence";
        let mut tx = self.begin(WHAT).await?;
        let change = async {
            // One that has not begun ends before it does, which is never.
            let ended = sqlx::query("UPDATE silences SET until_ms = $1 WHERE id = $2 AND until_ms > $3")
                .bind(now.millis())
                .bind(id)
                .bind(now.millis())
                .execute(&mut *tx)
                .await?;
            let found = ended.rows_affected() == 1;
            if found {
                audit(&mut tx, "unsilence", id, "", now).await?;
            }
            Ok(found)
        };
        let found = change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await?;
        Ok(found)
    }

    /// Requests that are open or approved, and those whose status changed at or after `since`; newest first, at most `limit`.
    pub(crate) async fn requests_in_sight(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<super::StoredRequest>, StateError> {
        let sql = super::requests::select(
            " WHERE r.status IN ($1, $2) OR r.status_at_ms >= $3 ORDER BY r.at_ms DESC, r.id LIMIT $4",
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(RequestStatus::Open.as_str())
            .bind(RequestStatus::Approved.as_str())
            .bind(since.millis())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read requests", e))?;
        rows.iter().map(super::requests::read).collect()
    }
}
