//! The files of one bundle as bytes, and the checks on them that need no understanding of what is inside.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::manifest::{BundleManifest, FileEntry, sha256_hex};
use super::{BundleError, ModelVersion};

/// Names every other file with its size and digest; written last.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Signals, pipeline, calibration, baselines: small, and readable by a person.
pub const PARTS_FILE: &str = "parts.json";
/// The arrays of the forest and of the forecaster.
pub const TENSORS_FILE: &str = "tensors.safetensors";

/// The most that is read of `manifest.json`.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// The most that is read of `parts.json`.
pub const MAX_PARTS_BYTES: u64 = 64 << 20;
/// The most that is read of `tensors.safetensors`.
pub const MAX_TENSORS_BYTES: u64 = 256 << 20;

/// The cap on a bundle's file; `None` for a name that is no file of a bundle.
pub(crate) fn cap_of(file: &str) -> Option<u64> {
    match file {
        MANIFEST_FILE => Some(MAX_MANIFEST_BYTES),
        PARTS_FILE => Some(MAX_PARTS_BYTES),
        TENSORS_FILE => Some(MAX_TENSORS_BYTES),
        _ => None,
    }
}

/// A bundle as it is stored: three files by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifact {
    /// The bytes of each.
    pub files: BTreeMap<String, Bytes>,
}

impl Artifact {
    /// Seals `manifest` over `files` (all but the manifest) and adds it.
    pub(super) fn seal(manifest: &BundleManifest, mut files: BTreeMap<String, Bytes>) -> Result<Self, BundleError> {
        let mut entries = BTreeMap::new();
        for (name, bytes) in &files {
            check_size(name, bytes.len() as u64)?;
            entries.insert(name.clone(), FileEntry::of(bytes));
        }
        let manifest = manifest.sealed(entries)?.to_bytes()?;
        check_size(MANIFEST_FILE, manifest.len() as u64)?;
        files.insert(MANIFEST_FILE.to_owned(), manifest.into());
        Ok(Self { files })
    }

    /// The manifest, after every file has been checked against it: none missing, none too many, sizes and digests equal.
    pub fn checked_manifest(&self) -> Result<BundleManifest, BundleError> {
        let manifest = BundleManifest::from_bytes(self.file(MANIFEST_FILE)?)?;
        check_listing(&manifest)?;
        if let Some(file) = self.files.keys().find(|name| cap_of(name).is_none()) {
            return Err(BundleError::Unexpected { file: file.clone() });
        }
        for (name, entry) in &manifest.files {
            check_bytes(name, entry, self.file(name)?)?;
        }
        Ok(manifest)
    }

    /// The version that the manifest gives, without a look at the other files.
    pub fn version(&self) -> Result<ModelVersion, BundleError> {
        Ok(BundleManifest::from_bytes(self.file(MANIFEST_FILE)?)?.version)
    }

    pub(super) fn file(&self, name: &str) -> Result<&Bytes, BundleError> {
        self.files.get(name).ok_or_else(|| BundleError::Missing { file: name.to_owned() })
    }
}

/// The manifest must list exactly the files of this format, none over its cap: before any of them is fetched.
pub(crate) fn check_listing(manifest: &BundleManifest) -> Result<(), BundleError> {
    for wanted in [PARTS_FILE, TENSORS_FILE] {
        if !manifest.files.contains_key(wanted) {
            return Err(BundleError::Missing { file: wanted.to_owned() });
        }
    }
    for (name, entry) in &manifest.files {
        if name == MANIFEST_FILE {
            return Err(BundleError::Unexpected { file: name.clone() });
        }
        check_size(name, entry.bytes)?;
    }
    Ok(())
}

fn check_size(file: &str, got: u64) -> Result<(), BundleError> {
    let cap = cap_of(file).ok_or_else(|| BundleError::Unexpected { file: file.to_owned() })?;
    if got > cap { Err(BundleError::TooLarge { file: file.to_owned(), cap, got }) } else { Ok(()) }
}

fn check_bytes(file: &str, entry: &FileEntry, bytes: &[u8]) -> Result<(), BundleError> {
    let file = || file.to_owned();
    if bytes.len() as u64 != entry.bytes {
        return Err(BundleError::Size { file: file(), wanted: entry.bytes, got: bytes.len() as u64 });
    }
    let got = sha256_hex(bytes);
    if got == entry.sha256 {
        Ok(())
    } else {
        Err(BundleError::Checksum { file: file(), wanted: entry.sha256.clone(), got })
    }
}
