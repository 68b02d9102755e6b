//! How to reach a Prometheus-compatible server and what to ask of it.

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::credentials::{BearerToken, Credentials};
use super::fetch::{Fetch, SourceResolution};
use super::tls::TlsOptions;
use crate::source::SourceError;

/// See [`PrometheusSource::new`](crate::PrometheusSource::new). Credentials are not shown by `Debug`.
#[derive(Clone)]
pub struct PrometheusOptions {
    /// The source's name.
    pub name: String,
    /// The server's base URL, `http` or `https`; a path is kept (`https://mimir/prometheus`).
    pub url: String,
    /// Sent as `authorization: Bearer …`; not together with `basic`.
    pub bearer: Option<BearerToken>,
    /// User and password.
    pub basic: Option<(String, String)>,
    /// Sent with every request, such as `x-scope-orgid`. Values count as secret.
    pub headers: Vec<(String, String)>,
    /// Authorities, a certificate of ours, the server's name.
    pub tls: TlsOptions,
    /// What is asked of it.
    pub fetch: Fetch,
    /// Thanos: whether series of replicas are made into one. By default, as the server is set.
    pub dedup: Option<bool>,
    /// Thanos: the labels that tell replicas apart. By default, as the server is set.
    pub replica_labels: Vec<String>,
    /// Thanos: the coarsest resolution that may be used where the finer ones have nothing.
    pub max_source_resolution: SourceResolution,
    /// For one request, from connecting to the last byte; also sent to the server.
    pub timeout: Duration,
    /// The most steps asked for in one request; Prometheus refuses more than 11,000.
    pub max_points: u64,
    /// The most requests at a time, at least 1; fewer while the server says that it has too many.
    pub concurrency: usize,
    /// How often a failed request is made again.
    pub retries: u32,
    /// A request is not made again once this long has passed since it was first made.
    pub give_up_after: Duration,
    /// The first wait before a request is made again is at most this long; each next one may be twice as long.
    pub backoff: Duration,
    /// The most bytes of one answer, decompressed where it is compressed. A window with a larger one is halved. Up to
    /// `concurrency` answers are in memory at a time.
    pub max_answer_bytes: u64,
    /// For the jitter of the waits.
    pub seed: u64,
}

impl Default for PrometheusOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            bearer: None,
            basic: None,
            headers: Vec::new(),
            tls: TlsOptions::default(),
            fetch: Fetch::default(),
            dedup: None,
            replica_labels: Vec::new(),
            max_source_resolution: SourceResolution::default(),
            timeout: Duration::from_secs(60),
            max_points: 11_000,
            concurrency: 4,
            retries: 5,
            give_up_after: Duration::from_secs(600),
            backoff: Duration::from_millis(500),
            max_answer_bytes: 64 << 20,
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
    /// The same, with the name that the server's certificate must have.
    pub(super) request_url: String,
    pub(super) headers: HeaderMap,
    pub(super) basic: Option<(String, String)>,
    pub(super) credentials: Credentials,
}

impl Endpoint {
    /// With the client's builder, set up for TLS.
    pub(super) fn new(
        options: &PrometheusOptions,
        builder: reqwest::ClientBuilder,
    ) -> Result<(Self, reqwest::ClientBuilder), SourceError> {
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
        if basic.is_some() && options.bearer.is_some() {
            return Err(wrong("it has a token and a password, wanted one of them"));
        }
        if options.max_points == 0 || options.concurrency == 0 || options.timeout.is_zero() {
            return Err(wrong("max_points, concurrency and timeout must be more than 0"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let header: HeaderName = name.parse().map_err(|_| wrong(&format!("{name:?} is no name of a header")))?;
            let mut value: HeaderValue =
                value.parse().map_err(|_| wrong(&format!("the value of header {name} has characters it cannot")))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        let secrets = options.headers.iter().map(|(_, value)| value.clone());
        let secrets = secrets.chain(basic.iter().map(|(_, password)| password.clone())).collect();
        let credentials = Credentials::new(options.bearer.clone(), secrets).map_err(|e| wrong(&e))?;
        let (builder, request_url) = options.tls.apply(builder, &url, &mut headers).map_err(|e| wrong(&e))?;
        let text = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        let endpoint = Self { url: text(&url), request_url: text(&request_url), headers, basic, credentials };
        Ok((endpoint, builder))
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
        let options = options("http://me:p%40ss+word@host:1/prom/");
        let (endpoint, _) = Endpoint::new(&options, reqwest::Client::builder()).unwrap();
        assert_eq!(endpoint.url, "http://host:1/prom");
        assert_eq!(endpoint.basic, Some(("me".to_owned(), "p@ss+word".to_owned())));
        assert_eq!(endpoint.credentials.redact("no p@ss+word here"), "no *** here");
    }

    #[test]
    fn options_that_cannot_work_are_refused_without_saying_a_secret() {
        let token = Some(BearerToken::Text("s3cret\n".to_owned()));
        for bad in [
            options("ftp://x:s3cret@host"),
            options("http://x:s3cret@host:port"),
            options("http://x:s3cret@host/?a"),
            PrometheusOptions { bearer: token, ..options("http://host") },
            PrometheusOptions { concurrency: 0, ..options("http://host") },
        ] {
            let error = Endpoint::new(&bad, reqwest::Client::builder()).err().unwrap().to_string();
            assert!(!error.contains("s3cret") && !format!("{bad:?}").contains("s3cret"), "{error}");
        }
    }
}
