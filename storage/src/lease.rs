//! One holder at a time over a folder or a bucket, for work of minutes to hours. In a folder it is the lock that the kernel gives
//! back; in a bucket an object that its holder writes anew again and again, so that others see that it lives.
//!
//! No clock is compared with another's: who wants the lease watches the object for as long as its holder may be silent. A holder
//! that was suspended for longer finds out at its next beat ([`Lease::lost`]): what it does must bear to be done twice.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::crypto::random_bytes;
use crate::error::StoreError;
use crate::lock::StoreLock;
use crate::store::{Store, Version};

/// Beats within the time that a holder may be silent.
const BEATS: u32 = 4;
const MAX_LEASE_BYTES: u64 = 1024;
const FREE: &str = "free";

/// Held until it is [released](Lease::release), dropped, or lost.
#[derive(Debug)]
#[must_use = "the lease is given back when this is dropped"]
pub struct Lease {
    lost: watch::Receiver<bool>,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Folder { _lock: StoreLock },
    Bucket { beating: JoinHandle<()>, store: Store, path: String, who: String },
}

impl Store {
    /// Takes the lease `path`, or says that somebody holds it ([`StoreError::InUse`]). Over a bucket that takes up to `silence`:
    /// for so long a holder may write nothing before it counts as dead, at least a second.
    pub async fn lease(&self, path: &str, silence: Duration) -> Result<Lease, StoreError> {
        let (tell, lost) = watch::channel(false);
        if self.is_folder() {
            return Ok(Lease { lost, held: Held::Folder { _lock: self.lock(path)? } });
        }
        let silence = silence.max(Duration::from_secs(1));
        let who = random_bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let in_use = || StoreError::InUse { path: format!("{}/{path}", self.url()), holder: String::new() };
        let (first, mut seen) = self.get_versioned(path, MAX_LEASE_BYTES).await?;
        if first.as_ref().is_some_and(|bytes| bytes != FREE) {
            let until = tokio::time::Instant::now() + silence;
            while tokio::time::Instant::now() < until {
                tokio::time::sleep(silence / (2 * BEATS)).await;
                let (now, version) = self.get_versioned(path, MAX_LEASE_BYTES).await?;
                seen = version;
                match now {
                    Some(now) if now == FREE => break,
                    now if now != first => return Err(in_use()),
                    _ => {}
                }
            }
        }
        let mine = Bytes::from(format!("{who} 0"));
        let seen = match self.replace(path, mine, &seen).await {
            Ok(version) => version,
            Err(StoreError::Changed { .. }) => return Err(in_use()),
            Err(e) => return Err(e),
        };
        let beating = tokio::spawn(beat(self.clone(), path.to_owned(), who.clone(), seen, silence, tell));
        Ok(Lease { lost, held: Held::Bucket { beating, store: self.clone(), path: path.to_owned(), who } })
    }
}

/// Writes the lease anew until somebody else has it, or nothing could be written for so long that somebody may.
async fn beat(
    store: Store,
    path: String,
    who: String,
    mut seen: Version,
    silence: Duration,
    tell: watch::Sender<bool>,
) {
    let mut last = tokio::time::Instant::now();
    for number in 1_u64.. {
        tokio::time::sleep(silence / BEATS).await;
        match store.replace(&path, Bytes::from(format!("{who} {number}")), &seen).await {
            Ok(version) => {
                seen = version;
                last = tokio::time::Instant::now();
            }
            Err(StoreError::Changed { .. }) => break,
            Err(_) if last.elapsed() < silence * 3 / 4 => {}
            Err(_) => break,
        }
    }
    let _ = tell.send(true);
}

impl Lease {
    /// Comes back once the lease is somebody else's, or may be.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        if lost.wait_for(|lost| *lost).await.is_err() {
            // A lock in a folder is never lost.
            std::future::pending::<()>().await;
        }
    }

    /// Gives it back, so that the next one need not wait until this holder counts as dead.
    pub async fn release(self) {
        if let Held::Bucket { beating, store, path, who } = &self.held {
            beating.abort();
            let Ok((Some(bytes), seen)) = store.get_versioned(path, MAX_LEASE_BYTES).await else { return };
            if bytes.starts_with(who.as_bytes()) {
                let _ = store.replace(path, Bytes::from_static(FREE.as_bytes()), &seen).await;
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Held::Bucket { beating, .. } = &self.held {
            beating.abort();
        }
    }
}
