//! The key that links are signed with: made once, and the same for all servers of a state.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sqlx::Row;

use super::{StateError, StateStore, corrupt};

const NAME: &str = "links";

impl StateStore {
    /// The key; a new one where there is none. Without its row, links given out so far are worth nothing and the next
    /// server makes another.
    pub(crate) async fn link_key(&self) -> Result<[u8; 32], StateError> {
        const WHAT: &str = "read the key of links";
        if let Some(key) = self.stored_link_key().await? {
            return Ok(key);
        }
        let mut tx = self.begin(WHAT).await?;
        // Another server may have made one since we looked: its key stays.
        sqlx::query("INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(NAME)
            .bind(BASE64_STANDARD.encode(forewarn_storage::random_bytes::<32>()))
            .execute(&mut *tx)
            .await
            .map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await?;
        self.stored_link_key().await?.ok_or_else(|| StateError::NotFound { what: "secret", id: NAME.to_owned() })
    }

    async fn stored_link_key(&self) -> Result<Option<[u8; 32]>, StateError> {
        let failed = |e| StateError::query("read the key of links", e);
        let row = sqlx::query("SELECT value FROM secrets WHERE name = $1").bind(NAME);
        let Some(row) = row.fetch_optional(&self.pool).await.map_err(failed)? else { return Ok(None) };
        let text: String = row.try_get(0).map_err(failed)?;
        let key = BASE64_STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        key.map(Some).ok_or_else(|| corrupt("secret", NAME, "wanted the base64 of 32 bytes"))
    }
}
