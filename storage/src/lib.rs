//! A folder or an S3 prefix, seen as one [`Store`] of objects: capped reads, whole writes, writes that notice other
//! writers, and a lock between processes. What the objects mean is for those who store them.
//!
//! Also here, because S3 needs it too: the one cryptography library ([`install_crypto_provider`]).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails to set up should panic"))]

mod change;
mod crypto;
mod error;
mod lease;
mod lock;
mod objects;
mod open;
mod patient;
mod pointers;
mod probe;
mod ranges;
mod store;
mod upload;

pub use change::Change;
pub use crypto::{install_crypto_provider, random_bytes};
pub use error::{FailureKind, StoreError};
pub use lease::Lease;
pub use lock::StoreLock;
pub use objects::{ObjectInfo, ObjectStream};
pub use pointers::{PointerError, PointerStore};
pub use probe::Conditions;
pub use store::{Store, Version};
