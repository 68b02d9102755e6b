//! Who may ask for what: names with a secret each, and a role. Nobody is asked while there are none, and then the server
//! listens on this machine alone.

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
            "/api/v1/write" | "/api/v1/alertmanager" => Some(Self::Write),
            _ if matches!(*method, Method::GET | Method::HEAD) => Some(Self::Read),
            _ => Some(Self::Operate),
        }
    }

    fn includes(self, needed: Self) -> bool {
        self == needed || self == Self::Operate && needed == Self::Read
    }
}

/// One name that may ask, with the digest of its secret.
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
    /// Keeps the digest of `secret`, not the secret.
    pub fn new(name: &str, role: Role, kind: CredentialKind, secret: &str) -> Result<Self, CredentialError> {
        if secret.len() < LEAST_SECRET {
            return Err(CredentialError::TooShort { got: secret.len() });
        }
        if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
            return Err(CredentialError::BadName { name: name.to_owned() });
        }
        Ok(Self { name: name.into(), role, kind, digest: Sha256::digest(secret).into() })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
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

    /// Who asks, if they may. `from` is where the connection comes from, where that is known.
    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        from: Option<IpAddr>,
    ) -> Result<Arc<str>, Refused> {
        let needed = Role::needed(method, path);
        let (false, Some(needed)) = (self.credentials.is_empty(), needed) else { return Ok(NOBODY_ASKED.into()) };
        if let Some(seconds) = from.and_then(|from| self.must_wait(from)) {
            return Err(Refused::Wait { seconds });
        }
        let Some(presented) = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()) else {
            return Err(Refused::Unknown);
        };
        let Some(credential) = self.known(presented) else {
            if let Some(from) = from {
                self.note_failure(from);
            }
            return Err(Refused::Unknown);
        };
        if credential.role.includes(needed) {
            Ok(Arc::clone(&credential.name))
        } else {
            Err(Refused::NotAllowed { name: Arc::clone(&credential.name), needed })
        }
    }

    /// All are compared, each in constant time: how long it takes says nothing of any secret.
    fn known(&self, presented: &str) -> Option<&Credential> {
        let (scheme, rest) = presented.split_once(' ')?;
        let (kind, user, secret) = if scheme.eq_ignore_ascii_case("bearer") {
            (CredentialKind::Token, None, rest.trim().to_owned())
        } else if scheme.eq_ignore_ascii_case("basic") {
            let text = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
            let (user, secret) = text.split_once(':')?;
            (CredentialKind::Password, Some(user.to_owned()), secret.to_owned())
        } else {
            return None;
        };
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let mut found = None;
        for credential in &self.credentials {
            let named = user.as_deref().is_none_or(|user| user == &*credential.name);
            if bool::from(credential.digest.ct_eq(&digest)) && credential.kind == kind && named {
                found = Some(credential);
            }
        }
        found
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

/// Runs `work` as what `caller` asked for: the audit names them, without every function on the way knowing of callers.
pub(crate) async fn as_caller<T>(caller: Arc<str>, work: impl Future<Output = T>) -> T {
    CALLER.scope(caller, work).await
}

/// Whose doing the present work is; outside a request, the program's.
pub(crate) fn caller() -> Arc<str> {
    CALLER.try_with(Arc::clone).unwrap_or_else(|_| "forewarn".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let of = |name, role, kind, secret| Credential::new(name, role, kind, secret).unwrap();
        Access::new(vec![
            of("prometheus", Role::Write, CredentialKind::Token, "a-token-of-length"),
            of("grafana", Role::Read, CredentialKind::Token, "another-token-here"),
            of("anna", Role::Operate, CredentialKind::Password, "correct horse"),
        ])
    }

    fn ask(access: &Access, method: Method, path: &str, authorization: &str) -> Result<Arc<str>, Refused> {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        access.check(&method, path, &headers, Some([127, 0, 0, 9].into()))
    }

    fn basic(user: &str, password: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
    }

    #[test]
    fn each_role_may_do_what_it_is_for_and_no_more() {
        let access = access();
        let (write, read, operate) =
            ("Bearer a-token-of-length", "bearer another-token-here", basic("anna", "correct horse"));
        for (method, path, who, may) in [
            (Method::POST, "/api/v1/write", write, true),
            (Method::GET, "/api/v1/predictions", write, false),
            (Method::GET, "/metrics", read, true),
            (Method::POST, "/api/v1/write", read, false),
            (Method::POST, "/api/v1/requests/r1/approve", read, false),
            (Method::POST, "/api/v1/requests/r1/approve", &operate, true),
            (Method::DELETE, "/api/v1/feedback/f1", &operate, true),
            (Method::GET, "/", &operate, true),
            (Method::POST, "/api/v1/write", &operate, false),
        ] {
            let answer = ask(&access, method.clone(), path, who);
            assert_eq!(answer.is_ok(), may, "{method} {path} as {who}: {answer:?}");
        }
        assert_eq!(&*ask(&access, Method::GET, "/", &operate).unwrap(), "anna");
        assert!(ask(&access, Method::GET, "/-/healthy", "").is_ok(), "a kubelet has no secret");
    }

    #[test]
    fn a_secret_counts_only_as_what_it_is() {
        let access = access();
        for wrong in [
            "".to_owned(),
            "Bearer correct horse".to_owned(),
            basic("prometheus", "a-token-of-length"),
            basic("ann", "correct horse"),
            basic("anna", "correct horse "),
            "Digest a-token-of-length".to_owned(),
            "Basic !!!".to_owned(),
        ] {
            assert_eq!(ask(&access, Method::GET, "/", &wrong), Err(Refused::Unknown), "{wrong}");
        }
    }

    #[test]
    fn guessing_from_one_address_has_to_wait_and_others_do_not() {
        let access = access();
        for _ in 0..MOST_FAILURES {
            assert_eq!(ask(&access, Method::GET, "/", "Bearer wrong"), Err(Refused::Unknown));
        }
        let right = "Bearer another-token-here";
        assert!(matches!(ask(&access, Method::GET, "/", right), Err(Refused::Wait { .. })));
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, right.parse().unwrap());
        assert!(access.check(&Method::GET, "/", &headers, Some([127, 0, 0, 10].into())).is_ok());
    }

    #[test]
    fn weak_secrets_and_unusable_names_are_refused_and_no_secret_is_shown() {
        let new = |name, secret| Credential::new(name, Role::Read, CredentialKind::Token, secret);
        assert_eq!(new("a", "short").unwrap_err(), CredentialError::TooShort { got: 5 });
        assert!(matches!(new("a:b", "long-enough-secret"), Err(CredentialError::BadName { .. })));
        let shown = format!("{:?}", new("a", "long-enough-secret").unwrap());
        assert!(!shown.contains("secret") && !shown.contains("digest"), "{shown}");
    }
}
