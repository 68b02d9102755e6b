//! The outbox as an operator sees it: what waits, what was refused, what expired; and how one of them is sent again.

use forewarn_schema::{RequestStatus, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::{AnyRow, StateError, StateStore, audit, corrupt, plain};

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// It waits for its turn, or for the receiver.
    Pending,
    /// It was taken.
    Delivered,
    /// The receiver refused it for good.
    Refused,
    /// It was too late to deliver it.
    Expired,
}

impl MessageState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
}

/// A message of the outbox.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutboxMessage {
    /// The same on every try: `webhook-id`.
    pub event_id: String,
    /// The request that it is about.
    pub request_id: String,
    /// Messages of one target leave in order.
    pub target_key: String,
    /// Where it stands.
    pub state: MessageState,
    /// How often delivery was tried.
    pub attempts: u32,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// It is not delivered after this.
    pub expires_at: Timestamp,
    /// When it was taken.
    pub delivered_at: Option<Timestamp>,
}

const SELECT: &str = "SELECT event_id, request_id, target_key, state, attempts, last_error, expires_at_ms, \
     delivered_at_ms FROM outbox";

/// How long a message that is sent again after its expiry may take to leave.
const GRACE_MS: i64 = 300_000;

impl StateStore {
    /// Messages in these states, newest first, at most `limit`.
    pub async fn outbox_messages(&self, states: &[MessageState], limit: u32) -> Result<Vec<OutboxMessage>, StateError> {
        let places: Vec<String> = (1..=states.len()).map(|n| format!("${n}")).collect();
        let sql =
            format!("{SELECT} WHERE state IN ({}) ORDER BY seq DESC LIMIT ${}", places.join(", "), states.len() + 1);
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for state in states {
            query = query.bind(state.as_str());
        }
        let rows = query
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read the outbox", e))?;
        rows.iter().map(read).collect()
    }

    /// How many messages are in each state, sorted.
    pub(crate) async fn outbox_counts(&self) -> Result<Vec<(String, u64)>, StateError> {
        let failed = |e| StateError::query("read the outbox", e);
        let rows = sqlx::query("SELECT state, count(*) FROM outbox GROUP BY state ORDER BY state")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        let read = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)?.unsigned_abs()));
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(failed)
    }

    /// Puts a message back among those that wait, with the same id, for the receiver to tell apart. One whose request was rejected or
    /// is settled, and one that expired, is [`StateError::NotResent`]; the latter is sent nevertheless `after_expiry`, within five minutes, and
    /// says of itself that it is expired.
    pub async fn resend(
        &self,
        event_id: &str,
        after_expiry: bool,
        now: Timestamp,
    ) -> Result<OutboxMessage, StateError> {
        const WHAT: &str = "send a message again";
        let not_found = || StateError::NotFound { what: "message", id: event_id.to_owned() };
        let mut tx = self.begin(WHAT).await?;
        let row = sqlx::query(
            "SELECT o.expires_at_ms, r.status FROM outbox o JOIN requests r ON r.id = o.request_id WHERE o.event_id = $1",
        )
        .bind(plain(event_id))
        .fetch_optional(&mut *tx)
        .await
        .map_err(|e| StateError::query(WHAT, e))?;
        let row = row.ok_or_else(not_found)?;
        let columns = || Ok((row.try_get::<i64, _>(0)?, row.try_get::<String, _>(1)?));
        let (expires_at, status) = columns().map_err(|e| StateError::query(WHAT, e))?;
        let refused = |why: String| StateError::NotResent { id: event_id.to_owned(), why };
        let alive = [RequestStatus::Open, RequestStatus::Approved].map(RequestStatus::as_str);
        let expired = expires_at < now.millis();
        if expired && !after_expiry {
            let at = Timestamp::from_millis(expires_at);
            return Err(refused(format!("it expired at {at}; send after_expiry = true to send it nevertheless")));
        }
        if !alive.contains(&status.as_str()) && status != RequestStatus::Expired.as_str() {
            return Err(refused(format!("its request is {status}")));
        }
        let expires_at = if expired { now.millis().saturating_add(GRACE_MS) } else { expires_at };
        let detail = if expired { "after its expiry" } else { "" };
        let change = async {
            sqlx::query(
                "UPDATE outbox SET state = 'pending', expires_at_ms = $1, delivered_at_ms = NULL WHERE event_id = $2",
            )
            .bind(expires_at)
            .bind(plain(event_id))
            .execute(&mut *tx)
            .await?;
            audit(&mut tx, "resend", event_id, detail, now).await
        };
        change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await?;
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} WHERE event_id = $1")))
            .bind(plain(event_id))
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| StateError::query("read the outbox", e))?;
        read(&row.ok_or_else(not_found)?)
    }
}

fn read(row: &AnyRow) -> Result<OutboxMessage, StateError> {
    let columns = || -> Result<_, sqlx::Error> {
        let state: String = row.try_get(3)?;
        let message = OutboxMessage {
            event_id: row.try_get(0)?,
            request_id: row.try_get(1)?,
            target_key: row.try_get(2)?,
            state: MessageState::Pending,
            attempts: u32::try_from(row.try_get::<i64, _>(4)?).unwrap_or(u32::MAX),
            last_error: row.try_get(5)?,
            expires_at: Timestamp::from_millis(row.try_get(6)?),
            delivered_at: row.try_get::<Option<i64>, _>(7)?.map(Timestamp::from_millis),
        };
        Ok((message, state))
    };
    let (message, state) = columns().map_err(|e| StateError::query("read a message", e))?;
    let state = serde_json::from_value(state.into()).map_err(|e| corrupt("message", &message.event_id, e))?;
    Ok(OutboxMessage { state, ..message })
}
