//! A block's folder: segment files, index, tombstones and `meta.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use forewarn_schema::LabelSet;
use serde_json::json;

use super::chunk::Chunk;
use super::float::xor;
use super::index::{ChunkPlace, IndexVersion, SeriesEntry, write_index};
use super::tombstones::write_tombstones;

/// Samples in a chunk, as Prometheus cuts them.
const SAMPLES_PER_CHUNK: usize = 120;

/// How a block is written.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockOptions {
    /// Its name; see [`ulid`].
    pub ulid: String,
    /// Which index.
    pub version: IndexVersion,
    /// A segment file ends when it is this long, in bytes.
    pub segment_size: u64,
    /// 1 for a block cut from the head.
    pub level: u32,
    /// ULIDs of the level-1 blocks in it; itself where it is empty.
    pub sources: Vec<String>,
    /// What Thanos adds to `meta.json`.
    pub thanos: Option<ThanosOptions>,
}

impl BlockOptions {
    /// A block of the head, version 2, in segments of 512 MiB.
    pub fn new(ulid: impl Into<String>) -> Self {
        Self {
            ulid: ulid.into(),
            version: IndexVersion::V2,
            segment_size: 512 << 20,
            level: 1,
            sources: Vec::new(),
            thanos: None,
        }
    }
}

/// The object `thanos` of `meta.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThanosOptions {
    /// External labels.
    pub labels: BTreeMap<String, String>,
    /// Milliseconds between samples; 0 for raw ones.
    pub resolution_ms: i64,
    /// `sidecar`, `compactor`, …
    pub source: String,
    /// RFC 3339.
    pub upload_time: Option<String>,
}

/// A ULID made at a time (Unix milliseconds), the `number`-th of that millisecond.
pub fn ulid(millis: u64, number: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digit = |value: u64, place: u32| char::from(DIGITS[(value >> (5 * place) & 31) as usize]);
    let time = (0..10).rev().map(|place| digit(millis, place));
    // 80 bits of which 60 are enough.
    time.chain("0000".chars()).chain((0..12).rev().map(|place| digit(number, place))).collect()
}

/// A block that is being written.
#[derive(Debug)]
pub struct BlockWriter {
    folder: PathBuf,
    options: BlockOptions,
    series: Vec<SeriesEntry>,
    deleted: Vec<(usize, i64, i64)>,
    segment: BufWriter<File>,
    segment_number: u64,
    segment_len: u64,
    samples: u64,
}

impl BlockWriter {
    /// Makes the folder `<parent>/<ulid>`.
    pub fn create(parent: &Path, options: BlockOptions) -> io::Result<Self> {
        let folder = parent.join(&options.ulid);
        fs::create_dir_all(folder.join("chunks"))?;
        let segment = start_segment(&folder, 0)?;
        Ok(Self {
            folder,
            options,
            series: Vec::new(),
            deleted: Vec::new(),
            segment,
            segment_number: 0,
            segment_len: 8,
            samples: 0,
        })
    }

    /// Writes the chunks of the next series, and says which number it has (from 0). Series must come in the order of their
    /// labels, none twice.
    pub fn series(&mut self, labels: &LabelSet, chunks: &[Chunk]) -> io::Result<usize> {
        if self.series.last().is_some_and(|last| last.labels >= *labels) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("series out of order: {labels}")));
        }
        let mut places = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            places.push(self.chunk(chunk)?);
        }
        self.series.push(SeriesEntry { labels: labels.clone(), chunks: places });
        Ok(self.series.len() - 1)
    }

    /// The same from floats, in XOR chunks of 120.
    pub fn floats(&mut self, labels: &LabelSet, samples: &[(i64, f64)]) -> io::Result<usize> {
        let chunks: Vec<Chunk> = samples.chunks(SAMPLES_PER_CHUNK).map(xor).collect();
        self.series(labels, &chunks)
    }

    /// Marks what a series has between two times, both included, as deleted.
    pub fn delete(&mut self, series: usize, start: i64, end: i64) {
        self.deleted.push((series, start, end));
    }

    /// Writes the index, `tombstones` and `meta.json`, and gives the block's folder.
    pub fn finish(mut self) -> io::Result<PathBuf> {
        self.segment.flush()?;
        let (index, references) = write_index(&self.series, self.options.version);
        fs::write(self.folder.join("index"), index)?;
        let deleted: Vec<_> =
            self.deleted.iter().map(|(series, start, end)| (references[*series], *start, *end)).collect();
        fs::write(self.folder.join("tombstones"), write_tombstones(&deleted))?;
        fs::write(self.folder.join("meta.json"), self.meta())?;
        Ok(self.folder)
    }

    fn chunk(&mut self, chunk: &Chunk) -> io::Result<ChunkPlace> {
        let frame = chunk.frame();
        if self.segment_len > 8 && self.segment_len + frame.len() as u64 > self.options.segment_size {
            self.segment.flush()?;
            self.segment_number += 1;
            self.segment = start_segment(&self.folder, self.segment_number)?;
            self.segment_len = 8;
        }
        let reference = self.segment_number << 32 | self.segment_len;
        self.segment.write_all(&frame)?;
        self.segment_len += frame.len() as u64;
        self.samples += chunk.samples;
        Ok(ChunkPlace { start: chunk.start, end: chunk.end, reference })
    }

    fn meta(&self) -> String {
        let chunks = || self.series.iter().flat_map(|s| &s.chunks);
        let options = &self.options;
        let sources = if options.sources.is_empty() { vec![options.ulid.clone()] } else { options.sources.clone() };
        let mut meta = json!({
            "ulid": options.ulid,
            "minTime": chunks().map(|c| c.start).min().unwrap_or(0),
            "maxTime": chunks().map(|c| c.end).max().unwrap_or(-1) + 1,
            "stats": {
                "numSamples": self.samples,
                "numSeries": self.series.len(),
                "numChunks": chunks().count(),
                "numTombstones": self.deleted.len(),
            },
            "compaction": {"level": options.level, "sources": sources},
            "version": 1,
        });
        if let Some(thanos) = &options.thanos {
            meta["thanos"] = json!({
                "version": 1,
                "labels": thanos.labels,
                "downsample": {"resolution": thanos.resolution_ms},
                "source": thanos.source,
            });
            if let Some(time) = &thanos.upload_time {
                meta["thanos"]["upload_time"] = json!(time);
            }
        }
        meta.to_string()
    }
}

/// Segment files are numbered from 1.
fn start_segment(folder: &Path, number: u64) -> io::Result<BufWriter<File>> {
    let file = File::create(folder.join("chunks").join(format!("{:06}", number + 1)))?;
    let mut segment = BufWriter::with_capacity(1 << 20, file);
    segment.write_all(&[0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0])?;
    Ok(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ulid_has_its_time_in_front() {
        // The time of the ULID specification's example.
        assert!(ulid(1_469_918_176_385, 0).starts_with("01ARYZ6S41"));
        assert_eq!(ulid(0, 33).len(), 26);
        assert!(ulid(5, 1) < ulid(5, 2) && ulid(5, 9) < ulid(6, 0));
    }

    #[test]
    fn series_out_of_order_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut block = BlockWriter::create(dir.path(), BlockOptions::new(ulid(1, 1))).unwrap();
        let labels = LabelSet::from([("__name__", "up")]);
        block.floats(&labels, &[(1, 1.0)]).unwrap();
        assert!(block.floats(&labels, &[(2, 1.0)]).is_err());
    }
}
