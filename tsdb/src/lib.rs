//! The block format of Prometheus and Thanos, read: `meta.json`, the index, chunk segments and tombstones
//! (`docs/formats/tsdb-block.md`).
//!
//! Bytes come through [`ReadAt`], so that a block may lie in a folder or in a bucket; nothing here is async and nothing
//! knows a network. Every checksum is checked, every length is checked before memory is taken for it, and no input
//! makes it panic.
//!
//! ```no_run
//! use forewarn_schema::{LabelMatcher, MatchOp};
//! use forewarn_tsdb::{Block, Samples};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let block = Block::open_folder("data/01M85E6WZ6J2V38TX2EAD8NQK0".as_ref())?;
//! let up = LabelMatcher { name: "__name__".into(), op: MatchOp::Equal, value: "up".into() };
//! let selected = block.index.select(&[vec![up]])?;
//! let mut chunks = block.chunk_reader();
//! let mut samples = Samples::default();
//! for series in block.index.series(selected) {
//!     let series = series?;
//!     samples.clear();
//!     for meta in &series.chunks {
//!         chunks.read(meta.at)?.decode(&mut samples)?;
//!     }
//!     samples.remove_within(block.tombstones.of(series.reference));
//!     println!("{} {}", series.labels, samples.times.len());
//! }
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails to set up should panic"))]

mod block;
mod chunk;
mod cursor;
mod error;
mod index;
mod marks;
mod meta;
mod read_at;
mod samples;
mod tombstones;

pub use block::Block;
pub use chunk::aggregate::{AggregateChunk, AggregateSlot, CounterFold};
pub use chunk::segment::{ChunkReader, FRAME_OVERHEAD, Framed, SEGMENT_HEADER_LEN, check_segment_header, parse_frame};
pub use chunk::{Chunk, ChunkError, ChunkRef, Encoding, MAX_CHUNK_LEN};
pub use error::BlockError;
pub use index::matching::Matcher;
pub use index::series::{ChunkMeta, Series, SeriesIter};
pub use index::toc::{TOC_LEN, Toc};
pub use index::{Index, IndexOptions, SeriesRef, SeriesSet};
pub use marks::{DeletionMark, NoCompactMark};
pub use meta::{
    BlockFile, BlockMeta, BlockParent, BlockStats, Compaction, Downsample, IndexStats, MAX_META_LEN, ThanosMeta,
};
pub use read_at::{FileReader, InMemory, ReadAt, ReadError};
pub use samples::Samples;
pub use tombstones::{Interval, MAX_TOMBSTONES_LEN, Tombstones};
