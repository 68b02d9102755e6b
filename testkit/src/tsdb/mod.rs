//! Blocks as Prometheus and Thanos write them, for tests of what reads them. Written from the format's description and
//! without a line of our reader, so that the two check each other; `promtool` is the judge of both.
//!
//! Chunks go to disk as they come; labels and the places of chunks stay in memory until [`BlockWriter::finish`] writes
//! the index, which is about 30 bytes a chunk.

mod bits;
mod block;
mod chunk;
mod crc;
mod downsample;
mod float;
mod histogram;
mod index;
mod start_time;
mod tombstones;

pub use block::{BlockOptions, BlockWriter, ThanosOptions, ulid};
pub use chunk::Chunk;
pub use crc::crc32c;
pub use downsample::downsample;
pub use float::{xor, xor2};
pub use histogram::{float_histogram, integer_histogram};
pub use index::{ChunkPlace, IndexVersion, SeriesEntry, write_index};
pub use tombstones::write_tombstones;
