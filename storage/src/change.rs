//! Writes that mind other writers: one that gives up when somebody else was first ([`Store::replace`]), and one that
//! looks again and goes on ([`Store::update`]).

use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, UpdateVersion};

use crate::error::StoreError;
use crate::store::{Seen, Store, Version};

const UPDATE_ATTEMPTS: u32 = 40;
/// How often a write is made that is refused although nothing has changed.
const REPLACE_ATTEMPTS: u32 = 6;
/// What is there is read up to this size to see whether it is what was written.
const MAX_COMPARED: u64 = 64 << 20;

/// What [`Store::update`] is told by its closure.
pub enum Change<E> {
    /// The object is as it should be.
    Nothing,
    /// These should be its bytes.
    Replace(Bytes),
    /// It cannot be changed.
    Refuse(E),
}

impl Store {
    /// Writes the object if it is still the version that was read, and returns the new version; else
    /// [`StoreError::Changed`]. A folder can only tell whether there was an object: a lock must keep others out.
    pub async fn replace(&self, path: &str, bytes: Bytes, seen: &Version) -> Result<Version, StoreError> {
        if let Some(pointers) = &self.pointers {
            let swapped = self.swap_pointer(pointers.as_ref(), path, bytes, seen).await?;
            return swapped.ok_or_else(|| StoreError::Changed { path: path.to_owned() });
        }
        let mut attempt = 0;
        loop {
            match self.put_if(path, bytes.clone(), seen).await? {
                Ok(put) => return Ok(Version(Seen::Object(UpdateVersion { e_tag: put.e_tag, version: put.version }))),
                Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {}
                Err(e) => return Err(self.failed("write", path, &e)),
            }
            // A refusal need not mean that somebody else was first. A write whose answer got lost is made again by the
            // library and then meets itself; and S3 answers 409 where two writes merely came at the same time.
            attempt += 1;
            match self.get_object(path, MAX_COMPARED.max(bytes.len() as u64)).await {
                Ok((Some(there), version)) if there == bytes => return Ok(version),
                Ok((_, there)) if attempt < REPLACE_ATTEMPTS && self.is_same(&there, seen) => {}
                Ok(_) | Err(StoreError::TooLarge { .. }) => return Err(StoreError::Changed { path: path.to_owned() }),
                Err(e) => return Err(e),
            }
            tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
        }
    }

    /// Whether what is there is what was read. A folder's versions say nothing: there a refusal is one.
    fn is_same(&self, there: &Version, seen: &Version) -> bool {
        match (&there.0, &seen.0) {
            (Seen::Absent, Seen::Absent) => true,
            (Seen::Object(there), Seen::Object(seen)) => !self.is_folder() && there.e_tag == seen.e_tag,
            _ => false,
        }
    }

    /// Changes an object that others may be changing too. `change` sees the bytes that are there and says what they
    /// should become; it is asked again until it answers [`Change::Nothing`], so it must recognise its own work. That
    /// also settles a write whose answer got lost, and a server that ignores conditions.
    pub async fn update<E: From<StoreError>>(
        &self,
        path: &str,
        cap: u64,
        mut change: impl FnMut(Option<Bytes>) -> Change<E>,
    ) -> Result<(), E> {
        // A folder has no conditional write: a lock file next to the object orders the writers.
        let _guard = match &self.folder {
            Some(_) => Some(self.wait_for_lock(&format!("{path}.lock")).await?),
            None => None,
        };
        let mut failed_before = false;
        for attempt in 0..UPDATE_ATTEMPTS {
            let (bytes, seen) = self.get_versioned(path, cap).await?;
            let wanted = match change(bytes) {
                Change::Nothing => return Ok(()),
                Change::Refuse(reason) => return Err(reason),
                Change::Replace(wanted) => wanted,
            };
            if let Some(pointers) = &self.pointers {
                // Won or lost: the next look tells.
                self.swap_pointer(pointers.as_ref(), path, wanted, &seen).await?;
                continue;
            }
            match self.put_if(path, wanted, &seen).await? {
                Ok(_) => {}
                Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5 * u64::from(attempt + 1))).await;
                }
                // Perhaps written, perhaps not: the next look tells. Twice is a failure.
                Err(_) if !failed_before => failed_before = true,
                Err(e) => return Err(self.failed("write", path, &e).into()),
            }
        }
        Err(StoreError::Contended { path: path.to_owned(), attempts: UPDATE_ATTEMPTS }.into())
    }

    /// Writes under as much of a condition as the place can check. The outer error is that of a wrong path.
    async fn put_if(
        &self,
        path: &str,
        bytes: Bytes,
        seen: &Version,
    ) -> Result<object_store::Result<PutResult>, StoreError> {
        let key = self.key(path)?;
        let mode = match &seen.0 {
            Seen::Absent => PutMode::Create,
            Seen::Object(version) if self.folder.is_none() && version.e_tag.is_some() => {
                PutMode::Update(version.clone())
            }
            Seen::Object(_) | Seen::Pointer(_) => PutMode::Overwrite,
        };
        let payload = PutPayload::from_bytes(bytes);
        Ok(match self.objects.put_opts(&key, payload.clone(), PutOptions::from(mode)).await {
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                self.objects.put(&key, payload).await
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;

    #[tokio::test]
    async fn a_first_write_that_comes_second_is_told() {
        let (_folder, store) = temporary();
        let mine = store.replace("m.json", Bytes::from_static(b"1"), &Version::ABSENT).await.unwrap();
        let error = store.replace("m.json", Bytes::from_static(b"2"), &Version::ABSENT).await.unwrap_err();
        assert!(error.is_in_use(), "{error}");
        store.replace("m.json", Bytes::from_static(b"3"), &mine).await.unwrap();
        assert_eq!(store.get("m.json", 1).await.unwrap().unwrap(), "3");
    }

    #[tokio::test]
    async fn a_write_that_meets_itself_has_succeeded() {
        let (_folder, store) = temporary();
        for _ in 0..2 {
            store.replace("m.json", Bytes::from_static(b"1"), &Version::ABSENT).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_update_that_never_wins_gives_up() {
        let (_folder, store) = temporary();
        let endless = |_: Option<Bytes>| Change::<StoreError>::Replace(Bytes::from_static(b"x"));
        let error = store.update("models/x.json", 100, endless).await.unwrap_err();
        assert!(matches!(error, StoreError::Contended { .. }), "{error}");
    }
}
