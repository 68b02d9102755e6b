//! What thresholds learn from, as it is stored: how far each request would have gone, which predictions labels and settlements
//! speak of, and every move that came of it. What they mean is `learning`'s.

use std::collections::BTreeMap;

use forewarn_models::learning::{Because, Caution, Followed, Reached};
use forewarn_schema::{BreachKind, Prediction, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::{AnyRow, StateError, StateStore, audit, corrupt, plain};

/// A threshold that was served with changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdMove {
    /// From which step on.
    pub at: Timestamp,
    /// Of which service; `None`: of all without judged announcements of their own.
    pub service: Option<String>,
    /// Of which kind of breach.
    pub kind: BreachKind,
    /// Where it starts without any label.
    pub start: Caution,
    /// How cautious it was.
    pub from: Caution,
    /// How cautious it is.
    pub to: Caution,
    /// What is known of it, by what labels count for; `None` where no label speaks of it any more.
    pub because: Option<Because>,
}

/// Something that changes whenever labels do: how many stand, and the sum of their places in the order in which they were given.
pub(crate) type JudgedMark = (i64, i64);

impl StateStore {
    /// Stores how far requests would have gone; what was stored of them before gives way.
    pub(crate) async fn save_reached(&self, followed: &[Followed]) -> Result<(), StateError> {
        const WHAT: &str = "store how far requests would have gone";
        if followed.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin(WHAT).await?;
        self.fence(&mut tx, WHAT).await?;
        for one in followed {
            let body = serde_json::to_string(&one.reached).map_err(|e| corrupt("reached", &one.request_id, e))?;
            sqlx::query(
                "INSERT INTO reached (request_id, body) VALUES ($1, $2) \
                 ON CONFLICT (request_id) DO UPDATE SET body = excluded.body",
            )
            .bind(&one.request_id)
            .bind(body)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.failed(WHAT, e))?;
        }
        self.commit(tx, WHAT).await
    }

    /// How far each request would have gone, by its id.
    pub(crate) async fn reached(&self) -> Result<BTreeMap<String, Vec<Reached>>, StateError> {
        const WHAT: &str = "read how far requests would have gone";
        let rows = sqlx::query("SELECT request_id, body FROM reached").fetch_all(&self.pool).await;
        let read = |row: &AnyRow| {
            let column = |e| StateError::query(WHAT, e);
            let (id, body): (String, String) = (row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?);
            let reached = serde_json::from_str(&body).map_err(|e| corrupt("reached", &id, e))?;
            Ok((id, reached))
        };
        rows.map_err(|e| StateError::query(WHAT, e))?.iter().map(read).collect()
    }

    /// Kept predictions that a label or a settlement speaks of, by id; with those of labelled spans of time.
    pub(crate) async fn judged_predictions(&self) -> Result<BTreeMap<String, Prediction>, StateError> {
        const WHAT: &str = "read judged predictions";
        let rows = sqlx::query(
            "SELECT p.id, p.body FROM predictions p \
             WHERE p.id IN (SELECT prediction_id FROM feedback WHERE prediction_id IS NOT NULL AND taken_back_ms IS NULL) \
             OR p.id IN (SELECT id FROM settlements) \
             OR EXISTS (SELECT 1 FROM feedback f WHERE f.taken_back_ms IS NULL AND f.ends_at_ms IS NOT NULL AND f.service = p.service \
             AND p.at_ms >= f.breach_at_ms AND p.at_ms < f.ends_at_ms)",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|e| StateError::query(WHAT, e))?;
        let read = |row: &AnyRow| {
            let column = |e| StateError::query(WHAT, e);
            let (id, body): (String, String) = (row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?);
            let prediction = serde_json::from_str(&body).map_err(|e| corrupt("prediction", &id, e))?;
            Ok((id, prediction))
        };
        rows.iter().map(read).collect()
    }

    /// Whether there is something new to learn from: another mark than before.
    pub(crate) async fn judged_mark(&self) -> Result<JudgedMark, StateError> {
        const WHAT: &str = "see whether labels changed";
        let failed = |e| StateError::query(WHAT, e);
        let labels = sqlx::query(
            "SELECT count(*), CAST(coalesce(sum(seq), 0) AS BIGINT) FROM feedback WHERE taken_back_ms IS NULL",
        )
        .fetch_one(&self.pool)
        .await;
        let labels = labels.map_err(failed)?;
        Ok((labels.try_get(0).map_err(failed)?, labels.try_get(1).map_err(failed)?))
    }

    /// Notes that thresholds moved, each with an entry in the audit trail.
    pub(crate) async fn add_threshold_moves(&self, moves: &[ThresholdMove]) -> Result<(), StateError> {
        const WHAT: &str = "note that thresholds moved";
        if moves.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin(WHAT).await?;
        self.fence(&mut tx, WHAT).await?;
        for one in moves {
            let service = one.service.as_deref().unwrap_or_default();
            let object = format!("{}/{}", if service.is_empty() { "*" } else { service }, one.kind);
            let body = serde_json::to_string(one).map_err(|e| corrupt("threshold", &object, e))?;
            let change = async {
                sqlx::query("INSERT INTO threshold_moves (at_ms, service, kind, body) VALUES ($1, $2, $3, $4)")
                    .bind(one.at.millis())
                    .bind(plain(service))
                    .bind(one.kind.as_str())
                    .bind(body)
                    .execute(&mut *tx)
                    .await?;
                audit(&mut tx, "threshold", &object, &told(one), one.at).await
            };
            change.await.map_err(|e| self.failed(WHAT, e))?;
        }
        self.commit(tx, WHAT).await
    }

    /// The newest moves first, at most `limit`.
    pub(crate) async fn threshold_moves(&self, limit: u32) -> Result<Vec<ThresholdMove>, StateError> {
        self.moves("ORDER BY seq DESC LIMIT $1", i64::from(limit)).await
    }

    /// The newest move of each threshold.
    pub(crate) async fn last_threshold_moves(&self) -> Result<Vec<ThresholdMove>, StateError> {
        let newest = "WHERE seq IN (SELECT max(seq) FROM threshold_moves GROUP BY service, kind) AND seq >= $1";
        self.moves(newest, 0).await
    }

    async fn moves(&self, which: &str, bound: i64) -> Result<Vec<ThresholdMove>, StateError> {
        const WHAT: &str = "read how thresholds moved";
        let sql = format!("SELECT body FROM threshold_moves {which}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(bound).fetch_all(&self.pool).await;
        let read = |row: &AnyRow| {
            let body: String = row.try_get(0).map_err(|e| StateError::query(WHAT, e))?;
            serde_json::from_str(&body).map_err(|e| corrupt("threshold", "of a move", e))
        };
        rows.map_err(|e| StateError::query(WHAT, e))?.iter().map(read).collect()
    }
}

fn told(one: &ThresholdMove) -> String {
    let of = |c: &Caution| format!("{} for {} steps", c.min_probability, c.persistence);
    let why = one.because.map_or_else(
        || "no label speaks of it any more".to_owned(),
        |why| format!("{} true ({} missed), {} false", why.trues, why.missed, why.falses),
    );
    format!("{} to {}: {why}", of(&one.from), of(&one.to))
}
