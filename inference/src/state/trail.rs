//! The audit trail, read: who decided what and when. Nothing changes or removes a row of it.

use forewarn_schema::Timestamp;
use serde::Serialize;
use sqlx::Row;

use super::{AnyRow, StateError, StateStore};

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Its place in the trail; later ones are larger.
    pub seq: i64,
    /// When, by the server's clock.
    pub at: Timestamp,
    /// Who: a name of `serve.access`, `unauthenticated` where nobody is asked, `forewarn` for the program itself.
    pub who: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub object: String,
    /// How, or why.
    pub detail: String,
}

pub(super) const SELECT: &str = "SELECT seq, at_ms, who, action, object, detail FROM audit";

impl StateStore {
    /// Decisions before the one with number `before` (`None`: up to the last), newest first, at most `limit`.
    pub async fn trail(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>, StateError> {
        let failed = |e| StateError::query("read the audit trail", e);
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} WHERE seq < $1 ORDER BY seq DESC LIMIT $2")))
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
    }
}

pub(super) fn read(row: &AnyRow) -> Result<AuditEntry, sqlx::Error> {
    Ok(AuditEntry {
        seq: row.try_get(0)?,
        at: Timestamp::from_millis(row.try_get(1)?),
        who: row.try_get(2)?,
        action: row.try_get(3)?,
        object: row.try_get(4)?,
        detail: row.try_get(5)?,
    })
}
