//! Pointers of a bucket that cannot compare and swap. A database can: whoever writes
//! holds the lock of the row, or of the whole of it.

use async_trait::async_trait;
use bytes::Bytes;
use forewarn_storage::{PointerError, PointerStore};
use sqlx::Row;

use super::{StateError, StateStore};

#[async_trait]
impl PointerStore for StateStore {
    async fn get(&self, key: &str) -> Result<Option<(Bytes, i64)>, PointerError> {
        Ok(self.pointer(key).await?)
    }

    async fn swap(&self, key: &str, bytes: Bytes, seen: Option<i64>) -> Result<Option<i64>, PointerError> {
        Ok(self.swap_pointer(key, &bytes, seen).await?)
    }
}

impl StateStore {
    async fn pointer(&self, key: &str) -> Result<Option<(Bytes, i64)>, StateError> {
        const WHAT: &str = "read a pointer";
        let found = sqlx::query("SELECT bytes, version FROM pointers WHERE key = $1").bind(key);
        let found = found.fetch_optional(&self.pool).await.map_err(|e| StateError::query(WHAT, e))?;
        let Some(row) = found else { return Ok(None) };
        let bytes: Vec<u8> = row.try_get(0).map_err(|e| StateError::query(WHAT, e))?;
        let version: i64 = row.try_get(1).map_err(|e| StateError::query(WHAT, e))?;
        Ok(Some((bytes.into(), version)))
    }

    async fn swap_pointer(&self, key: &str, bytes: &[u8], seen: Option<i64>) -> Result<Option<i64>, StateError> {
        const WHAT: &str = "move a pointer";
        let version = seen.unwrap_or(0) + 1;
        let mut change = self.begin(WHAT).await?;
        let statement = match seen {
            None => sqlx::query("INSERT INTO pointers VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(key)
                .bind(version)
                .bind(bytes),
            Some(seen) => sqlx::query("UPDATE pointers SET version = $1, bytes = $2 WHERE key = $3 AND version = $4")
                .bind(version)
                .bind(bytes)
                .bind(key)
                .bind(seen),
        };
        let done = statement.execute(&mut *change).await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(change, WHAT).await?;
        Ok((done.rows_affected() == 1).then_some(version))
    }
}
