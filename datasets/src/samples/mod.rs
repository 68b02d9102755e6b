//! Raw samples as Parquet: one file a source and UTC day, written and read as a stream. What the files are is in
//! `docs/formats/dataset.md`; where the samples come from, and when they are fetched, is for others.

mod chunk;
mod encodings;
mod group;
mod histograms;
mod prune;
mod reader;
mod schema;
mod writer;

pub use reader::{SampleFilter, SampleReader};
pub use writer::{SampleFileStats, SampleWriter};

/// A file larger than this is not read: a day of a hundred thousand series every 15 s is about 2 GiB.
pub(crate) const MAX_FILE_BYTES: u64 = 64 << 30;
/// Labels of one series, as JSON.
pub(crate) const MAX_LABELS_BYTES: usize = 1 << 20;

/// A file of samples cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SampleFileError {
    /// Samples must come in the file's order.
    #[error("samples must be sorted by labels, aggregate and time, none twice: {0}")]
    Order(String),
    /// The file is not one that was written here.
    #[error("not a file of samples: {0}")]
    Malformed(String),
    /// The Parquet library refused, or the disk did.
    #[error("{0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The file could not be opened or written; the cause stays one, so that a full disk is told apart.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl From<arrow::error::ArrowError> for SampleFileError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Parquet(error.into())
    }
}

#[cfg(test)]
mod tests;
