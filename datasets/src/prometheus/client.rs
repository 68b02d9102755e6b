//! One request and its repetitions: what is asked again, after how long, and when to ask for less.

use std::time::{Duration, Instant};

use chrono::Utc;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{StatusCode, redirect};

use super::answer::{AnswerError, Refusal, shorten};
use super::backoff::{Backoff, retry_after};
use super::gate::Gate;
use super::options::{Endpoint, PrometheusOptions};
use crate::PullProgress;
use crate::source::SourceError;

/// A server that asks to be left alone for longer is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// What remote read wants to be told of a request.
const REMOTE_READ_HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-read-version", "0.1.0"),
];

/// A server behind the query API.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    pub(super) options: PrometheusOptions,
    gate: Gate,
}

/// What is posted.
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    pub(super) payload: Payload<'a>,
    /// Its name in errors.
    pub(super) what: &'a str,
}

/// The body of a question.
pub(super) enum Payload<'a> {
    Form(&'a [(&'a str, String)]),
    /// `prometheus.ReadRequest` in snappy's block format.
    RemoteRead(&'a [u8]),
}

/// An answer of status 200.
pub(super) struct Answer {
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
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
        forewarn_storage::install_crypto_provider();
        let builder = reqwest::Client::builder()
            .timeout(options.timeout)
            .connect_timeout(options.timeout.min(Duration::from_secs(10)))
            // A redirect would carry custom headers, and with them credentials, to another host.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("forewarn/", env!("CARGO_PKG_VERSION")));
        let (endpoint, builder) = Endpoint::new(&options, builder)?;
        let http = builder
            .build()
            .map_err(|e| SourceError::Options { source_name: options.name.clone(), reason: chain(&e) })?;
        let gate = Gate::new(options.concurrency);
        Ok(Self { http, endpoint, options, gate })
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
        let question = Question { path, payload: Payload::Form(form), what };
        Ok(self.ask(&question, retries, progress).await?.body)
    }

    /// Asks, and asks again where that may help: at most `retries` times, within the time limit of the options.
    pub(super) async fn ask(
        &self,
        question: &Question<'_>,
        retries: u32,
        progress: &dyn PullProgress,
    ) -> Result<Answer, Failure> {
        let what = question.what;
        let mut backoff = Backoff::new(self.options.backoff, self.options.seed ^ seed_of(what));
        let began = Instant::now();
        for attempt in 1.. {
            let (reason, after, then_halve) = match self.attempt(question).await {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Failed(failure)) => return Err(failure),
                Err(Attempt::Again { reason, after, then_halve }) => (reason, after, then_halve),
            };
            let wait = backoff.next().max(after.unwrap_or_default());
            let too_late = began.elapsed().saturating_add(wait) > self.options.give_up_after;
            if attempt > retries || wait > LONGEST_WAIT || too_late {
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
        let request = self.http.get(format!("{}{path}", self.endpoint.request_url));
        let response = self.authorised(request).await.send().await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        self.body(response, path).await.ok()
    }

    async fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let mut headers = self.endpoint.headers.clone();
        if let Some(authorization) = self.endpoint.credentials.authorization().await {
            headers.insert(AUTHORIZATION, authorization);
        }
        let request = request.headers(headers);
        match &self.endpoint.basic {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    async fn attempt(&self, question: &Question<'_>) -> Result<Answer, Attempt> {
        // Held for one attempt and not while waiting, so that others go on.
        let pass = self.gate.enter().await;
        let request = self.http.post(format!("{}{}", self.endpoint.request_url, question.path));
        let request = match question.payload {
            Payload::Form(form) => request.form(form),
            Payload::RemoteRead(bytes) => REMOTE_READ_HEADERS
                .iter()
                .fold(request, |r, (name, value)| r.header(*name, *value))
                .body(bytes.to_vec()),
        };
        let response = self.authorised(request).await.send().await.map_err(|e| self.broken(&e))?;
        let (status, after) = (response.status(), retry_after(response.headers(), Utc::now()));
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let body = self.body(response, question.what).await;
        if status == StatusCode::OK {
            let body = body?;
            pass.answered();
            return Ok(Answer { content_type, body });
        }
        if matches!(status.as_u16(), 429 | 503) {
            pass.too_many(after.filter(|wait| *wait <= LONGEST_WAIT));
        }
        Err(self.refusal(status, after, &body.unwrap_or_default(), question.what))
    }

    /// What a status other than 200 means.
    fn refusal(&self, status: StatusCode, after: Option<Duration>, body: &[u8], what: &str) -> Attempt {
        let refusal = Refusal::of(body);
        let words = self.redact(&refusal.words);
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
            422 => Attempt::Failed(Failure::TooMuch(refused(words))),
            // Remote read without streaming.
            400 if words.contains("exceeded sample limit") => Attempt::Failed(Failure::TooMuch(refused(words))),
            503 if took_too_long && after.is_none() => Attempt::Failed(Failure::TooMuch(self.unreachable(1, &reason))),
            503 | 504 => Attempt::Again { reason, after, then_halve: true },
            408 | 425 | 429 | 500..=599 => Attempt::Again { reason, after, then_halve: false },
            300..=399 => {
                let advice = "it redirects, which is not followed, so that credentials stay here; give the final url";
                Attempt::Failed(Failure::Final(refused(advice.to_owned())))
            }
            _ if words.is_empty() => Attempt::Failed(Failure::Final(refused("it gave no reason".to_owned()))),
            _ => Attempt::Failed(Failure::Final(refused(words))),
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
        let reason = self.redact(&shorten(&chain(error)));
        if error.is_timeout() && !error.is_connect() {
            let limit = self.options.timeout;
            let error = self.unreachable(1, &format!("no whole answer within {limit:?}"));
            return Attempt::Failed(Failure::TooMuch(error));
        }
        Attempt::Again { reason, after: None, then_halve: false }
    }

    fn redact(&self, text: &str) -> String {
        self.endpoint.credentials.redact(text)
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
        SourceError::Malformed { source_name: self.options.name.clone(), reason: self.redact(&reason) }
    }

    /// As an error of this source.
    pub(super) fn answer_error(&self, error: AnswerError, what: &str) -> SourceError {
        match error {
            AnswerError::Malformed(reason) => self.malformed(format!("{what}: {reason}")),
            AnswerError::Partial(warnings) => SourceError::Partial {
                source_name: self.options.name.clone(),
                what: what.to_owned(),
                warnings: warnings.iter().map(|w| self.redact(w)).collect(),
            },
        }
    }
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
