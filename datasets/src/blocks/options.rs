//! What a source of blocks is told.

use std::time::{Duration, SystemTime};

use forewarn_schema::Timestamp;

/// How to read blocks.
#[derive(Clone, Debug)]
pub struct BlocksOptions {
    /// Its name in the configuration, in the dataset's paths and in errors.
    pub name: String,
    /// `file:///folder` or `s3://bucket/prefix`, in which the blocks' folders lie.
    pub url: String,
    /// External labels that tell the replicas of one producer apart: they are taken off, and per series and window one
    /// replica is chosen.
    pub replica_labels: Vec<String>,
    /// A block marked for deletion is still read for this long, as Thanos' store does it: 24 hours.
    pub ignore_delay: Duration,
    /// A block uploaded by a sidecar is read when it is this old, as Thanos' compactor does it: 30 minutes. Blocks that
    /// no Thanos component has written, and those of a compactor, are read at once.
    pub consistency_delay: Duration,
    /// object_store's keys, such as `aws_endpoint`; they win over the environment's.
    pub s3_options: Vec<(String, String)>,
    /// What tells the time.
    pub clock: fn() -> Timestamp,
}

impl Default for BlocksOptions {
    fn default() -> Self {
        Self {
            name: "blocks".to_owned(),
            url: String::new(),
            replica_labels: Vec::new(),
            ignore_delay: Duration::from_secs(24 * 3600),
            consistency_delay: Duration::from_secs(30 * 60),
            s3_options: Vec::new(),
            clock: system_clock,
        }
    }
}

fn system_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
