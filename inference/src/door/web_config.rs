//! `web.yml` of the exporter toolkit, so that operators who have one for Prometheus use it here too: TLS, users with bcrypt
//! hashes, headers. Keys that are unknown, or that this server has no such thing for, are errors: a limit that is silently not
//! kept is worse than none.

use std::collections::BTreeMap;
use std::path::Path;

use axum::http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::tls_files::TlsFiles;

/// Headers that the file may set, as the toolkit allows them.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
];

/// What a `web.yml` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebConfig {
    /// Of `tls_server_config`; paths joined with the file's folder.
    pub tls: Option<TlsFiles>,
    /// Of `basic_auth_users`: names with bcrypt hashes, sorted by name.
    pub(super) users: Vec<(String, String)>,
    /// Of `http_server_config.headers`.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tls_server_config: Option<TlsFiles>,
    http_server_config: Option<Http>,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    /// Read and left alone: HTTP/1.1 is spoken, which every client of the toolkit speaks too.
    #[serde(default, rename = "http2")]
    _http2: Option<bool>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl WebConfig {
    /// Reads the text of a file that lies in `folder`. Of a password's hash, no error shows anything.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let file: File = serde_saphyr::from_str(text).map_err(|e| first_line(&e.to_string()))?;
        for (name, hash) in &file.basic_auth_users {
            if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
                return Err(format!(
                    "basic_auth_users: wanted a name without colons and control characters, got {name:?}"
                ));
            }
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return Err(format!(
                    "basic_auth_users: wanted a bcrypt hash for {name}, such as `htpasswd -nBC 10` makes"
                ));
            }
        }
        let headers = file.http_server_config.map(|http| http.headers).unwrap_or_default();
        let header = |(name, value): (String, String)| {
            if !HEADERS.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                return Err(format!("http_server_config: headers may be {}, got {name:?}", HEADERS.join(", ")));
            }
            let wrong = || format!("http_server_config: the value of {name} cannot be one");
            let value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
            Ok((name.parse().map_err(|_| wrong())?, value))
        };
        Ok(Self {
            tls: file.tls_server_config.map(|tls| tls.relative_to(folder)),
            users: file.basic_auth_users.into_iter().collect(),
            headers: headers.into_iter().map(header).collect::<Result<_, _>>()?,
        })
    }
}

/// The parser draws the place below, in lines that may show what stands there.
fn first_line(message: &str) -> String {
    message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("not YAML").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::{ClientAuth, TlsVersion};

    #[test]
    fn a_file_of_the_toolkit_is_read_and_its_paths_are_relative_to_it() {
        let hash = bcrypt::hash("a password", 4).unwrap();
        let text = format!(
            "# as for Prometheus\n\
             tls_server_config:\n  cert_file: server.crt\n  key_file: /keys/server.key\n  client_ca_file: ca.crt\n\
             \x20 client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\n\
             http_server_config:\n  http2: true\n  headers:\n    Strict-Transport-Security: max-age=31536000\n\
             basic_auth_users:\n  anna: {hash}\n"
        );
        let read = WebConfig::parse(&text, Path::new("/etc/web")).unwrap();
        let tls = read.tls.unwrap();
        assert_eq!(tls.cert_file, Path::new("/etc/web/server.crt"));
        assert_eq!(tls.key_file, Path::new("/keys/server.key"));
        assert_eq!(tls.client_ca_file.as_deref(), Some(Path::new("/etc/web/ca.crt")));
        assert_eq!(tls.client_auth_type, ClientAuth::RequireAndVerifyClientCert);
        assert_eq!((tls.min_version, tls.max_version), (TlsVersion::TLS13, TlsVersion::TLS13));
        assert_eq!(read.users, [("anna".to_owned(), hash)]);
        assert_eq!(read.headers[0].1, "max-age=31536000");
        assert_eq!(WebConfig::parse("# nothing\n\n", Path::new("")).unwrap(), WebConfig::default());
    }

    #[test]
    fn what_is_unknown_or_not_had_here_is_an_error_that_shows_no_hash() {
        let wrong_hash = "basic_auth_users: {anna: my-password-in-the-clear}";
        for (text, says) in [
            ("tls_server_conf: {}", "tls_server_conf"),
            ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: [X]}", "cipher_suites"),
            ("tls_server_config: {cert_file: a}", "key_file"),
            ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}", "TLS10"),
            ("rate_limit: {burst: 1}", "rate_limit"),
            (wrong_hash, "bcrypt hash for anna"),
            ("basic_auth_users: {\"a:b\": x}", "without colons"),
            ("http_server_config: {headers: {Server: x}}", "Strict-Transport-Security"),
            ("basic_auth_users: [", ""),
            ("- 1", ""),
        ] {
            let error = WebConfig::parse(text, Path::new("")).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
            assert!(!error.contains("in-the-clear"), "{error}");
        }
    }
}
