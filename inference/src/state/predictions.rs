//! Which predictions are kept, and how they are read back.

use std::time::Duration;

use forewarn_models::EngineOutput;
use forewarn_schema::Prediction;
use sqlx::Row;

use super::{AnyRow, Change, StateError, StateStore, corrupt, plain};

/// Less likely ones are kept only with a request or a label.
const KEPT_FROM: f64 = 0.5;
/// At most one a target in this time.
const KEPT_EVERY_MS: i64 = 600_000;
/// For the database to store a step.
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: &str = "store the predictions and requests of a step";

impl StateStore {
    /// Stores what one step decided, all of it or nothing: its requests with the message that
    /// announces each (where `announce`), the predictions that emitted them, and of the others those
    /// with a probability of at least 0.5, at most one a target in 10 minutes; each of these, and a small sample of all, waits from
    /// then on to be settled. What was held back, and which services look unusual, is noted. What is stored already
    /// stays as it is. Returns the ids of the requests that are new. Where another server leads it is
    /// [`StateError::NotLeading`], and nothing is stored.
    pub(crate) async fn save_step(&self, output: &EngineOutput, announce: bool) -> Result<Vec<String>, StateError> {
        // A machine that vanished answers nothing, and the next connection may lead to another one.
        let stored = tokio::time::timeout(PATIENCE, self.store_step(output, announce)).await;
        stored.unwrap_or_else(|_| Err(self.failed(STEP, sqlx::Error::PoolTimedOut)))
    }

    async fn store_step(&self, output: &EngineOutput, announce: bool) -> Result<Vec<String>, StateError> {
        const WHAT: &str = STEP;
        let likely = output.predictions.iter().filter(|p| p.breach_probability.get() >= KEPT_FROM);
        let announced: Vec<&Prediction> = output
            .predictions
            .iter()
            .filter(|p| p.request_id.is_some() || output.requests.iter().any(|r| r.prediction_id == p.id))
            .collect();
        let likely: Vec<&Prediction> = likely.collect();
        let (unusual, sampled) = (super::week::unusual(output), crate::outcomes::sampled(&output.predictions));
        let nothing = likely.is_empty() && output.requests.is_empty() && announced.is_empty() && sampled.is_none();
        if nothing && unusual.is_empty() && output.held.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin(WHAT).await?;
        self.fence(&mut tx, WHAT).await?;
        let mut fresh = Vec::new();
        for prediction in announced {
            insert(&mut tx, prediction, None, &self.shard).await.map_err(|e| self.failed(WHAT, e))?;
        }
        for prediction in likely {
            let since = prediction.at.millis().saturating_sub(KEPT_EVERY_MS);
            insert(&mut tx, prediction, Some(since), &self.shard).await.map_err(|e| self.failed(WHAT, e))?;
        }
        if let Some(prediction) = sampled {
            super::unsettled::insert(&mut tx, prediction, &self.shard).await.map_err(|e| self.failed(WHAT, e))?;
        }
        super::week::note(&mut tx, &unusual, &output.held).await.map_err(|e| self.failed(WHAT, e))?;
        for request in &output.requests {
            let target = output.predictions.iter().find(|p| p.id == request.prediction_id);
            let key = target.map_or_else(
                || format!("{}/{}{}", request.service, request.signal, request.labels),
                Prediction::target_key,
            );
            let new = super::requests::insert(&mut tx, request, &key, announce, &self.shard).await;
            if new.map_err(|e| self.failed(WHAT, e))? {
                let watched = super::verifications::insert(&mut tx, request, &output.predictions, &self.shard).await;
                watched.map_err(|e| self.failed(WHAT, e))?;
                fresh.push(request.id.clone());
            }
        }
        self.commit(tx, WHAT).await?;
        Ok(fresh)
    }

    /// Keeps one prediction whatever its probability.
    pub(crate) async fn keep_prediction(&self, prediction: &Prediction) -> Result<(), StateError> {
        const WHAT: &str = "store a prediction";
        let mut tx = self.begin(WHAT).await?;
        insert(&mut tx, prediction, None, &self.shard).await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await
    }

    /// The kept prediction of that id.
    pub async fn prediction(&self, id: &str) -> Result<Option<Prediction>, StateError> {
        let row = sqlx::query("SELECT id, body FROM predictions WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| StateError::query("read a prediction", e))?;
        row.map(|row| read(&row)).transpose()
    }

    /// Kept predictions, newest first, at most `limit`.
    pub async fn predictions(&self, limit: u32) -> Result<Vec<Prediction>, StateError> {
        let rows = sqlx::query("SELECT id, body FROM predictions ORDER BY at_ms DESC, id LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read predictions", e))?;
        rows.iter().map(read).collect()
    }
}

/// With `unless_since`, only where the target has none at or after that time (ms).
pub(super) async fn insert(
    tx: &mut Change,
    prediction: &Prediction,
    unless_since: Option<i64>,
    shard: &str,
) -> Result<(), sqlx::Error> {
    let body = serde_json::to_string(prediction).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let result = sqlx::query(
        "INSERT INTO predictions (id, target_key, service, kind, at_ms, probability, body) \
         SELECT $1, $2, $3, $4, $5, $6, $7 \
         WHERE $8 IS NULL OR NOT EXISTS (SELECT 1 FROM predictions WHERE target_key = $2 AND at_ms > $8) \
         ON CONFLICT DO NOTHING",
    )
    .bind(&prediction.id)
    .bind(plain(&prediction.target_key()))
    .bind(plain(&prediction.service))
    .bind(prediction.kind.as_str())
    .bind(prediction.at.millis())
    .bind(prediction.breach_probability.get())
    .bind(body)
    .bind(unless_since)
    .execute(&mut **tx)
    .await?;
    if result.rows_affected() > 0 {
        super::unsettled::insert(tx, prediction, shard).await?;
    }
    Ok(())
}

fn read(row: &AnyRow) -> Result<Prediction, StateError> {
    let id: String = row.try_get(0).map_err(|e| StateError::query("read a prediction", e))?;
    let body: String = row.try_get(1).map_err(|e| StateError::query("read a prediction", e))?;
    serde_json::from_str(&body).map_err(|e| corrupt("prediction", &id, e))
}
