//! The dataset in its store: opening, the lock, the manifest, and whole files. How it is filled is in `pull`, how it is
//! read in `read`.

use bytes::Bytes;
use forewarn_storage::{Store, StoreError, StoreLock, Version};

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
        let corrupt = |reason: String| DatasetError::Corrupt { path: in_store(&file.path), reason };
        let bytes = match self.store.get(&in_store(&file.path), parquet_file::MAX_BYTES).await {
            Err(StoreError::TooLarge { cap, got, .. }) => {
                return Err(corrupt(format!("it must be at most {cap} bytes, got {got}")));
            }
            other => other?,
        };
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
