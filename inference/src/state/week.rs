//! What the weekly report reads besides predictions, requests and labels: what was held back, which services looked unusual,
//! and all of them by time.

use std::collections::BTreeMap;

use forewarn_models::EngineOutput;
use forewarn_models::guardrails::Held;
use forewarn_schema::{Prediction, Sighting, TimeRange, stable_id};
use serde::de::DeserializeOwned;
use sqlx::Row;

use super::{AnyRow, AuditEntry, Change, StateError, StateStore, StoredRequest, corrupt, plain};
use crate::state::trail;

/// A service that looks as unusual as this is noted: one normal step in a thousand does.
const NOTED_FROM: f64 = 0.999;
/// At most one sighting a service in this time.
const NOTED_EVERY_MS: i64 = 600_000;

impl StateStore {
    /// What was held back in `range`, oldest first.
    pub async fn held_in(&self, range: TimeRange) -> Result<Vec<Held>, StateError> {
        self.bodies(
            "SELECT id, body FROM held WHERE at_ms >= $1 AND at_ms < $2 ORDER BY at_ms, id",
            "held request",
            range,
        )
        .await
    }

    /// Which services looked unusual in `range`, by time and service.
    pub async fn sightings_in(&self, range: TimeRange) -> Result<Vec<Sighting>, StateError> {
        let sql = "SELECT service, body FROM sightings WHERE at_ms >= $1 AND at_ms < $2 ORDER BY at_ms, service";
        self.bodies(sql, "sighting", range).await
    }

    /// Kept predictions of `range`, oldest first.
    pub async fn predictions_in(&self, range: TimeRange) -> Result<Vec<Prediction>, StateError> {
        let sql = "SELECT id, body FROM predictions WHERE at_ms >= $1 AND at_ms < $2 ORDER BY at_ms, id";
        self.bodies(sql, "prediction", range).await
    }

    /// Requests that were emitted in `range`, oldest first.
    pub async fn requests_in(&self, range: TimeRange) -> Result<Vec<StoredRequest>, StateError> {
        let mut requests = self.requests_since(range.start).await?;
        requests.retain(|r| range.contains(r.request.at));
        Ok(requests)
    }

    /// Decisions of `range`, oldest first.
    pub async fn trail_in(&self, range: TimeRange) -> Result<Vec<AuditEntry>, StateError> {
        let sql = format!("{} WHERE at_ms >= $1 AND at_ms < $2 ORDER BY seq", trail::SELECT);
        let failed = |e| StateError::query("read the audit trail", e);
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(range.start.millis())
            .bind(range.end.millis())
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(trail::read).collect::<Result<_, _>>().map_err(failed)
    }

    async fn bodies<T: DeserializeOwned>(
        &self,
        sql: &'static str,
        what: &'static str,
        range: TimeRange,
    ) -> Result<Vec<T>, StateError> {
        let failed = |e| StateError::query("look back at a week", e);
        let rows = sqlx::query(sql)
            .bind(range.start.millis())
            .bind(range.end.millis())
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        let read = |row: &AnyRow| {
            let (id, body): (String, String) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
            serde_json::from_str(&body).map_err(|e| corrupt(what, &id, e))
        };
        rows.iter().map(read).collect()
    }
}

/// Of each service that looks unusual, its foremost prediction: all of them share what is said of the service.
pub(super) fn unusual(output: &EngineOutput) -> BTreeMap<&str, &Prediction> {
    let unusual = output.predictions.iter().filter(|p| p.anomaly_score.get() >= NOTED_FROM);
    unusual.map(|p| (p.service.as_str(), p)).collect()
}

pub(super) async fn note(
    tx: &mut Change,
    unusual: &BTreeMap<&str, &Prediction>,
    held: &[Held],
) -> Result<(), sqlx::Error> {
    let encode = |e: serde_json::Error| sqlx::Error::Encode(e.into());
    for prediction in unusual.values() {
        let sighting = Sighting {
            service: prediction.service.clone(),
            at: prediction.at,
            score: prediction.anomaly_score,
            signals: prediction.explanation.signals.to_vec(),
        };
        sqlx::query(
            "INSERT INTO sightings (service, at_ms, body) SELECT $1, $2, $3 \
             WHERE NOT EXISTS (SELECT 1 FROM sightings WHERE service = $1 AND at_ms > $4) ON CONFLICT DO NOTHING",
        )
        .bind(plain(&sighting.service))
        .bind(sighting.at.millis())
        .bind(serde_json::to_string(&sighting).map_err(encode)?)
        .bind(sighting.at.millis().saturating_sub(NOTED_EVERY_MS))
        .execute(&mut **tx)
        .await?;
    }
    for held in held {
        let since = held.since.millis().to_string();
        let id = stable_id("h", &[&held.service, &held.signal, &held.labels.to_string(), held.by.as_str(), &since]);
        sqlx::query("INSERT INTO held (id, at_ms, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(id)
            .bind(held.since.millis())
            .bind(serde_json::to_string(held).map_err(encode)?)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
