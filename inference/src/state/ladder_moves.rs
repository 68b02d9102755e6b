//! How playbooks moved on their ladders, and where each stands. Every move names its cause, and a cause counts once, whoever tells it
//! how often: that is a key of the table, so that it holds over restarts and between replicas.

use forewarn_models::ladder::Rung;
use forewarn_schema::{Mode, Timestamp};
use serde::Serialize;
use sqlx::Row;

use super::{AnyRow, Change, StateError, StateStore, audit, corrupt, plain, word};
use crate::access::caller;

/// Changes that met another one begin anew so often.
pub(super) const TRIES: u32 = 5;

/// What moves a playbook.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause<'a> {
    /// What came of a request.
    Request(&'a str),
    /// A report that found drift.
    Drift(&'a str),
    /// The rung was earned that had been stood on since then.
    Climb(Mode, Timestamp),
    /// A person, at a time of their own.
    Hand(&'a str),
}

impl Cause<'_> {
    fn key(&self) -> String {
        match self {
            Self::Request(id) => format!("request:{id}"),
            Self::Drift(report) => format!("drift:{}", plain(report)),
            Self::Climb(mode, since) => format!("climb:{}:{}", word(*mode), since.millis()),
            Self::Hand(id) => format!("hand:{id}"),
        }
    }
}

/// One move about to be made.
pub(super) struct Move<'a> {
    pub(super) service: &'a str,
    pub(super) playbook: &'a str,
    pub(super) cause: Cause<'a>,
    pub(super) event: &'static str,
    pub(super) reason: &'a str,
    pub(super) at: Timestamp,
}

/// One move, or a success that was counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LadderMove {
    /// When, by the time of the data (of the server's clock where a person did it).
    pub at: Timestamp,
    /// `verified`, `failed`, `rejected`, `drifted`, `climbed`, `set` or `forgotten`.
    pub event: String,
    /// Where it stood.
    pub from: Mode,
    /// Where it stands since.
    pub to: Mode,
    /// Successes counted on the rung after it.
    pub verified: u32,
    /// Why.
    pub reason: String,
    /// Who; `forewarn` for the program itself.
    pub who: String,
}

/// Where a playbook stands on a service, set by hand, moved, or neither so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) service: String,
    pub(crate) playbook: String,
    pub(crate) rung: Rung,
    /// It has a rung of its own; else the default holds.
    pub(crate) has_row: bool,
}

/// Another change of the same row came first.
fn lost_race() -> sqlx::Error {
    sqlx::Error::RowNotFound
}

pub(super) fn is_lost_race(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::RowNotFound)
}

/// Since when the default has held for a playbook: since it was last moved, or else first asked for.
const SINCE: &str = "SELECT coalesce((SELECT max(at_ms) FROM ladder_moves WHERE service = $1 AND playbook = $2), \
     (SELECT min(at_ms) FROM verifications WHERE service = $1 AND playbook = $2))";

impl Move<'_> {
    /// Makes it, unless its cause counted already or `change` wants none; gives where the playbook stood and stands.
    pub(super) async fn make(
        &self,
        tx: &mut Change,
        default: Mode,
        change: impl Fn(&Rung) -> Option<Rung>,
    ) -> Result<Option<(Rung, Rung)>, sqlx::Error> {
        let (service, playbook) = (plain(self.service), plain(self.playbook));
        let (known, stands) = stands(tx, (&service, &playbook), default, self.at).await?;
        let Some(after) = change(&stands) else { return Ok(None) };
        let noted = sqlx::query(
            "INSERT INTO ladder_moves (service, playbook, cause, at_ms, event, from_mode, to_mode, verified, reason, who) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (service, playbook, cause) DO NOTHING",
        )
        .bind(&service)
        .bind(&playbook)
        .bind(self.cause.key())
        .bind(self.at.millis())
        .bind(self.event)
        .bind(word(stands.mode))
        .bind(word(after.mode))
        .bind(i64::from(after.verified))
        .bind(plain(self.reason))
        .bind(&*caller())
        .execute(&mut **tx)
        .await?;
        if noted.rows_affected() == 0 {
            return Ok(None);
        }
        if after != stands {
            let why = (after.mode != stands.mode).then_some(self.reason);
            store(tx, (&service, &playbook), known.is_some(), (&stands, &after), why).await?;
        }
        if after.mode != stands.mode {
            let detail = format!("{} to {}: {}", word(stands.mode), word(after.mode), self.reason);
            audit(tx, "mode", &format!("{service}/{playbook}"), &detail, self.at).await?;
        }
        Ok(Some((stands, after)))
    }
}

/// The rung that a playbook has of its own, and the one on which it stands.
async fn stands(
    tx: &mut Change,
    (service, playbook): (&str, &str),
    default: Mode,
    now: Timestamp,
) -> Result<(Option<Rung>, Rung), sqlx::Error> {
    let row = sqlx::query("SELECT mode, since_ms, verified FROM modes WHERE service = $1 AND playbook = $2")
        .bind(service)
        .bind(playbook)
        .fetch_optional(&mut **tx)
        .await?;
    if let Some(row) = row {
        let rung = rung(&row, 0)?;
        return Ok((Some(rung.clone()), rung));
    }
    let since = sqlx::query(SINCE).bind(service).bind(playbook).fetch_one(&mut **tx).await?;
    let since: Option<i64> = since.try_get(0)?;
    Ok((None, Rung::new(default, since.map_or(now, Timestamp::from_millis))))
}

/// Puts a playbook from one rung on another, if it is still where it was. `why`: `None` where it stays and only the count changes; who
/// put it there stays then, too.
async fn store(
    tx: &mut Change,
    (service, playbook): (&str, &str),
    has_row: bool,
    (stands, after): (&Rung, &Rung),
    why: Option<&str>,
) -> Result<(), sqlx::Error> {
    let who = why.map(|_| caller().to_string());
    let note = why.filter(|why| !why.is_empty()).map(plain);
    let done = match has_row {
        false => {
            sqlx::query(
                "INSERT INTO modes (service, playbook, mode, since_ms, verified, who, note) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            )
            .bind(service)
            .bind(playbook)
            .bind(word(after.mode))
            .bind(after.since.millis())
            .bind(i64::from(after.verified))
            .bind(&*caller())
            .bind(note)
            .execute(&mut **tx)
            .await?
        }
        true => {
            sqlx::query(
                "UPDATE modes SET mode = $1, since_ms = $2, verified = $3, who = coalesce($4, who), \
                 note = CASE WHEN $4 IS NULL THEN note ELSE $5 END \
                 WHERE service = $6 AND playbook = $7 AND mode = $8 AND since_ms = $9 AND verified = $10",
            )
            .bind(word(after.mode))
            .bind(after.since.millis())
            .bind(i64::from(after.verified))
            .bind(who)
            .bind(note)
            .bind(service)
            .bind(playbook)
            .bind(word(stands.mode))
            .bind(stands.since.millis())
            .bind(i64::from(stands.verified))
            .execute(&mut **tx)
            .await?
        }
    };
    if done.rows_affected() == 0 { Err(lost_race()) } else { Ok(()) }
}

impl StateStore {
    /// Makes a move of the program's own, in the leader's name; `None` where its cause counted already or `change` wants none.
    async fn make_move(
        &self,
        of: &Move<'_>,
        default: Mode,
        change: impl Fn(&Rung) -> Option<Rung>,
    ) -> Result<Option<(Rung, Rung)>, StateError> {
        const WHAT: &str = "move a playbook";
        for _ in 0..TRIES {
            let mut tx = self.begin(WHAT).await?;
            self.fence(&mut tx, WHAT).await?;
            match of.make(&mut tx, default, &change).await {
                Ok(moved) => return self.commit(tx, WHAT).await.map(|()| moved),
                Err(error) if is_lost_race(&error) => drop(tx),
                Err(error) => return Err(self.failed(WHAT, error)),
            }
        }
        Err(StateError::query(WHAT, sqlx::Error::PoolTimedOut))
    }

    /// Takes a playbook a step back because `report` found that the data have moved; once a report.
    pub(crate) async fn drifted(
        &self,
        (service, playbook): (&str, &str),
        (report, reason): (&str, &str),
        at: Timestamp,
        default: Mode,
    ) -> Result<Option<(Rung, Rung)>, StateError> {
        use forewarn_models::ladder::LadderEvent::Drifted;
        let of = Move { service, playbook, cause: Cause::Drift(report), event: Drifted.as_str(), reason, at };
        self.make_move(&of, default, |rung| Some(rung.after(Drifted, at))).await
    }

    /// Lets a playbook climb to what `earned` says of its rung, where that is still something.
    pub(crate) async fn climb(
        &self,
        standing: &Standing,
        (to, reason): (Mode, &str),
        at: Timestamp,
        default: Mode,
        earned: impl Fn(&Rung) -> Option<Mode>,
    ) -> Result<Option<(Rung, Rung)>, StateError> {
        let cause = Cause::Climb(to, standing.rung.since);
        let Standing { service, playbook, .. } = standing;
        let of = Move { service, playbook, cause, event: "climbed", reason, at };
        self.make_move(&of, default, |rung| (earned(rung) == Some(to)).then(|| Rung::new(to, at))).await
    }

    /// Where every playbook stands that was moved or ever asked for, sorted by service and playbook.
    pub(crate) async fn standings(&self, default: Mode) -> Result<Vec<Standing>, StateError> {
        let failed = |e| StateError::query("read where playbooks stand", e);
        let rows = sqlx::query(
            "SELECT k.service, k.playbook, m.mode, coalesce(m.since_ms, \
             (SELECT max(at_ms) FROM ladder_moves l WHERE l.service = k.service AND l.playbook = k.playbook), \
             (SELECT min(at_ms) FROM verifications v WHERE v.service = k.service AND v.playbook = k.playbook)), \
             coalesce(m.verified, 0) FROM \
             (SELECT service, playbook FROM modes UNION SELECT service, playbook FROM verifications) k \
             LEFT JOIN modes m ON m.service = k.service AND m.playbook = k.playbook ORDER BY k.service, k.playbook",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let read = |row: &AnyRow| -> Result<Standing, sqlx::Error> {
            let mode: Option<String> = row.try_get(2)?;
            let rung = match mode {
                Some(_) => rung(row, 2)?,
                None => Rung::new(default, Timestamp::from_millis(row.try_get(3)?)),
            };
            let has_row = row.try_get::<Option<String>, _>(2)?.is_some();
            Ok(Standing { service: row.try_get(0)?, playbook: row.try_get(1)?, rung, has_row })
        };
        rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
    }

    /// How a playbook moved and what was counted for it, newest first, at most `limit`.
    pub(crate) async fn ladder_moves(
        &self,
        service: &str,
        playbook: &str,
        limit: u32,
    ) -> Result<Vec<LadderMove>, StateError> {
        let failed = |e| StateError::query("read how a playbook moved", e);
        let rows = sqlx::query(
            "SELECT at_ms, event, from_mode, to_mode, verified, reason, who FROM ladder_moves \
             WHERE service = $1 AND playbook = $2 ORDER BY seq DESC LIMIT $3",
        )
        .bind(plain(service))
        .bind(plain(playbook))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter().map(|row| read_move(row, 0).map_err(failed)).collect()
    }

    /// The newest moves of all playbooks with service and playbook, newest first, at most `limit`.
    pub(crate) async fn recent_moves(&self, limit: u32) -> Result<Vec<(String, String, LadderMove)>, StateError> {
        let failed = |e| StateError::query("read how playbooks moved", e);
        let rows = sqlx::query(
            "SELECT service, playbook, at_ms, event, from_mode, to_mode, verified, reason, who FROM ladder_moves \
             ORDER BY seq DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let read = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get(1)?, read_move(row, 2)?));
        rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
    }
}

/// Puts a playbook where a person wants it, after `may` has seen where it stands; gives what `may` refused it for. It is looked at and
/// moved in one transaction, so that nobody who saw it on a rung that it has lost meanwhile puts it back there.
pub(super) async fn put_by_hand<E>(
    tx: &mut Change,
    (service, playbook): (&str, &str),
    default: Mode,
    note: Option<&str>,
    at: Timestamp,
    may: impl Fn(&Rung) -> Result<Rung, E>,
) -> Result<Result<(), E>, sqlx::Error> {
    let (service, playbook) = (&*plain(service), &*plain(playbook));
    let (known, stands) = stands(tx, (service, playbook), default, at).await?;
    let after = match may(&stands) {
        Ok(after) => after,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let note = note.unwrap_or_default();
    store(tx, (service, playbook), known.is_some(), (&stands, &after), Some(note)).await?;
    let moved = (word(stands.mode), word(after.mode));
    by_hand(tx, (service, playbook), "set", moved, note, at).await?;
    let detail = format!("{} to {}: {note}", moved.0, moved.1);
    audit(tx, "mode", &format!("{service}/{playbook}"), &detail, at).await?;
    Ok(Ok(()))
}

/// Notes that a person moved a playbook, in the transaction in which they do. It always counts: each time is a cause of its own.
pub(super) async fn by_hand(
    tx: &mut Change,
    (service, playbook): (&str, &str),
    event: &'static str,
    (from, to): (&str, &str),
    reason: &str,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO ladder_moves (service, playbook, cause, at_ms, event, from_mode, to_mode, verified, reason, who) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9)",
    )
    .bind(plain(service))
    .bind(plain(playbook))
    .bind(Cause::Hand(&crate::unique_id::unique_id(at)).key())
    .bind(at.millis())
    .bind(event)
    .bind(from)
    .bind(to)
    .bind(plain(reason))
    .bind(&*caller())
    .execute(&mut **tx)
    .await
    .map(drop)
}

fn mode_of(text: String) -> Result<Mode, sqlx::Error> {
    serde_json::from_value(text.clone().into()).map_err(|e| sqlx::Error::Decode(Box::new(corrupt("mode", &text, e))))
}

/// Mode, time and count, from column `from` on.
fn rung(row: &AnyRow, from: usize) -> Result<Rung, sqlx::Error> {
    let verified: i64 = row.try_get(from + 2)?;
    Ok(Rung {
        mode: mode_of(row.try_get(from)?)?,
        since: Timestamp::from_millis(row.try_get(from + 1)?),
        verified: u32::try_from(verified).unwrap_or(0),
    })
}

fn read_move(row: &AnyRow, from: usize) -> Result<LadderMove, sqlx::Error> {
    let verified: i64 = row.try_get(from + 4)?;
    Ok(LadderMove {
        at: Timestamp::from_millis(row.try_get(from)?),
        event: row.try_get(from + 1)?,
        from: mode_of(row.try_get(from + 2)?)?,
        to: mode_of(row.try_get(from + 3)?)?,
        verified: u32::try_from(verified).unwrap_or(0),
        reason: row.try_get(from + 5)?,
        who: row.try_get(from + 6)?,
    })
}
