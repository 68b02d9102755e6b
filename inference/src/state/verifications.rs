//! Each request under watch, from its emission to what came of it. A row is made with its request, follows what people and the
//! controller say in the transaction that stores their word, and is concluded once, by the leader, together with what that costs or earns
//! on the ladder. What is found is `forewarn_models::verification`'s affair.

use forewarn_models::guardrails::NO_PLAYBOOK;
use forewarn_models::ladder::LadderEvent;
use forewarn_models::verification::{Finding, Found, Reported, Watch};
use forewarn_schema::{Mode, Prediction, RemediationRequest, RequestStatus, Timestamp};
use serde::Serialize;
use sqlx::Row;

use super::ladder_moves::{Cause, Move, TRIES, is_lost_race};
use super::{AnyRow, Change, StateError, StateStore, audit, corrupt, outbox, plain};

/// A request that something may come of yet.
#[derive(Clone, Debug)]
pub(crate) struct OpenVerification {
    pub(crate) request: RemediationRequest,
    /// Since when something may have been done.
    pub(crate) acted_at: Option<Timestamp>,
    pub(crate) rejected: bool,
    pub(crate) reported: Reported,
    pub(crate) watch: Watch,
    /// The message that lets somebody act was not delivered.
    pub(crate) undelivered: bool,
    /// Its failure was counted already.
    pub(crate) counted: bool,
}

impl OpenVerification {
    pub(crate) fn playbook(&self) -> &str {
        self.request.playbook.as_deref().unwrap_or(NO_PLAYBOOK)
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// What.
    pub finding: Finding,
    /// In a sentence.
    pub reason: String,
    /// When that was known, by the time of the data.
    pub at: Timestamp,
}

/// A remediation that made things worse.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worsened {
    /// What was asked.
    #[serde(flatten)]
    pub request: RemediationRequest,
    /// What came of it.
    pub verification: Verification,
}

/// Makes the row of a new request; `predictions`: of the step that made it.
pub(super) async fn insert(
    tx: &mut Change,
    request: &RemediationRequest,
    predictions: &[Prediction],
    shard: &str,
) -> Result<(), sqlx::Error> {
    let phase = if request.mode == Mode::DryRun { "said" } else { "open" };
    let acted_at = (request.mode == Mode::Automatic).then_some(request.at.millis());
    let watch = if phase == "open" { Watch::new(request, predictions) } else { Watch::default() };
    let watch = serde_json::to_string(&watch).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query(
        "INSERT INTO verifications (request_id, service, playbook, mode, at_ms, shard, acted_at_ms, phase, watch) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (request_id) DO NOTHING",
    )
    .bind(&request.id)
    .bind(plain(&request.service))
    .bind(plain(request.playbook.as_deref().unwrap_or(NO_PLAYBOOK)))
    .bind(super::word(request.mode))
    .bind(request.at.millis())
    .bind(shard)
    .bind(acted_at)
    .bind(phase)
    .bind(watch)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes what was said of a request, in the transaction that stores it. The first word of each kind stays.
pub(super) async fn note(tx: &mut Change, id: &str, said: RequestStatus, now: Timestamp) -> Result<(), sqlx::Error> {
    let statement = match said {
        RequestStatus::Approved => {
            "UPDATE verifications SET acted_at_ms = coalesce(acted_at_ms, $1) WHERE request_id = $2"
        }
        RequestStatus::Rejected => {
            "UPDATE verifications SET rejected_at_ms = coalesce(rejected_at_ms, $1) WHERE request_id = $2"
        }
        RequestStatus::Succeeded | RequestStatus::Failed => {
            let statement = "UPDATE verifications SET outcome = $3, outcome_at_ms = $1 \
                 WHERE request_id = $2 AND outcome IS NULL";
            let bound = sqlx::query(statement).bind(now.millis()).bind(id).bind(said.as_str());
            return bound.execute(&mut **tx).await.map(drop);
        }
        RequestStatus::Open | RequestStatus::Expired => return Ok(()),
    };
    sqlx::query(statement).bind(now.millis()).bind(id).execute(&mut **tx).await.map(drop)
}

const OPEN: &str = "SELECT v.request_id, r.body, v.acted_at_ms, v.rejected_at_ms, v.outcome, v.outcome_at_ms, v.watch, o.seq, \
     o.delivered_at_ms, m.seq FROM verifications v JOIN requests r ON r.id = v.request_id \
     LEFT JOIN outbox o ON o.event_id = CASE v.mode WHEN 'automatic' THEN r.id ELSE r.id || '-approved' END \
     LEFT JOIN ladder_moves m ON m.service = v.service AND m.playbook = v.playbook AND m.cause = 'request:' || r.id \
     WHERE v.phase = 'open' AND v.shard = $1 ORDER BY v.at_ms, v.request_id";

impl StateStore {
    /// Requests of this shard that something may come of yet, oldest first.
    pub(crate) async fn open_verifications(&self) -> Result<Vec<OpenVerification>, StateError> {
        let rows = sqlx::query(OPEN)
            .bind(&*self.shard)
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read what is under watch", e))?;
        rows.iter().map(read_open).collect()
    }

    /// Keeps what is remembered of those that are still under watch.
    pub(crate) async fn keep_watches(&self, watches: &[(String, Watch)]) -> Result<(), StateError> {
        const WHAT: &str = "store what is under watch";
        if watches.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin(WHAT).await?;
        self.fence(&mut tx, WHAT).await?;
        for (id, watch) in watches {
            let body = serde_json::to_string(watch).map_err(|e| corrupt("verification", id, e))?;
            sqlx::query("UPDATE verifications SET watch = $1 WHERE request_id = $2 AND phase = 'open'")
                .bind(body)
                .bind(id)
                .execute(&mut *tx)
                .await
                .map_err(|e| self.failed(WHAT, e))?;
        }
        self.commit(tx, WHAT).await
    }

    /// Concludes what is under watch, with what it does to the ladder and, where it made things worse and `announce`, the message to
    /// people: all of it or nothing. `false` where it was concluded before.
    pub(crate) async fn conclude(
        &self,
        of: &OpenVerification,
        found: &Found,
        event: Option<LadderEvent>,
        at: Timestamp,
        (default, announce): (Mode, bool),
    ) -> Result<bool, StateError> {
        const WHAT: &str = "store what came of a remediation";
        for _ in 0..TRIES {
            let mut tx = self.begin(WHAT).await?;
            self.fence(&mut tx, WHAT).await?;
            match self.concluding(&mut tx, of, found, event, at, (default, announce)).await {
                Ok(done) => return self.commit(tx, WHAT).await.map(|()| done),
                Err(error) if is_lost_race(&error) => drop(tx),
                Err(error) => return Err(self.failed(WHAT, error)),
            }
        }
        Err(StateError::query(WHAT, sqlx::Error::PoolTimedOut))
    }

    async fn concluding(
        &self,
        tx: &mut Change,
        of: &OpenVerification,
        found: &Found,
        event: Option<LadderEvent>,
        at: Timestamp,
        (default, announce): (Mode, bool),
    ) -> Result<bool, sqlx::Error> {
        let encode = |e: serde_json::Error| sqlx::Error::Encode(e.into());
        let id = &of.request.id;
        let evidence = found.evidence.as_ref().map(serde_json::to_string).transpose().map_err(encode)?;
        let done = sqlx::query(
            "UPDATE verifications SET phase = 'done', finding = $1, reason = $2, evidence = $3, found_at_ms = $4 \
             WHERE request_id = $5 AND phase = 'open'",
        )
        .bind(found.finding.as_str())
        .bind(plain(&found.reason))
        .bind(evidence)
        .bind(at.millis())
        .bind(id)
        .execute(&mut **tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(event) = event {
            self.count(tx, of, event, &found.reason, at, default).await?;
        }
        if found.finding == Finding::Worsened && announce {
            outbox::insert_worsened(tx, &of.request, found, at).await?;
        }
        audit(tx, found.finding.as_str(), id, &found.reason, at).await?;
        Ok(true)
    }

    /// Counts a failure that was reported while it is still watched whether it made things worse.
    pub(crate) async fn count_failure(
        &self,
        of: &OpenVerification,
        reason: &str,
        at: Timestamp,
        default: Mode,
    ) -> Result<(), StateError> {
        const WHAT: &str = "count a failure";
        for _ in 0..TRIES {
            let mut tx = self.begin(WHAT).await?;
            self.fence(&mut tx, WHAT).await?;
            match self.count(&mut tx, of, LadderEvent::Failed, reason, at, default).await {
                Ok(()) => return self.commit(tx, WHAT).await,
                Err(error) if is_lost_race(&error) => drop(tx),
                Err(error) => return Err(self.failed(WHAT, error)),
            }
        }
        Err(StateError::query(WHAT, sqlx::Error::PoolTimedOut))
    }

    async fn count(
        &self,
        tx: &mut Change,
        of: &OpenVerification,
        event: LadderEvent,
        reason: &str,
        at: Timestamp,
        default: Mode,
    ) -> Result<(), sqlx::Error> {
        let (made_on, made_at) = (of.request.mode, of.request.at);
        let cause = Cause::Request(&of.request.id);
        let of =
            Move { service: &of.request.service, playbook: of.playbook(), cause, event: event.as_str(), reason, at };
        of.make(tx, default, |rung| Some(rung.after_request(event, made_on, made_at, at))).await.map(drop)
    }

    /// Remediations that made things worse, found at or after `since`, newest first, at most `limit`.
    pub(crate) async fn worsened_since(&self, since: Timestamp, limit: u32) -> Result<Vec<Worsened>, StateError> {
        let failed = |e| StateError::query("read what was made worse", e);
        let rows = sqlx::query(
            "SELECT r.id, r.body, v.reason, v.found_at_ms FROM verifications v JOIN requests r ON r.id = v.request_id \
             WHERE v.finding = 'worsened' AND v.found_at_ms >= $1 ORDER BY v.found_at_ms DESC, r.id LIMIT $2",
        )
        .bind(since.millis())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let read = |row: &AnyRow| {
            let (id, body): (String, String) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
            let request = serde_json::from_str(&body).map_err(|e| corrupt("request", &id, e))?;
            let (reason, at) = (row.try_get(2).map_err(failed)?, row.try_get(3).map_err(failed)?);
            let verification = Verification { finding: Finding::Worsened, reason, at: Timestamp::from_millis(at) };
            Ok(Worsened { request, verification })
        };
        rows.iter().map(read).collect()
    }

    /// How many requests are under watch, and how many of each finding there are, by name.
    pub(crate) async fn verification_counts(&self) -> Result<Vec<(String, u64)>, StateError> {
        let failed = |e| StateError::query("count what came of requests", e);
        let rows = sqlx::query(
            "SELECT coalesce(finding, 'watched'), count(*) FROM verifications WHERE phase <> 'said' \
             GROUP BY coalesce(finding, 'watched') ORDER BY 1",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let read = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)?.unsigned_abs()));
        rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
    }
}

/// What a row of three columns says: finding, reason and time; `None` where nothing was found yet.
pub(super) fn read_verification(row: &AnyRow, from: usize) -> Result<Option<Verification>, StateError> {
    let failed = |e| StateError::query("read what came of a request", e);
    let finding: Option<String> = row.try_get(from).map_err(failed)?;
    let Some(finding) = finding else { return Ok(None) };
    let reason: Option<String> = row.try_get(from + 1).map_err(failed)?;
    let at: Option<i64> = row.try_get(from + 2).map_err(failed)?;
    let known = serde_json::from_value(finding.clone().into()).map_err(|e| corrupt("finding", &finding, e))?;
    let at = Timestamp::from_millis(at.unwrap_or_default());
    Ok(Some(Verification { finding: known, reason: reason.unwrap_or_default(), at }))
}

fn read_open(row: &AnyRow) -> Result<OpenVerification, StateError> {
    let failed = |e| StateError::query("read what is under watch", e);
    let id: String = row.try_get(0).map_err(failed)?;
    let body: String = row.try_get(1).map_err(failed)?;
    let (acted_at, rejected_at): (Option<i64>, Option<i64>) =
        (row.try_get(2).map_err(failed)?, row.try_get(3).map_err(failed)?);
    let (outcome, outcome_at): (Option<String>, Option<i64>) =
        (row.try_get(4).map_err(failed)?, row.try_get(5).map_err(failed)?);
    let watch: String = row.try_get(6).map_err(failed)?;
    let (message, delivered): (Option<i64>, Option<i64>) =
        (row.try_get(7).map_err(failed)?, row.try_get(8).map_err(failed)?);
    let counted: Option<i64> = row.try_get(9).map_err(failed)?;
    let reported_at = Timestamp::from_millis(outcome_at.unwrap_or_default());
    Ok(OpenVerification {
        request: serde_json::from_str(&body).map_err(|e| corrupt("request", &id, e))?,
        acted_at: acted_at.map(Timestamp::from_millis),
        rejected: rejected_at.is_some(),
        reported: match outcome.as_deref() {
            None => Reported::Nothing,
            Some("succeeded") => Reported::Succeeded { at: reported_at },
            Some(_) => Reported::Failed { at: reported_at },
        },
        watch: serde_json::from_str(&watch).map_err(|e| corrupt("verification", &id, e))?,
        undelivered: message.is_some() && delivered.is_none(),
        counted: counted.is_some(),
    })
}
