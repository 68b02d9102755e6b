//! Pointers of a bucket that cannot compare and swap. SQLite can: whoever writes holds the database's write lock.

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
        let found = sqlx::query("SELECT bytes, version FROM pointers WHERE key = ?").bind(key);
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
            None => sqlx::query("INSERT INTO pointers VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(key)
                .bind(version)
                .bind(bytes),
            Some(seen) => sqlx::query("UPDATE pointers SET version = ?, bytes = ? WHERE key = ? AND version = ?")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_that_saw_the_same_only_one_moves_the_pointer() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/state.db", folder.path().display());
        let (one, two) = (StateStore::open(&url).await.unwrap(), StateStore::open(&url).await.unwrap());
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(one.get("s3://b/x").await.unwrap(), None);
        assert_eq!(one.swap("s3://b/x", bytes("1"), None).await.unwrap(), Some(1));
        assert_eq!(two.swap("s3://b/x", bytes("2"), None).await.unwrap(), None);
        assert_eq!(two.swap("s3://b/x", bytes("2"), Some(1)).await.unwrap(), Some(2));
        assert_eq!(one.swap("s3://b/x", bytes("3"), Some(1)).await.unwrap(), None);
        assert_eq!(one.get("s3://b/x").await.unwrap(), Some((bytes("2"), 2)));
        assert_eq!(one.get("s3://b/y").await.unwrap(), None);
    }
}
