//! What was said and is not settled yet, and what happened to targets meanwhile.

use forewarn_models::settle::{Happened, What};
use forewarn_schema::{Happening, Prediction, Settlement, Timestamp};
use sqlx::Row;

use super::{AnyRow, Change, StateError, StateStore, corrupt, plain};
use crate::outcomes::Announcement;

/// Looked at in one go.
const AT_ONCE: i64 = 1000;

impl StateStore {
    /// What is to be looked at by `at` of this shard's, the longest due first, at most 1000.
    pub async fn due(&self, at: Timestamp) -> Result<Vec<Announcement>, StateError> {
        let rows = sqlx::query(
            "SELECT id, body FROM unsettled WHERE shard = $3 AND due_ms <= $1 ORDER BY due_ms, id LIMIT $2",
        )
        .bind(at.millis())
        .bind(AT_ONCE)
        .bind(&*self.shard)
        .fetch_all(&self.pool)
        .await
        .map_err(|e| StateError::query("read what is not settled", e))?;
        rows.iter().map(|row| read(row, "announcement")).collect()
    }

    /// How many announcements wait to be settled.
    pub async fn unsettled_count(&self) -> Result<u64, StateError> {
        let row = sqlx::query("SELECT count(*) FROM unsettled")
            .fetch_one(&self.pool)
            .await
            .map_err(|e| StateError::query("count what is not settled", e))?;
        let count: i64 = row.try_get(0).map_err(|e| StateError::query("count what is not settled", e))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Looks at these not before their times.
    pub(crate) async fn postpone(&self, until: &[(String, Timestamp)]) -> Result<(), StateError> {
        const WHAT: &str = "postpone what is not settled";
        if until.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin(WHAT).await?;
        self.fence(&mut tx, WHAT).await?;
        for (id, due) in until {
            let query = sqlx::query("UPDATE unsettled SET due_ms = $1 WHERE id = $2").bind(due.millis()).bind(id);
            query.execute(&mut *tx).await.map_err(|e| self.failed(WHAT, e))?;
        }
        self.commit(tx, WHAT).await
    }

    /// Stores what happened, with the breaches among it that nobody announced; what is known stays. What is not settled of a target that
    /// came to its limit is looked at again at `now`.
    pub(crate) async fn add_happenings(
        &self,
        happened: &[Happened],
        missed: &[Settlement],
        now: Timestamp,
    ) -> Result<(), StateError> {
        const WHAT: &str = "store what happened";
        if happened.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin(WHAT).await?;
        self.fence(&mut tx, WHAT).await?;
        let change = async {
            for one in happened {
                let body = serde_json::to_string(one).map_err(|e| sqlx::Error::Encode(e.into()))?;
                sqlx::query(
                    "INSERT INTO happenings (id, service, signal, kind, at_ms, what, body, shard) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
                )
                .bind(one.id())
                .bind(plain(&one.service))
                .bind(plain(&one.signal))
                .bind(one.kind.as_str())
                .bind(one.at.millis())
                .bind(one.what.as_str())
                .bind(body)
                .bind(&*self.shard)
                .execute(&mut *tx)
                .await?;
                if let What::Reached { .. } | What::Happening(Happening::OomKilled) = one.what {
                    sqlx::query("UPDATE unsettled SET due_ms = $1 WHERE service = $2 AND kind = $3 AND shard = $4 AND due_ms > $1")
                        .bind(now.millis())
                        .bind(plain(&one.service))
                        .bind(one.kind.as_str())
                        .bind(&*self.shard)
                        .execute(&mut *tx)
                        .await?;
                }
            }
            for settled in missed {
                super::settlements::insert(&mut tx, settled).await?;
            }
            Ok(())
        };
        change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await
    }

    /// What happened to this shard's targets at or after `since`, oldest first.
    pub async fn happenings_since(&self, since: Timestamp) -> Result<Vec<Happened>, StateError> {
        let rows = sqlx::query("SELECT id, body FROM happenings WHERE shard = $2 AND at_ms >= $1 ORDER BY at_ms, id")
            .bind(since.millis())
            .bind(&*self.shard)
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read what happened", e))?;
        rows.iter().map(|row| read(row, "happening")).collect()
    }

    /// The breaches of one signal of one service at or after `since`, oldest first.
    pub(crate) async fn breaches_of(
        &self,
        service: &str,
        signal: &str,
        since: Timestamp,
    ) -> Result<Vec<Happened>, StateError> {
        let rows = sqlx::query(
            "SELECT id, body FROM happenings WHERE service = $1 AND signal = $2 AND at_ms >= $3 AND what = 'reached' \
             ORDER BY at_ms, id",
        )
        .bind(plain(service))
        .bind(plain(signal))
        .bind(since.millis())
        .fetch_all(&self.pool)
        .await
        .map_err(|e| StateError::query("read breaches", e))?;
        rows.iter().map(|row| read(row, "happening")).collect()
    }
}

/// Keeps it until it is settled; one that is kept or settled already stays as it is.
pub(super) async fn insert(tx: &mut Change, prediction: &Prediction, shard: &str) -> Result<(), sqlx::Error> {
    let announcement = Announcement::of(prediction);
    let body = serde_json::to_string(&announcement).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query(
        "INSERT INTO unsettled (id, service, kind, due_ms, body, shard) SELECT $1, $2, $3, $4, $5, $6 \
         WHERE NOT EXISTS (SELECT 1 FROM settlements WHERE id = $1) ON CONFLICT DO NOTHING",
    )
    .bind(&announcement.id)
    .bind(plain(&announcement.service))
    .bind(announcement.kind.as_str())
    .bind(announcement.due().millis())
    .bind(body)
    .bind(shard)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(row: &AnyRow, what: &'static str) -> Result<T, StateError> {
    let column = |e| StateError::query("read a row", e);
    let (id, body): (String, String) = (row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?);
    serde_json::from_str(&body).map_err(|e| corrupt(what, &id, e))
}
