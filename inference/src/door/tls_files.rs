//! Certificates and keys in PEM files, and what they become: one side of TLS, ours.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::{DoorError, Files};

/// TLS, in the words of the exporter toolkit's `tls_server_config`. Only HTTP/1.1 is spoken inside.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM: our certificate, then those up to the authority.
    pub cert_file: PathBuf,
    /// PEM: its key, not encrypted.
    pub key_file: PathBuf,
    /// PEM: who certifies our clients.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients show a certificate.
    #[serde(default)]
    pub client_auth_type: ClientAuth,
    /// DNS names or URIs, of which a client's certificate must have one; empty: any.
    #[serde(default)]
    pub client_allowed_sans: Vec<String>,
    /// The oldest version spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// The newest version spoken.
    #[serde(default = "TlsVersion::newest")]
    pub max_version: TlsVersion,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    NoClientCert,
    /// One that is shown must be certified by `client_ca_file`.
    VerifyClientCertIfGiven,
    /// Who has none that `client_ca_file` certifies is not let in.
    RequireAndVerifyClientCert,
    /// Refused here: it looks at a certificate and believes anything it says.
    RequestClientCert,
    /// Refused here, as [`Self::RequestClientCert`].
    RequireAnyClientCert,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// 1.2
    #[default]
    TLS12,
    /// 1.3
    TLS13,
}

impl TlsVersion {
    fn newest() -> Self {
        Self::TLS13
    }
}

impl TlsFiles {
    /// TLS 1.2 and 1.3, clients are not asked for certificates.
    pub fn new(cert_file: PathBuf, key_file: PathBuf) -> Self {
        Self {
            cert_file,
            key_file,
            client_ca_file: None,
            client_auth_type: ClientAuth::default(),
            client_allowed_sans: Vec::new(),
            min_version: TlsVersion::default(),
            max_version: TlsVersion::newest(),
        }
    }

    /// With paths that are relative to `folder`.
    pub fn relative_to(mut self, folder: &Path) -> Self {
        self.cert_file = folder.join(&self.cert_file);
        self.key_file = folder.join(&self.key_file);
        self.client_ca_file = self.client_ca_file.map(|file| folder.join(file));
        self
    }

    /// Reads the files.
    pub(super) fn server_config(&self, files: &mut Files) -> Result<ServerConfig, DoorError> {
        let versions: &[&SupportedProtocolVersion] = match (self.min_version, self.max_version) {
            (TlsVersion::TLS12, TlsVersion::TLS13) => &[&TLS13, &TLS12],
            (TlsVersion::TLS13, TlsVersion::TLS13) => &[&TLS13],
            (TlsVersion::TLS12, TlsVersion::TLS12) => &[&TLS12],
            (TlsVersion::TLS13, TlsVersion::TLS12) => {
                return Err(DoorError::Contradiction("min_version of TLS is newer than its max_version"));
            }
        };
        let provider = Arc::new(ring::default_provider());
        let wrong = |path: &Path, reason: String| DoorError::Content { path: path.to_owned(), reason };
        let of_key = |e| wrong(&self.key_file, format!("wanted a PEM private key that is not encrypted: {e}"));
        let chain = certificates(&self.cert_file, files)?;
        let key = PrivateKeyDer::from_pem_slice(&files.bytes(&self.key_file)?).map_err(of_key)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|e| wrong(&self.cert_file, e.to_string()))?;
        let builder = match self.authority()? {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file, files)? {
                    roots.add(certificate).map_err(|e| wrong(file, format!("not an authority's certificate: {e}")))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match self.client_auth_type {
                    ClientAuth::VerifyClientCertIfGiven => verifier.allow_unauthenticated().build(),
                    _ => verifier.build(),
                };
                builder.with_client_cert_verifier(verifier.map_err(|e| wrong(file, e.to_string()))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| wrong(&self.cert_file, format!("with {}: {e}", self.key_file.display())))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Who certifies clients, where they are asked.
    fn authority(&self) -> Result<Option<&Path>, DoorError> {
        let file = self.client_ca_file.as_deref();
        match (self.client_auth_type, file) {
            (ClientAuth::NoClientCert, None) if self.client_allowed_sans.is_empty() => Ok(None),
            (ClientAuth::NoClientCert, _) => Err(DoorError::Contradiction(
                "client_ca_file and client_allowed_sans need client_auth_type = \"RequireAndVerifyClientCert\"",
            )),
            (ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert, Some(file)) => {
                Ok(Some(file))
            }
            (ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert, None) => {
                Err(DoorError::Contradiction("client_auth_type needs client_ca_file, which says whom to believe"))
            }
            (ClientAuth::RequestClientCert | ClientAuth::RequireAnyClientCert, _) => Err(DoorError::Contradiction(
                "client_auth_type RequestClientCert and RequireAnyClientCert believe any certificate: \
                 use VerifyClientCertIfGiven or RequireAndVerifyClientCert",
            )),
        }
    }
}

fn certificates(path: &Path, files: &mut Files) -> Result<Vec<CertificateDer<'static>>, DoorError> {
    let wrong = |reason: String| DoorError::Content { path: path.to_owned(), reason };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&files.bytes(path)?).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err(wrong("wanted a PEM certificate, got none".to_owned())),
        Ok(certificates) => Ok(certificates),
        Err(e) => Err(wrong(format!("wanted PEM certificates: {e}"))),
    }
}
