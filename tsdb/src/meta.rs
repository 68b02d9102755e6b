//! `meta.json`: what a block holds, where it came from and, of Thanos, which labels its producer adds.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{BlockError, ReadAt};

/// A larger `meta.json` is refused: an honest one has a few kilobytes, with every source block of a year listed.
pub const MAX_META_LEN: u64 = 16 << 20;

/// A block's `meta.json`. Keys that we do not know are ignored, since both projects add some.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockMeta {
    /// Its name: 26 characters, the first of which say when it was made.
    pub ulid: String,
    /// The earliest time, in Unix milliseconds.
    pub min_time: i64,
    /// One past the latest time.
    pub max_time: i64,
    /// Counts; 0 where they are not said.
    #[serde(default)]
    pub stats: BlockStats,
    /// How it was made.
    #[serde(default)]
    pub compaction: Compaction,
    /// What Thanos adds.
    #[serde(default)]
    pub thanos: Option<ThanosMeta>,
    /// 1.
    pub version: u64,
}

/// Counts of what is in a block, as its writer says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// Of every kind.
    pub num_samples: u64,
    /// Floats.
    pub num_float_samples: u64,
    /// Native histograms.
    pub num_histogram_samples: u64,
    /// Series.
    pub num_series: u64,
    /// Chunks.
    pub num_chunks: u64,
    /// Deleted intervals.
    pub num_tombstones: u64,
}

/// How a block was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Compaction {
    /// 1 for a block cut from the head; more for one made of others.
    pub level: u64,
    /// ULIDs of the level-1 blocks in it: a block whose sources are among another's adds nothing to it.
    pub sources: Vec<String>,
    /// The blocks it was made of directly.
    pub parents: Vec<BlockParent>,
    /// Whether it may go because it is empty.
    pub deletable: bool,
    /// Whether compacting it has failed.
    pub failed: bool,
    /// `from-out-of-order` and the like.
    pub hints: Vec<String>,
}

/// A block that another was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockParent {
    /// Its name.
    pub ulid: String,
    /// Its earliest time.
    pub min_time: i64,
    /// One past its latest time.
    pub max_time: i64,
}

/// The object `thanos` of `meta.json`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ThanosMeta {
    /// 1, or 0 where it is not said, which means the same.
    pub version: u64,
    /// External labels: on every series of the block, though not stored with it. They win over a series' own.
    pub labels: BTreeMap<String, String>,
    /// How far it was downsampled.
    pub downsample: Downsample,
    /// `sidecar`, `receive`, `compactor`, `compactor.repair`, `ruler`, `bucket.repair`, …
    pub source: String,
    /// Names of the segment files, in older blocks.
    pub segment_files: Vec<String>,
    /// Every file of the block, in newer ones.
    pub files: Vec<BlockFile>,
    /// Bounds on sizes within the block.
    pub index_stats: IndexStats,
    /// RFC 3339; when the upload was begun.
    pub upload_time: Option<String>,
    /// Free; `parquet_migrated` marks a block that was converted.
    pub extensions: Option<serde_json::Value>,
}

/// How far a block was downsampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Downsample {
    /// Milliseconds between samples: 0 raw, 300,000, 3,600,000.
    pub resolution: i64,
}

/// A file of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BlockFile {
    /// Its path in the block's folder.
    pub rel_path: String,
    /// Its size; 0 where it is not said, as for `meta.json` itself.
    pub size_bytes: u64,
}

/// Bounds on sizes within a block; 0 where they are not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IndexStats {
    /// The longest series entry.
    pub series_max_size: i64,
    /// The longest chunk.
    pub chunk_max_size: i64,
}

impl BlockMeta {
    /// Reads the file.
    pub fn read(file: &dyn ReadAt) -> Result<Self, BlockError> {
        if file.size() > MAX_META_LEN {
            return Err(BlockError::TooLarge { file: file.name().to_owned(), got: file.size(), cap: MAX_META_LEN });
        }
        Self::parse(file.name(), &file.read_at(0, file.size() as usize)?)
    }

    /// From the file's bytes; `file` is its name in errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, BlockError> {
        let meta: Self = parse_json(file, bytes, MAX_META_LEN)?;
        let version = |got| BlockError::Version { file: file.to_owned(), got, known: "1" };
        if meta.version != 1 {
            return Err(version(meta.version));
        }
        if let Some(thanos) = &meta.thanos
            && thanos.version > 1
        {
            return Err(version(thanos.version));
        }
        if meta.min_time > meta.max_time {
            let what = format!("minTime {} must not be after maxTime {}", meta.min_time, meta.max_time);
            return Err(BlockError::corrupt(file, 0, what));
        }
        Ok(meta)
    }

    /// Milliseconds between samples: 0 for raw ones.
    pub fn resolution_ms(&self) -> i64 {
        self.thanos.as_ref().map_or(0, |thanos| thanos.downsample.resolution)
    }
}

/// JSON with a cap on its size; serde's own cap on nesting holds besides.
pub(crate) fn parse_json<T: serde::de::DeserializeOwned>(file: &str, bytes: &[u8], cap: u64) -> Result<T, BlockError> {
    if bytes.len() as u64 > cap {
        return Err(BlockError::TooLarge { file: file.to_owned(), got: bytes.len() as u64, cap });
    }
    serde_json::from_slice(bytes).map_err(|e| BlockError::corrupt(file, 0, format!("JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_promtool_writes_is_read() {
        let text = br#"{"ulid":"01M85E6WZ6J2V38TX2EAD8NQK0","minTime":1767225604820,"maxTime":1767290399078,
            "stats":{"numSamples":655933,"numSeries":647,"numChunks":6112},
            "compaction":{"level":1,"sources":["01M85E6WZ6J2V38TX2EAD8NQK0"]},"version":1}"#;
        let meta = BlockMeta::parse("meta.json", text).unwrap();
        assert_eq!((meta.max_time, meta.stats.num_series, meta.compaction.level), (1_767_290_399_078, 647, 1));
        assert_eq!((meta.thanos.as_ref(), meta.resolution_ms()), (None, 0));
    }

    #[test]
    fn unknown_keys_are_ignored_and_thanos_is_read() {
        let text =
            br#"{"ulid":"x","minTime":0,"maxTime":7,"version":1,"new":{"a":[1]},"thanos":{"labels":{"replica":"a"},
            "downsample":{"resolution":300000},"source":"sidecar","upload_time":"2026-01-01T00:00:00Z",
            "files":[{"rel_path":"index","size_bytes":12,"hash":{"func":"x"}},{"rel_path":"meta.json"}],
            "index_stats":{"chunk_max_size":900},"rewrites":null,"extensions":{"parquet_migrated":true}}}"#;
        let meta = BlockMeta::parse("meta.json", text).unwrap();
        assert_eq!(meta.resolution_ms(), 300_000);
        let thanos = meta.thanos.unwrap();
        assert_eq!((thanos.labels["replica"].as_str(), thanos.index_stats.chunk_max_size), ("a", 900));
        assert_eq!((thanos.files[0].size_bytes, thanos.files[1].size_bytes), (12, 0));
    }

    #[test]
    fn another_version_and_a_reversed_range_are_refused() {
        let parse = |text: &str| BlockMeta::parse("meta.json", text.as_bytes());
        assert!(matches!(
            parse(r#"{"ulid":"x","minTime":0,"maxTime":0,"version":2}"#),
            Err(BlockError::Version { got: 2, .. })
        ));
        assert!(parse(r#"{"ulid":"x","minTime":1,"maxTime":0,"version":1}"#).is_err());
        let thanos = r#"{"ulid":"x","minTime":0,"maxTime":0,"version":1,"thanos":{"version":2}}"#;
        assert!(matches!(parse(thanos), Err(BlockError::Version { .. })));
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
