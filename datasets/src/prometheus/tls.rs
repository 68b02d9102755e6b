//! Whom we believe to be the server, and who we are to it: a certificate authority, a client certificate and a server name
//! of the source's own.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HOST, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity};
use url::{Host, Url};

/// More than any bundle of authorities.
const FILE_CAP: u64 = 4 << 20;

/// TLS of one source. Files are PEM and read once, when the source is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Only servers certified by these authorities are believed; by default those that the system trusts are.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with what it takes to get to an authority; goes with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The certificate's private key, unencrypted (PKCS#8, PKCS#1 or SEC 1).
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate must have and that is asked for (SNI), where it is not the host of the
    /// URL. A DNS name.
    pub server_name: Option<String>,
}

impl TlsOptions {
    /// Whether anything is set.
    fn is_set(&self) -> bool {
        *self != Self::default()
    }

    /// The client with these options, and the URL to give it instead of `url`.
    pub(super) fn apply(
        &self,
        mut builder: ClientBuilder,
        url: &Url,
        headers: &mut HeaderMap,
    ) -> Result<(ClientBuilder, Url), String> {
        if self.is_set() && url.scheme() != "https" {
            return Err("ca_file, cert_file, key_file and server_name need a url that starts with https://".to_owned());
        }
        if let Some(path) = &self.ca_file {
            let authorities = Certificate::from_pem_bundle(&read("ca_file", path)?)
                .map_err(|_| format!("ca_file {} must be certificates in PEM", path.display()))?;
            if authorities.is_empty() {
                return Err(format!("ca_file {} has no certificate in PEM", path.display()));
            }
            builder = builder.tls_certs_only(authorities);
        }
        match (&self.cert_file, &self.key_file) {
            (None, None) => {}
            (Some(cert), Some(key)) => {
                let mut pem = read("cert_file", cert)?;
                pem.push(b'\n');
                pem.extend(read("key_file", key)?);
                // Its error could quote the key.
                let identity = Identity::from_pem(&pem).map_err(|_| {
                    let (cert, key) = (cert.display(), key.display());
                    format!("cert_file {cert} and key_file {key} must be a certificate and its private key in PEM")
                })?;
                builder = builder.identity(identity);
            }
            _ => return Err("cert_file and key_file go together".to_owned()),
        }
        match &self.server_name {
            None => Ok((builder, url.clone())),
            Some(name) => rename(builder, url, name, headers),
        }
    }
}

/// The client takes name and SNI from the URL. So the URL gets the server's name, the name leads to the host that was
/// meant, and the host stays in the `host` header.
fn rename(
    builder: ClientBuilder,
    url: &Url,
    name: &str,
    headers: &mut HeaderMap,
) -> Result<(ClientBuilder, Url), String> {
    let wrong = || format!("server_name must be a DNS name, got {name:?}");
    let Ok(Host::Domain(name)) = Host::parse(name) else { return Err(wrong()) };
    let mut renamed = url.clone();
    renamed.set_host(Some(&name)).map_err(|_| wrong())?;
    let host = match url.host().ok_or_else(wrong)? {
        Host::Domain(domain) => domain.to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    };
    let authority = HeaderValue::from_str(url.authority()).map_err(|_| wrong())?;
    headers.entry(HOST).or_insert(authority);
    Ok((builder.dns_resolver(LeadsTo(host)), renamed))
}

/// Every name leads to one host.
struct LeadsTo(String);

impl Resolve for LeadsTo {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            // The port is that of the URL.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |e: std::io::Error| format!("{key}: cannot read {}: {e}", path.display());
    let mut content = Vec::new();
    fs::File::open(path).map_err(wrong)?.take(FILE_CAP + 1).read_to_end(&mut content).map_err(wrong)?;
    if content.len() as u64 > FILE_CAP {
        return Err(format!("{key}: {} must be at most {FILE_CAP} bytes", path.display()));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(options: &TlsOptions, url: &str) -> Result<(Url, HeaderMap), String> {
        forewarn_storage::install_crypto_provider();
        let mut headers = HeaderMap::new();
        let (_, url) = options.apply(reqwest::Client::builder(), &url.parse().unwrap(), &mut headers)?;
        Ok((url, headers))
    }

    #[test]
    fn a_server_name_replaces_the_host_and_keeps_it_in_the_header() {
        let options = TlsOptions { server_name: Some("thanos.example".to_owned()), ..TlsOptions::default() };
        let (url, headers) = applied(&options, "https://10.0.0.5:9091/thanos").unwrap();
        assert_eq!(url.as_str(), "https://thanos.example:9091/thanos");
        assert_eq!(headers[HOST], "10.0.0.5:9091");
    }

    #[test]
    fn what_cannot_work_is_refused_by_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n").unwrap();
        let path = Some(file.path().to_owned());
        let none = TlsOptions::default();
        let ca = TlsOptions { ca_file: path.clone(), ..none.clone() };
        let both = TlsOptions { cert_file: path.clone(), key_file: path.clone(), ..none.clone() };
        for (options, url, key) in [
            (&ca, "http://host", "https://"),
            (&ca, "https://host", "ca_file"),
            (&both, "https://host", "key_file"),
            (&TlsOptions { cert_file: path.clone(), ..none.clone() }, "https://host", "go together"),
            (&TlsOptions { ca_file: Some("/no/such".into()), ..none.clone() }, "https://host", "ca_file: cannot read"),
            (&TlsOptions { server_name: Some("10.0.0.1".into()), ..none.clone() }, "https://host", "server_name"),
        ] {
            let error = applied(options, url).unwrap_err();
            assert!(error.contains(key) && !error.contains("c2VjcmV0"), "{error}");
        }
    }
}
