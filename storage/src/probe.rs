//! Whether a bucket keeps the conditions that writes are made under. Not all do, and none says so: it is tried out.

use bytes::Bytes;
use object_store::{Error, ObjectStore, PutMode, PutOptions, PutPayload};

use crate::crypto::random_bytes;
use crate::error::{FailureKind, StoreError};
use crate::store::{Seen, Store};

/// What of conditional writes a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditions {
    /// Both: a write that is too late is refused.
    Kept,
    /// This header is ignored, or the store says that it does not know it.
    Ignored(&'static str),
}

impl Store {
    /// Writes a small object of a name that nobody else has, tries to write it under two conditions that do not hold, and
    /// removes it: six requests. A folder is ordered by locks and is not tried.
    pub async fn probe_conditions(&self) -> Result<Conditions, StoreError> {
        if self.is_folder() {
            return Ok(Conditions::Kept);
        }
        let digits: String = random_bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!(".forewarn-probe-{digits}");
        let found = self.try_conditions(&path).await;
        match self.delete(&path).await {
            // Who may not remove anything has one small object more.
            Err(StoreError::Failed { kind: FailureKind::Denied, .. }) => {}
            other => other?,
        }
        found
    }

    async fn try_conditions(&self, path: &str) -> Result<Conditions, StoreError> {
        self.put(path, Bytes::from_static(b"1")).await?;
        let (_, first) = self.get_object(path, 16).await?;
        if self.is_written(path, b"2", PutMode::Create).await? {
            return Ok(Conditions::Ignored("If-None-Match"));
        }
        self.put(path, Bytes::from_static(b"3")).await?;
        let stale = match first.0 {
            Seen::Object(version) if version.e_tag.is_some() => PutMode::Update(version),
            _ => return Ok(Conditions::Ignored("If-Match")),
        };
        let is_written = self.is_written(path, b"4", stale).await?;
        Ok(if is_written { Conditions::Ignored("If-Match") } else { Conditions::Kept })
    }

    /// Whether the store wrote what it should refuse.
    async fn is_written(&self, path: &str, bytes: &'static [u8], mode: PutMode) -> Result<bool, StoreError> {
        let payload = PutPayload::from_static(bytes);
        match self.objects.put_opts(&self.key(path)?, payload, PutOptions::from(mode)).await {
            Ok(_) | Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                // A first attempt may have been written and its answer lost; then the second one met it.
                Ok(self.get_object(path, 16).await?.0.is_some_and(|there| there == bytes))
            }
            Err(e) => Err(self.failed("write", path, &e)),
        }
    }
}
