//! Where counts are kept: the folder `log-counts` of the source, in the dataset. Everything but the ledger is named by its
//! content and written first; the ledger is written last and says what counts. So a kill at any moment leaves the state
//! before or the state after, and at most some files that nothing names, which the next run removes.

use std::collections::BTreeSet;

use bytes::Bytes;
use forewarn_storage::{Store, StoreError, Version};

use super::counts::{self, DayCounts};
use super::ledger::{self, FileRef, Ledger};
use super::seen::{self, Seen};
use super::templates::{self, Templates};
use super::{LogsError, LogsOptions};
use crate::Day;
use crate::dataset::in_store;
use crate::manifest::sha256;

const LEDGER: &str = "ledger.json";

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    store: Store,
    path: String,
    /// How many more writes and removals succeed, as if the process were killed before the next.
    #[cfg(test)]
    pub(crate) writes_left: std::sync::Arc<std::sync::atomic::AtomicI64>,
}

impl Folder {
    pub(crate) fn new(store: Store, source: &str) -> Self {
        Self {
            store,
            path: in_store(&format!("{source}/log-counts")),
            #[cfg(test)]
            writes_left: std::sync::Arc::new(i64::MAX.into()),
        }
    }

    fn within(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The ledger, and its version; a new one where there is none. Refuses one under other rules.
    pub(crate) async fn ledger(&self, options: &LogsOptions) -> Result<(Ledger, Version), LogsError> {
        let path = self.within(LEDGER);
        let (bytes, version) = self.store.get_versioned(&path, ledger::MAX_BYTES).await?;
        let Some(bytes) = bytes else { return Ok((Ledger::new(options.rules()), version)) };
        let ledger = Ledger::from_bytes(&bytes).map_err(|reason| LogsError::Damaged { path, reason })?;
        if ledger.rules != options.rules() {
            let (was, now) = (ledger.rules.join(", "), options.rules().join(", "));
            return Err(LogsError::RulesChanged { folder: self.path.clone(), was, now });
        }
        Ok((ledger, version))
    }

    /// The counts of a day; none where the ledger has none.
    pub(crate) async fn day(&self, ledger: &Ledger, day: Day) -> Result<DayCounts, LogsError> {
        let Some(record) = ledger.days.get(&day) else { return Ok(DayCounts::default()) };
        let bytes = self.read(&record.file, counts::MAX_BYTES).await?;
        DayCounts::from_bytes(&bytes, day).map_err(|reason| self.damaged(&record.file, reason))
    }

    pub(crate) async fn templates(&self, ledger: &Ledger) -> Result<Templates, LogsError> {
        let Some(file) = &ledger.templates else { return Ok(Templates::default()) };
        let bytes = self.read(file, templates::MAX_BYTES).await?;
        Templates::from_bytes(&bytes).map_err(|reason| self.damaged(file, reason))
    }

    pub(crate) async fn seen(&self, ledger: &Ledger, options: &LogsOptions) -> Result<Seen, LogsError> {
        let (window, records) = (options.dedup_window, options.dedup_records);
        let Some(file) = &ledger.seen else { return Ok(Seen::new(window, records)) };
        let bytes = self.read(file, seen::MAX_BYTES).await?;
        Seen::from_bytes(&bytes, window, records).map_err(|reason| self.damaged(file, reason))
    }

    /// Writes a file named by its content, unless `before` is that file already.
    pub(crate) async fn write(
        &self,
        stem: &str,
        suffix: &str,
        bytes: Vec<u8>,
        before: Option<&FileRef>,
    ) -> Result<FileRef, LogsError> {
        let file = FileRef::of(&bytes, stem, suffix);
        if before != Some(&file) {
            self.spend_write()?;
            self.store.put(&self.within(&file.path), Bytes::from(bytes)).await?;
        }
        Ok(file)
    }

    /// Makes `now` what counts, if `before` still is, then removes the files that it does not name any more.
    pub(crate) async fn commit(&self, before: &Ledger, now: &Ledger, version: &Version) -> Result<Version, LogsError> {
        let path = self.within(LEDGER);
        let bytes = now.to_bytes().map_err(|reason| LogsError::Damaged { path: path.clone(), reason })?;
        self.spend_write()?;
        let version = self.store.replace(&path, Bytes::from(bytes), version).await?;
        let named: BTreeSet<&str> = now.files().map(|file| file.path.as_str()).collect();
        for file in before.files().filter(|file| !named.contains(file.path.as_str())) {
            self.spend_write()?;
            self.store.delete(&self.within(&file.path)).await?;
        }
        Ok(version)
    }

    /// Removes what killed runs have left. Only under the dataset's lock.
    pub(crate) fn sweep(&self, ledger: &Ledger) -> Result<(), LogsError> {
        let named: BTreeSet<&str> = ledger.files().map(|file| file.path.as_str()).collect();
        let removed = self.store.sweep(&self.path, |name| name != LEDGER && !named.contains(name))?;
        if removed > 0 {
            tracing::info!(folder = self.path, removed, "removed what an interrupted run had left");
        }
        Ok(())
    }

    async fn read(&self, file: &FileRef, cap: u64) -> Result<Bytes, LogsError> {
        let bytes = match self.store.get(&self.within(&file.path), cap).await {
            Err(StoreError::TooLarge { cap, got, .. }) => {
                return Err(self.damaged(file, format!("it must be at most {cap} bytes, got {got}")));
            }
            other => other?,
        };
        let bytes = bytes.ok_or_else(|| self.damaged(file, "it is missing".to_owned()))?;
        let got = sha256(&bytes);
        if got != file.sha256 {
            return Err(self.damaged(file, format!("its SHA-256 must be {}, got {got}", file.sha256)));
        }
        Ok(bytes)
    }

    fn damaged(&self, file: &FileRef, reason: String) -> LogsError {
        LogsError::Damaged { path: self.within(&file.path), reason }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "only a test's writes run out")]
    fn spend_write(&self) -> Result<(), LogsError> {
        Ok(())
    }

    #[cfg(test)]
    fn spend_write(&self) -> Result<(), LogsError> {
        match self.writes_left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) {
            left if left > 0 => Ok(()),
            _ => Err(LogsError::Damaged { path: self.path.clone(), reason: "killed by the test".to_owned() }),
        }
    }
}
