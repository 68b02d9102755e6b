//! Which predictions are kept, and how they are read back.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_models::EngineOutput;
use forewarn_models::guardrails::HeldBy;
use forewarn_schema::Prediction;
use sqlx::Row;

use super::room::{self, Limits};
use super::{AnyRow, Change, StateError, StateStore, corrupt, plain};

/// Less likely ones are kept only with a request or a label.
const KEPT_FROM: f64 = 0.5;
/// At most one a target in this time.
const KEPT_EVERY_MS: i64 = 600_000;
/// For the database to store a step.
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: &str = "store the predictions and requests of a step";

/// What of a step was stored.
#[derive(Debug, Default)]
pub(crate) struct StoredStep {
    /// Ids of the requests that are new.
    pub(crate) fresh: Vec<String>,
    /// Ids of those that there was no room for, and why.
    pub(crate) refused: BTreeMap<String, HeldBy>,
}

impl StateStore {
    /// Stores what one step decided, all of it or nothing: its requests with the message that
    /// announces each (where `announce`), the predictions that emitted them, and of the others those
    /// with a probability of at least 0.5, at most one a target in 10 minutes; each of these, and a small sample of all, waits from
    /// then on to be settled. What was held back, and which services look unusual, is noted. What is stored already
    /// stays as it is. Requests that `limits` leave no room for are not stored, nor what else there is only because of them, and are
    /// noted as held back. Where another server leads it is [`StateError::NotLeading`], and nothing is stored.
    pub(crate) async fn save_step(
        &self,
        output: &EngineOutput,
        announce: bool,
        limits: &Limits,
    ) -> Result<StoredStep, StateError> {
        // A machine that vanished answers nothing, and the next connection may lead to another one.
        let stored = tokio::time::timeout(PATIENCE, self.store_step(output, announce, limits)).await;
        stored.unwrap_or_else(|_| Err(self.failed(STEP, sqlx::Error::PoolTimedOut)))
    }

    async fn store_step(
        &self,
        output: &EngineOutput,
        announce: bool,
        limits: &Limits,
    ) -> Result<StoredStep, StateError> {
        const WHAT: &str = STEP;
        let is_kept = |p: &Prediction| p.breach_probability.get() >= KEPT_FROM || p.request_id.is_some();
        let nothing = output.requests.is_empty() && !output.predictions.iter().any(is_kept);
        let also_nothing = output.held.is_empty() && crate::outcomes::sampled(&output.predictions).is_none();
        if nothing && also_nothing && super::week::unusual(output).is_empty() {
            return Ok(StoredStep::default());
        }
        let mut tx = self.begin(WHAT).await?;
        self.fence(&mut tx, WHAT).await?;
        let refused = room::refuse(&mut tx, &output.requests, limits).await.map_err(|e| self.failed(WHAT, e))?;
        let held = [output.held.as_slice(), &room::held(&output.requests, &refused)].concat();
        let output: &EngineOutput = &output.without(&refused);
        let announced = |p: &&Prediction| {
            p.request_id.is_some() || output.requests.iter().any(|request| request.prediction_id == p.id)
        };
        for prediction in output.predictions.iter().filter(announced) {
            insert(&mut tx, prediction, None, &self.shard).await.map_err(|e| self.failed(WHAT, e))?;
        }
        for prediction in output.predictions.iter().filter(|p| p.breach_probability.get() >= KEPT_FROM) {
            let since = prediction.at.millis().saturating_sub(KEPT_EVERY_MS);
            insert(&mut tx, prediction, Some(since), &self.shard).await.map_err(|e| self.failed(WHAT, e))?;
        }
        if let Some(prediction) = crate::outcomes::sampled(&output.predictions) {
            super::unsettled::insert(&mut tx, prediction, &self.shard).await.map_err(|e| self.failed(WHAT, e))?;
        }
        super::week::note(&mut tx, &super::week::unusual(output), &held).await.map_err(|e| self.failed(WHAT, e))?;
        let mut fresh = Vec::new();
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
        Ok(StoredStep { fresh, refused })
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
