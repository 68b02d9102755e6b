//! Where a block's bytes come from: a file, memory, or whatever the caller has (a bucket behind a cache).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

/// Bytes did not come.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there (any more): the block was deleted, or the plan is old.
    #[error("{name} does not exist")]
    NotFound {
        /// What was read.
        name: String,
    },
    /// The range asked for does not lie in it: the file was cut short, or what pointed there is damaged.
    #[error("{name} has {size} bytes, wanted {len} from byte {offset} on")]
    OutOfRange {
        /// What was read.
        name: String,
        /// First byte wanted.
        offset: u64,
        /// How many bytes were wanted.
        len: usize,
        /// How many there are.
        size: u64,
    },
    /// Anything else: the disk, the network, a permission.
    #[error("cannot read {len} bytes of {name} from byte {offset} on")]
    Failed {
        /// What was read.
        name: String,
        /// First byte wanted.
        offset: u64,
        /// How many bytes were wanted.
        len: usize,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Something of a known size that gives any range of its bytes. It does not change while it is read.
pub trait ReadAt: Send + Sync {
    /// For errors: a path or a key.
    fn name(&self) -> &str;

    /// How many bytes it has.
    fn size(&self) -> u64;

    /// Exactly `len` bytes from `offset` on. A range that does not lie inside is [`ReadError::OutOfRange`], and is
    /// checked before memory is taken for it.
    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError>;
}

/// Whether the range lies inside; for implementations of [`ReadAt`].
pub(crate) fn check_range(source: &dyn ReadAt, offset: u64, len: usize) -> Result<(), ReadError> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= source.size() => Ok(()),
        _ => Err(ReadError::OutOfRange { name: source.name().to_owned(), offset, len, size: source.size() }),
    }
}

/// A file on disk, read with `pread`: one handle serves many threads.
#[derive(Debug)]
pub struct FileReader {
    name: String,
    size: u64,
    file: File,
}

impl FileReader {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((size, file)) => Ok(Self { name, size, file }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ReadError::NotFound { name }),
            Err(e) => Err(ReadError::Failed { name, offset: 0, len: 0, source: Box::new(e) }),
        }
    }
}

impl ReadAt for FileReader {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        check_range(self, offset, len)?;
        let mut bytes = vec![0; len];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes.into()),
            Err(e) => Err(ReadError::Failed { name: self.name.clone(), offset, len, source: Box::new(e) }),
        }
    }
}

/// Bytes in memory; reading copies nothing.
#[derive(Clone, Debug)]
pub struct InMemory {
    name: String,
    bytes: Bytes,
}

impl InMemory {
    /// Gives `bytes` as the content of `name`.
    pub fn new(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

impl ReadAt for InMemory {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        check_range(self, offset, len)?;
        let start = offset as usize;
        Ok(self.bytes.slice(start..start + len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_past_the_end_is_refused_before_memory_is_taken() {
        let memory = InMemory::new("x", vec![1, 2, 3]);
        assert_eq!(memory.read_at(1, 2).unwrap(), [2, 3].as_slice());
        for (offset, len) in [(1, 3), (4, 0), (u64::MAX, 2), (0, usize::MAX)] {
            assert!(matches!(memory.read_at(offset, len), Err(ReadError::OutOfRange { size: 3, .. })));
        }
    }

    #[test]
    fn a_file_gives_the_same_as_memory_and_a_missing_one_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"abcdef").unwrap();
        let file = FileReader::open(&path).unwrap();
        assert_eq!((file.size(), file.read_at(2, 3).unwrap()), (6, Bytes::from("cde")));
        assert!(matches!(file.read_at(5, 2), Err(ReadError::OutOfRange { .. })));
        assert!(matches!(FileReader::open(&dir.path().join("y")), Err(ReadError::NotFound { .. })));
    }
}
