//! One request and its repetitions: what is asked again, after how long, and when to ask for less.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{StatusCode, redirect};
use tokio::sync::Semaphore;

use super::answer::{AnswerError, Refusal, shorten};
use super::backoff::Backoff;
use super::options::{Endpoint, PrometheusOptions};
use crate::PullProgress;
use crate::source::SourceError;

/// A server that asks to be left alone for longer is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A server behind the query API.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    basic: Option<(String, String)>,
    pub(super) options: PrometheusOptions,
    in_flight: Semaphore,
}

/// Why a request gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is too much for the server; less may do. Holds what to say where less is not possible.
    TooMuch(SourceError),
    /// As the error says.
    Final(SourceError),
}

impl Failure {
    pub(super) fn into_error(self) -> SourceError {
        match self {
            Self::TooMuch(error) | Self::Final(error) => error,
        }
    }
}

/// Why one attempt gave nothing.
enum Attempt {
    Again { reason: String, after: Option<Duration>, then_halve: bool },
    Failed(Failure),
}

impl Client {
    pub(super) fn new(options: PrometheusOptions) -> Result<Self, SourceError> {
        let (endpoint, basic) = Endpoint::new(&options)?;
        forewarn_storage::install_crypto_provider();
        let http = reqwest::Client::builder()
            .timeout(options.timeout)
            .connect_timeout(options.timeout.min(Duration::from_secs(10)))
            // A redirect would carry custom headers, and with them credentials, to another host.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("forewarn/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| SourceError::Options { source_name: options.name.clone(), reason: chain(&e) })?;
        let in_flight = Semaphore::new(options.concurrency.min(Semaphore::MAX_PERMITS));
        Ok(Self { http, endpoint, basic, options, in_flight })
    }

    /// Without credentials.
    pub(super) fn url(&self) -> &str {
        &self.endpoint.url
    }

    /// Posts `form` to `path`; the body of an answer of status 200. `what` names the request in errors.
    pub(super) async fn post(
        &self,
        path: &str,
        form: &[(&str, String)],
        what: &str,
        retries: u32,
        progress: &dyn PullProgress,
    ) -> Result<Vec<u8>, Failure> {
        let mut backoff = Backoff::new(self.options.backoff, self.options.seed ^ seed_of(what));
        for attempt in 1.. {
            let (reason, after, then_halve) = match self.attempt(path, form, what).await {
                Ok(body) => return Ok(body),
                Err(Attempt::Failed(failure)) => return Err(failure),
                Err(Attempt::Again { reason, after, then_halve }) => (reason, after, then_halve),
            };
            let wait = backoff.next().max(after.unwrap_or_default());
            if attempt > retries || wait > LONGEST_WAIT {
                let error = self.unreachable(attempt, &reason);
                return Err(if then_halve { Failure::TooMuch(error) } else { Failure::Final(error) });
            }
            tracing::debug!(source = self.options.name, what, attempt, ?wait, reason, "request will be made again");
            progress.retrying(what, attempt, &reason);
            tokio::time::sleep(wait).await;
        }
        Err(Failure::Final(self.unreachable(0, "it was never asked")))
    }

    /// The body of `path`, where there is one; asked once.
    pub(super) async fn get(&self, path: &str) -> Option<Vec<u8>> {
        let response = self.authorised(self.http.get(format!("{}{path}", self.endpoint.url))).send().await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        self.body(response, path).await.ok()
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.headers(self.endpoint.headers.clone());
        match &self.basic {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    async fn attempt(&self, path: &str, form: &[(&str, String)], what: &str) -> Result<Vec<u8>, Attempt> {
        // Held for one attempt and not while waiting, so that others go on. It is never closed.
        let _permit = self.in_flight.acquire().await;
        let request = self.http.post(format!("{}{path}", self.endpoint.url)).form(form);
        let response = self.authorised(request).send().await.map_err(|e| self.broken(&e))?;
        let (status, after) = (response.status(), retry_after(response.headers(), Utc::now()));
        let body = self.body(response, what).await;
        if status == StatusCode::OK {
            return body;
        }
        let refusal = Refusal::of(&body.unwrap_or_default());
        let words = self.endpoint.redact(&refusal.words);
        let reason = match words.as_str() {
            "" => format!("status {status}"),
            words => format!("status {status}: {words}"),
        };
        let refused = |words: String| SourceError::Refused {
            source_name: self.options.name.clone(),
            url: self.endpoint.url.clone(),
            what: what.to_owned(),
            status: status.as_u16(),
            reason: words,
        };
        // Prometheus answers 503 with `timeout` where a query took too long, and with `canceled` where it was ended.
        let took_too_long = matches!(refusal.kind.as_str(), "timeout" | "canceled");
        match status.as_u16() {
            422 => Err(Attempt::Failed(Failure::TooMuch(refused(words)))),
            503 if took_too_long && after.is_none() => {
                Err(Attempt::Failed(Failure::TooMuch(self.unreachable(1, &reason))))
            }
            503 | 504 => Err(Attempt::Again { reason, after, then_halve: true }),
            408 | 425 | 429 | 500..=599 => Err(Attempt::Again { reason, after, then_halve: false }),
            300..=399 => {
                let advice = "it redirects, which is not followed, so that credentials stay here; give the final url";
                Err(Attempt::Failed(Failure::Final(refused(advice.to_owned()))))
            }
            _ if words.is_empty() => Err(Attempt::Failed(Failure::Final(refused("it gave no reason".to_owned())))),
            _ => Err(Attempt::Failed(Failure::Final(refused(words)))),
        }
    }

    async fn body(&self, mut response: reqwest::Response, what: &str) -> Result<Vec<u8>, Attempt> {
        let cap = self.options.max_answer_bytes;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.broken(&e))? {
            if (body.len() + chunk.len()) as u64 > cap {
                let reason = format!("the answer to {what} must be at most {cap} bytes");
                return Err(Attempt::Failed(Failure::TooMuch(self.malformed(reason))));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// A connection that was refused, broke off or took too long.
    fn broken(&self, error: &reqwest::Error) -> Attempt {
        let reason = self.endpoint.redact(&shorten(&chain(error)));
        if error.is_timeout() && !error.is_connect() {
            let limit = self.options.timeout;
            let error = self.unreachable(1, &format!("no whole answer within {limit:?}"));
            return Attempt::Failed(Failure::TooMuch(error));
        }
        Attempt::Again { reason, after: None, then_halve: false }
    }

    fn unreachable(&self, attempts: u32, reason: &str) -> SourceError {
        SourceError::Unreachable {
            source_name: self.options.name.clone(),
            url: self.endpoint.url.clone(),
            attempts,
            reason: reason.to_owned(),
        }
    }

    pub(super) fn malformed(&self, reason: String) -> SourceError {
        SourceError::Malformed { source_name: self.options.name.clone(), reason: self.endpoint.redact(&reason) }
    }

    /// As an error of this source.
    pub(super) fn answer_error(&self, error: AnswerError, what: &str) -> SourceError {
        match error {
            AnswerError::Malformed(reason) => self.malformed(format!("{what}: {reason}")),
            AnswerError::Partial(warnings) => SourceError::Partial {
                source_name: self.options.name.clone(),
                what: what.to_owned(),
                warnings: warnings.iter().map(|w| self.endpoint.redact(w)).collect(),
            },
        }
    }
}

/// How long the server asks to be left alone: seconds or an HTTP date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some(at.with_timezone(&Utc).signed_duration_since(now).to_std().unwrap_or_default())
}

/// The error and its causes in one line, without the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        causes.push(e.to_string());
        cause = e.source();
    }
    causes.dedup();
    match causes.is_empty() {
        // Of the outermost error only the kind is wanted: its text holds the URL.
        true => if error.is_timeout() { "it took too long" } else { "the request failed" }.to_owned(),
        false => causes.join(": "),
    }
}

/// Requests that fail together shall not come back together.
fn seed_of(what: &str) -> u64 {
    what.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Thu, 01 Jan 2026 00:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Wed, 31 Dec 2025 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
