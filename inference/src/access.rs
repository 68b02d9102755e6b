//! Who may ask for what: names, each known by a secret or a certificate, and a role. Nobody is asked while there are none, and
//! then the server listens on this machine alone.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::door::Users;

/// A secret of fewer bytes is guessed too easily to be one.
const LEAST_SECRET: usize = 12;
/// Wrong secrets from one address within [`WINDOW`] until it has to wait.
const MOST_FAILURES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered for their failures; one more, and the oldest windows are forgotten.
const MOST_ADDRESSES: usize = 10_000;
/// Who decided, where nobody is asked who they are.
const NOBODY_ASKED: &str = "unauthenticated";

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Send samples and alerts: what Prometheus and Alertmanager do. Nothing else.
    Write,
    /// Look: predictions, requests, models, reports, metrics, the page.
    Read,
    /// Look, and decide: approve, reject, report outcomes, label, promote, roll back, reload.
    Operate,
}

impl Role {
    /// What a request needs; `None`: anybody may ask, as a kubelet does.
    pub(crate) fn needed(method: &Method, path: &str) -> Option<Self> {
        match path {
            "/-/healthy" | "/-/ready" => None,
            // Whoever has a link may follow it: its signature says what for (`crate::links`).
            _ if path.starts_with("/l/") => None,
            "/api/v1/write" | "/api/v1/otlp/v1/metrics" | "/api/v1/alertmanager" => Some(Self::Write),
            _ if matches!(*method, Method::GET | Method::HEAD) => Some(Self::Read),
            _ => Some(Self::Operate),
        }
    }

    fn includes(self, needed: Self) -> bool {
        self == needed || self == Self::Operate && needed == Self::Read
    }
}

/// One name that may ask, with the digest of what it is known by.
#[derive(Clone)]
pub struct Credential {
    name: Arc<str>,
    role: Role,
    kind: CredentialKind,
    digest: [u8; 32],
}

/// How a secret is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// `Authorization: Bearer SECRET`.
    Token,
    /// `Authorization: Basic`, with the name as user name: what a browser asks for.
    Password,
    /// A client certificate with this name (common name, DNS name or URI), which TLS has verified: no secret.
    Certificate,
    /// The password of that name in `web.yml`: the file has the secret, this has the role.
    WebUser,
}

/// A credential that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The secret is too short.
    #[error("must have at least {LEAST_SECRET} bytes, got {got}")]
    TooShort {
        /// How long it is.
        got: usize,
    },
    /// The name cannot be a user name.
    #[error("wanted a name without colons and control characters, got {name:?}")]
    BadName {
        /// What it was.
        name: String,
    },
}

impl Credential {
    /// Keeps the digest of `secret`, not the secret: a token, a password, the name in a certificate, or nothing.
    pub fn new(name: &str, role: Role, kind: CredentialKind, secret: &str) -> Result<Self, CredentialError> {
        let is_secret = matches!(kind, CredentialKind::Token | CredentialKind::Password);
        if is_secret && secret.len() < LEAST_SECRET {
            return Err(CredentialError::TooShort { got: secret.len() });
        }
        if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
            return Err(CredentialError::BadName { name: name.to_owned() });
        }
        Ok(Self { name: name.into(), role, kind, digest: Sha256::digest(secret).into() })
    }

    /// Who it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is known by.
    pub fn kind(&self) -> CredentialKind {
        self.kind
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Who asks for what, and from where.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// Where the connection comes from, where that is known.
    pub(crate) from: Option<IpAddr>,
    /// The names in the certificate that TLS has verified; none where none was shown.
    pub(crate) names: &'a [String],
    /// Who is in `web.yml` now.
    pub(crate) users: &'a Arc<Users>,
}

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No secret, or one that nobody has.
    Unknown,
    /// The caller's role does not allow it.
    NotAllowed { name: Arc<str>, needed: Role },
    /// Too many wrong secrets from this address; how long to wait.
    Wait { seconds: u64 },
    /// Asks more often than one caller may; how long to wait.
    TooOften { seconds: u64 },
}

/// Everybody who may ask.
#[derive(Default)]
pub(crate) struct Access {
    credentials: Vec<Credential>,
    failures: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Access {
    pub(crate) fn new(credentials: Vec<Credential>) -> Self {
        Self { credentials, failures: Mutex::default() }
    }

    /// Who asks, if they may.
    pub(crate) async fn check(&self, asked: Asked<'_>) -> Result<Arc<str>, Refused> {
        let Some(needed) = Role::needed(asked.method, asked.path) else { return Ok(NOBODY_ASKED.into()) };
        let certified = asked.names.first();
        if self.credentials.is_empty() && asked.users.is_empty() {
            // Whoever TLS let in may do everything: with certificates asked for, those that the authority certified.
            return Ok(certified.map_or_else(|| NOBODY_ASKED.into(), |name| name.as_str().into()));
        }
        if let Some(seconds) = asked.from.and_then(|from| self.must_wait(from)) {
            return Err(Refused::Wait { seconds });
        }
        let (name, role) = match asked.headers.get(header::AUTHORIZATION) {
            Some(presented) => match self.known(presented.to_str().unwrap_or_default(), asked.users).await {
                Some(known) => known,
                None => {
                    if let Some(from) = asked.from {
                        self.note_failure(from);
                    }
                    return Err(Refused::Unknown);
                }
            },
            None => self.certified(asked.names).ok_or(Refused::Unknown)?,
        };
        if role.includes(needed) { Ok(name) } else { Err(Refused::NotAllowed { name, needed }) }
    }

    async fn known(&self, presented: &str, users: &Arc<Users>) -> Option<(Arc<str>, Role)> {
        let (scheme, rest) = presented.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.with_secret(CredentialKind::Token, None, rest.trim());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        if let Some(known) = self.with_secret(CredentialKind::Password, Some(user), password) {
            return Some(known);
        }
        if users.is_empty() || !users.know(user, password).await {
            return None;
        }
        // Of a user whom nobody gave a role: the one that changes nothing.
        let given = self.credentials.iter().find(|c| c.kind == CredentialKind::WebUser && *c.name == *user);
        Some(given.map_or_else(|| (user.into(), Role::Read), |c| (Arc::clone(&c.name), c.role)))
    }

    /// All are compared, each in constant time: how long it takes says nothing of any secret.
    fn with_secret(&self, kind: CredentialKind, user: Option<&str>, secret: &str) -> Option<(Arc<str>, Role)> {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let mut found = None;
        for credential in &self.credentials {
            let named = user.is_none_or(|user| user == &*credential.name);
            if bool::from(credential.digest.ct_eq(&digest)) && credential.kind == kind && named {
                found = Some((Arc::clone(&credential.name), credential.role));
            }
        }
        found
    }

    fn certified(&self, names: &[String]) -> Option<(Arc<str>, Role)> {
        names.iter().find_map(|name| self.with_secret(CredentialKind::Certificate, None, name))
    }

    fn must_wait(&self, from: IpAddr) -> Option<u64> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = failures.get(&from)?;
        let left = WINDOW.checked_sub(since.elapsed())?;
        (*count >= MOST_FAILURES).then(|| left.as_secs().max(1))
    }

    fn note_failure(&self, from: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST_ADDRESSES {
            failures.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
        if failures.len() >= MOST_ADDRESSES {
            return; // Everybody fails at once: what is remembered of most is enough.
        }
        let (since, count) = failures.entry(from).or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() >= WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
    }
}

tokio::task_local! {
    static CALLER: Arc<str>;
}

/// Runs `work` as what `caller` asked for: labels and the audit name them, without every function on the way knowing of callers.
pub async fn as_caller<T>(caller: Arc<str>, work: impl Future<Output = T>) -> T {
    CALLER.scope(caller, work).await
}

/// Whose doing the present work is; outside a request, the program's.
pub(crate) fn caller() -> Arc<str> {
    CALLER.try_with(Arc::clone).unwrap_or_else(|_| "forewarn".into())
}

#[cfg(test)]
mod tests;
