//! Chunks: a few minutes to hours of one series, compressed. Here is what they have in common; each encoding has a file
//! of its own.

pub(crate) mod aggregate;
mod bits;
mod float_histogram;
mod histogram;
mod layout;
pub(crate) mod segment;
mod start_time;
mod xor;
mod xor2;

use bytes::Bytes;

use crate::Samples;
use bits::Damage;

/// A chunk that claims to be longer than this is taken for damage: honest ones have a few kilobytes.
pub const MAX_CHUNK_LEN: usize = 64 << 20;

/// How many numbers (buckets, spans, bounds) the histograms of one chunk may unfold into. A sample that repeats the one
/// before costs a few bits and unfolds into its whole layout, so that the input's length alone bounds nothing useful.
const MAX_UNFOLDED: usize = 1 << 22;

/// Where a chunk lies: which segment file (from 0, in the order of their names) and the byte in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef(pub u64);

impl ChunkRef {
    /// From its two halves.
    pub fn new(segment: u32, offset: u32) -> Self {
        Self(u64::from(segment) << 32 | u64::from(offset))
    }

    /// Index of the segment file, from 0: 0 is `chunks/000001`.
    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Byte offset of the chunk's length in that file.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// How a chunk's data are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// Floats (Gorilla; Pelkonen et al. 2015, as Prometheus changed it).
    Xor,
    /// Native histograms with integer counts.
    Histogram,
    /// Native histograms with float counts.
    FloatHistogram,
    /// Floats, with start timestamps where there are any.
    Xor2,
    /// [`Self::Histogram`] with start timestamps.
    HistogramStartTime,
    /// [`Self::FloatHistogram`] with start timestamps.
    FloatHistogramStartTime,
    /// A downsampled window in up to five chunks (Thanos).
    Aggregate,
    /// A number that nobody had given a meaning when this was written.
    Unknown(u8),
}

impl Encoding {
    /// From the byte before a chunk's data.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Xor,
            2 => Self::Histogram,
            3 => Self::FloatHistogram,
            4 => Self::Xor2,
            5 => Self::HistogramStartTime,
            6 => Self::FloatHistogramStartTime,
            255 => Self::Aggregate,
            other => Self::Unknown(other),
        }
    }

    /// The byte before a chunk's data.
    pub fn byte(self) -> u8 {
        match self {
            Self::Xor => 1,
            Self::Histogram => 2,
            Self::FloatHistogram => 3,
            Self::Xor2 => 4,
            Self::HistogramStartTime => 5,
            Self::FloatHistogramStartTime => 6,
            Self::Aggregate => 255,
            Self::Unknown(other) => other,
        }
    }
}

/// A chunk could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// An encoding that we do not know: leave the chunk out, and count it.
    #[error("chunk encoding {0} is not known")]
    UnknownEncoding(u8),
    /// A histogram schema that we do not know: leave the chunk out, and count it.
    #[error("native histogram schema {0} is not known")]
    UnknownSchema(i64),
    /// A downsampled chunk has no samples of its own: ask for [`Chunk::aggregates`].
    #[error("a downsampled chunk must be taken apart before it is decoded")]
    IsAggregate,
    /// A downsampled chunk is not made of five slots.
    #[error("a downsampled chunk: {0}")]
    Aggregates(&'static str),
    /// The frame around the data.
    #[error("a chunk of at most {MAX_CHUNK_LEN} bytes wanted, got a length of {0}")]
    Length(u64),
    /// The checksum over encoding and data.
    #[error("chunk checksum {wanted:08x} wanted, got {got:08x}")]
    Checksum {
        /// What is written behind the data.
        wanted: u32,
        /// What the data have.
        got: u32,
    },
    /// The data end too early.
    #[error("the data end in sample {sample} of {count}")]
    Truncated {
        /// From 0.
        sample: usize,
        /// As many samples as the header promises.
        count: usize,
    },
    /// The data say something impossible.
    #[error("sample {sample} of {count}: {what}")]
    Corrupt {
        /// From 0.
        sample: usize,
        /// As many samples as the header promises.
        count: usize,
        /// What was wanted and what was got.
        what: &'static str,
    },
}

impl ChunkError {
    /// Whether the chunk is to be left out and counted, rather than the block refused.
    pub fn is_skip(&self) -> bool {
        matches!(self, Self::UnknownEncoding(_) | Self::UnknownSchema(_))
    }

    fn at(damage: Damage, sample: usize, count: usize) -> Self {
        match damage {
            Damage::End => Self::Truncated { sample, count },
            Damage::Schema(schema) => Self::UnknownSchema(schema),
            Damage::What(what) => Self::Corrupt { sample, count, what },
        }
    }
}

/// A chunk's encoding and data, the checksum checked. Cloning and slicing copy no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// How the data are encoded.
    pub encoding: Encoding,
    /// Everything after the encoding byte.
    pub data: Bytes,
}

impl Chunk {
    /// How many samples the header promises. Not to be trusted: a damaged chunk promises anything up to 65,535. 0 for
    /// downsampled, unknown and empty chunks.
    pub fn promised_samples(&self) -> usize {
        let Some([high, low]) = self.data.first_chunk() else { return 0 };
        let count = usize::from(u16::from_be_bytes([*high, *low]));
        match self.encoding {
            Encoding::Aggregate | Encoding::Unknown(_) => 0,
            Encoding::HistogramStartTime | Encoding::FloatHistogramStartTime => count & 0x3fff,
            _ => count,
        }
    }

    /// Appends every sample to `out`: floats to `times` and `values`, native histograms to `histograms`. Values keep
    /// their bits. Start timestamps are read and dropped. On an error `out` is as it was.
    pub fn decode(&self, out: &mut Samples) -> Result<(), ChunkError> {
        let (floats, histograms) = (out.times.len(), out.histograms.len());
        let result = match self.encoding {
            Encoding::Xor => xor::decode(&self.data, &mut out.times, &mut out.values),
            Encoding::Xor2 => xor2::decode(&self.data, &mut out.times, &mut out.values),
            Encoding::Histogram | Encoding::HistogramStartTime => {
                histogram::decode(&self.data, self.encoding, &mut out.histograms)
            }
            Encoding::FloatHistogram | Encoding::FloatHistogramStartTime => {
                float_histogram::decode(&self.data, self.encoding, &mut out.histograms)
            }
            Encoding::Aggregate => Err(ChunkError::IsAggregate),
            Encoding::Unknown(byte) => Err(ChunkError::UnknownEncoding(byte)),
        };
        if result.is_err() {
            out.times.truncate(floats);
            out.values.truncate(floats);
            out.histograms.truncate(histograms);
        }
        result
    }

    /// The chunks of a downsampled window.
    pub fn aggregates(&self) -> Result<aggregate::AggregateChunk, ChunkError> {
        aggregate::AggregateChunk::parse(self)
    }
}
