//! A lock between processes: a file that the operating system locks, and gives back when its holder dies.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::time::Duration;

use crate::error::StoreError;
use crate::store::Store;

const PATIENCE: Duration = Duration::from_secs(10);
/// Who has just taken a lock has not yet written down who it is: it is looked for so often, and so long apart.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Held for as long as it lives; see [`Store::lock`].
#[derive(Debug)]
#[must_use = "the lock is given back when this is dropped"]
pub struct StoreLock {
    file: Option<File>,
}

impl StoreLock {
    /// Whether there is a lock at all; not in a bucket.
    pub fn is_exclusive(&self) -> bool {
        self.file.is_some()
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // Who held it is of no interest any more, and the folder shall not tell how often it was locked.
            let _ = file.set_len(0);
        }
    }
}

/// ` (pid 7)`: only to help a person, so that a holder who cannot be read is left out.
fn holder(file: &mut File) -> String {
    let mut holder = String::new();
    let _ = file.rewind().and_then(|()| file.take(64).read_to_string(&mut holder));
    // Half a line is not yet a name.
    holder.strip_suffix('\n').map_or_else(String::new, |pid| format!(" ({pid})"))
}

impl Store {
    /// Takes the lock `name`, a file in the folder, or says who holds it ([`StoreError::InUse`]). It is given back when
    /// the guard is dropped, or by the kernel when the process dies. A bucket has no locks: the guard is empty.
    pub fn lock(&self, name: &str) -> Result<StoreLock, StoreError> {
        let Some(folder) = &self.folder else { return Ok(StoreLock { file: None }) };
        let path = folder.join(name);
        let failed = |error: io::Error| self.failed("lock", &path.display().to_string(), &error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file =
            File::options().create(true).read(true).write(true).truncate(false).open(&path).map_err(failed)?;
        let mut looks = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let holder = holder(&mut file);
                    looks += 1;
                    if holder.is_empty() && looks < LOOKS {
                        std::thread::sleep(BETWEEN_LOOKS);
                        continue;
                    }
                    return Err(StoreError::InUse { path: path.display().to_string(), holder });
                }
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
        let line = format!("pid {}\n", std::process::id());
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(line.as_bytes()));
        Ok(StoreLock { file: Some(file) })
    }

    /// Takes the lock `name` together with others who share it, or says that somebody has it alone. A bucket has no locks.
    pub fn share(&self, name: &str) -> Result<StoreLock, StoreError> {
        let Some(folder) = &self.folder else { return Ok(StoreLock { file: None }) };
        let path = folder.join(name);
        let failed = |error: io::Error| self.failed("lock", &path.display().to_string(), &error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file =
            File::options().create(true).read(true).write(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(StoreLock { file: Some(file) }),
            Err(TryLockError::WouldBlock) => {
                Err(StoreError::InUse { path: path.display().to_string(), holder: holder(&mut file) })
            }
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    /// As [`Store::lock`], with some patience for a holder that is done soon.
    pub(crate) async fn wait_for_lock(&self, name: &str) -> Result<StoreLock, StoreError> {
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.lock(name) {
                Err(e) if e.is_in_use() && tokio::time::Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::tests::temporary;

    #[test]
    fn a_second_holder_is_told_who_is_first_and_a_dropped_lock_is_free() {
        let (folder, store) = temporary();
        let first = store.lock("x/.lock").unwrap();
        let error = store.lock("x/.lock").unwrap_err();
        assert!(error.is_in_use());
        assert!(error.to_string().ends_with(&format!("(pid {})", std::process::id())), "{error}");
        assert!(store.share("x/.lock").unwrap_err().is_in_use());
        drop(first);
        assert_eq!(std::fs::read(folder.path().join("x/.lock")).unwrap(), b"", "nobody holds it");
        assert!(store.lock("x/.lock").unwrap().is_exclusive());
        let together = [store.share("x/.lock").unwrap(), store.share("x/.lock").unwrap()];
        assert!(store.lock("x/.lock").unwrap_err().is_in_use(), "two share it");
        drop(together);
        assert!(store.lock("x/.lock").is_ok());
    }
}
