//! Where bundles live: versions that never change, and one pointer a service that says which of them serves.
//!
//! Layout under the store (`docs/formats/registry.md`): `models/<service>/<version>/…`, `models/<service>/current.json`,
//! `models/<service>/candidate.json`, `reports/<name>/…`. Not here: whether a version deserves promotion (`training`).

mod error;
mod name;
mod pointer;
mod shadow;

use std::collections::BTreeMap;

use bytes::Bytes;
use forewarn_schema::Timestamp;
use forewarn_storage::{Change, Store, StoreError, StoreLock};
use serde::{Deserialize, Serialize};

pub use error::RegistryError;
pub use pointer::{Pointer, Promotion, Rollback};
pub use shadow::{Shadow, ShadowEnd};

use crate::bundle::{Artifact, BundleError, BundleManifest, MANIFEST_FILE, MAX_MANIFEST_BYTES, cap_of, check_listing};
use crate::runs::RunLog;
use crate::{ModelBundle, ModelVersion};

/// The pointer that was moved last.
const LAST_MOVED: &str = "models/last-moved.json";
/// The most that is read of one file of a report.
pub const MAX_REPORT_FILE_BYTES: u64 = 128 << 20;

/// The models and reports of one store. Cheap to clone; every call reads the store anew, so that two processes agree.
#[derive(Clone, Debug)]
pub struct ModelRegistry {
    store: Store,
}

/// A stored version, for lists.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VersionInfo {
    /// Which.
    pub version: ModelVersion,
    /// What it is to its service.
    pub state: VersionState,
    /// Where it comes from; `None` where the manifest is refused.
    pub manifest: Option<BundleManifest>,
    /// Why the manifest is refused.
    pub problem: Option<String>,
}

/// What a version is to its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// It serves.
    Current,
    /// It was trained last and waits for the gate.
    Candidate,
    /// It served, and a rollback comes back to it.
    Previous,
    /// It served and was taken back.
    RolledBack,
    /// None of these.
    Stored,
}

/// `candidate.json`.
#[derive(Serialize, Deserialize)]
struct CandidateFile {
    format_version: u32,
    version: ModelVersion,
}

impl ModelRegistry {
    /// Opens `file:///path` (made if it is not there) or `s3://bucket/prefix`. A bucket is not contacted yet.
    pub async fn open(store_url: &str) -> Result<Self, RegistryError> {
        Ok(Self { store: Store::open(store_url)? })
    }

    /// Over a store that is open already.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Held by a command that trains or promotes, so that two of them do not work on one folder; a bucket has no locks.
    pub fn lock(&self) -> Result<StoreLock, RegistryError> {
        Ok(self.store.lock("models/.lock")?)
    }

    /// Held by a command that trains one part of the fleet: others may train other parts meanwhile.
    pub fn share_lock(&self) -> Result<StoreLock, RegistryError> {
        Ok(self.store.share("models/.lock")?)
    }

    /// The records of the runs beside these models.
    pub fn runs(&self) -> RunLog {
        RunLog::new(self.store.clone())
    }

    /// Stores a bundle as the candidate of its service. Publishing the same content again changes nothing and gives the
    /// same version. The bytes are read back in memory first: what could not be loaded is not stored.
    pub async fn publish(&self, bundle: &ModelBundle) -> Result<ModelVersion, RegistryError> {
        let service = bundle.manifest.service.as_str();
        let unfit = |source| RegistryError::Unfit { service: service.to_owned(), source };
        let artifact = bundle.to_artifact().map_err(unfit)?;
        let version = ModelBundle::from_artifact(&artifact).map_err(unfit)?.manifest.version;
        let folder = version_folder(service, &version)?;
        // The manifest last: a version without one is unfinished and does not exist.
        for (file, bytes) in artifact.files.iter().filter(|(file, _)| *file != MANIFEST_FILE) {
            self.store.put(&format!("{folder}/{file}"), bytes.clone()).await?;
        }
        if let Some(manifest) = artifact.files.get(MANIFEST_FILE) {
            self.store.put(&format!("{folder}/{MANIFEST_FILE}"), manifest.clone()).await?;
        }
        let candidate = CandidateFile { format_version: pointer::POINTER_FORMAT, version: version.clone() };
        let path = candidate_path(service)?;
        let bytes = serde_json::to_vec(&candidate)
            .map_err(|e| RegistryError::Pointer { path: path.clone(), reason: e.to_string() })?;
        self.store.put(&path, bytes.into()).await?;
        Ok(version)
    }

    /// Every service with a folder here, sorted.
    pub async fn services(&self) -> Result<Vec<String>, RegistryError> {
        let folders = self.store.folders("models").await?;
        let mut services: Vec<String> = folders.iter().filter_map(|f| name::service_of_folder(f)).collect();
        services.sort();
        Ok(services)
    }

    /// The stored versions of a service, newest data first; empty for a service that has none.
    pub async fn versions(&self, service: &str) -> Result<Vec<VersionInfo>, RegistryError> {
        let pointer = self.pointer(service).await?;
        let candidate = self.candidate(service).await?;
        let mut infos = Vec::new();
        for version in self.stored_versions(service).await?.into_iter().rev() {
            let path = format!("{}/{MANIFEST_FILE}", version_folder(service, &version)?);
            let (manifest, problem) = match self.store.get(&path, MAX_MANIFEST_BYTES).await {
                Ok(None) => continue,
                Ok(Some(bytes)) => match BundleManifest::from_bytes(&bytes) {
                    Ok(manifest) => (Some(manifest), None),
                    Err(e) => (None, Some(e.to_string())),
                },
                Err(e @ StoreError::TooLarge { .. }) => (None, Some(e.to_string())),
                Err(e) => return Err(e.into()),
            };
            let state = state_of(&version, &pointer, candidate.as_ref());
            infos.push(VersionInfo { version, state, manifest, problem });
        }
        Ok(infos)
    }

    async fn stored_versions(&self, service: &str) -> Result<Vec<ModelVersion>, RegistryError> {
        let folders = self.store.folders(&service_path(service)?).await?;
        Ok(folders.iter().filter_map(|folder| folder.parse().ok()).collect())
    }

    /// The version that was published last, unless it serves already. After a rollback that is the version taken back,
    /// until another is published.
    pub async fn candidate(&self, service: &str) -> Result<Option<ModelVersion>, RegistryError> {
        let Some(published) = self.published(service).await? else { return Ok(None) };
        let current = self.current(service).await?;
        Ok((current.as_ref() != Some(&published)).then_some(published))
    }

    /// The version that serves; `None` where the rules do.
    pub async fn current(&self, service: &str) -> Result<Option<ModelVersion>, RegistryError> {
        Ok(self.pointer(service).await?.current)
    }

    /// The pointer with its history.
    pub async fn pointer(&self, service: &str) -> Result<Pointer, RegistryError> {
        let path = pointer_path(service)?;
        match self.store.get_versioned(&path, pointer::MAX_POINTER_BYTES).await?.0 {
            None => Ok(Pointer::empty(service)),
            Some(bytes) => {
                Pointer::from_bytes(service, &bytes).map_err(|reason| RegistryError::Pointer { path, reason })
            }
        }
    }

    /// Where a version comes from, without reading the rest of it; `None` where there is none, or none that can be read.
    pub async fn manifest(
        &self,
        service: &str,
        version: &ModelVersion,
    ) -> Result<Option<BundleManifest>, RegistryError> {
        let path = format!("{}/{MANIFEST_FILE}", version_folder(service, version)?);
        let bytes = self.store.get(&path, MAX_MANIFEST_BYTES).await?;
        Ok(bytes.and_then(|bytes| BundleManifest::from_bytes(&bytes).ok()))
    }

    /// What `candidate.json` names, be it that it serves already; `None` where there is none.
    pub async fn published(&self, service: &str) -> Result<Option<ModelVersion>, RegistryError> {
        let path = candidate_path(service)?;
        let Some(bytes) = self.store.get(&path, pointer::MAX_POINTER_BYTES).await? else { return Ok(None) };
        let refused = |reason: String| RegistryError::Pointer { path: path.clone(), reason };
        let file: CandidateFile = serde_json::from_slice(&bytes).map_err(|e| refused(e.to_string()))?;
        if file.format_version != pointer::POINTER_FORMAT {
            let wanted = pointer::POINTER_FORMAT;
            return Err(refused(format!("format_version must be {wanted}, got {}", file.format_version)));
        }
        Ok(Some(file.version))
    }

    /// Reads a version whole. Anything wrong with it is an error that names the file; the caller keeps what it has.
    pub async fn load(&self, service: &str, version: &ModelVersion) -> Result<ModelBundle, RegistryError> {
        let refused = |source| RegistryError::Refused { service: service.to_owned(), version: version.clone(), source };
        let folder = version_folder(service, version)?;
        let Some(manifest_bytes) = self.fetch(service, version, &folder, MANIFEST_FILE).await? else {
            return Err(RegistryError::UnknownVersion { service: service.to_owned(), version: version.clone() });
        };
        let manifest = BundleManifest::from_bytes(&manifest_bytes).map_err(refused)?;
        // A whole manifest in the wrong place is as wrong as a corrupt one.
        if manifest.version != *version || manifest.service != service {
            let reason = format!(
                "it must be of {version} of service {service:?}, got {} of {:?}",
                manifest.version, manifest.service
            );
            return Err(refused(BundleError::Malformed { file: MANIFEST_FILE.to_owned(), reason }));
        }
        check_listing(&manifest).map_err(refused)?;
        let mut files = BTreeMap::from([(MANIFEST_FILE.to_owned(), manifest_bytes)]);
        for file in manifest.files.keys() {
            if let Some(bytes) = self.fetch(service, version, &folder, file).await? {
                files.insert(file.clone(), bytes);
            }
        }
        ModelBundle::from_artifact(&Artifact { files }).map_err(refused)
    }

    async fn fetch(
        &self,
        service: &str,
        version: &ModelVersion,
        folder: &str,
        file: &str,
    ) -> Result<Option<Bytes>, RegistryError> {
        let cap = cap_of(file).unwrap_or(0);
        match self.store.get(&format!("{folder}/{file}"), cap).await {
            Err(StoreError::TooLarge { cap, got, .. }) => {
                let source = BundleError::TooLarge { file: file.to_owned(), cap, got };
                Err(RegistryError::Refused { service: service.to_owned(), version: version.clone(), source })
            }
            other => Ok(other?),
        }
    }

    /// Makes a version serve, after it has been read whole. One that serves already is left as it is.
    pub async fn promote(
        &self,
        service: &str,
        version: &ModelVersion,
        at: Timestamp,
        reason: &str,
    ) -> Result<(), RegistryError> {
        self.load(service, version).await?;
        self.move_pointer(service, |pointer, again| pointer.promote(version, at, reason, again)).await
    }

    /// Takes the current version back and gives the one that serves now: the one promoted before it, skipping any that
    /// can no longer be read; `None` where the rules serve. With nothing promoted it changes nothing.
    pub async fn rollback(&self, service: &str, at: Timestamp) -> Result<Option<ModelVersion>, RegistryError> {
        let promotions = self.pointer(service).await?.promotions;
        let mut keep = promotions.len().saturating_sub(1);
        while let Some(previous) = keep.checked_sub(1).map(|last| &promotions[last]) {
            match self.load(service, &previous.version).await {
                Ok(_) => break,
                Err(RegistryError::Refused { .. } | RegistryError::UnknownVersion { .. }) => keep -= 1,
                Err(e) => return Err(e),
            }
        }
        let taken = &promotions[keep..];
        self.move_pointer(service, |pointer, _| pointer.take_back(taken, at)).await?;
        self.current(service).await
    }

    /// Applies `change` to the pointer until it says that nothing is left to do. It is told whether an earlier answer of
    /// it may have been written.
    async fn move_pointer(
        &self,
        service: &str,
        change: impl Fn(&mut Pointer, bool) -> bool,
    ) -> Result<(), RegistryError> {
        let path = pointer_path(service)?;
        let mut again = false;
        self.replace_noted(&path, |bytes| {
            let mut pointer = match bytes {
                None => Pointer::empty(service),
                Some(bytes) => Pointer::from_bytes(service, &bytes)?,
            };
            let changed = change(&mut pointer, again);
            again = true;
            if changed { pointer.to_bytes().map(|bytes| Some(bytes.into())) } else { Ok(None) }
        })
        .await
    }

    /// Replaces what lies at `path` by what `change` makes of it, which is asked again where another writer was first, and leaves a
    /// hint that something moved: without it a server finds out when it next looks at every pointer.
    async fn replace_noted(
        &self,
        path: &str,
        mut change: impl FnMut(Option<Bytes>) -> Result<Option<Bytes>, String>,
    ) -> Result<(), RegistryError> {
        let mut written = None;
        let update = self.store.update(path, pointer::MAX_POINTER_BYTES, |bytes| match change(bytes) {
            Ok(None) => Change::Nothing,
            Ok(Some(bytes)) => {
                written = Some(bytes.clone());
                Change::Replace(bytes)
            }
            Err(reason) => Change::Refuse(RegistryError::Pointer { path: path.to_owned(), reason }),
        });
        update.await?;
        if let Some(written) = written {
            let _ = self.store.put(LAST_MOVED, written).await;
        }
        Ok(())
    }

    /// Something that is another after each move of a pointer, of whichever service: so that one who follows many need not look
    /// at all of them. `None` where none was ever moved.
    pub async fn last_moved(&self) -> Result<Option<Bytes>, RegistryError> {
        Ok(self.store.get(LAST_MOVED, pointer::MAX_POINTER_BYTES).await?)
    }

    /// Stores a report under `name`, replacing its files of the same names. A name that starts with the time
    /// (`20260108T000000Z…`) makes [`ModelRegistry::reports`] sort by it.
    pub async fn put_report(&self, name: &str, files: &BTreeMap<String, Bytes>) -> Result<(), RegistryError> {
        for file in files.keys() {
            report_path(name, file)?;
        }
        for (file, bytes) in files {
            self.store.put(&report_path(name, file)?, bytes.clone()).await?;
        }
        Ok(())
    }

    /// The names of all reports, the greatest (newest) first.
    pub async fn reports(&self) -> Result<Vec<String>, RegistryError> {
        let mut names = self.store.folders("reports").await?;
        names.reverse();
        Ok(names)
    }

    /// How the names of weekly reports end; the others are evaluations.
    pub const WEEK_SUFFIX: &str = "-week";

    /// The names of all evaluations, newest first.
    pub async fn evaluations(&self) -> Result<Vec<String>, RegistryError> {
        let mut names = self.reports().await?;
        names.retain(|name| !name.ends_with(Self::WEEK_SUFFIX));
        Ok(names)
    }

    /// The names of a report's files, sorted; empty for a report that is not there.
    pub async fn report_files(&self, name: &str) -> Result<Vec<String>, RegistryError> {
        name::plain_name("a report's name", name)?;
        Ok(self.store.files(&format!("reports/{name}")).await?)
    }

    /// One file of a report.
    pub async fn report(&self, name: &str, file: &str) -> Result<Bytes, RegistryError> {
        let found = self.store.get(&report_path(name, file)?, MAX_REPORT_FILE_BYTES).await?;
        found.ok_or_else(|| RegistryError::UnknownReport { name: name.to_owned(), file: file.to_owned() })
    }
}

fn service_path(service: &str) -> Result<String, RegistryError> {
    Ok(format!("models/{}", name::service_folder(service)?))
}

fn version_folder(service: &str, version: &ModelVersion) -> Result<String, RegistryError> {
    Ok(format!("{}/{version}", service_path(service)?))
}

fn pointer_path(service: &str) -> Result<String, RegistryError> {
    Ok(format!("{}/current.json", service_path(service)?))
}

fn candidate_path(service: &str) -> Result<String, RegistryError> {
    Ok(format!("{}/candidate.json", service_path(service)?))
}

fn report_path(name: &str, file: &str) -> Result<String, RegistryError> {
    name::plain_name("a report's name", name)?;
    name::plain_name("a report file's name", file)?;
    Ok(format!("reports/{name}/{file}"))
}

fn state_of(version: &ModelVersion, pointer: &Pointer, candidate: Option<&ModelVersion>) -> VersionState {
    if pointer.current.as_ref() == Some(version) {
        VersionState::Current
    } else if candidate == Some(version) {
        VersionState::Candidate
    } else if pointer.promotions.iter().any(|p| p.version == *version) {
        VersionState::Previous
    } else if pointer.rollbacks.iter().any(|r| r.version == *version) {
        VersionState::RolledBack
    } else {
        VersionState::Stored
    }
}
