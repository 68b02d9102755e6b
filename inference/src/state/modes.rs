//! How far each playbook may act by itself on each service, where that is not the default.

use forewarn_models::ladder::Rung;
use forewarn_schema::{Mode, Timestamp};
use serde::Serialize;
use sqlx::Row;

use super::{AnyRow, StateError, StateStore, audit, corrupt, ladder_moves, plain};

/// Where a playbook stands on a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredMode {
    /// The workload.
    pub service: String,
    /// The playbook; `-` for requests without one.
    pub playbook: String,
    /// Where it stands.
    #[serde(flatten)]
    pub rung: Rung,
    /// Who put it there.
    pub who: String,
    /// Why, in their words.
    pub note: Option<String>,
}

const SELECT: &str = "SELECT service, playbook, mode, since_ms, verified, who, note FROM modes";

impl StateStore {
    /// Every one that was set, sorted by service and playbook.
    pub async fn modes(&self) -> Result<Vec<StoredMode>, StateError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} ORDER BY service, playbook")))
            .fetch_all(&self.pool)
            .await
            .map_err(|e| StateError::query("read modes", e))?;
        rows.iter().map(read).collect()
    }

    /// The one of a service and playbook.
    pub async fn mode(&self, service: &str, playbook: &str) -> Result<Option<StoredMode>, StateError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} WHERE service = $1 AND playbook = $2")))
            .bind(plain(service))
            .bind(plain(playbook))
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| StateError::query("read a mode", e))?;
        row.map(|row| read(&row)).transpose()
    }

    /// Puts a playbook where `may` says, which is shown where it stands (`default` where nothing was set), or refuses.
    pub(crate) async fn set_mode<E>(
        &self,
        (service, playbook): (&str, &str),
        default: Mode,
        note: Option<&str>,
        at: Timestamp,
        may: impl Fn(&Rung) -> Result<Rung, E>,
    ) -> Result<Result<(), E>, StateError> {
        const WHAT: &str = "store a mode";
        for _ in 0..ladder_moves::TRIES {
            let mut tx = self.begin(WHAT).await?;
            match ladder_moves::put_by_hand(&mut tx, (service, playbook), default, note, at, &may).await {
                Ok(Ok(())) => return self.commit(tx, WHAT).await.map(Ok),
                Ok(Err(refusal)) => return Ok(Err(refusal)),
                Err(error) if ladder_moves::is_lost_race(&error) => drop(tx),
                Err(error) => return Err(self.failed(WHAT, error)),
            }
        }
        Err(StateError::query(WHAT, sqlx::Error::PoolTimedOut))
    }

    /// Gives a playbook back to the default; `false` where it had it.
    pub(crate) async fn forget_mode(
        &self,
        service: &str,
        playbook: &str,
        (from, default): (Mode, Mode),
        now: Timestamp,
    ) -> Result<bool, StateError> {
        const WHAT: &str = "forget a mode";
        let mut tx = self.begin(WHAT).await?;
        let change = async {
            let gone = sqlx::query("DELETE FROM modes WHERE service = $1 AND playbook = $2")
                .bind(plain(service))
                .bind(plain(playbook))
                .execute(&mut *tx)
                .await?;
            let found = gone.rows_affected() == 1;
            if found {
                let moved = (word(from), word(default));
                ladder_moves::by_hand(&mut tx, (service, playbook), "forgotten", moved, "", now).await?;
                audit(&mut tx, "mode", &format!("{service}/{playbook}"), "to the default", now).await?;
            }
            Ok(found)
        };
        let found = change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await?;
        Ok(found)
    }
}

/// As it is written everywhere.
pub(crate) fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::DryRun => "dry_run",
        Mode::Approval => "approval",
        Mode::Automatic => "automatic",
    }
}

fn read(row: &AnyRow) -> Result<StoredMode, StateError> {
    let columns = || -> Result<_, sqlx::Error> {
        let (service, playbook): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (mode, since, verified): (String, i64, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        let (who, note): (String, Option<String>) = (row.try_get(5)?, row.try_get(6)?);
        Ok((service, playbook, mode, since, verified, who, note))
    };
    let (service, playbook, mode, since, verified, who, note) =
        columns().map_err(|e| StateError::query("read a mode", e))?;
    let mode = serde_json::from_value(mode.into()).map_err(|e| corrupt("mode", &format!("{service}/{playbook}"), e))?;
    let (since, verified) = (Timestamp::from_millis(since), u32::try_from(verified).unwrap_or(0));
    Ok(StoredMode { service, playbook, rung: Rung { mode, since, verified }, who, note })
}
