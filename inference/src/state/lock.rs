//! One server per state database: two would announce every breach twice. The operating system holds
//! the lock, so it ends with the process however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::StateError;

/// The right to serve from a state database; given back when dropped.
#[derive(Debug)]
pub struct ServerLock {
    _file: Option<File>,
}

impl ServerLock {
    pub(super) fn take(database: Option<&Path>) -> Result<Self, StateError> {
        let Some(database) = database else { return Ok(Self { _file: None }) };
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let failed = |source: std::io::Error| StateError::Open {
            path: Path::new(&path).display().to_string(),
            source: source.into(),
        };
        // Never removed: a lock on a file that another process unlinked would guard nothing.
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: Some(file) }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse { path: path.into() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
