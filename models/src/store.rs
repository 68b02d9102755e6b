//! A folder or an S3 prefix: capped reads, atomic writes, a compare-and-swap, and a lock between processes.
//!
//! Not here: what the objects mean (`registry`). Credentials, region and endpoint of S3 come from the usual `AWS_…`
//! environment variables or from the instance, as object_store reads them.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Once};
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
    /// Whether another process holds what is wanted.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }

    /// Whether no space is left.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Failed { kind: FailureKind::StorageFull, .. })
    }

    /// Whether the store did not answer.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Failed { kind: FailureKind::Unreachable, .. })
    }
}

/// What the error or one of its causes says about the next move.
fn classify(error: &(dyn std::error::Error + 'static)) -> FailureKind {
    let mut cause = Some(error);
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => return FailureKind::StorageFull,
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    return FailureKind::Denied;
                }
                _ => {}
            }
        }
        if let Some(http) = e.downcast_ref::<HttpError>()
            && matches!(http.kind(), HttpErrorKind::Connect | HttpErrorKind::Timeout)
        {
            return FailureKind::Unreachable;
        }
        if let Some(object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) =
            e.downcast_ref::<object_store::Error>()
        {
            return FailureKind::Denied;
        }
        cause = e.source();
    }
    FailureKind::Other
}

/// A place for objects: one folder, or one prefix of one bucket.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    folder: Option<PathBuf>,
    url: String,
}

/// What [`Store::update`] is told by its closure.
pub enum Change<E> {
    /// The object is as it should be.
    Nothing,
    /// These should be its bytes.
    Replace(Bytes),
    /// It cannot be changed.
    Refuse(E),
}

const UPDATE_ATTEMPTS: u32 = 40;
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

impl Store {
    /// Opens `file:///path` (the folder is made if it is not there) or `s3://bucket/prefix`.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, &[])
    }

    /// The same; `s3_options` (object_store's keys, such as `aws_endpoint`) win over the environment's.
    pub fn open_with(url: &str, s3_options: &[(&str, &str)]) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Url { got: url.to_owned(), reason };
        let parsed = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        match parsed.scheme() {
            "file" => {
                let folder =
                    parsed.to_file_path().map_err(|()| wrong("the path must be absolute, on this host".to_owned()))?;
                Self::open_folder(url, folder)
            }
            "s3" => Self::open_bucket(url, &parsed, s3_options),
            other => Err(wrong(format!("unknown scheme {other:?}"))),
        }
    }

    fn open_folder(url: &str, folder: PathBuf) -> Result<Self, StoreError> {
        let failed = |error: &(dyn std::error::Error + 'static)| StoreError::Failed {
            action: "open",
            path: folder.display().to_string(),
            store: url.to_owned(),
            reason: error.to_string(),
            kind: classify(error),
        };
        std::fs::create_dir_all(&folder).map_err(|e| failed(&e))?;
        let objects = LocalFileSystem::new_with_prefix(&folder).map_err(|e| failed(&e))?;
        // Flushed before the rename: a pointer never names bytes that a power cut can take away.
        let objects = Arc::new(objects.with_fsync(true));
        Ok(Self { objects, prefix: Path::default(), folder: Some(folder), url: url.to_owned() })
    }

    fn open_bucket(url: &str, parsed: &Url, options: &[(&str, &str)]) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Url { got: url.to_owned(), reason };
        install_tls_provider();
        let bucket = parsed.host_str().ok_or_else(|| wrong("the bucket is missing".to_owned()))?;
        let prefix = Path::from_url_path(parsed.path()).map_err(|e| wrong(e.to_string()))?;
        // The library's retries go on for three minutes; a person at a shell and a scoring server both want to know earlier.
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
        let objects = builder.with_client_options(client).build().map_err(|e| wrong(e.to_string()))?;
        Ok(Self { objects: Arc::new(objects), prefix, folder: None, url: url.to_owned() })
    }

    /// As it was opened.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The object's bytes; `None` where there is none. Refuses more than `cap` bytes, declared or arriving.
    pub async fn get(&self, path: &str, cap: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get_tagged(path, cap).await?.map(|(bytes, _)| bytes))
    }

    async fn get_tagged(&self, path: &str, cap: u64) -> Result<Option<(Bytes, UpdateVersion)>, StoreError> {
        let too_large = |got: u64| StoreError::TooLarge { path: path.to_owned(), cap, got };
        let found = match self.objects.get(&self.key(path)?).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(self.failed("read", path, &e)),
        };
        if found.meta.size > cap {
            return Err(too_large(found.meta.size));
        }
        let tag = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
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
        Ok(Some((bytes.freeze(), tag)))
    }

    /// Writes the object whole or not at all; replaces one that is there.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let put = self.objects.put(&self.key(path)?, PutPayload::from_bytes(bytes)).await;
        put.map(|_| ()).map_err(|e| self.failed("write", path, &e))
    }

    /// The names directly below `folder` that hold objects themselves, sorted.
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let listing = self.objects.list_with_delimiter(Some(&self.key(folder)?)).await;
        let listing = listing.map_err(|e| self.failed("list", folder, &e))?;
        let mut names: Vec<String> =
            listing.common_prefixes.iter().filter_map(|p| p.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// The names of the objects directly in `folder`, sorted.
    pub async fn files(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let listing = self.objects.list_with_delimiter(Some(&self.key(folder)?)).await;
        let listing = listing.map_err(|e| self.failed("list", folder, &e))?;
        let mut names: Vec<String> =
            listing.objects.iter().filter_map(|o| o.location.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
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
        let mut last_failure = None;
        for attempt in 0..UPDATE_ATTEMPTS {
            let (bytes, mode) = match self.get_tagged(path, cap).await? {
                Some((bytes, tag)) if self.folder.is_none() && tag.e_tag.is_some() => {
                    (Some(bytes), PutMode::Update(tag))
                }
                Some((bytes, _)) => (Some(bytes), PutMode::Overwrite),
                None => (None, PutMode::Create),
            };
            let wanted = match change(bytes) {
                Change::Nothing => return Ok(()),
                Change::Refuse(reason) => return Err(reason),
                Change::Replace(wanted) => wanted,
            };
            let (key, payload) = (self.key(path)?, PutPayload::from_bytes(wanted.clone()));
            let put = match self.objects.put_opts(&key, payload, PutOptions::from(mode)).await {
                Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                    self.objects.put(&key, PutPayload::from_bytes(wanted)).await
                }
                other => other,
            };
            match put {
                Ok(_) => {}
                Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5 * u64::from(attempt + 1))).await;
                }
                // Perhaps written, perhaps not: the next look tells. Twice in a row is a failure.
                Err(e) if last_failure.is_none() => last_failure = Some(self.failed("write", path, &e)),
                Err(e) => return Err(self.failed("write", path, &e).into()),
            }
        }
        Err(StoreError::Contended { path: path.to_owned(), attempts: UPDATE_ATTEMPTS }.into())
    }

    /// Takes the lock `name`, a file in the folder, or says who holds it. It is given back when the guard is dropped, or
    /// by the kernel when the process dies. A bucket has no locks: the guard is empty.
    pub fn lock(&self, name: &str) -> Result<StoreLock, StoreError> {
        let Some(folder) = &self.folder else { return Ok(StoreLock { file: None }) };
        let path = folder.join(name);
        let failed = |error: std::io::Error| StoreError::Failed {
            action: "lock",
            path: path.display().to_string(),
            store: self.url.clone(),
            reason: error.to_string(),
            kind: classify(&error),
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
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
                return Err(StoreError::InUse { path: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let _ = file.set_len(0).and_then(|()| writeln!(file, "pid {}", std::process::id()));
        Ok(StoreLock { file: Some(file) })
    }

    async fn wait_for_lock(&self, name: &str) -> Result<StoreLock, StoreError> {
        let patience = tokio::time::Instant::now() + LOCK_PATIENCE;
        loop {
            match self.lock(name) {
                Err(e) if e.is_in_use() && tokio::time::Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => return other,
            }
        }
    }

    fn key(&self, path: &str) -> Result<Path, StoreError> {
        let relative = Path::parse(path).map_err(|e| self.failed("name", path, &e.into()))?;
        Ok(self.prefix.parts().chain(relative.parts()).collect())
    }

    fn failed(&self, action: &'static str, path: &str, error: &object_store::Error) -> StoreError {
        let reason = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        StoreError::Failed { action, path: path.to_owned(), store: self.url.clone(), reason, kind: classify(error) }
    }
}

/// Held for as long as it lives; see [`Store::lock`].
#[derive(Debug)]
#[must_use = "the lock is given back when this is dropped"]
pub struct StoreLock {
    file: Option<File>,
}

impl StoreLock {
    /// Whether there is a lock at all; not in a bucket.
    pub fn is_exclusive(&self) -> bool {
        self.file.is_some()
    }
}

/// Reqwest is built without a crypto provider, so that only one is compiled: the process's is ring.
fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that someone has installed one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, Store) {
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
    }

    #[tokio::test]
    async fn more_than_the_cap_is_not_read() {
        let (_folder, store) = temporary();
        store.put("big", Bytes::from_static(b"123")).await.unwrap();
        let error = store.get("big", 2).await.unwrap_err();
        assert_eq!(error.to_string(), "big must be at most 2 bytes, got 3");
    }

    #[tokio::test]
    async fn a_path_cannot_leave_the_store() {
        let (_folder, store) = temporary();
        assert!(store.get("../etc/passwd", 10).await.is_err());
    }

    #[test]
    fn a_second_holder_is_told_who_is_first_and_a_dropped_lock_is_free() {
        let (_folder, store) = temporary();
        let first = store.lock("x/.lock").unwrap();
        let error = store.lock("x/.lock").unwrap_err();
        assert!(error.is_in_use());
        assert!(error.to_string().ends_with(&format!("(pid {})", std::process::id())), "{error}");
        drop(first);
        assert!(store.lock("x/.lock").unwrap().is_exclusive());
    }

    #[test]
    fn a_url_that_names_no_store_is_refused() {
        for url in ["", "data", "http://x/y", "file://host/x", "s3://"] {
            assert!(matches!(Store::open(url), Err(StoreError::Url { .. })), "{url:?} must be refused");
        }
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        const ENOSPC: i32 = 28;
        let error = std::io::Error::from_raw_os_error(ENOSPC);
        let wrapped = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(error) };
        assert_eq!(classify(&wrapped), FailureKind::StorageFull);
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_unreachable() {
        let options = [
            ("aws_endpoint", "http://127.0.0.1:9"),
            ("aws_access_key_id", "x"),
            ("aws_secret_access_key", "x"),
            ("aws_region", "us-east-1"),
        ];
        let store = Store::open_with("s3://bucket/prefix", &options).unwrap();
        let error = store.get("a", 1).await.unwrap_err();
        assert!(error.is_unreachable(), "{error}");
    }
}
