//! Opening a block: its files from a folder, or from a bucket by ranged reads.

use std::sync::Arc;

use forewarn_schema::{LabelMatcher, LabelSet};
use forewarn_storage::Store;
use forewarn_tsdb::{
    BlockError, ChunkReader, FRAME_OVERHEAD, FileReader, Index, IndexOptions, Matcher, ReadAt, ReadError,
    SEGMENT_HEADER_LEN, SeriesSet, Tombstones, check_segment_header,
};
use tokio::runtime::Handle;

use super::discover::FoundBlock;
use super::remote::RemoteFile;

/// At least this much of an index is fetched at once: postings of neighbouring values lie together.
const INDEX_FETCH: u64 = 16 << 10;
/// What a chunk is taken to have, where nothing says how long it is: 120 samples at 1.3 bytes, and some.
const CHUNK_GUESS: usize = 512;
/// What is read past a chunk in a file, where bytes cost nothing.
const FILE_READAHEAD: usize = 64 << 10;

/// An open block.
pub(super) struct OpenBlock {
    pub(super) found: Arc<FoundBlock>,
    pub(super) index: Arc<Index>,
    pub(super) tombstones: Tombstones,
    segments: Vec<Arc<dyn ReadAt>>,
    /// The same segments where they lie in a bucket, for fetching ahead.
    pub(super) remote: Vec<Arc<RemoteFile>>,
}

impl OpenBlock {
    /// Opens it; `section_in_memory` bounds what is kept of each part of its index. Blocks: call it where that is allowed.
    pub(super) fn open(
        store: &Store,
        handle: &Handle,
        found: &Arc<FoundBlock>,
        section_in_memory: u64,
    ) -> Result<Self, BlockError> {
        let mut remote = Vec::new();
        let index = file(store, handle, found, "index", INDEX_FETCH)?.0;
        let index = Arc::new(Index::open_with(index, IndexOptions { section_in_memory })?);
        let tombstones = if found.files.contains_key("tombstones") {
            Tombstones::read(file(store, handle, found, "tombstones", INDEX_FETCH)?.0.as_ref())?
        } else {
            Tombstones::default()
        };
        let mut segments = Vec::new();
        let numbered = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        for name in found.files.keys().filter(|n| n.strip_prefix("chunks/").is_some_and(numbered)) {
            let (segment, in_bucket) = file(store, handle, found, name, 1)?;
            let header = segment.read_at(0, SEGMENT_HEADER_LEN.min(usize::try_from(segment.size()).unwrap_or(0)))?;
            check_segment_header(segment.name(), &header)?;
            segments.push(segment);
            remote.extend(in_bucket);
        }
        Ok(Self { found: Arc::clone(found), index, tombstones, segments, remote })
    }

    pub(super) fn chunk_reader(&self) -> ChunkReader {
        let readahead = if self.remote.is_empty() { FILE_READAHEAD } else { self.chunk_guess() };
        ChunkReader::new(self.segments.clone()).with_readahead(readahead)
    }

    /// How many bytes a chunk has at the most, or nearly always.
    pub(super) fn chunk_guess(&self) -> usize {
        let said = self.found.meta.thanos.as_ref().map_or(0, |thanos| thanos.index_stats.chunk_max_size);
        match usize::try_from(said) {
            Ok(said) if said > 0 => said.min(64 << 10) + FRAME_OVERHEAD,
            _ => CHUNK_GUESS,
        }
    }

    /// The series that any of the selectors selects, the external labels being on all of them.
    pub(super) fn select(&self, selectors: &[Vec<LabelMatcher>]) -> Result<SeriesSet, BlockError> {
        let external = &self.found.external;
        let mut left = Vec::with_capacity(selectors.len());
        'selectors: for selector in selectors {
            let mut conditions = Vec::with_capacity(selector.len());
            for condition in selector {
                match external.get(&condition.name) {
                    Some(value) if Matcher::new(condition)?.accepts(value) => {}
                    Some(_) => continue 'selectors,
                    None => conditions.push(condition.clone()),
                }
            }
            left.push(conditions);
        }
        self.index.select(&left)
    }

    /// Whether some series has a label of its own that the external labels overwrite.
    pub(super) fn has_clash(&self) -> bool {
        let names = self.index.label_names();
        self.found.external.iter().any(|(name, _)| names.binary_search_by(|n| n.as_str().cmp(name)).is_ok())
    }
}

/// A file; the second is the same one, where it lies in a bucket.
type Opened = (Arc<dyn ReadAt>, Option<Arc<RemoteFile>>);

/// A file of the block.
fn file(
    store: &Store,
    handle: &Handle,
    found: &FoundBlock,
    name: &str,
    least_fetch: u64,
) -> Result<Opened, BlockError> {
    let path = format!("{}/{name}", found.id);
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        BlockError::Read(ReadError::Failed { name: path.clone(), offset: 0, len: 0, source: e })
    };
    if store.is_folder() {
        return match store.local_file(&path).map_err(|e| failed(Box::new(e)))? {
            Some(local) => Ok((Arc::new(FileReader::open(&local)?), None)),
            None => Err(ReadError::NotFound { name: path }.into()),
        };
    }
    let size = found.files.get(name).copied().ok_or_else(|| ReadError::NotFound { name: path.clone() })?;
    let remote = RemoteFile::new(store.clone(), handle.clone(), path.clone(), size, least_fetch);
    let remote = Arc::new(remote.map_err(|e| failed(Box::new(e)))?);
    Ok((Arc::clone(&remote) as Arc<dyn ReadAt>, Some(remote)))
}

/// The labels that a series is known by: its own and the external ones, which win. The second says whether one of its
/// own was overwritten.
pub(super) fn with_external(mut labels: LabelSet, external: &LabelSet) -> (LabelSet, bool) {
    let mut clash = false;
    for (name, value) in external.iter() {
        clash |= labels.get(name).is_some();
        labels.insert(name, value);
    }
    (labels, clash)
}
