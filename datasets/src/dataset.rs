//! The dataset in its store: opening, the lock, the manifest, and whole files. How it is filled is in `pull`, how it is
//! read in `read`.

use std::collections::BTreeSet;

use bytes::Bytes;
use forewarn_storage::{Store, StoreError, StoreLock, Version};
use futures::stream::{self, StreamExt};

use crate::Day;
use crate::error::DatasetError;
use crate::manifest::{self, DatasetManifest, DayFile, sha256};
use crate::parquet_file;
use crate::table::DayTable;

/// History in a store: the folder `dataset` of `file:///…` or `s3://bucket/prefix`.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub(crate) store: Store,
}

/// The folder of the dataset within the store.
const FOLDER: &str = "dataset";

/// Files of a bucket that are asked for at a time, when only their size is wanted.
const LOOKS_AT_A_TIME: usize = 16;

/// The path within the store of what the dataset calls `path`.
pub(crate) fn in_store(path: &str) -> String {
    format!("{FOLDER}/{path}")
}

impl Dataset {
    /// Opens `file:///path` (the folder is made if it is not there) or `s3://bucket/prefix`, whose credentials, region
    /// and endpoint come from the `AWS_…` environment variables. A bucket is not asked for anything yet.
    pub async fn open(store_url: &str) -> Result<Self, DatasetError> {
        Self::open_with(store_url, &[]).await
    }

    /// The same; `s3_options` (object_store's keys, such as `aws_endpoint`) win over the environment's.
    pub async fn open_with(store_url: &str, s3_options: &[(&str, &str)]) -> Result<Self, DatasetError> {
        Ok(Self { store: Store::open_with(store_url, s3_options)? })
    }

    /// Over a store that is open already.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Takes the lock that a pull needs, or says who holds it ([`DatasetError::is_in_use`]). Reading needs none. A bucket
    /// has no lock: there the manifest is written only if nobody else has.
    pub fn lock(&self) -> Result<StoreLock, DatasetError> {
        Ok(self.store.lock(&in_store("lock"))?)
    }

    /// What the dataset covers; `None` before the first pull. Refuses a manifest of another format version.
    pub async fn manifest(&self) -> Result<Option<DatasetManifest>, DatasetError> {
        Ok(self.load_manifest().await?.0)
    }

    pub(crate) async fn load_manifest(&self) -> Result<(Option<DatasetManifest>, Version), DatasetError> {
        let (bytes, version) = self.store.get_versioned(&in_store(manifest::PATH), manifest::MAX_BYTES).await?;
        let manifest = bytes.map(|bytes| DatasetManifest::from_bytes(&bytes)).transpose()?;
        Ok((manifest, version))
    }

    /// A file that the manifest names, checked against its digest.
    pub(crate) async fn load_day(&self, file: &DayFile) -> Result<DayTable, DatasetError> {
        let bytes = match self.store.get(&in_store(&file.path), parquet_file::MAX_BYTES).await {
            Err(StoreError::TooLarge { cap, got, .. }) => {
                return Err(corrupt(file, format!("it must be at most {cap} bytes, got {got}")));
            }
            other => other?,
        };
        let bytes = bytes.ok_or_else(|| corrupt(file, "it is missing".to_owned()))?;
        let wanted = file.sha256.clone();
        decoding(file, move || check_and_decode(bytes, &wanted)).await
    }

    /// The days among `days` whose file is missing or damaged. A file in a folder is read; one in a bucket is only
    /// looked at, unless its day is `changing` and it has to be read anyway: what reads it later checks its digest.
    pub(crate) async fn damaged(
        &self,
        manifest: &DatasetManifest,
        source: &str,
        days: Vec<Day>,
        changing: &BTreeSet<Day>,
    ) -> Result<Vec<Day>, DatasetError> {
        let files = days.into_iter().filter_map(|day| manifest.file(source, day).map(|file| (day, file)));
        let mut checks = stream::iter(files)
            .map(|(day, file)| async move {
                let whole = self.store.is_folder() || changing.contains(&day);
                let checked = if whole { self.load_day(file).await.map(|_| ()) } else { self.look_at(file).await };
                (day, checked)
            })
            .buffered(if self.store.is_folder() { 1 } else { LOOKS_AT_A_TIME });
        let mut damaged = Vec::new();
        while let Some((day, checked)) = checks.next().await {
            match checked {
                Ok(()) => {}
                Err(e) if e.is_corrupt() => {
                    tracing::warn!(source, %day, error = %e, "day will be fetched again");
                    damaged.push(day);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(damaged)
    }

    /// Whether a file is there and as long as it should be.
    async fn look_at(&self, file: &DayFile) -> Result<(), DatasetError> {
        match self.store.size(&in_store(&file.path)).await? {
            Some(bytes) if bytes == file.bytes => Ok(()),
            Some(bytes) => Err(corrupt(file, format!("it must have {} bytes, got {bytes}", file.bytes))),
            None => Err(corrupt(file, "it is missing".to_owned())),
        }
    }
}

/// Says that a file is not what the manifest says.
pub(crate) fn corrupt(file: &DayFile, reason: String) -> DatasetError {
    DatasetError::Corrupt { path: in_store(&file.path), reason }
}

/// Runs the decoder on a thread for blocking work, also because a panic there is an error here: the Parquet library may
/// panic on bytes that someone made to fit their digest.
pub(crate) async fn decoding<T: Send + 'static>(
    file: &DayFile,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, DatasetError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(decoded) => decoded.map_err(|reason| corrupt(file, reason)),
        Err(_) => Err(corrupt(file, "it is not a readable Parquet file".to_owned())),
    }
}

fn check_and_decode(bytes: Bytes, wanted: &str) -> Result<DayTable, String> {
    let got = sha256(&bytes);
    if got != wanted {
        return Err(format!("its SHA-256 must be {wanted}, got {got}"));
    }
    parquet_file::decode(bytes)
}
