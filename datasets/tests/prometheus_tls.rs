//! A server that wants to see a certificate, and a client that wants to see the right one.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use forewarn_datasets::{HistorySource, PrometheusOptions, PrometheusSource, SourceError, TlsOptions};
use forewarn_testkit::certificates::Certificates;
use support::options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// An authority of ours, a server's and a client's certificate; and another authority that nobody believes.
fn make_certificates() -> Option<Certificates> {
    let made = Certificates::new().unwrap()?;
    for authority in ["ca", "other-ca"] {
        made.authority(authority).unwrap();
    }
    let certify = |name, authority, extension| made.certify(name, authority, "forewarn", extension).unwrap();
    certify("server", "ca", "subjectAltName=DNS:thanos.example,DNS:localhost");
    certify("client", "ca", "extendedKeyUsage=clientAuth");
    certify("stranger", "other-ca", "extendedKeyUsage=clientAuth");
    Some(made)
}

/// What the server saw: the name asked for (SNI) and the head of the request.
type Seen = Arc<Mutex<Vec<(Option<String>, String)>>>;

/// Answers a probe over TLS, to clients of the authority alone.
async fn server(certificates: &Certificates) -> (u16, Seen) {
    forewarn_storage::install_crypto_provider();
    let pem = |name: &str| certificates.path(name);
    let mut believed = RootCertStore::empty();
    believed.add(CertificateDer::from_pem_file(pem("ca.pem")).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder(Arc::new(believed)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(pem("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pem("server.key")).unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let saw = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that is refused, or refuses us, breaks off.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            let mut request = vec![0; 16 << 10];
            let read = stream.read(&mut request).await.unwrap_or(0);
            saw.lock().unwrap().push((name, String::from_utf8_lossy(&request[..read]).into_owned()));
            let body = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
            let _ = stream.write_all(support::answer("200 OK", "", body).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, seen)
}

async fn probe(url: String, tls: TlsOptions) -> Result<(), SourceError> {
    let options = PrometheusOptions { tls, retries: 0, ..options(&url) };
    PrometheusSource::new(options)?.probe().await.map(drop)
}

fn tls(certificates: &Certificates, authority: &str, client: Option<&str>, name: Option<&str>) -> TlsOptions {
    let path = |name: &str, kind: &str| certificates.path(&format!("{name}.{kind}"));
    TlsOptions {
        ca_file: Some(path(authority, "pem")),
        cert_file: client.map(|client| path(client, "pem")),
        key_file: client.map(|client| path(client, "key")),
        server_name: name.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_client_with_its_certificate_is_let_in_and_asks_for_the_servers_name() {
    let Some(certificates) = make_certificates() else { return };
    let (port, seen) = server(&certificates).await;
    probe(format!("https://localhost:{port}"), tls(&certificates, "ca", Some("client"), None)).await.unwrap();
    let named = tls(&certificates, "ca", Some("client"), Some("thanos.example"));
    probe(format!("https://127.0.0.1:{port}/prefix"), named).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].0.as_deref(), Some("localhost"));
    let (name, request) = seen.iter().find(|(_, request)| request.contains("/prefix/")).unwrap();
    assert_eq!(name.as_deref(), Some("thanos.example"));
    assert!(request.to_lowercase().contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
}

#[tokio::test]
async fn who_is_not_known_is_not_let_in_on_either_side() {
    let Some(certificates) = make_certificates() else { return };
    let (port, seen) = server(&certificates).await;
    let key = std::fs::read_to_string(certificates.path("stranger.key")).unwrap();
    for (authority, client, name, url) in [
        // No certificate, one of another authority, a server of an authority we do not believe, another server.
        ("ca", None, None, "https://localhost"),
        ("ca", Some("stranger"), None, "https://localhost"),
        ("other-ca", Some("client"), None, "https://localhost"),
        ("ca", Some("client"), Some("mimir.example"), "https://localhost"),
        ("ca", Some("client"), None, "https://127.0.0.1"),
    ] {
        let error = probe(format!("{url}:{port}"), tls(&certificates, authority, client, name)).await.unwrap_err();
        assert!(error.is_unreachable(), "{error}");
        let secret = key.lines().nth(1).unwrap();
        assert!(!error.to_string().contains(secret));
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
    // A key that belongs to another certificate.
    let mixed = TlsOptions {
        key_file: Some(certificates.path("stranger.key")),
        ..tls(&certificates, "ca", Some("client"), None)
    };
    let error = probe("https://localhost:1".to_owned(), mixed).await.unwrap_err();
    assert!(matches!(error, SourceError::Options { .. }), "{error}");
    let wanted: &Path = &certificates.path("no-such.pem");
    let missing = TlsOptions { ca_file: Some(wanted.to_owned()), ..TlsOptions::default() };
    let error = probe("https://localhost:1".to_owned(), missing).await.unwrap_err();
    assert!(error.to_string().contains("ca_file") && error.to_string().contains("no-such.pem"), "{error}");
}
