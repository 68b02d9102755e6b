//! What is said to a server to be let in, and kept out of every message. A token in a file is read again when the file
//! changes, because Kubernetes and its like renew it in place.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use reqwest::header::HeaderValue;

/// More than any token.
const FILE_CAP: u64 = 64 << 10;
/// A text of a letter or two would blank out half of every message, and is no secret.
const SHORTEST_SECRET: usize = 4;

/// A bearer token.
#[derive(Clone)]
pub enum BearerToken {
    /// As it is.
    Text(String),
    /// The first line of this file, read again whenever the file changes.
    File(PathBuf),
}

/// A bearer token as it is now, and every secret there has been.
pub(super) struct Credentials {
    bearer: Option<BearerToken>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    header: Option<HeaderValue>,
    /// Of the file that `header` came from.
    stamp: Option<Stamp>,
    secrets: Vec<String>,
}

/// What changes when a file does.
type Stamp = (Option<SystemTime>, u64);

impl Credentials {
    /// `secrets` are those besides the token. A token's file is read now.
    pub(super) fn new(bearer: Option<BearerToken>, secrets: Vec<String>) -> Result<Self, String> {
        let credentials = Self { bearer, state: Mutex::default() };
        credentials.state().secrets = secrets.into_iter().filter(|s| s.len() >= SHORTEST_SECRET).collect();
        match &credentials.bearer {
            None => {}
            Some(BearerToken::Text(token)) => credentials.take(token, None)?,
            Some(BearerToken::File(path)) => {
                let (token, stamp) =
                    read(path).map_err(|e| format!("token_file: cannot read {}: {e}", path.display()))?;
                credentials.take(&token, Some(stamp))?;
            }
        }
        Ok(credentials)
    }

    /// What to send as `authorization` now. Where the token's file cannot be read any more, what it last said.
    pub(super) async fn authorization(&self) -> Option<HeaderValue> {
        if let Some(BearerToken::File(path)) = &self.bearer {
            let changed = match tokio::fs::metadata(path).await {
                Ok(now) => self.state().stamp != Some((now.modified().ok(), now.len())),
                Err(_) => false,
            };
            if changed {
                let file = path.clone();
                let read = tokio::task::spawn_blocking(move || read(&file)).await;
                let taken = match read {
                    Ok(Ok((token, stamp))) => self.take(&token, Some(stamp)),
                    Ok(Err(e)) => Err(e.to_string()),
                    Err(e) => Err(e.to_string()),
                };
                if let Err(reason) = taken {
                    tracing::warn!(file = %path.display(), reason, "token file cannot be used, the token before it is");
                }
            }
        }
        self.state().header.clone()
    }

    /// `text` without any secret that a server may have sent back.
    pub(super) fn redact(&self, text: &str) -> String {
        self.state().secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    fn take(&self, token: &str, stamp: Option<Stamp>) -> Result<(), String> {
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| "the token has characters that a header cannot".to_owned())?;
        header.set_sensitive(true);
        let mut state = self.state();
        state.header = Some(header);
        state.stamp = stamp;
        if token.len() >= SHORTEST_SECRET && !state.secrets.iter().any(|s| s == token) {
            state.secrets.push(token.to_owned());
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each field is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first line that says something, and what the file looked like before it was read.
fn read(path: &Path) -> io::Result<(String, Stamp)> {
    let mut file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    let stamp = (metadata.modified().ok(), metadata.len());
    let mut text = String::new();
    file.by_ref().take(FILE_CAP).read_to_string(&mut text)?;
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(token) => Ok((token.to_owned(), stamp)),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_file_is_read_again_when_it_changes_and_all_its_tokens_stay_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "\nfirst-token\n").unwrap();
        let credentials = Credentials::new(Some(BearerToken::File(path.clone())), vec!["pass".to_owned()]).unwrap();
        let sent = async || credentials.authorization().await.unwrap().to_str().unwrap().to_owned();
        assert_eq!(sent().await, "Bearer first-token");
        fs::write(&path, "second-one").unwrap();
        assert_eq!(sent().await, "Bearer second-one");
        assert_eq!(credentials.redact("first-token second-one pass"), "*** *** ***");
        fs::remove_file(&path).unwrap();
        assert_eq!(sent().await, "Bearer second-one");
        fs::write(&path, " \n").unwrap();
        assert_eq!(sent().await, "Bearer second-one");
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_refused_without_being_shown() {
        for bad in [BearerToken::Text("s3cret\n".to_owned()), BearerToken::File("/no/such/file".into())] {
            let error = Credentials::new(Some(bad), Vec::new()).err().unwrap();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
