//! The dataset in its store: opening, the lock, the manifest, and whole files. How it is filled is in `pull`, how it is
//! read in `read`.

use std::fs::File;

use bytes::Bytes;

use crate::Day;
use crate::error::DatasetError;
use crate::manifest::{self, DatasetManifest, DayFile, sha256};
use crate::parquet_file;
use crate::store::{Store, Version};
use crate::table::DayTable;

/// History in a store: the folder `dataset` of `file:///…` or `s3://bucket/prefix`.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub(crate) store: Store,
}

/// Keeps other processes from pulling into the dataset while it lives. The kernel gives it back when a process dies.
#[derive(Debug)]
#[must_use = "the lock is given back when this is dropped"]
pub struct DatasetLock {
    file: Option<File>,
}

impl DatasetLock {
    /// Whether there is a lock at all. A bucket has none: there the manifest is written only if nobody else has.
    pub fn is_exclusive(&self) -> bool {
        self.file.is_some()
    }
}

impl Drop for DatasetLock {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // Who held it is of no interest any more, and the folder shall not tell how often it was pulled into.
            let _ = file.set_len(0);
        }
    }
}

impl Dataset {
    /// Opens `file:///path` (the folder is made if it is not there) or `s3://bucket/prefix`, whose credentials, region
    /// and endpoint come from the `AWS_…` environment variables. A bucket is not asked for anything yet.
    pub async fn open(store_url: &str) -> Result<Self, DatasetError> {
        Self::open_with(store_url, &[]).await
    }

    /// The same; `s3_options` (object_store's keys, such as `aws_endpoint`) win over the environment's.
    pub async fn open_with(store_url: &str, s3_options: &[(&str, &str)]) -> Result<Self, DatasetError> {
        Ok(Self { store: Store::open(store_url, s3_options)? })
    }

    /// Takes the lock that a pull needs, or says who holds it ([`DatasetError::is_in_use`]). Reading needs none.
    pub fn lock(&self) -> Result<DatasetLock, DatasetError> {
        Ok(DatasetLock { file: self.store.lock()? })
    }

    /// What the dataset covers; `None` before the first pull. Refuses a manifest of another format version.
    pub async fn manifest(&self) -> Result<Option<DatasetManifest>, DatasetError> {
        Ok(self.load_manifest().await?.0)
    }

    pub(crate) async fn load_manifest(&self) -> Result<(Option<DatasetManifest>, Version), DatasetError> {
        let (bytes, version) = self.store.get_versioned(manifest::PATH, manifest::MAX_BYTES).await?;
        let manifest = bytes.map(|bytes| DatasetManifest::from_bytes(&bytes)).transpose()?;
        Ok((manifest, version))
    }

    /// A file that the manifest names, checked against its digest.
    pub(crate) async fn load_day(&self, file: &DayFile) -> Result<DayTable, DatasetError> {
        let corrupt = |reason: String| DatasetError::Corrupt { path: Store::name(&file.path), reason };
        let bytes = self.store.get(&file.path, parquet_file::MAX_BYTES).await?;
        let bytes = bytes.ok_or_else(|| corrupt("it is missing".to_owned()))?;
        let wanted = file.sha256.clone();
        // On a thread for blocking work, also because a panic there is an error here: the Parquet library may panic on
        // bytes that someone made to fit their digest.
        match tokio::task::spawn_blocking(move || check_and_decode(bytes, &wanted)).await {
            Ok(table) => table.map_err(corrupt),
            Err(_) => Err(corrupt("it is not a readable Parquet file".to_owned())),
        }
    }

    /// The days among `days` whose file is missing or damaged.
    pub(crate) async fn damaged(
        &self,
        manifest: &DatasetManifest,
        source: &str,
        days: impl Iterator<Item = Day>,
    ) -> Result<Vec<Day>, DatasetError> {
        let mut damaged = Vec::new();
        for day in days {
            let Some(file) = manifest.file(source, day) else { continue };
            match self.load_day(file).await {
                Ok(_) => {}
                Err(e) if e.is_corrupt() => {
                    tracing::warn!(source, %day, error = %e, "day will be fetched again");
                    damaged.push(day);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(damaged)
    }
}

fn check_and_decode(bytes: Bytes, wanted: &str) -> Result<DayTable, String> {
    let got = sha256(&bytes);
    if got != wanted {
        return Err(format!("its SHA-256 must be {wanted}, got {got}"));
    }
    parquet_file::decode(bytes)
}
