//! Users of a `web.yml`: names with bcrypt hashes, which are slow to compare on purpose. So what was right once is remembered
//! (by its digest), what is wrong takes as long for a name that nobody has, and few are compared at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::scoring::blocking;

/// Right answers that are remembered.
const MOST_REMEMBERED: usize = 100;
/// Compared at a time: a core each.
const COMPARED: usize = 2;
/// The cost of most hashes in such files.
const USUAL_COST: u32 = 10;
/// Of a password that nobody has.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let password = BASE64_STANDARD.encode(forewarn_storage::random_bytes::<32>());
    bcrypt::hash(password, USUAL_COST).expect("the cost is one of bcrypt's")
});

/// Everybody in the file.
pub(crate) struct Users {
    hashes: BTreeMap<String, String>,
    remembered: Mutex<Vec<[u8; 32]>>,
    comparing: Semaphore,
}

impl Default for Users {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Users {
    /// Names with bcrypt hashes.
    pub(super) fn new(users: Vec<(String, String)>) -> Self {
        Self { hashes: users.into_iter().collect(), remembered: Mutex::default(), comparing: Semaphore::new(COMPARED) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.hashes.keys().map(String::as_str)
    }

    /// Whether `password` is that of `user`.
    pub(crate) async fn know(self: &Arc<Self>, user: &str, password: &str) -> bool {
        let digest: [u8; 32] = {
            let mut digest = Sha256::new();
            digest.update((user.len() as u64).to_be_bytes());
            digest.update(user);
            digest.update(password);
            digest.finalize().into()
        };
        if self.remembered().contains(&digest) {
            return true;
        }
        let Ok(_place) = self.comparing.acquire().await else { return false };
        let hash = self.hashes.get(user).cloned();
        let password = password.to_owned();
        let right = blocking(move || {
            let right = bcrypt::verify(password, hash.as_deref().unwrap_or(&NOBODY)).unwrap_or(false);
            right && hash.is_some()
        });
        let right = right.await.unwrap_or(false);
        if right {
            let mut remembered = self.remembered();
            if remembered.len() >= MOST_REMEMBERED {
                remembered.clear();
            }
            remembered.push(digest);
        }
        right
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Vec<[u8; 32]>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_user_is_known_by_their_own_password_only() {
        let users = ["anna", "otto"].map(|name| (name.to_owned(), bcrypt::hash(format!("of {name}"), 4).unwrap()));
        let users = Arc::new(Users::new(users.to_vec()));
        for _ in 0..2 {
            assert!(users.know("anna", "of anna").await);
            assert!(!users.know("anna", "of otto").await);
            assert!(!users.know("nobody", "of anna").await);
            assert!(!users.know("", "").await);
        }
        assert_eq!(users.remembered().len(), 1, "what is wrong is not remembered");
    }
}
