//! The last step of a run: what the week was like. The report itself is written elsewhere.

use forewarn_schema::RunRecord;
use serde_json::{Value, json};

use crate::config::Config;

/// What the step says; the run's record holds it.
#[expect(clippy::unused_async, reason = "a report reads the store and the state")]
pub(super) async fn report(_config: &Config, _run: &RunRecord) -> anyhow::Result<Value> {
    Ok(json!({"skipped": "this release writes no weekly report"}))
}
