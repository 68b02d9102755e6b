//! Why the registry could not do what it was asked, by what the caller does next.

use forewarn_storage::StoreError;

use crate::ModelVersion;
use crate::bundle::BundleError;

/// The registry could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store behind it cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored model is corrupt or of another format: it is refused, and the caller keeps what it has.
    #[error("model {version} of service {service:?} is refused")]
    Refused {
        /// Whose model.
        service: String,
        /// Which one.
        version: ModelVersion,
        /// What is wrong with it.
        source: BundleError,
    },
    /// A bundle that cannot be stored.
    #[error("the model of service {service:?} cannot be stored")]
    Unfit {
        /// Whose model.
        service: String,
        /// What is wrong with it.
        source: BundleError,
    },
    /// There is no such model.
    #[error("service {service:?} has no model {version}")]
    UnknownVersion {
        /// Whose model.
        service: String,
        /// Which one.
        version: ModelVersion,
    },
    /// There is no such report or file of it.
    #[error("there is no report file {name}/{file}")]
    UnknownReport {
        /// The report.
        name: String,
        /// The file.
        file: String,
    },
    /// A name that cannot be stored.
    #[error("{what} must be 1 to 80 characters of a-z, A-Z, 0-9, '.', '_' and '-', not first '.', got {got:?}")]
    Name {
        /// Such as `a report's name`.
        what: &'static str,
        /// What was given.
        got: String,
    },
    /// A service whose name is empty or too long for a file system.
    #[error("a service's name must be 1 to 200 bytes, encoded, got {0:?}")]
    ServiceName(String),
    /// The pointer of a service is not what this build writes. Nothing is changed: a person must look.
    #[error("{path} cannot be read: {reason}")]
    Pointer {
        /// Its path in the store.
        path: String,
        /// What was wanted, and what was got.
        reason: String,
    },
}

impl RegistryError {
    /// Whether another process holds the registry.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(e) if e.is_in_use())
    }

    /// Whether no space is left.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Store(e) if e.is_storage_full())
    }

    /// Whether the store did not answer.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Store(e) if e.is_unreachable())
    }

    /// Whether a stored model was refused, so that the previous one should go on serving.
    pub fn is_refused_model(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}
