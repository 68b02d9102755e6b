//! The manifest of a bundle: where a model comes from, and the digest of every byte of it.

use std::collections::BTreeMap;

use forewarn_schema::{Step, TimeRange};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::artifact::{MANIFEST_FILE, MAX_MANIFEST_BYTES};
use super::{BundleError, ModelVersion};

/// The format that this build writes and reads; see `docs/formats/model-bundle.md`.
pub const FORMAT_VERSION: u32 = 3;

/// What a bundle is and where it comes from. Stored as `manifest.json`, in exactly the bytes that [`BundleManifest::to_bytes`] gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleManifest {
    /// Of the bundle, [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The workload it is for.
    pub service: String,
    /// Its name in the registry; `unsealed` in memory until the content is final.
    #[serde(with = "blank_when_unsealed")]
    pub version: ModelVersion,
    /// SHA-256 of this manifest with `version` and `digest` empty, in hexadecimal: through `files` it covers every byte.
    pub digest: String,
    /// The data it was fitted on, half-open.
    pub created_from: TimeRange,
    /// The distance between two rows of that data.
    pub step: Step,
    /// Of the dataset, as its manifest gives it.
    pub dataset_digest: String,
    /// Of the signals' expressions and limits.
    pub signals_digest: String,
    /// Settings of the fit, as they were used.
    pub params: serde_json::Value,
    /// Of every random choice in the fit.
    pub seed: u64,
    /// What the fit itself measured, if anything; what counts is the evaluation report.
    pub quality: Option<serde_json::Value>,
    /// Every other file of the bundle.
    pub files: BTreeMap<String, FileEntry>,
    /// The release of Forewarn that made it.
    pub forewarn_version: String,
}

/// A file as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// In lower-case hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

impl FileEntry {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { sha256: sha256_hex(bytes), bytes: bytes.len() as u64 }
    }
}

impl BundleManifest {
    /// A manifest whose content is not final: no files, no version.
    pub fn unsealed(service: &str, created_from: TimeRange, step: Step, seed: u64) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            service: service.to_owned(),
            version: ModelVersion::unsealed(),
            digest: String::new(),
            created_from,
            step,
            dataset_digest: String::new(),
            signals_digest: String::new(),
            params: serde_json::Value::Null,
            seed,
            quality: None,
            files: BTreeMap::new(),
            forewarn_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The same with these files, and with the version and the digest that follow from the content.
    pub(super) fn sealed(&self, files: BTreeMap<String, FileEntry>) -> Result<Self, BundleError> {
        let blank = Self {
            format_version: FORMAT_VERSION,
            version: ModelVersion::unsealed(),
            digest: String::new(),
            files,
            ..self.clone()
        };
        let digest = sha256_hex(&blank.to_bytes()?);
        Ok(Self { version: ModelVersion::of_content(self.created_from.end, &digest)?, digest, ..blank })
    }

    /// The bytes of `manifest.json`: indented JSON, fields in the order of this struct, maps sorted, one final newline.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| BundleError::malformed(MANIFEST_FILE, e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads `manifest.json`. Refuses another format, a field it does not know, and any byte that differs from what was written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            let (cap, got) = (MAX_MANIFEST_BYTES, bytes.len() as u64);
            return Err(BundleError::TooLarge { file: MANIFEST_FILE.to_owned(), cap, got });
        }
        check_format(bytes)?;
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| BundleError::malformed(MANIFEST_FILE, e))?;
        // Sealing again must give the same bytes: one comparison covers the digest, the version and stray whitespace.
        let wanted = manifest.sealed(manifest.files.clone())?;
        if wanted != manifest {
            return Err(BundleError::Checksum {
                file: MANIFEST_FILE.to_owned(),
                wanted: format!("{} ({})", manifest.digest, manifest.version),
                got: format!("{} ({})", wanted.digest, wanted.version),
            });
        }
        if wanted.to_bytes()? != bytes {
            return Err(BundleError::malformed(MANIFEST_FILE, "the bytes must be those that this format writes"));
        }
        Ok(manifest)
    }
}

/// Before anything else is read: what a later format means by the other fields is not ours to guess.
fn check_format(bytes: &[u8]) -> Result<(), BundleError> {
    #[derive(Deserialize)]
    struct Format {
        format_version: serde_json::Value,
    }
    let format: Format = serde_json::from_slice(bytes).map_err(|e| BundleError::malformed(MANIFEST_FILE, e))?;
    if format.format_version == FORMAT_VERSION {
        return Ok(());
    }
    let mut got = format.format_version.to_string();
    if got.len() > 32 {
        got = "something long".to_owned();
    }
    Err(BundleError::UnknownFormat { wanted: FORMAT_VERSION, got })
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An unsealed version is the empty text, so that the digest can be taken before the version is known.
mod blank_when_unsealed {
    use super::ModelVersion;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(version: &ModelVersion, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if version.is_sealed() { version.as_str() } else { "" })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ModelVersion, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
