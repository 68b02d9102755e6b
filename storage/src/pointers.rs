//! Where the objects that several processes change lie, if the bucket cannot compare and swap: another store that can.
//! The bucket then has a copy of each, for those who only read.

use std::error::Error;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;
use crate::store::{Seen, Store, Version};

/// Small objects by key, each with a version that goes up.
#[async_trait]
pub trait PointerStore: Debug + Send + Sync {
    /// The object and its version; `None` where there is none.
    async fn get(&self, key: &str) -> Result<Option<(Bytes, i64)>, PointerError>;

    /// Writes the object if it still has the version `seen` (`None`: if there is none) and gives the new version; `None`
    /// where somebody else was first. All in one step, also between processes.
    async fn swap(&self, key: &str, bytes: Bytes, seen: Option<i64>) -> Result<Option<i64>, PointerError>;
}

/// Whatever the other store says.
pub type PointerError = Box<dyn Error + Send + Sync>;

/// How often the copy is written again because the object has changed meanwhile.
const COPIES: u32 = 3;

impl Store {
    /// The same store, which trusts the bucket with no condition: what is written by [`replace`](Self::replace) and
    /// [`update`](Self::update), and read by [`get_versioned`](Self::get_versioned), lies in `pointers`. What the bucket
    /// has of them already is where they start from.
    pub fn with_pointers(self, pointers: std::sync::Arc<dyn PointerStore>) -> Self {
        Self { pointers: Some(pointers), ..self }
    }

    pub(crate) async fn get_pointer(
        &self,
        pointers: &dyn PointerStore,
        path: &str,
        cap: u64,
    ) -> Result<(Option<Bytes>, Version), StoreError> {
        match self.asked("read", path, pointers.get(&self.pointer_key(path)).await)? {
            Some((bytes, _)) if bytes.len() as u64 > cap => {
                Err(StoreError::TooLarge { path: path.to_owned(), cap, got: bytes.len() as u64 })
            }
            Some((bytes, version)) => Ok((Some(bytes), Version(Seen::Pointer(Some(version))))),
            None => Ok((self.get_object(path, cap).await?.0, Version(Seen::Pointer(None)))),
        }
    }

    /// Writes the pointer, then its copy; `None` where somebody else was first.
    pub(crate) async fn swap_pointer(
        &self,
        pointers: &dyn PointerStore,
        path: &str,
        bytes: Bytes,
        seen: &Version,
    ) -> Result<Option<Version>, StoreError> {
        let key = self.pointer_key(path);
        let seen = match seen.0 {
            Seen::Pointer(version) => version,
            Seen::Absent | Seen::Object(_) => None,
        };
        let swapped = self.asked("write", path, pointers.swap(&key, bytes.clone(), seen).await)?;
        let Some(version) = swapped else { return Ok(None) };
        let mut copy = bytes;
        for _ in 0..COPIES {
            self.put(path, copy.clone()).await?;
            // A slower writer must not leave the older copy.
            match self.asked("read", path, pointers.get(&key).await)? {
                Some((newest, _)) if newest != copy => copy = newest,
                _ => break,
            }
        }
        Ok(Some(Version(Seen::Pointer(Some(version)))))
    }

    fn pointer_key(&self, path: &str) -> String {
        format!("{}/{path}", self.url.trim_end_matches('/'))
    }

    fn asked<T>(&self, action: &'static str, path: &str, answer: Result<T, PointerError>) -> Result<T, StoreError> {
        answer.map_err(|e| self.failed(action, path, e.as_ref()))
    }
}
