//! Remediation requests: stored once, decided by people, settled by whoever acted.

use forewarn_schema::{RemediationRequest, RequestStatus, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::outbox::{self, Event};
use super::verifications::{self, Verification};
use super::{AnyRow, Change, StateError, StateStore, audit, corrupt, plain};

/// What a person says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Go ahead.
    Approve,
    /// Do not.
    Reject,
}

/// What became of a remediation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It helped.
    Succeeded,
    /// It did not, or made things worse.
    Failed,
}

/// A request and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredRequest {
    /// What was asked.
    #[serde(flatten)]
    pub request: RemediationRequest,
    /// Where it stands.
    pub status: RequestStatus,
    /// Since when.
    pub status_at: Timestamp,
    /// What was said with the last decision or outcome.
    pub note: Option<String>,
    /// When the webhook took it; `None` where it has not (or there is no webhook).
    pub delivered_at: Option<Timestamp>,
    /// How often delivery was tried.
    pub attempts: u32,
    /// Why the last try failed; `None` where it did not.
    pub last_error: Option<String>,
    /// What came of it, as the forecast saw it afterwards; `None` where that is not known yet.
    pub verification: Option<Verification>,
}

const SELECT: &str = "SELECT r.id, r.body, r.status, r.status_at_ms, r.note, o.delivered_at_ms, \
     coalesce(o.attempts, 0), o.last_error, v.finding, v.reason, v.found_at_ms FROM requests r \
     LEFT JOIN outbox o ON o.event_id = r.id LEFT JOIN verifications v ON v.request_id = r.id";

impl StateStore {
    /// Requests, newest first, at most `limit`.
    pub async fn requests(&self, limit: u32) -> Result<Vec<StoredRequest>, StateError> {
        let sql = select(" ORDER BY r.at_ms DESC, r.id LIMIT $1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read requests", e))?;
        rows.iter().map(read).collect()
    }

    /// The request of that id.
    pub async fn request(&self, id: &str) -> Result<Option<StoredRequest>, StateError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(select(" WHERE r.id = $1")))
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| StateError::query("read a request", e))?;
        row.map(|row| read(&row)).transpose()
    }

    /// Requests that were emitted at or after `since`, oldest first.
    pub async fn requests_since(&self, since: Timestamp) -> Result<Vec<StoredRequest>, StateError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(select(" WHERE r.at_ms >= $1 ORDER BY r.at_ms, r.id")))
            .bind(since.millis())
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read requests", e))?;
        rows.iter().map(read).collect()
    }

    /// A person's word. The same again changes nothing; on a request that is decided otherwise or
    /// over it is [`StateError::Decided`]. Where `announce`, an approval is told to the webhook.
    pub(crate) async fn decide(
        &self,
        id: &str,
        decision: Decision,
        note: Option<&str>,
        now: Timestamp,
        announce: bool,
    ) -> Result<StoredRequest, StateError> {
        let status = match decision {
            Decision::Approve => RequestStatus::Approved,
            Decision::Reject => RequestStatus::Rejected,
        };
        self.expire_one(id, now).await?;
        self.settle(id, status, &[RequestStatus::Open], note, now, announce && decision == Decision::Approve).await
    }

    /// The controller's word. Also after the expiry: what was begun in time may end late.
    pub(crate) async fn report_outcome(
        &self,
        id: &str,
        outcome: Outcome,
        note: Option<&str>,
        now: Timestamp,
    ) -> Result<StoredRequest, StateError> {
        let status = match outcome {
            Outcome::Succeeded => RequestStatus::Succeeded,
            Outcome::Failed => RequestStatus::Failed,
        };
        let from = [RequestStatus::Open, RequestStatus::Approved, RequestStatus::Expired];
        self.settle(id, status, &from, note, now, false).await
    }

    /// Closes what is past its expiry and that nobody decided.
    pub(crate) async fn expire(&self, now: Timestamp) -> Result<(), StateError> {
        const WHAT: &str = "expire requests";
        let overdue = sqlx::query("SELECT id FROM requests WHERE status = 'open' AND expires_at_ms < $1 ORDER BY id")
            .bind(now.millis())
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query(WHAT, e))?;
        // Each by itself: two replicas that expire many at once could wait for one another.
        for row in overdue {
            let id: String = row.try_get(0).map_err(|e| StateError::query(WHAT, e))?;
            self.expire_one(&id, now).await?;
        }
        Ok(())
    }

    async fn expire_one(&self, id: &str, now: Timestamp) -> Result<(), StateError> {
        const WHAT: &str = "expire a request";
        let mut tx = self.begin(WHAT).await?;
        sqlx::query(
            "UPDATE requests SET status = 'expired', status_at_ms = $1 \
             WHERE id = $2 AND status = 'open' AND expires_at_ms < $1",
        )
        .bind(now.millis())
        .bind(id)
        .execute(&mut *tx)
        .await
        .map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await
    }

    async fn settle(
        &self,
        id: &str,
        to: RequestStatus,
        from: &[RequestStatus],
        note: Option<&str>,
        now: Timestamp,
        announce: bool,
    ) -> Result<StoredRequest, StateError> {
        const WHAT: &str = "store a decision";
        let not_found = || StateError::NotFound { what: "request", id: id.to_owned() };
        let mut tx = self.begin(WHAT).await?;
        let row = sqlx::query(sqlx::AssertSqlSafe(select(" WHERE r.id = $1")))
            .bind(id)
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| StateError::query(WHAT, e))?;
        let stored = read(&row.ok_or_else(not_found)?)?;
        if stored.status == to {
            return Ok(stored);
        }
        if !from.contains(&stored.status) {
            return Err(StateError::Decided { id: id.to_owned(), status: stored.status.as_str() });
        }
        let change = async {
            // Another replica may have decided since we looked: then this one did not.
            const SET: &str =
                "UPDATE requests SET status = $1, status_at_ms = $2, note = $3 WHERE id = $4 AND status = $5";
            let done = sqlx::query(SET)
                .bind(to.as_str())
                .bind(now.millis())
                .bind(note.map(plain))
                .bind(id)
                .bind(stored.status.as_str())
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            verifications::note(&mut tx, id, to, now).await?;
            audit(&mut tx, to.as_str(), id, note.unwrap_or_default(), now).await?;
            if announce {
                let key = target_key(&stored.request);
                outbox::insert(&mut tx, Event::Approved, &stored.request, &key, now).await?;
            }
            Ok(true)
        };
        if !change.await.map_err(|e| self.failed(WHAT, e))? {
            drop(tx);
            let stored = self.request(id).await?.ok_or_else(not_found)?;
            let decided = StateError::Decided { id: id.to_owned(), status: stored.status.as_str() };
            return if stored.status == to { Ok(stored) } else { Err(decided) };
        }
        self.commit(tx, WHAT).await?;
        self.request(id).await?.ok_or_else(not_found)
    }
}

/// Stores a request that is not stored yet, with the message that announces it. `false` where it was.
pub(super) async fn insert(
    tx: &mut Change,
    request: &RemediationRequest,
    target_key: &str,
    announce: bool,
    shard: &str,
) -> Result<bool, sqlx::Error> {
    let body = serde_json::to_string(request).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let result = sqlx::query(
        "INSERT INTO requests \
         (id, prediction_id, target_key, service, kind, at_ms, expires_at_ms, status, status_at_ms, body, shard) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', $6, $8, $9) ON CONFLICT DO NOTHING",
    )
    .bind(&request.id)
    .bind(&request.prediction_id)
    .bind(plain(target_key))
    .bind(plain(&request.service))
    .bind(request.kind.as_str())
    .bind(request.at.millis())
    .bind(request.expires_at.millis())
    .bind(body)
    .bind(shard)
    .execute(&mut **tx)
    .await?;
    let new = result.rows_affected() == 1;
    if new && announce {
        outbox::insert(tx, Event::Requested, request, target_key, request.at).await?;
    }
    Ok(new)
}

fn target_key(request: &RemediationRequest) -> String {
    format!("{}/{}{}", request.service, request.signal, request.labels)
}

pub(super) fn select(tail: &str) -> String {
    format!("{SELECT}{tail}")
}

pub(super) fn read(row: &AnyRow) -> Result<StoredRequest, StateError> {
    let columns = || -> Result<_, sqlx::Error> {
        let id: String = row.try_get(0)?;
        let body: String = row.try_get(1)?;
        let status: String = row.try_get(2)?;
        let status_at: i64 = row.try_get(3)?;
        let note: Option<String> = row.try_get(4)?;
        let delivered_at: Option<i64> = row.try_get(5)?;
        let attempts: i64 = row.try_get(6)?;
        let last_error: Option<String> = row.try_get(7)?;
        Ok((id, body, status, status_at, note, delivered_at, attempts, last_error))
    };
    let (id, body, status, status_at, note, delivered_at, attempts, last_error) =
        columns().map_err(|e| StateError::query("read a request", e))?;
    Ok(StoredRequest {
        request: serde_json::from_str(&body).map_err(|e| corrupt("request", &id, e))?,
        status: serde_json::from_value(status.into()).map_err(|e| corrupt("request", &id, e))?,
        status_at: Timestamp::from_millis(status_at),
        note,
        delivered_at: delivered_at.map(Timestamp::from_millis),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        last_error,
        verification: verifications::read_verification(row, 8)?,
    })
}
