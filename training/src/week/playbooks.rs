//! How each playbook did.

use std::collections::BTreeMap;

use forewarn_models::guardrails::NO_PLAYBOOK;
use forewarn_schema::RequestStatus;
use serde::{Deserialize, Serialize};

use super::{Announced, WeekRecords};

/// What became of the requests that suggested one playbook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlaybookRecord {
    /// Its name; `-` for requests without one.
    pub playbook: String,
    /// Requests that suggested it.
    pub requests: u64,
    /// How many stand where, by status; a status that none has is left out.
    pub by_status: BTreeMap<String, u64>,
    /// `succeeded / (succeeded + failed)`.
    pub success_rate: Option<f64>,
    /// Requests whose breach did not come after it.
    pub saved: u64,
    /// The last things that were said of failures, at most three.
    pub failures: Vec<String>,
}

/// Sorted by name.
pub(super) fn playbooks(records: &WeekRecords, announced: &[Announced]) -> Vec<PlaybookRecord> {
    let notes: BTreeMap<&str, &str> =
        records.requests.iter().filter_map(|r| Some((r.request.id.as_str(), r.note.as_deref()?))).collect();
    let mut by_name: BTreeMap<&str, PlaybookRecord> = BTreeMap::new();
    for one in announced {
        let record = by_name.entry(one.playbook.as_deref().unwrap_or(NO_PLAYBOOK)).or_default();
        record.requests += 1;
        *record.by_status.entry(one.status.as_str().to_owned()).or_default() += 1;
        record.saved += u64::from(one.saved);
        if one.status == RequestStatus::Failed
            && let Some(note) = notes.get(one.id.as_str())
        {
            record.failures.push(format!("{}: {note}", one.service));
        }
    }
    let finished = |(name, mut record): (&str, PlaybookRecord)| {
        let of = |status: RequestStatus| record.by_status.get(status.as_str()).copied().unwrap_or(0);
        let (succeeded, failed) = (of(RequestStatus::Succeeded), of(RequestStatus::Failed));
        record.success_rate = (succeeded + failed > 0).then(|| succeeded as f64 / (succeeded + failed) as f64);
        record.failures.drain(..record.failures.len().saturating_sub(3));
        PlaybookRecord { playbook: name.to_owned(), ..record }
    };
    by_name.into_iter().map(finished).collect()
}
