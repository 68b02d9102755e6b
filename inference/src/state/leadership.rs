//! Which of several servers of one shard asks and delivers. Its row says who leads, in which epoch, and beats while that
//! server lives; who sees it beat no more may take it, and only one of those who saw the same can. No clocks are
//! compared. What a leader stores begins with a beat of its epoch in the same transaction, so that one that was
//! replaced (it slept, or could not be reached) stores nothing. When to look and when to take is `leader`'s.

use std::sync::PoisonError;

use sqlx::Row;

use super::{Change, StateError, StateStore};

/// The right to ask and deliver, until another server takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    epoch: i64,
}

/// What was seen of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Who it is; empty where nobody leads.
    pub(crate) holder: String,
    epoch: i64,
    beats: i64,
}

const BEAT: &str = "UPDATE leadership SET beats = beats + 1 WHERE shard = $1 AND epoch = $2";

impl StateStore {
    /// Who leads; `None` where nobody ever did.
    pub(crate) async fn leader(&self) -> Result<Option<Seen>, StateError> {
        const WHAT: &str = "see who leads";
        let row = sqlx::query("SELECT holder, epoch, beats FROM leadership WHERE shard = $1")
            .bind(&*self.shard)
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| self.failed(WHAT, e))?;
        let read =
            |row: super::AnyRow| Ok(Seen { holder: row.try_get(0)?, epoch: row.try_get(1)?, beats: row.try_get(2)? });
        row.map(read).transpose().map_err(|e| StateError::query(WHAT, e))
    }

    /// Takes the lead unless somebody took it, or it beat, since `seen`.
    pub(crate) async fn take_lead(&self, name: &str, seen: Option<&Seen>) -> Result<Option<Term>, StateError> {
        const WHAT: &str = "take the lead";
        let epoch = seen.map_or(1, |seen| seen.epoch + 1);
        let statement = match seen {
            None => sqlx::query("INSERT INTO leadership VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING"),
            Some(_) => sqlx::query(
                "UPDATE leadership SET holder = $2, epoch = $3, beats = 0 \
                 WHERE shard = $1 AND epoch = $4 AND beats = $5",
            ),
        };
        let statement = statement.bind(&*self.shard).bind(name).bind(epoch);
        let statement = match seen {
            None => statement,
            Some(seen) => statement.bind(seen.epoch).bind(seen.beats),
        };
        let mut tx = self.begin(WHAT).await?;
        let done = statement.execute(&mut *tx).await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await?;
        Ok((done.rows_affected() == 1).then_some(Term { epoch }))
    }

    /// Says that the leader of `term` lives; `false` where another one took over.
    pub(crate) async fn beat(&self, term: Term) -> Result<bool, StateError> {
        const WHAT: &str = "keep the lead";
        let mut tx = self.begin(WHAT).await?;
        let done = sqlx::query(BEAT).bind(&*self.shard).bind(term.epoch).execute(&mut *tx).await;
        let done = done.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives the lead back, so that another one need not wait to see it gone.
    pub(crate) async fn resign(&self, term: Term) -> Result<(), StateError> {
        const WHAT: &str = "give the lead back";
        let mut tx = self.begin(WHAT).await?;
        sqlx::query("UPDATE leadership SET holder = '', beats = beats + 1 WHERE shard = $1 AND epoch = $2")
            .bind(&*self.shard)
            .bind(term.epoch)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await
    }

    /// In whose name [`save_step`](Self::save_step) stores from now on.
    pub(crate) fn set_term(&self, term: Option<Term>) {
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = term;
    }

    /// Lets a change of the leader go on only while it leads. A database that one server has to itself needs no leader.
    pub(super) async fn fence(&self, tx: &mut Change, what: &'static str) -> Result<(), StateError> {
        if !self.is_shared() {
            return Ok(());
        }
        let term = *self.term.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(term) = term else { return Err(StateError::NotLeading { what }) };
        let done = sqlx::query(BEAT).bind(&*self.shard).bind(term.epoch).execute(&mut **tx).await;
        match done.map_err(|e| self.failed(what, e))?.rows_affected() {
            1 => Ok(()),
            _ => Err(StateError::NotLeading { what }),
        }
    }
}
