//! A block as a whole: its parts, opened.

use std::path::Path;
use std::sync::Arc;

use crate::{
    BlockError, BlockMeta, ChunkReader, FileReader, Index, ReadAt, ReadError, SEGMENT_HEADER_LEN, Tombstones,
    check_segment_header,
};

/// A block that can be read. Its fields are public: a source that opens the parts by itself puts them together here.
pub struct Block {
    /// What it says of itself.
    pub meta: BlockMeta,
    /// Which series there are, and where their chunks lie.
    pub index: Arc<Index>,
    /// What was deleted.
    pub tombstones: Tombstones,
    /// The segment files, in the order of their names.
    pub segments: Vec<Arc<dyn ReadAt>>,
}

impl Block {
    /// Opens the block in the folder at `path`. No `tombstones` means that nothing was deleted.
    pub fn open_folder(path: &Path) -> Result<Self, BlockError> {
        let meta = BlockMeta::read(&FileReader::open(&path.join("meta.json"))?)?;
        let index = Arc::new(Index::open(Arc::new(FileReader::open(&path.join("index"))?))?);
        let tombstones = match FileReader::open(&path.join("tombstones")) {
            Ok(file) => Tombstones::read(&file)?,
            Err(ReadError::NotFound { .. }) => Tombstones::default(),
            Err(e) => return Err(e.into()),
        };
        let segments = segments(&path.join("chunks"))?;
        Ok(Self { meta, index, tombstones, segments })
    }

    /// Reads its chunks; every reader has a window of its own.
    pub fn chunk_reader(&self) -> ChunkReader {
        ChunkReader::new(self.segments.clone())
    }
}

/// The files in the folder whose names are numbers, in their order, with a header that we know.
fn segments(folder: &Path) -> Result<Vec<Arc<dyn ReadAt>>, BlockError> {
    let failed = |e: std::io::Error| ReadError::Failed {
        name: folder.display().to_string(),
        offset: 0,
        len: 0,
        source: Box::new(e),
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name.to_str().is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit())) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut segments: Vec<Arc<dyn ReadAt>> = Vec::with_capacity(names.len());
    for name in names {
        let file = FileReader::open(&folder.join(name))?;
        let header = file.read_at(0, SEGMENT_HEADER_LEN.min(usize::try_from(file.size()).unwrap_or(usize::MAX)))?;
        check_segment_header(file.name(), &header)?;
        segments.push(Arc::new(file));
    }
    Ok(segments)
}
