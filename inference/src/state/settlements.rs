//! What became of announcements, as the data say: stored once, and looked up by time.

use forewarn_schema::{Became, Settlement, Timestamp};
use sqlx::Row;

use super::{StateError, StateStore, corrupt, plain};

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
            let body = serde_json::to_string(settled).map_err(|e| corrupt("settlement", &settled.id, e))?;
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
            .execute(&mut *tx)
            .await
            .map_err(|e| self.failed(WHAT, e))?;
            fresh += result.rows_affected() as usize;
        }
        self.commit(tx, WHAT).await?;
        Ok(fresh)
    }

    /// What was settled at or after `since`, in the order in which that was known.
    pub async fn settlements_since(&self, since: Timestamp) -> Result<Vec<Settlement>, StateError> {
        let sql = "SELECT id, body FROM settlements WHERE settled_at_ms >= $1 ORDER BY settled_at_ms, id";
        let rows = sqlx::query(sql)
            .bind(since.millis())
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read what became of announcements", e))?;
        let read = |row: &super::AnyRow| {
            let column = |e| StateError::query("read what became of an announcement", e);
            let (id, body): (String, String) = (row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?);
            serde_json::from_str(&body).map_err(|e| corrupt("settlement", &id, e))
        };
        rows.iter().map(read).collect()
    }
}

/// For queries by hand: what became of it, in one word.
fn word(became: &Became) -> &'static str {
    match became {
        Became::Breached { .. } => "breached",
        Became::InBreach => "in_breach",
        Became::Averted { .. } => "averted",
        Became::FalseAlarm => "false_alarm",
        Became::Unsettled => "unsettled",
        Became::Missed { .. } => "missed",
    }
}
