//! What must leave: a message is stored in the transaction that decided it and leaves this table's
//! `pending` state only when it was taken, refused for good, or too late.

use std::time::Duration;

use forewarn_models::verification::Found;
use forewarn_schema::{RemediationRequest, Timestamp};
use serde::Serialize;
use sqlx::Row;

use super::{AnyRow, Change, StateError, StateStore, plain};

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Something should be done.
    Requested,
    /// A person agreed.
    Approved,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutboxEntry {
    pub(crate) seq: i64,
    /// The same on every try; the request's id for the first message about it.
    pub(crate) event_id: String,
    pub(crate) target_key: String,
    pub(crate) payload: String,
    pub(crate) expires_at: Timestamp,
    pub(crate) attempts: u32,
}

impl OutboxEntry {
    /// Whether it calls people: that leaves also while nothing is asked of anybody.
    pub(crate) fn is_escalation(&self) -> bool {
        self.event_id.ends_with(WORSENED_ID)
    }
}

/// How a try to deliver ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It was taken.
    Delivered,
    /// It was not; it may be later.
    Retry { error: String },
    /// It was refused for good.
    Refused { error: String },
    /// It was too late to try.
    Expired,
}

impl Fate {
    /// In one word, as metrics and traces say it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry { .. } => "failed",
            Self::Refused { .. } => "refused",
            Self::Expired => "expired",
        }
    }
}
/// The `type` of the message to people.
const WORSENED: &str = "remediation.worsened";
/// What its id ends with, after the request's.
const WORSENED_ID: &str = "-worsened";
/// It is told for so long, whenever the request expires.
const ESCALATION_LIVES: Duration = Duration::from_secs(86_400);

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    timestamp: Timestamp,
    #[serde(flatten)]
    request: &'a RemediationRequest,
}

/// Stores a message unless it is stored already.
pub(super) async fn insert(
    tx: &mut Change,
    event: Event,
    request: &RemediationRequest,
    target_key: &str,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let (event_id, r#type) = match event {
        Event::Requested => (request.id.clone(), "remediation.requested"),
        Event::Approved => (format!("{}-approved", request.id), "remediation.approved"),
    };
    let message = Message { r#type, timestamp: at, request };
    let payload = serde_json::to_string(&message).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query(
        "INSERT INTO outbox (event_id, request_id, target_key, payload, expires_at_ms, shard) \
         SELECT $1, id, $2, $3, $4, shard FROM requests WHERE id = $5 ON CONFLICT DO NOTHING",
    )
    .bind(event_id)
    .bind(plain(target_key))
    .bind(payload)
    .bind(request.expires_at.millis())
    .bind(&request.id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What `remediation.worsened` adds to the request.
#[derive(Serialize)]
struct WorsenedMessage<'a> {
    #[serde(flatten)]
    message: Message<'a>,
    verification: &'a Found,
}

/// Stores the message to people that a remediation made things worse. It is no part of the target's order: a message that is held back or
/// cannot be delivered must not keep it.
pub(super) async fn insert_worsened(
    tx: &mut Change,
    request: &RemediationRequest,
    found: &Found,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let message = Message { r#type: WORSENED, timestamp: at, request };
    let message = WorsenedMessage { message, verification: found };
    let payload = serde_json::to_string(&message).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query(
        "INSERT INTO outbox (event_id, request_id, target_key, payload, expires_at_ms, shard) \
         SELECT $1, id, $2, $3, $4, shard FROM requests WHERE id = $5 ON CONFLICT DO NOTHING",
    )
    .bind(format!("{}{WORSENED_ID}", request.id))
    .bind(format!("people/{}", request.id))
    .bind(payload)
    .bind((at + ESCALATION_LIVES).millis())
    .bind(&request.id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

impl StateStore {
    /// The oldest waiting message of each target of this shard, oldest first, at most `limit`: a target's next one
    /// waits for it.
    pub(crate) async fn outbox_heads(&self, limit: u32) -> Result<Vec<OutboxEntry>, StateError> {
        let failed = |e| StateError::query("read the outbox", e);
        let rows = sqlx::query(
            "SELECT seq, event_id, target_key, payload, expires_at_ms, attempts FROM outbox \
             WHERE seq IN (SELECT min(seq) FROM outbox WHERE state = 'pending' AND shard = $1 GROUP BY target_key) \
             ORDER BY seq LIMIT $2",
        )
        .bind(&*self.shard)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let read = |row: &AnyRow| -> Result<OutboxEntry, sqlx::Error> {
            Ok(OutboxEntry {
                seq: row.try_get(0)?,
                event_id: row.try_get(1)?,
                target_key: row.try_get(2)?,
                payload: row.try_get(3)?,
                expires_at: Timestamp::from_millis(row.try_get(4)?),
                attempts: u32::try_from(row.try_get::<i64, _>(5)?).unwrap_or(u32::MAX),
            })
        };
        rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
    }

    /// Notes how a try ended. One that a leader of before still had on its way changes nothing once another was taken.
    pub(crate) async fn outbox_tried(&self, seq: i64, fate: &Fate, now: Timestamp) -> Result<(), StateError> {
        const WHAT: &str = "note a delivery";
        let (state, tried, delivered_at, error) = match fate {
            Fate::Delivered => ("delivered", 1_i64, Some(now.millis()), None),
            Fate::Retry { error } => ("pending", 1, None, Some(error.as_str())),
            Fate::Refused { error } => ("refused", 1, None, Some(error.as_str())),
            Fate::Expired => ("expired", 0, None, Some("expired before it could be delivered")),
        };
        let mut tx = self.begin(WHAT).await?;
        sqlx::query(
            "UPDATE outbox SET state = $1, attempts = attempts + $2, delivered_at_ms = $3, last_error = $4 \
             WHERE seq = $5 AND state = 'pending'",
        )
        .bind(state)
        .bind(tried)
        .bind(delivered_at)
        .bind(error.map(plain))
        .bind(seq)
        .execute(&mut *tx)
        .await
        .map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await
    }

    /// How many messages wait.
    pub(crate) async fn outbox_pending(&self) -> Result<u64, StateError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE state = 'pending'")
            .fetch_one(&self.pool)
            .await
            .map_err(|e| StateError::query("read the outbox", e))?;
        Ok(count.unsigned_abs())
    }
}
