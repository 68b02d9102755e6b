//! Where the dataset lies: a folder or an S3 prefix. Capped reads, whole writes, a write that notices other writers,
//! and a lock between processes. Not here: what the objects mean.
//!
//! Credentials, region and endpoint of S3 come from the usual `AWS_…` environment variables, as object_store reads them.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use url::Url;

use crate::error::DatasetError;

/// The folder of the dataset within the store.
const FOLDER: &str = "dataset";
const LOCK: &str = "lock";

/// Failures of a store by what can be done about them.
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

/// What the error or one of its causes says about the next move.
fn classify(error: &(dyn std::error::Error + 'static)) -> FailureKind {
    let mut cause = Some(error);
    while let Some(e) = cause {
        match e.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => return FailureKind::StorageFull,
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => return FailureKind::Denied,
            _ => {}
        }
        let http = e.downcast_ref::<HttpError>().map(HttpError::kind);
        if let Some(HttpErrorKind::Connect | HttpErrorKind::Timeout) = http {
            return FailureKind::Unreachable;
        }
        let object = e.downcast_ref::<object_store::Error>();
        if let Some(object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) = object
        {
            return FailureKind::Denied;
        }
        cause = e.source();
    }
    FailureKind::Other
}

/// The dataset's folder in a store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Up to and with `dataset`.
    prefix: Path,
    /// The same place as a folder, where it is one.
    folder: Option<PathBuf>,
    url: String,
}

/// Which version of an object was read, so that a write can notice a newer one. Only a bucket has them: a folder is
/// guarded by its lock.
#[derive(Clone, Debug)]
pub(crate) enum Version {
    /// There was no object.
    Absent,
    /// This one was read.
    Seen(UpdateVersion),
}

impl Store {
    pub(crate) fn open(url: &str, s3_options: &[(&str, &str)]) -> Result<Self, DatasetError> {
        let wrong = |reason: String| DatasetError::Url { got: url.to_owned(), reason };
        let parsed = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        match parsed.scheme() {
            "file" => {
                let folder =
                    parsed.to_file_path().map_err(|()| wrong("the path must be absolute, on this host".to_owned()))?;
                Self::open_folder(url, &folder)
            }
            "s3" => Self::open_bucket(url, &parsed, s3_options),
            other => Err(wrong(format!("unknown scheme {other:?}"))),
        }
    }

    fn open_folder(url: &str, store: &std::path::Path) -> Result<Self, DatasetError> {
        let folder = store.join(FOLDER);
        let failed = |error: &(dyn std::error::Error + 'static)| DatasetError::Store {
            action: "open",
            path: folder.display().to_string(),
            store: url.to_owned(),
            reason: one_line(error),
            kind: classify(error),
        };
        std::fs::create_dir_all(&folder).map_err(|e| failed(&e))?;
        let objects = LocalFileSystem::new_with_prefix(&folder).map_err(|e| failed(&e))?;
        // Flushed before the rename: the manifest never names bytes that a power cut can take away.
        let objects = Arc::new(objects.with_fsync(true));
        Ok(Self { objects, prefix: Path::default(), folder: Some(folder), url: url.to_owned() })
    }

    fn open_bucket(url: &str, parsed: &Url, options: &[(&str, &str)]) -> Result<Self, DatasetError> {
        let wrong = |reason: String| DatasetError::Url { got: url.to_owned(), reason };
        crate::tls::install_provider();
        let bucket = parsed.host_str().ok_or_else(|| wrong("the bucket is missing".to_owned()))?;
        let prefix = Path::from_url_path(parsed.path()).map_err(|e| wrong(e.to_string()))?.join(FOLDER);
        // The library's own retries go on for three minutes; a person at a shell wants to know earlier.
        let retries = RetryConfig { max_retries: 4, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retries);
        for (key, value) in options {
            let key: AmazonS3ConfigKey =
                key.parse().map_err(|e: object_store::Error| wrong(format!("option {key}: {e}")))?;
            builder = builder.with_config(key, *value);
        }
        let plain_http =
            builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|e| e.starts_with("http://"));
        let client = ClientOptions::new()
            .with_timeout(Duration::from_secs(60))
            .with_connect_timeout(Duration::from_secs(5))
            .with_allow_http(plain_http);
        let objects = builder.with_client_options(client).build().map_err(|e| wrong(one_line(&e)))?;
        Ok(Self { objects: Arc::new(objects), prefix, folder: None, url: url.to_owned() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `path` as errors name it: relative to the store.
    pub(crate) fn name(path: &str) -> String {
        format!("{FOLDER}/{path}")
    }

    /// The object's bytes; `None` where there is none. Refuses more than `cap` bytes, declared or arriving.
    pub(crate) async fn get(&self, path: &str, cap: u64) -> Result<Option<Bytes>, DatasetError> {
        Ok(self.get_versioned(path, cap).await?.0)
    }

    pub(crate) async fn get_versioned(&self, path: &str, cap: u64) -> Result<(Option<Bytes>, Version), DatasetError> {
        let too_large = |got: u64| DatasetError::Corrupt {
            path: Self::name(path),
            reason: format!("it must be at most {cap} bytes, got {got}"),
        };
        let found = match self.objects.get(&self.key(path)?).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok((None, Version::Absent)),
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
        Ok((Some(bytes.freeze()), Version::Seen(version)))
    }

    /// Writes the object whole or not at all; replaces one that is there.
    pub(crate) async fn put(&self, path: &str, bytes: Bytes) -> Result<(), DatasetError> {
        let put = self.objects.put(&self.key(path)?, PutPayload::from_bytes(bytes)).await;
        put.map(|_| ()).map_err(|e| self.failed("write", path, &e))
    }

    /// Writes the object if it is still the version that was read, and returns the new version. In a folder, which has
    /// no such write, the lock is what keeps others out.
    pub(crate) async fn replace(&self, path: &str, bytes: Bytes, seen: &Version) -> Result<Version, DatasetError> {
        if self.folder.is_some() {
            return self.put(path, bytes).await.map(|()| seen.clone());
        }
        let mode = match seen {
            Version::Absent => PutMode::Create,
            Version::Seen(version) if version.e_tag.is_some() => PutMode::Update(version.clone()),
            Version::Seen(_) => PutMode::Overwrite,
        };
        let (key, payload) = (self.key(path)?, PutPayload::from_bytes(bytes.clone()));
        match self.objects.put_opts(&key, payload, PutOptions::from(mode)).await {
            Ok(put) => Ok(Version::Seen(UpdateVersion { e_tag: put.e_tag, version: put.version })),
            Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {
                // A write whose answer got lost is made again by the library and then meets itself.
                match self.get_versioned(path, bytes.len() as u64).await {
                    Ok((Some(there), version)) if there == bytes => Ok(version),
                    _ => Err(DatasetError::InUse {
                        path: Self::name(path),
                        holder: ": it changed while this one was pulling".to_owned(),
                    }),
                }
            }
            Err(e) => Err(self.failed("write", path, &e)),
        }
    }

    /// Removes the object; one that is not there is as good.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), DatasetError> {
        match self.objects.delete(&self.key(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed("remove", path, &e)),
        }
    }

    /// Removes what killed pulls have left in `subfolder`: files for which `is_litter` holds, by file name. Only in a
    /// folder, where the lock says that nobody is writing them.
    pub(crate) fn sweep(&self, subfolder: &str, is_litter: impl Fn(&str) -> bool) -> Result<usize, DatasetError> {
        let Some(folder) = &self.folder else { return Ok(0) };
        let folder = folder.join(subfolder);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(self.failed_io("list", &folder, &e)),
        };
        let mut removed = 0;
        for entry in entries {
            let entry = entry.map_err(|e| self.failed_io("list", &folder, &e))?;
            let is_file = entry.file_type().is_ok_and(|t| t.is_file());
            if is_file && entry.file_name().to_str().is_some_and(&is_litter) {
                std::fs::remove_file(entry.path()).map_err(|e| self.failed_io("remove", &entry.path(), &e))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Takes the lock, a file in the folder, or says who holds it. It is given back when the file is closed, by the
    /// kernel if need be. A bucket has no locks.
    pub(crate) fn lock(&self) -> Result<Option<File>, DatasetError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = folder.join(LOCK);
        let failed = |error: io::Error| self.failed_io("lock", &path, &error);
        let mut file =
            File::options().create(true).read(true).write(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only to help a person; a holder that cannot be read is left out.
                let _ = file.take(64).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    pid => format!(" ({pid})"),
                };
                return Err(DatasetError::InUse { path: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let _ = file.set_len(0).and_then(|()| writeln!(file, "pid {}", std::process::id()));
        Ok(Some(file))
    }

    fn key(&self, path: &str) -> Result<Path, DatasetError> {
        let relative = Path::parse(path).map_err(|e| self.failed("name", path, &e.into()))?;
        Ok(self.prefix.parts().chain(relative.parts()).collect())
    }

    fn failed(&self, action: &'static str, path: &str, error: &object_store::Error) -> DatasetError {
        let (reason, kind) = (one_line(error), classify(error));
        DatasetError::Store { action, path: Self::name(path), store: self.url.clone(), reason, kind }
    }

    fn failed_io(&self, action: &'static str, path: &std::path::Path, error: &io::Error) -> DatasetError {
        let (reason, kind) = (error.to_string(), classify(error));
        DatasetError::Store { action, path: path.display().to_string(), store: self.url.clone(), reason, kind }
    }
}

fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", folder.path().display()), &[]).unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn a_path_cannot_leave_the_store() {
        let (_folder, store) = temporary();
        assert!(store.get("../../etc/passwd", 10).await.is_err());
    }

    #[tokio::test]
    async fn more_than_the_cap_is_not_read() {
        let (_folder, store) = temporary();
        store.put("big", Bytes::from_static(b"123")).await.unwrap();
        assert!(store.get("big", 2).await.unwrap_err().is_corrupt());
        assert_eq!(store.get("big", 3).await.unwrap().unwrap(), "123");
        assert_eq!(store.get("none", 3).await.unwrap(), None);
    }

    #[test]
    fn a_second_holder_is_told_who_is_first_and_a_dropped_lock_is_free() {
        let (_folder, store) = temporary();
        let first = store.lock().unwrap();
        let error = store.lock().unwrap_err();
        assert!(error.is_in_use());
        assert!(error.to_string().ends_with(&format!("(pid {})", std::process::id())), "{error}");
        drop(first);
        assert!(store.lock().unwrap().is_some());
    }

    #[test]
    fn a_url_that_names_no_store_is_refused() {
        for url in ["", "data", "http://x/y", "file://host/x", "s3://"] {
            assert!(matches!(Store::open(url, &[]), Err(DatasetError::Url { .. })), "{url:?} must be refused");
        }
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        // /dev/full answers every write with ENOSPC, as a full disk does.
        let Err(error) = std::fs::write("/dev/full", b"x") else { return };
        if error.kind() == io::ErrorKind::StorageFull {
            let wrapped = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(error) };
            let (_folder, store) = temporary();
            assert!(store.failed("write", "x", &wrapped).is_storage_full());
        }
    }
}
