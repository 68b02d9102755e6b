//! What became of announcements, as the data say: stored once, and looked up by time.

use std::collections::BTreeMap;

use forewarn_schema::{Became, Settlement, Timestamp};
use sqlx::Row;

use super::{AnyRow, Change, StateError, StateStore, corrupt, plain};

impl StateStore {
    /// Stores what became of announcements; one that is settled already stays as it is. Returns how many are new.
    pub async fn add_settlements(&self, settlements: &[Settlement]) -> Result<usize, StateError> {
        const WHAT: &str = "store what became of announcements";
        if settlements.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin(WHAT).await?;
        self.fence(&mut tx, WHAT).await?;
        let mut fresh = 0;
        for settled in settlements {
            let change = async {
                sqlx::query("DELETE FROM unsettled WHERE id = $1").bind(&settled.id).execute(&mut *tx).await?;
                insert(&mut tx, settled).await
            };
            let result = change.await.map_err(|e| self.failed(WHAT, e))?;
            fresh += usize::from(result);
        }
        self.commit(tx, WHAT).await?;
        Ok(fresh)
    }

    /// What became of these requests, by their ids.
    pub async fn settlements_of_requests(&self, since: Timestamp) -> Result<BTreeMap<String, Settlement>, StateError> {
        let sql = "SELECT id, body FROM settlements WHERE request_id IS NOT NULL AND at_ms >= $1 ORDER BY at_ms, id";
        let rows = sqlx::query(sql)
            .bind(since.millis())
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read what became of requests", e))?;
        let of_request = |settled: Settlement| settled.request_id.clone().map(|id| (id, settled));
        rows.iter().map(read).filter_map(|settled| settled.map(of_request).transpose()).collect()
    }

    /// What was settled at or after `since` and, of those of that very time, after the one with the id `after`, in the order of
    /// [`Self::settlements_since`]; at most `limit`.
    pub async fn settlements_page(
        &self,
        since: Timestamp,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Settlement>, StateError> {
        let rows = sqlx::query(
            "SELECT id, body FROM settlements WHERE settled_at_ms > $1 OR (settled_at_ms = $1 AND id > $2) \
             ORDER BY settled_at_ms, id LIMIT $3",
        )
        .bind(since.millis())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(|e| StateError::query("read what became of announcements", e))?;
        rows.iter().map(read).collect()
    }

    /// What became of requests, and the breaches that were missed, newest first, at most `limit`.
    pub(crate) async fn settlements_shown(&self, limit: u32) -> Result<Vec<Settlement>, StateError> {
        let rows = sqlx::query(
            "SELECT id, body FROM settlements WHERE request_id IS NOT NULL OR was = 'missed' \
             ORDER BY settled_at_ms DESC, id LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(|e| StateError::query("read what became of requests", e))?;
        rows.iter().map(read).collect()
    }

    /// What changes where something is settled or labelled: how many are settled and the newest time, how many labels stand and the sum of their
    /// places (a label that is taken back while another is given leaves the number as it was).
    pub(crate) async fn settled_so_far(&self) -> Result<[i64; 4], StateError> {
        const WHAT: &str = "count what is settled";
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM settlements), (SELECT coalesce(max(settled_at_ms), 0) FROM settlements), \
             (SELECT count(*) FROM feedback WHERE taken_back_ms IS NULL), \
             (SELECT CAST(coalesce(sum(seq), 0) AS BIGINT) FROM feedback WHERE taken_back_ms IS NULL)",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|e| StateError::query(WHAT, e))?;
        let mut numbers = [0; 4];
        for (place, number) in numbers.iter_mut().enumerate() {
            *number = row.try_get(place).map_err(|e| StateError::query(WHAT, e))?;
        }
        Ok(numbers)
    }

    /// What was settled at or after `since`, in the order in which that was known.
    pub async fn settlements_since(&self, since: Timestamp) -> Result<Vec<Settlement>, StateError> {
        let sql = "SELECT id, body FROM settlements WHERE settled_at_ms >= $1 ORDER BY settled_at_ms, id";
        let rows = sqlx::query(sql)
            .bind(since.millis())
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read what became of announcements", e))?;
        rows.iter().map(read).collect()
    }

    /// The same, and of requests also what was settled before: what the data say of a label does not grow old.
    pub(crate) async fn settlements_to_learn_from(&self, since: Timestamp) -> Result<Vec<Settlement>, StateError> {
        let sql = "SELECT id, body FROM settlements WHERE settled_at_ms >= $1 OR request_id IS NOT NULL \
                   ORDER BY settled_at_ms, id";
        let rows = sqlx::query(sql)
            .bind(since.millis())
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read what became of announcements", e))?;
        rows.iter().map(read).collect()
    }
}

/// Stores one, unless it is there; whether it was not.
pub(super) async fn insert(tx: &mut Change, settled: &Settlement) -> Result<bool, sqlx::Error> {
    let body = serde_json::to_string(settled).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let result = sqlx::query(
        "INSERT INTO settlements (id, request_id, service, kind, at_ms, settled_at_ms, was, body) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
    )
    .bind(&settled.id)
    .bind(settled.request_id.as_deref())
    .bind(plain(&settled.service))
    .bind(settled.kind.as_str())
    .bind(settled.at.millis())
    .bind(settled.settled_at.millis())
    .bind(word(&settled.became))
    .bind(body)
    .execute(&mut **tx)
    .await?;
    Ok(result.rows_affected() > 0)
}

fn read(row: &AnyRow) -> Result<Settlement, StateError> {
    let column = |e| StateError::query("read what became of an announcement", e);
    let (id, body): (String, String) = (row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?);
    serde_json::from_str(&body).map_err(|e| corrupt("settlement", &id, e))
}

/// For queries by hand: what became of it, in one word.
pub(crate) fn word(became: &Became) -> &'static str {
    match became {
        Became::Breached { .. } => "breached",
        Became::InBreach => "in_breach",
        Became::Averted { .. } => "averted",
        Became::FalseAlarm => "false_alarm",
        Became::Unsettled => "unsettled",
        Became::Missed { .. } => "missed",
    }
}
