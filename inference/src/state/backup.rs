//! A copy of a SQLite database while it is in use: of one instant, whole, in one file. PostgreSQL has its own tools.

use std::path::Path;

use super::database::Place;
use super::{StateError, StateStore};

impl StateStore {
    /// Copies the database to `to`, which must not be there; returns its size in bytes. Servers go on reading and writing
    /// meanwhile; what they commit after the copy began is not in it. A copy that was cut short is never found at `to`.
    pub async fn backup_to(&self, to: &Path) -> Result<u64, StateError> {
        const WHAT: &str = "copy the state";
        let refused = |reason: String| StateError::Backup { path: to.to_owned(), reason };
        if let Place::Server(shown) = &self.place {
            return Err(refused(format!("it is in PostgreSQL; use pg_dump --format=custom --file=FILE {shown}")));
        }
        if to.exists() {
            return Err(refused("it is there already".to_owned()));
        }
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let io = |e: std::io::Error| refused(e.to_string());
        // What an earlier copy that was cut short has left.
        match std::fs::remove_file(&partial) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
        let target = partial.to_string_lossy().into_owned();
        sqlx::query("VACUUM INTO $1").bind(target).execute(&self.pool).await.map_err(|e| StateError::query(WHAT, e))?;
        let copy = std::fs::File::open(&partial).map_err(io)?;
        copy.sync_all().map_err(io)?;
        std::fs::rename(&partial, to).map_err(io)?;
        Ok(copy.metadata().map_err(io)?.len())
    }
}
