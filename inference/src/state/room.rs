//! How many requests there may be, over all servers of one state: counted where they are stored, in the change that stores them.
//! Every server decides by what it read before the step; of two that decide at once the second finds here that its room is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forewarn_models::guardrails::{Guardrails, Held, HeldBy, Room};
use forewarn_schema::{RemediationRequest, Timestamp};
use sqlx::{AnyConnection, Row};

use super::{Change, StateError, StateStore};

const HOUR: Duration = Duration::from_secs(3600);

/// What holds for all servers of a state together; the default holds nothing back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Requests within an hour; `None`: any number.
    pub(crate) max_per_hour: Option<u32>,
    /// Workloads with a request, not a dry run, that is open or approved; `None`: any number.
    pub(crate) max_workloads: Option<u32>,
    /// By which clock requests have expired.
    pub(crate) now: Timestamp,
}

impl StateStore {
    /// Requests, of all servers, within the hour that ends at `at`, or later.
    pub(crate) async fn made_in_hour(&self, at: Timestamp) -> Result<usize, StateError> {
        let failed = |e| StateError::query("count the requests of an hour", e);
        made(&mut *self.pool.acquire().await.map_err(failed)?, at).await.map_err(failed)
    }

    /// Workloads with a request, not a dry run, that is open or approved and has not expired.
    pub(crate) async fn under_way(&self, now: Timestamp) -> Result<BTreeSet<String>, StateError> {
        let failed = |e| StateError::query("read what is under way", e);
        under_way(&mut *self.pool.acquire().await.map_err(failed)?, now).await.map_err(failed)
    }
}

/// Which of `requests`, all of one step at `at`, there is no room for, and why. Until `tx` ends no other server finds room. What is
/// stored already has its room.
pub(super) async fn refuse(
    tx: &mut Change,
    requests: &[RemediationRequest],
    limits: &Limits,
) -> Result<BTreeMap<String, HeldBy>, sqlx::Error> {
    let Limits { max_per_hour, max_workloads, now } = *limits;
    let mut refused = BTreeMap::new();
    let Some(at) = requests.iter().map(|request| request.at).max() else { return Ok(refused) };
    if max_per_hour.is_none() && max_workloads.is_none() {
        return Ok(refused);
    }
    sqlx::query("UPDATE request_room SET claims = claims + 1 WHERE id = 1").execute(&mut **tx).await?;
    let in_this_hour = made(tx, at).await?;
    let guardrails =
        Guardrails { max_per_hour, max_workloads, under_way: under_way(tx, now).await?, ..Guardrails::default() };
    let mut room = Room::new(&guardrails, in_this_hour);
    // As the engine does: the soonest breach first.
    let mut soonest: Vec<&RemediationRequest> = requests.iter().collect();
    soonest.sort_by_key(|request| request.predicted_breach.p50);
    for request in soonest {
        let known = sqlx::query("SELECT 1 FROM requests WHERE id = $1").bind(&request.id);
        if known.fetch_optional(&mut **tx).await?.is_none()
            && let Some(by) = room.take(&request.service, request.mode, usize::MAX)
        {
            refused.insert(request.id.clone(), by);
        }
    }
    Ok(refused)
}

/// What is noted of the refused, as the engine will say it from then on.
pub(super) fn held(requests: &[RemediationRequest], refused: &BTreeMap<String, HeldBy>) -> Vec<Held> {
    let held = requests.iter().filter_map(|request| {
        let by = *refused.get(&request.id)?;
        let (service, signal) = (request.service.clone(), request.signal.clone());
        Some(Held { service, signal, labels: request.labels.without(&["pod"]), by, since: request.at })
    });
    held.collect()
}

async fn made(connection: &mut AnyConnection, at: Timestamp) -> Result<usize, sqlx::Error> {
    let row = sqlx::query("SELECT count(*) FROM requests WHERE at_ms > $1").bind((at - HOUR).millis());
    let count: i64 = row.fetch_one(connection).await?.try_get(0)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

async fn under_way(connection: &mut AnyConnection, now: Timestamp) -> Result<BTreeSet<String>, sqlx::Error> {
    // Each request has its verification; one from before there were any counts.
    let sql = "SELECT DISTINCT r.service FROM requests r LEFT JOIN verifications v ON v.request_id = r.id \
         WHERE r.status IN ('open', 'approved') AND r.expires_at_ms > $1 AND coalesce(v.mode, '') <> 'dry_run'";
    let rows = sqlx::query(sql).bind(now.millis()).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}
