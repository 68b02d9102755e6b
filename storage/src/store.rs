//! Objects in a folder or a bucket: read, written, listed and removed. Writes that mind other writers are in `change`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ListResult, ObjectStore, ObjectStoreExt, PutPayload, UpdateVersion};

use crate::error::StoreError;
use crate::pointers::PointerStore;

/// A place for objects: one folder, or one prefix of one bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) prefix: Path,
    /// The same place as a folder, where it is one.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) url: String,
    /// Where the objects are that are written under a condition, if not here.
    pub(crate) pointers: Option<Arc<dyn PointerStore>>,
}

/// Which version of an object was read, for [`Store::replace`].
#[derive(Clone, Debug)]
pub struct Version(pub(crate) Seen);

#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Absent,
    Object(UpdateVersion),
    /// In a [`PointerStore`]; `None` where it had none.
    Pointer(Option<i64>),
}

impl Version {
    /// There was no object.
    pub const ABSENT: Self = Self(Seen::Absent);
}

impl Store {
    /// As it was opened.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The object's bytes; `None` where there is none. Refuses more than `cap` bytes, declared or arriving.
    pub async fn get(&self, path: &str, cap: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get_object(path, cap).await?.0)
    }

    /// The same, with the version that was read: for objects that are written by [`replace`](Self::replace) or
    /// [`update`](Self::update).
    pub async fn get_versioned(&self, path: &str, cap: u64) -> Result<(Option<Bytes>, Version), StoreError> {
        match &self.pointers {
            Some(pointers) => self.get_pointer(pointers.as_ref(), path, cap).await,
            None => self.get_object(path, cap).await,
        }
    }

    pub(crate) async fn get_object(&self, path: &str, cap: u64) -> Result<(Option<Bytes>, Version), StoreError> {
        let too_large = |got: u64| StoreError::TooLarge { path: path.to_owned(), cap, got };
        let found = match self.objects.get(&self.key(path)?).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok((None, Version::ABSENT)),
            Err(e) => return Err(self.failed("read", path, &e)),
        };
        if found.meta.size > cap {
            return Err(too_large(found.meta.size));
        }
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let mut bytes = BytesMut::new();
        let mut stream = found.into_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| self.failed("read", path, &e))?;
            let got = (bytes.len() + chunk.len()) as u64;
            if got > cap {
                return Err(too_large(got));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((Some(bytes.freeze()), Version(Seen::Object(version))))
    }

    /// The object's size in bytes, without reading it; `None` where there is none.
    pub async fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        match self.objects.head(&self.key(path)?).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("look at", path, &e)),
        }
    }

    /// Whether it is a folder rather than a bucket.
    pub fn is_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// Writes the object whole or not at all; replaces one that is there.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let put = self.objects.put(&self.key(path)?, PutPayload::from_bytes(bytes)).await;
        put.map(|_| ()).map_err(|e| self.failed("write", path, &e))
    }

    /// Removes the object; one that is not there is as good.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.objects.delete(&self.key(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed("remove", path, &e)),
        }
    }

    /// The names directly below `folder` that hold objects themselves, sorted.
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let listing = self.list(folder).await?;
        Ok(sorted_names(listing.common_prefixes.iter()))
    }

    /// The names of the objects directly in `folder`, sorted.
    pub async fn files(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let listing = self.list(folder).await?;
        Ok(sorted_names(listing.objects.iter().map(|object| &object.location)))
    }

    async fn list(&self, folder: &str) -> Result<ListResult, StoreError> {
        let listing = self.objects.list_with_delimiter(Some(&self.key(folder)?)).await;
        listing.map_err(|e| self.failed("list", folder, &e))
    }

    /// Removes files directly in `subfolder` for which `is_litter` holds, by name, such as those that a killed process
    /// has left, and says how many. Only in a folder, where a lock can say that nobody is writing them; in a bucket it
    /// removes nothing.
    pub fn sweep(&self, subfolder: &str, is_litter: impl Fn(&str) -> bool) -> Result<usize, StoreError> {
        let Some(folder) = &self.folder else { return Ok(0) };
        let folder = folder.join(subfolder);
        let failed = |action, path: &std::path::Path, e| self.failed(action, &path.display().to_string(), &e);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(failed("list", &folder, e)),
        };
        let mut removed = 0;
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", &folder, e))?;
            let is_file = entry.file_type().is_ok_and(|t| t.is_file());
            if is_file && entry.file_name().to_str().is_some_and(&is_litter) {
                std::fs::remove_file(entry.path()).map_err(|e| failed("remove", &entry.path(), e))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The object's key; refuses a path that leaves the store.
    pub(crate) fn key(&self, path: &str) -> Result<Path, StoreError> {
        let relative = Path::parse(path).map_err(|e| self.failed("name", path, &object_store::Error::from(e)))?;
        Ok(self.prefix.parts().chain(relative.parts()).collect())
    }

    /// What went wrong with `path` on the way to the store, such as writing a file that was to go there.
    pub fn failed(&self, action: &'static str, path: &str, cause: &(dyn std::error::Error + 'static)) -> StoreError {
        StoreError::failed(action, path, &self.url, cause)
    }
}

fn sorted_names<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let mut names: Vec<String> = paths.filter_map(|path| path.filename().map(str::to_owned)).collect();
    names.sort();
    names
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn temporary() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", folder.path().display())).unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn what_is_put_is_got_and_what_is_not_there_is_none() {
        let (_folder, store) = temporary();
        store.put("a/b.json", Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(store.get("a/b.json", 2).await.unwrap(), Some(Bytes::from_static(b"{}")));
        assert_eq!(store.get("a/c.json", 2).await.unwrap(), None);
        assert_eq!(store.folders("").await.unwrap(), ["a"]);
        assert_eq!(store.files("a").await.unwrap(), ["b.json"]);
        store.delete("a/b.json").await.unwrap();
        store.delete("a/b.json").await.unwrap();
        assert_eq!(store.files("a").await.unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn more_than_the_cap_is_not_read() {
        let (_folder, store) = temporary();
        store.put("big", Bytes::from_static(b"123")).await.unwrap();
        let error = store.get("big", 2).await.unwrap_err();
        assert_eq!(error.to_string(), "big must be at most 2 bytes, got 3");
        assert_eq!(store.get("big", 3).await.unwrap().unwrap(), "123");
    }

    #[tokio::test]
    async fn a_path_cannot_leave_the_store() {
        let (_folder, store) = temporary();
        assert!(store.get("../../etc/passwd", 10).await.is_err());
    }

    #[tokio::test]
    async fn a_sweep_takes_only_litter_and_only_files() {
        let (_folder, store) = temporary();
        for path in ["a/keep", "a/litter", "a/litter-too/keep"] {
            store.put(path, Bytes::from_static(b"x")).await.unwrap();
        }
        assert_eq!(store.sweep("a", |name| name.starts_with("litter")).unwrap(), 1);
        assert_eq!(store.files("a").await.unwrap(), ["keep"]);
        assert_eq!(store.sweep("none", |_| true).unwrap(), 0);
    }
}
