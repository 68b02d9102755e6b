//! How to reach a Prometheus-compatible server, and what never to print of it.

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::source::SourceError;

/// See [`PrometheusSource::new`](crate::PrometheusSource::new). Credentials are not shown by `Debug`.
#[derive(Clone)]
pub struct PrometheusOptions {
    /// The source's name.
    pub name: String,
    /// The server's base URL, `http` or `https`; a path is kept (`https://mimir/prometheus`).
    pub url: String,
    /// Sent as `authorization: Bearer …`; not together with `basic`.
    pub bearer_token: Option<String>,
    /// User and password.
    pub basic: Option<(String, String)>,
    /// Sent with every request, such as `x-scope-orgid`. Values count as secret.
    pub headers: Vec<(String, String)>,
    /// For one request, from connecting to the last byte; also sent to the server.
    pub timeout: Duration,
    /// The most steps asked for in one request; Prometheus refuses more than 11,000.
    pub max_points: u64,
    /// The most requests at a time, at least 1.
    pub concurrency: usize,
    /// How often a failed request is made again.
    pub retries: u32,
    /// The first wait before a request is made again is at most this long; each next one may be twice as long.
    pub backoff: Duration,
    /// The most bytes of one answer. A window with a larger one is halved.
    pub max_answer_bytes: u64,
    /// For the jitter of the waits.
    pub seed: u64,
}

impl Default for PrometheusOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            bearer_token: None,
            basic: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(60),
            max_points: 11_000,
            concurrency: 4,
            retries: 5,
            backoff: Duration::from_millis(500),
            max_answer_bytes: 256 << 20,
            seed: 0,
        }
    }
}

impl fmt::Debug for PrometheusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Checked options.
pub(super) struct Endpoint {
    /// Without credentials and without a slash at its end: what errors and the manifest show.
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    secrets: Vec<String>,
}

impl Endpoint {
    pub(super) fn new(options: &PrometheusOptions) -> Result<(Self, Option<(String, String)>), SourceError> {
        let wrong =
            |reason: &str| SourceError::Options { source_name: options.name.clone(), reason: reason.to_owned() };
        // The text is not in these errors: what is wrong with it may be a password.
        let mut url = Url::parse(&options.url).map_err(|e| wrong(&format!("its url cannot be read ({e})")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("its url must be http://… or https://…"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("its url must have no '?' and no '#'"));
        }
        let mut basic = options.basic.clone();
        if !url.username().is_empty() || url.password().is_some() {
            let decode = |text: &str| percent_decoded(text);
            basic.get_or_insert((decode(url.username()), decode(url.password().unwrap_or_default())));
            // Cannot fail for a URL with a host.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
        }
        if basic.is_some() && options.bearer_token.is_some() {
            return Err(wrong("it has a token and a password, wanted one of them"));
        }
        if options.max_points == 0 || options.concurrency == 0 || options.timeout.is_zero() {
            return Err(wrong("max_points, concurrency and timeout must be more than 0"));
        }
        let mut headers = HeaderMap::new();
        let mut secrets: Vec<String> = Vec::new();
        let bearer = options.bearer_token.iter().map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
        for (name, value) in options.headers.iter().cloned().chain(bearer) {
            let header: HeaderName = name.parse().map_err(|_| wrong(&format!("{name:?} is no name of a header")))?;
            let mut value: HeaderValue =
                value.parse().map_err(|_| wrong(&format!("the value of header {name} has characters it cannot")))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        secrets.extend(options.bearer_token.clone());
        secrets.extend(options.headers.iter().map(|(_, value)| value.clone()));
        secrets.extend(basic.iter().map(|(_, password)| password.clone()));
        // A text of a letter or two would blank out half of every message, and is no secret.
        secrets.retain(|secret| secret.len() > 3);
        Ok((Self { url: url.as_str().trim_end_matches('/').to_owned(), headers, secrets }, basic))
    }

    /// `text` without any credential that a server may have sent back.
    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

fn percent_decoded(text: &str) -> String {
    // `a=` makes it the value of a form, whose decoding is the same but for '+'.
    let form = format!("a={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> PrometheusOptions {
        PrometheusOptions { name: "p".to_owned(), url: url.to_owned(), ..PrometheusOptions::default() }
    }

    #[test]
    fn credentials_leave_the_url() {
        let (endpoint, basic) = Endpoint::new(&options("http://me:p%40ss+word@host:1/prom/")).unwrap();
        assert_eq!(endpoint.url, "http://host:1/prom");
        assert_eq!(basic, Some(("me".to_owned(), "p@ss+word".to_owned())));
        assert_eq!(endpoint.redact("no p@ss+word here"), "no *** here");
    }

    #[test]
    fn options_that_cannot_work_are_refused_without_saying_a_secret() {
        let token = Some("s3cret\n".to_owned());
        for bad in [
            options("ftp://x:s3cret@host"),
            options("http://x:s3cret@host:port"),
            options("http://x:s3cret@host/?a"),
            PrometheusOptions { bearer_token: token, ..options("http://host") },
            PrometheusOptions { concurrency: 0, ..options("http://host") },
        ] {
            let error = Endpoint::new(&bad).err().unwrap().to_string();
            assert!(!error.contains("s3cret") && !format!("{bad:?}").contains("s3cret"), "{error}");
        }
    }
}
