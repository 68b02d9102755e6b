//! Which blocks there are and may be read: whole ones, not about to be deleted, not still on their way up.

use std::collections::BTreeMap;

use forewarn_schema::{LabelSet, TimeRange, Timestamp};
use forewarn_storage::{Store, StoreError};
use forewarn_tsdb::{BlockMeta, DeletionMark, MAX_META_LEN, NoCompactMark};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::BlocksOptions;
use crate::manifest::sha256;

/// Objects of one block: a terabyte in segments of 512 MiB has 2,000.
const MAX_FILES: usize = 100_000;
const MAX_MARK_BYTES: u64 = 1 << 20;
/// Blocks whose metadata are asked for at a time.
const AT_A_TIME: usize = 8;

/// A block that may be read.
#[derive(Clone, Debug)]
pub(super) struct FoundBlock {
    /// Its ULID, which is its folder.
    pub(super) id: String,
    pub(super) meta: BlockMeta,
    /// Of `meta.json`: it changes when tombstones are added.
    pub(super) digest: String,
    /// External labels without those that tell replicas apart.
    pub(super) external: LabelSet,
    /// Those that do.
    pub(super) replica: LabelSet,
    /// Path within the block → size.
    pub(super) files: BTreeMap<String, u64>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Discovery {
    /// Sorted by ULID.
    pub(super) blocks: Vec<FoundBlock>,
    /// Blocks whose own description cannot be read, and why.
    pub(super) unreadable: Vec<(String, String)>,
    /// Blocks left out by rule: why → how many.
    pub(super) left_out: BTreeMap<&'static str, u64>,
}

impl FoundBlock {
    pub(super) fn range(&self) -> TimeRange {
        let (start, end) = (self.meta.min_time, self.meta.max_time);
        TimeRange { start: Timestamp::from_millis(start), end: Timestamp::from_millis(end) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.values().sum()
    }
}

enum Seen {
    Block(Box<FoundBlock>),
    LeftOut(&'static str),
    Unreadable(String, String),
}

/// Looks at every folder of the store whose name is a ULID.
pub(super) async fn discover(store: &Store, options: &BlocksOptions) -> Result<Discovery, StoreError> {
    let folders = store.folders("").await?;
    let now = (options.clock)();
    let mut seen = stream::iter(folders.into_iter().filter(|name| ulid_time(name).is_some()))
        .map(|id| look(store, options, now, id))
        .buffered(AT_A_TIME);
    let mut found = Discovery::default();
    while let Some(one) = seen.try_next().await? {
        match one {
            Seen::Block(block) => found.blocks.push(*block),
            Seen::LeftOut(why) => *found.left_out.entry(why).or_default() += 1,
            Seen::Unreadable(id, why) => found.unreadable.push((id, why)),
        }
    }
    Ok(found)
}

async fn look(store: &Store, options: &BlocksOptions, now: Timestamp, id: String) -> Result<Seen, StoreError> {
    let prefix = format!("{id}/");
    let files: BTreeMap<String, u64> = store
        .walk(&id, MAX_FILES)
        .await?
        .into_iter()
        .filter_map(|object| Some((object.path.strip_prefix(&prefix)?.to_owned(), object.size)))
        .collect();
    // The last to be uploaded and the first to be deleted.
    let Some(bytes) = store.get(&format!("{id}/meta.json"), MAX_META_LEN).await? else {
        return Ok(Seen::LeftOut("blocks without meta.json: still on their way up, or being deleted"));
    };
    let name = format!("{id}/meta.json");
    let meta = match BlockMeta::parse(&name, &bytes) {
        Ok(meta) if meta.ulid == id => meta,
        Ok(meta) => return Ok(Seen::Unreadable(id, format!("{name} must name its own folder, got {:?}", meta.ulid))),
        Err(e) => return Ok(Seen::Unreadable(id, e.to_string())),
    };
    if files.contains_key("deletion-mark.json") {
        let name = format!("{id}/deletion-mark.json");
        let mark = store.get(&name, MAX_MARK_BYTES).await?;
        match mark.map(|bytes| DeletionMark::parse(&name, &bytes)) {
            Some(Ok(mark)) if now >= Timestamp::from_seconds(mark.deletion_time) + options.ignore_delay => {
                return Ok(Seen::LeftOut("blocks marked for deletion"));
            }
            // A mark that cannot be read deletes nothing.
            Some(Err(error)) => tracing::warn!(block = id, %error, "deletion mark ignored"),
            _ => {}
        }
    }
    if files.contains_key("no-compact-mark.json") {
        let name = format!("{id}/no-compact-mark.json");
        let mark = store.get(&name, MAX_MARK_BYTES).await?;
        if let Some(Ok(mark)) = mark.map(|bytes| NoCompactMark::parse(&name, &bytes)) {
            tracing::info!(
                block = id,
                reason = mark.reason,
                "block is marked not to be compacted; it is read all the same"
            );
        }
    }
    if let Some(thanos) = &meta.thanos
        && !matches!(thanos.source.as_str(), "compactor" | "compactor.repair" | "bucket.repair")
    {
        let uploaded = thanos.upload_time.as_deref().and_then(|text| text.parse().ok()).or_else(|| ulid_time(&id));
        if uploaded.is_some_and(|at: Timestamp| now < at + options.consistency_delay) {
            return Ok(Seen::LeftOut("blocks younger than the consistency delay"));
        }
    }
    if !files.contains_key("index") {
        return Ok(Seen::Unreadable(id, "it has no index".to_owned()));
    }
    let labels: LabelSet = meta.thanos.iter().flat_map(|thanos| thanos.labels.clone()).collect();
    let replicas: Vec<&str> = options.replica_labels.iter().map(String::as_str).collect();
    let (external, replica) = (labels.without(&replicas), labels.only(&replicas));
    Ok(Seen::Block(Box::new(FoundBlock { id, digest: sha256(&bytes), meta, external, replica, files })))
}

/// When a ULID was made; `None` for any other name. 26 digits of Crockford's base 32, the first ten of which are
/// milliseconds.
fn ulid_time(name: &str) -> Option<Timestamp> {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    if name.len() != 26 || !name.starts_with(|c: char| ('0'..='7').contains(&c)) {
        return None;
    }
    let mut time = 0_i64;
    for (i, byte) in name.bytes().enumerate() {
        let digit = DIGITS.iter().position(|d| *d == byte)?;
        if i < 10 {
            time = time * 32 + digit as i64;
        }
    }
    Some(Timestamp::from_millis(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ulid_is_a_block() {
        let at = ulid_time("01M85E6WZ6J2V38TX2EAD8NQK0").unwrap();
        assert!(at > "2026-01-01T00:00:00Z".parse().unwrap() && at < "2027-01-01T00:00:00Z".parse().unwrap(), "{at}");
        for name in ["wal", "chunks_head", "01m85e6wz6j2v38tx2ead8nqk0", "81M85E6WZ6J2V38TX2EAD8NQK0", "debug", ""] {
            assert_eq!(ulid_time(name), None, "{name}");
        }
    }
}
