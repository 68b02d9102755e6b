//! Marks that Thanos lays beside a block: about to be deleted, not to be compacted.

use serde::Deserialize;

use crate::BlockError;
use crate::meta::parse_json;

const MAX_MARK_LEN: u64 = 1 << 20;

/// `deletion-mark.json`: the block will be gone some hours after.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DeletionMark {
    /// The block's ULID.
    pub id: String,
    /// 1.
    pub version: u64,
    /// When it was marked, in Unix seconds.
    pub deletion_time: i64,
    /// Why, for people.
    #[serde(default)]
    pub details: String,
}

/// `no-compact-mark.json`. It does not change how a block is read; the reason may warn of odd blocks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NoCompactMark {
    /// The block's ULID.
    pub id: String,
    /// 1.
    pub version: u64,
    /// When it was marked, in Unix seconds.
    #[serde(default)]
    pub no_compact_time: i64,
    /// `manual`, `index-size-exceeding`, `block-index-out-of-order-chunk`, `downsample-vertical-compaction`.
    #[serde(default)]
    pub reason: String,
    /// Why, for people.
    #[serde(default)]
    pub details: String,
}

impl DeletionMark {
    /// From the file's bytes; `file` is its name in errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, BlockError> {
        let mark: Self = parse_json(file, bytes, MAX_MARK_LEN)?;
        known(file, mark.version).map(|()| mark)
    }
}

impl NoCompactMark {
    /// From the file's bytes; `file` is its name in errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, BlockError> {
        let mark: Self = parse_json(file, bytes, MAX_MARK_LEN)?;
        known(file, mark.version).map(|()| mark)
    }

    /// Whether it warns that chunks within a series are not in the order of time.
    pub fn has_out_of_order_chunks(&self) -> bool {
        self.reason == "block-index-out-of-order-chunk"
    }
}

fn known(file: &str, version: u64) -> Result<(), BlockError> {
    match version {
        1 => Ok(()),
        got => Err(BlockError::Version { file: file.to_owned(), got, known: "1" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_and_another_version_is_refused() {
        let text = br#"{"id":"x","version":1,"details":"old","deletion_time":1700000000}"#;
        assert_eq!(DeletionMark::parse("deletion-mark.json", text).unwrap().deletion_time, 1_700_000_000);
        let text = br#"{"id":"x","version":1,"reason":"block-index-out-of-order-chunk","no_compact_time":5}"#;
        assert!(NoCompactMark::parse("no-compact-mark.json", text).unwrap().has_out_of_order_chunks());
        let text = br#"{"id":"x","version":3,"deletion_time":1}"#;
        assert!(matches!(DeletionMark::parse("deletion-mark.json", text), Err(BlockError::Version { got: 3, .. })));
    }
}
