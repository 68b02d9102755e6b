//! The door: where connections come in, under TLS where that is wanted, and what is known of who stands there before a word is
//! spoken. What they may do is [`crate::access`]'s.
//!
//! What the door is made of lies in files (certificates, key, `web.yml`); they are looked at again while the server runs, so that
//! a renewed certificate or a changed password needs no restart.

mod certificate;
mod listener;
mod patient;
mod tls_files;
mod users;
mod watch;
mod web_config;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderName, HeaderValue};
use tokio_rustls::rustls::ServerConfig;

pub(crate) use self::listener::{DoorListener, Peer};
pub use self::tls_files::{ClientAuth, TlsFiles, TlsVersion};
pub(crate) use self::users::Users;
pub(crate) use self::watch::watch;
pub use self::web_config::WebConfig;
use crate::access::{Credential, CredentialKind};

/// More than any certificate chain or web.yml.
const FILE_CAP: u64 = 1 << 20;

/// What the door is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DoorOptions {
    /// TLS as `[serve.tls]` says; `None`: as `web_config_file` says, and without one none.
    pub tls: Option<TlsFiles>,
    /// A `web.yml` as the exporters and servers of Prometheus read it.
    pub web_config_file: Option<PathBuf>,
}

/// A file of the door cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// It cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It does not say what it should.
    #[error("{path}: {reason}", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What was wanted and what was got; nothing of a key or a password.
        reason: String,
    },
    /// What is asked for does not fit together.
    #[error("{0}")]
    Contradiction(&'static str),
    /// A role for somebody who cannot come.
    #[error("[[serve.access]] {name:?} is to be known by {by}, and there is none")]
    NeverKnown {
        /// Who.
        name: String,
        /// What is missing.
        by: &'static str,
    },
}

/// What the files say, read whole.
#[derive(Clone, Default)]
pub(crate) struct Opened {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whether a certificate that is shown was verified.
    pub(crate) verifies_certificates: bool,
    /// Whether nobody comes in without one.
    pub(crate) asks_for_certificates: bool,
    pub(crate) allowed_names: Arc<[String]>,
    pub(crate) users: Arc<Users>,
    pub(crate) headers: Arc<[(HeaderName, HeaderValue)]>,
    /// Every byte that was read: the same bytes make the same door.
    read: Arc<[(PathBuf, Vec<u8>)]>,
}

impl DoorOptions {
    /// Reads every file, and says what is wrong with the first that cannot be used, or who of `access` can never come.
    pub fn check(&self, access: &[Credential]) -> Result<(), DoorError> {
        self.open()?.lets_in(access)
    }

    fn open(&self) -> Result<Opened, DoorError> {
        let mut files = Files::default();
        let web = match &self.web_config_file {
            Some(path) => {
                let text = files.text(path)?;
                let folder = path.parent().unwrap_or_else(|| std::path::Path::new(""));
                let wrong = |reason| DoorError::Content { path: path.clone(), reason };
                WebConfig::parse(&text, folder).map_err(wrong)?
            }
            None => WebConfig::default(),
        };
        let tls = match (&self.tls, web.tls) {
            (Some(_), Some(_)) => {
                return Err(DoorError::Contradiction("TLS is set up in [serve.tls] and in web_config_file: give one"));
            }
            (Some(tls), None) => Some(tls.clone()),
            (None, tls) => tls,
        };
        let mut opened =
            Opened { users: Arc::new(Users::new(web.users)), headers: web.headers.into(), ..Opened::default() };
        if let Some(tls) = tls {
            opened.tls = Some(Arc::new(tls.server_config(&mut files)?));
            opened.verifies_certificates = tls.client_auth_type != ClientAuth::NoClientCert;
            opened.asks_for_certificates = tls.client_auth_type == ClientAuth::RequireAndVerifyClientCert;
            opened.allowed_names = tls.client_allowed_sans.into();
        }
        opened.read = files.read.into();
        Ok(opened)
    }
}

impl Opened {
    /// Whether everybody with a role can come: a certificate's name needs certificates, a user of `web.yml` a line there.
    pub(crate) fn lets_in(&self, access: &[Credential]) -> Result<(), DoorError> {
        for credential in access {
            let (known, by) = match credential.kind() {
                CredentialKind::Token | CredentialKind::Password => continue,
                CredentialKind::Certificate => {
                    (self.verifies_certificates, "a certificate that client_ca_file of TLS verifies")
                }
                CredentialKind::WebUser => {
                    (self.users.names().any(|name| name == credential.name()), "basic_auth_users of web_config_file")
                }
            };
            if !known {
                return Err(DoorError::NeverKnown { name: credential.name().to_owned(), by });
            }
        }
        Ok(())
    }
}

/// Files as they were read.
#[derive(Default)]
struct Files {
    read: Vec<(PathBuf, Vec<u8>)>,
}

impl Files {
    fn bytes(&mut self, path: &std::path::Path) -> Result<Vec<u8>, DoorError> {
        let read = |source| DoorError::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > FILE_CAP {
            let reason = format!("must be at most {FILE_CAP} bytes, got {size}");
            return Err(DoorError::Content { path: path.to_owned(), reason });
        }
        let bytes = std::fs::read(path).map_err(read)?;
        self.read.push((path.to_owned(), bytes.clone()));
        Ok(bytes)
    }

    fn text(&mut self, path: &std::path::Path) -> Result<String, DoorError> {
        let wrong = |_| DoorError::Content { path: path.to_owned(), reason: "wanted UTF-8 text".to_owned() };
        String::from_utf8(self.bytes(path)?).map_err(wrong)
    }
}

/// The door as it stands now.
pub(crate) struct Door {
    options: DoorOptions,
    now: RwLock<Arc<Opened>>,
}

impl Door {
    pub(crate) fn open(options: DoorOptions) -> Result<Self, DoorError> {
        let now = RwLock::new(Arc::new(options.open()?));
        Ok(Self { options, now })
    }

    pub(crate) fn now(&self) -> Arc<Opened> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it has files that may change.
    pub(crate) fn has_files(&self) -> bool {
        self.options != DoorOptions::default()
    }

    /// Reads the files again; `true` where they changed. What cannot be used changes nothing: the door stays as it is.
    pub(crate) fn look_again(&self) -> Result<bool, DoorError> {
        let (before, opened) = (self.now(), self.options.open()?);
        if opened.read == before.read {
            return Ok(false);
        }
        if opened.tls.is_some() != before.tls.is_some() {
            return Err(DoorError::Contradiction("TLS is turned on or off only by a restart"));
        }
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(opened);
        Ok(true)
    }
}
