//! What can go wrong with a store, by what to do about it.

use std::error::Error;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

/// A store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no store.
    #[error("a store must be file:///path or s3://bucket/prefix, got {got:?} ({reason})")]
    Url {
        /// What was asked for.
        got: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process holds the lock.
    #[error("{path} is in use by another process{holder}")]
    InUse {
        /// The lock file.
        path: String,
        /// Who holds it, as far as it is known: ` (pid 42)` or nothing.
        holder: String,
    },
    /// Someone else has written the object since it was read.
    #[error("{path} is in use by another process: it changed while this one was at work")]
    Changed {
        /// Its path within the store.
        path: String,
    },
    /// An object larger than the caller would read.
    #[error("{path} must be at most {cap} bytes, got {got}")]
    TooLarge {
        /// Its path within the store.
        path: String,
        /// The most that would be read.
        cap: u64,
        /// Its size in bytes, or as many as had arrived.
        got: u64,
    },
    /// A part of an object that is not there, or not all of it.
    #[error("{path} must have {wanted} bytes where they were asked for, got {got}")]
    Short {
        /// Its path within the store.
        path: String,
        /// How many bytes were asked for.
        wanted: u64,
        /// How many came.
        got: u64,
    },
    /// A folder with more objects than the caller would list.
    #[error("{path:?} must hold at most {cap} objects")]
    TooMany {
        /// Its path within the store.
        path: String,
        /// The most that would be listed.
        cap: u64,
    },
    /// Several processes changed the same object, and this one lost every time.
    #[error("{path} kept being changed by others, gave up after {attempts} attempts")]
    Contended {
        /// Its path within the store.
        path: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// Reading or writing failed. The cause is part of the text, because object_store's own chain prints twice.
    #[error("cannot {action} {path} in {store}: {reason}")]
    Failed {
        /// Such as `read`.
        action: &'static str,
        /// Path within the store.
        path: String,
        /// The store's URL.
        store: String,
        /// The cause, in one line.
        reason: String,
        /// What the caller can do about it.
        kind: FailureKind,
    },
}

/// Failures by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No space or quota is left: free some, then try again.
    StorageFull,
    /// The server did not answer: try later.
    Unreachable,
    /// Access is refused: fix permissions or credentials.
    Denied,
    /// Anything else.
    Other,
}

impl StoreError {
    /// Whether another process holds what is wanted, or has changed it under us.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. } | Self::Changed { .. })
    }

    /// Whether no space is left: free some, then try again.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Failed { kind: FailureKind::StorageFull, .. })
    }

    /// Whether the store did not answer: try later.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Failed { kind: FailureKind::Unreachable, .. })
    }

    /// Any failure to read or write, told by its cause.
    pub(crate) fn failed(action: &'static str, path: &str, store: &str, cause: &(dyn Error + 'static)) -> Self {
        let (reason, kind) = (one_line(cause), FailureKind::of(cause));
        // The root has no name.
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        Self::Failed { action, path, store: store.to_owned(), reason, kind }
    }
}

impl FailureKind {
    /// What the error or one of its causes says about the next move.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(e) = cause {
            match e.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => return Self::StorageFull,
                Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => return Self::Denied,
                _ => {}
            }
            let http = e.downcast_ref::<HttpError>().map(HttpError::kind);
            if let Some(HttpErrorKind::Connect | HttpErrorKind::Timeout) = http {
                return Self::Unreachable;
            }
            let object = e.downcast_ref::<object_store::Error>();
            if let Some(object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) =
                object
            {
                return Self::Denied;
            }
            cause = e.source();
        }
        Self::Other
    }
}

pub(crate) fn one_line(error: &(dyn Error + 'static)) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_store(cause: io::Error) -> StoreError {
        let cause = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(cause) };
        StoreError::failed("write", "x", "file:///s", &cause)
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        const ENOSPC: i32 = 28;
        assert!(in_a_store(io::Error::from_raw_os_error(ENOSPC)).is_storage_full());
        // /dev/full answers every write with ENOSPC, as a full disk does.
        if let Err(error) = std::fs::write("/dev/full", b"x")
            && error.kind() == io::ErrorKind::StorageFull
        {
            assert!(in_a_store(error).is_storage_full());
        }
    }

    #[test]
    fn a_forbidden_folder_is_not_a_full_one() {
        let error = in_a_store(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(error, StoreError::Failed { kind: FailureKind::Denied, .. }), "{error:?}");
        assert!(!error.is_storage_full() && !error.is_unreachable() && !error.is_in_use());
    }
}
