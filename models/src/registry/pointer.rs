//! The pointer of a service: which version serves, and which served before it. A stack and a log, nothing else.

use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ModelVersion;

/// The format of `current.json`; see `docs/formats/registry.md`.
pub(super) const POINTER_FORMAT: u32 = 1;
pub(super) const MAX_POINTER_BYTES: u64 = 1 << 20;
/// Older promotions than this are forgotten; a rollback over a hundred of them helps nobody.
const MAX_ENTRIES: usize = 100;

/// A version was made current.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// Counts the moves of this service from 1; never given twice.
    pub number: u64,
    /// Which.
    pub version: ModelVersion,
    /// When.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// A version was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// That of the promotion that was taken back.
    pub number: u64,
    /// Which one stopped serving.
    pub version: ModelVersion,
    /// When.
    pub at: Timestamp,
}

/// `current.json` of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    format_version: u32,
    /// Whose it is.
    pub service: String,
    /// The version that serves; `None` where the rules do.
    pub current: Option<ModelVersion>,
    /// Oldest first; the last is the current one. At most 100.
    pub promotions: Vec<Promotion>,
    /// Oldest first, at most 100.
    pub rollbacks: Vec<Rollback>,
}

impl Pointer {
    /// Of a service for which nothing was ever promoted.
    pub(super) fn empty(service: &str) -> Self {
        Self {
            format_version: POINTER_FORMAT,
            service: service.to_owned(),
            current: None,
            promotions: Vec::new(),
            rollbacks: Vec::new(),
        }
    }

    /// Reads `current.json`; the error is what was wanted and what was got.
    pub(super) fn from_bytes(service: &str, bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format_version: u64,
        }
        let format: Format = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if format.format_version != u64::from(POINTER_FORMAT) {
            return Err(format!("format_version must be {POINTER_FORMAT}, got {}", format.format_version));
        }
        let pointer: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if pointer.service != service {
            return Err(format!("it must be about service {service:?}, got {:?}", pointer.service));
        }
        let last = pointer.promotions.last().map(|p| &p.version);
        if last != pointer.current.as_ref() {
            let shown = |v: Option<&ModelVersion>| v.map_or("none".to_owned(), ToString::to_string);
            let (last, current) = (shown(last), shown(pointer.current.as_ref()));
            return Err(format!("current must be the last promotion {last}, got {current}"));
        }
        Ok(pointer)
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| e.to_string())?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Makes `version` the current one; `false` where nothing changes, because it serves already. `again` says that this
    /// move may have been written before, with another on top of it: then it is not made twice.
    pub(super) fn promote(&mut self, version: &ModelVersion, at: Timestamp, reason: &str, again: bool) -> bool {
        let is_this = |p: &Promotion| p.version == *version && p.at == at && p.reason == reason;
        if self.current.as_ref() == Some(version) || (again && self.promotions.iter().any(is_this)) {
            return false;
        }
        let given = self.promotions.iter().map(|p| p.number).chain(self.rollbacks.iter().map(|r| r.number));
        let number = given.max().unwrap_or(0).saturating_add(1);
        self.promotions.push(Promotion { number, version: version.clone(), at, reason: reason.to_owned() });
        self.current = Some(version.clone());
        keep_newest(&mut self.promotions);
        true
    }

    /// Takes these promotions back wherever they are; `false` where none of them is left.
    pub(super) fn take_back(&mut self, promotions: &[Promotion], at: Timestamp) -> bool {
        let before = self.promotions.len();
        self.promotions.retain(|p| {
            let taken = promotions.contains(p);
            if taken {
                self.rollbacks.push(Rollback { number: p.number, version: p.version.clone(), at });
            }
            !taken
        });
        keep_newest(&mut self.rollbacks);
        self.current = self.promotions.last().map(|p| p.version.clone());
        self.promotions.len() < before
    }
}

fn keep_newest<T>(entries: &mut Vec<T>) {
    let excess = entries.len().saturating_sub(MAX_ENTRIES);
    entries.drain(..excess);
}
