//! What can be wrong with a bundle, by what the caller does next: refuse it and keep the previous one.

/// A bundle could not be written or read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BundleError {
    /// Written by another version of the format.
    #[error("manifest.json: format_version must be {wanted}, got {got}")]
    UnknownFormat {
        /// What this build reads.
        wanted: u32,
        /// What the manifest says.
        got: String,
    },
    /// A file that belongs to every bundle is not there.
    #[error("{file} is missing from the bundle")]
    Missing {
        /// Its name.
        file: String,
    },
    /// A file that belongs to no bundle.
    #[error("a bundle holds manifest.json, parts.json and tensors.safetensors, got {file:?} too")]
    Unexpected {
        /// Its name.
        file: String,
    },
    /// Larger than this build will read.
    #[error("{file} must be at most {cap} bytes, got {got}")]
    TooLarge {
        /// The file's name.
        file: String,
        /// The most that is read.
        cap: u64,
        /// Its size in bytes, as it is or as it is declared.
        got: u64,
    },
    /// Not as many bytes as the manifest says.
    #[error("{file} must have {wanted} bytes, got {got}")]
    Size {
        /// The file's name.
        file: String,
        /// The size in bytes that the manifest gives.
        wanted: u64,
        /// The size in bytes that was found.
        got: u64,
    },
    /// Not the bytes that were written.
    #[error("{file} is corrupt: sha256 must be {wanted}, got {got}")]
    Checksum {
        /// The file's name.
        file: String,
        /// The digest that the manifest (or, for the manifest, the version) gives.
        wanted: String,
        /// The digest that was found.
        got: String,
    },
    /// The bytes are whole, but do not say what they should.
    #[error("{file}: {reason}")]
    Malformed {
        /// The file's name.
        file: String,
        /// What was wanted, and what was got.
        reason: String,
    },
    /// Each part is well-formed, but they do not fit together.
    #[error("the bundle's parts do not fit together: {0}")]
    Inconsistent(String),
    /// A model version that is not one.
    #[error("a model version must look like 20260108T000000Z-1a2b3c4d, got {0:?}")]
    Version(String),
}

impl BundleError {
    /// `file` does not say what it should.
    pub(super) fn malformed(file: &str, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { file: file.to_owned(), reason: reason.to_string() }
    }
}
