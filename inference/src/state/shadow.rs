//! What challengers said beside what serves, and what happened meanwhile: written step by step by the leader, read once at the end of the
//! period. What that comes to is `forewarn_models::shadow`'s affair.

use forewarn_models::settle::GRACE;
use forewarn_models::shadow::Said;
use forewarn_schema::{LabelSet, Prediction, RemediationRequest, Timestamp};
use sqlx::Row;

use super::{AnyRow, StateError, StateStore, corrupt, plain};

/// What one step adds to a period.
#[derive(Debug, Default)]
pub(crate) struct ShadowStep<'a> {
    /// What serves, and what the challenger says, of the same target.
    pub(crate) pairs: Vec<(&'a Prediction, &'a Prediction)>,
    /// What the challenger would ask for.
    pub(crate) requests: Vec<&'a RemediationRequest>,
    /// Targets at their limit.
    pub(crate) at_limit: Vec<&'a Prediction>,
}

/// Both sides at one step.
#[derive(Debug)]
pub(crate) struct KeptPair {
    pub(crate) target_key: String,
    pub(crate) at: Timestamp,
    pub(crate) horizon_ms: i64,
    pub(crate) champion: Said,
    pub(crate) challenger: Said,
}

/// A limit that was reached.
#[derive(Debug)]
pub(crate) struct KeptBreach {
    pub(crate) target_key: String,
    pub(crate) at: Timestamp,
    pub(crate) over: Timestamp,
    pub(crate) signal: String,
    pub(crate) labels: LabelSet,
}

/// All that is known of a period.
#[derive(Debug)]
pub(crate) struct KeptPeriod {
    pub(crate) scored: usize,
    pub(crate) pairs: Vec<KeptPair>,
    pub(crate) breaches: Vec<KeptBreach>,
    pub(crate) requests: Vec<RemediationRequest>,
}

impl StateStore {
    /// Keeps what a step adds to the period of a challenger (`version` tells its periods apart, too); a step that was kept already adds nothing.
    pub(crate) async fn save_shadow(
        &self,
        (service, version): (&str, &str),
        at: Timestamp,
        step: &ShadowStep<'_>,
    ) -> Result<(), StateError> {
        const WHAT: &str = "store what a challenger said";
        let (service, version) = (&*plain(service), &*plain(version));
        let mut tx = self.begin(WHAT).await?;
        self.fence(&mut tx, WHAT).await?;
        let change = async {
            let encode = |e: serde_json::Error| sqlx::Error::Encode(e.into());
            let counted = sqlx::query(
                "INSERT INTO shadow_periods (service, version, scored, last_ms) VALUES ($1, $2, 1, $3) \
                 ON CONFLICT (service, version) DO UPDATE SET scored = shadow_periods.scored + 1, \
                 last_ms = excluded.last_ms WHERE shadow_periods.last_ms < excluded.last_ms",
            )
            .bind(service)
            .bind(version)
            .bind(at.millis())
            .execute(&mut *tx)
            .await?;
            if counted.rows_affected() == 0 {
                return Ok(());
            }
            for (champion, challenger) in &step.pairs {
                let horizon_ms = (champion.horizon_seconds * 1000.0) as i64;
                sqlx::query(
                    "INSERT INTO shadow_pairs (service, version, target_key, at_ms, horizon_ms, champion, challenger) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                )
                .bind(service)
                .bind(version)
                .bind(plain(&champion.target_key()))
                .bind(at.millis())
                .bind(horizon_ms)
                .bind(serde_json::to_string(&Said::from(*champion)).map_err(encode)?)
                .bind(serde_json::to_string(&Said::from(*challenger)).map_err(encode)?)
                .execute(&mut *tx)
                .await?;
            }
            for request in &step.requests {
                sqlx::query(
                    "INSERT INTO shadow_requests (id, service, version, at_ms, body) VALUES ($1, $2, $3, $4, $5) \
                     ON CONFLICT DO NOTHING",
                )
                .bind(&request.id)
                .bind(service)
                .bind(version)
                .bind(request.at.millis())
                .bind(serde_json::to_string(request).map_err(encode)?)
                .execute(&mut *tx)
                .await?;
            }
            for hit in &step.at_limit {
                let key = plain(&hit.target_key());
                let goes_on = sqlx::query(
                    "UPDATE shadow_breaches SET over_ms = $1 WHERE service = $2 AND version = $3 AND target_key = $4 \
                     AND over_ms >= $5",
                )
                .bind(at.millis())
                .bind(service)
                .bind(version)
                .bind(&key)
                .bind((at - GRACE).millis())
                .execute(&mut *tx)
                .await?;
                if goes_on.rows_affected() > 0 {
                    continue;
                }
                sqlx::query(
                    "INSERT INTO shadow_breaches (service, version, target_key, at_ms, over_ms, signal, labels) \
                     VALUES ($1, $2, $3, $4, $4, $5, $6) ON CONFLICT DO NOTHING",
                )
                .bind(service)
                .bind(version)
                .bind(&key)
                .bind(at.millis())
                .bind(plain(&hit.signal))
                .bind(serde_json::to_string(&*hit.labels).map_err(encode)?)
                .execute(&mut *tx)
                .await?;
            }
            Ok(())
        };
        change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await
    }

    /// All that was kept of the period of a challenger, in the order of time.
    pub(crate) async fn shadow_period(&self, service: &str, version: &str) -> Result<KeptPeriod, StateError> {
        let failed = |e| StateError::query("read what a challenger said", e);
        let of = async |sql: &'static str| -> Result<Vec<AnyRow>, StateError> {
            sqlx::query(sql).bind(plain(service)).bind(plain(version)).fetch_all(&self.pool).await.map_err(failed)
        };
        let scored = of("SELECT scored FROM shadow_periods WHERE service = $1 AND version = $2").await?;
        let scored = scored.first().map(|row| row.try_get::<i64, _>(0)).transpose().map_err(failed)?;
        let pairs = of("SELECT target_key, at_ms, horizon_ms, champion, challenger FROM shadow_pairs \
             WHERE service = $1 AND version = $2 ORDER BY at_ms, target_key")
        .await?;
        let breaches = of("SELECT target_key, at_ms, over_ms, signal, labels FROM shadow_breaches \
             WHERE service = $1 AND version = $2 ORDER BY at_ms, target_key")
        .await?;
        Ok(KeptPeriod {
            scored: scored.map_or(0, |scored| usize::try_from(scored).unwrap_or(0)),
            pairs: pairs.iter().map(read_pair).collect::<Result<_, _>>()?,
            breaches: breaches.iter().map(read_breach).collect::<Result<_, _>>()?,
            requests: self.shadow_requests(service, version).await?,
        })
    }

    /// What a challenger would have asked for, oldest first.
    pub(crate) async fn shadow_requests(
        &self,
        service: &str,
        version: &str,
    ) -> Result<Vec<RemediationRequest>, StateError> {
        let failed = |e| StateError::query("read what a challenger would have asked for", e);
        let sql = "SELECT id, body FROM shadow_requests WHERE service = $1 AND version = $2 ORDER BY at_ms, id";
        let rows = sqlx::query(sql).bind(plain(service)).bind(plain(version)).fetch_all(&self.pool).await;
        let read = |row: &AnyRow| {
            let (id, body): (String, String) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
            serde_json::from_str(&body).map_err(|e| corrupt("request", &id, e))
        };
        rows.map_err(failed)?.iter().map(read).collect()
    }
}

fn read_pair(row: &AnyRow) -> Result<KeptPair, StateError> {
    let failed = |e| StateError::query("read what a challenger said", e);
    let target_key: String = row.try_get(0).map_err(failed)?;
    let (champion, challenger): (String, String) = (row.try_get(3).map_err(failed)?, row.try_get(4).map_err(failed)?);
    let said = |text: &str| serde_json::from_str(text).map_err(|e| corrupt("shadow pair", &target_key, e));
    Ok(KeptPair {
        at: Timestamp::from_millis(row.try_get(1).map_err(failed)?),
        horizon_ms: row.try_get(2).map_err(failed)?,
        champion: said(&champion)?,
        challenger: said(&challenger)?,
        target_key,
    })
}

fn read_breach(row: &AnyRow) -> Result<KeptBreach, StateError> {
    let failed = |e| StateError::query("read what happened beside a challenger", e);
    let (target_key, labels): (String, String) = (row.try_get(0).map_err(failed)?, row.try_get(4).map_err(failed)?);
    Ok(KeptBreach {
        at: Timestamp::from_millis(row.try_get(1).map_err(failed)?),
        over: Timestamp::from_millis(row.try_get(2).map_err(failed)?),
        signal: row.try_get(3).map_err(failed)?,
        labels: serde_json::from_str(&labels).map_err(|e| corrupt("shadow breach", &target_key, e))?,
        target_key,
    })
}
