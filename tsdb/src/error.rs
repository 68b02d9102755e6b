//! What may go wrong with a block, by what the caller can do next.

use crate::{ChunkError, ReadError};

/// A block, or a part of it, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The bytes did not come: try again, or plan again where the object is gone.
    #[error("cannot read a block")]
    Read(#[from] ReadError),
    /// The bytes came and are not what the format says. Refuse the block by name; another read gives the same.
    #[error("{file} is damaged at byte {at}: {what}")]
    Corrupt {
        /// Which file, as [`ReadAt::name`](crate::ReadAt::name) calls it.
        file: String,
        /// Where in it.
        at: u64,
        /// What was wanted and what was got.
        what: String,
    },
    /// A version that we do not know.
    #[error("{file} has version {got}, we read {known}")]
    Version {
        /// Which file.
        file: String,
        /// The version it has.
        got: u64,
        /// The versions that we read.
        known: &'static str,
    },
    /// A file that is larger than any honest one.
    #[error("{file} has {got} bytes, at most {cap} are read")]
    TooLarge {
        /// Which file.
        file: String,
        /// Its size.
        got: u64,
        /// The cap.
        cap: u64,
    },
    /// A chunk could not be decoded; [`ChunkError::UnknownEncoding`] is a skip, the others are damage.
    #[error("cannot decode the chunk at {at} of {file}")]
    Chunk {
        /// Which segment file.
        file: String,
        /// Byte offset of the chunk in it.
        at: u64,
        /// Why.
        #[source]
        source: ChunkError,
    },
    /// A matcher's pattern is no regular expression: fix the query.
    #[error("the pattern of {matcher} must be a regular expression of at most {cap} bytes when compiled")]
    Pattern {
        /// The matcher, as PromQL writes it.
        matcher: String,
        /// The cap on the compiled pattern.
        cap: usize,
        /// Why.
        #[source]
        source: Box<regex::Error>,
    },
}

impl BlockError {
    pub(crate) fn corrupt(file: &str, at: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), at, what: what.into() }
    }
}
