//! History from Prometheus and what is compatible with it (Thanos, Mimir, VictoriaMetrics): values at steps, or raw samples.
//!
//! Strict: an answer with warnings is no answer. Gentle: few requests at a time, fewer when the server says that it has
//! too many, and as long a pause as it asks for.

mod answer;
mod backoff;
mod client;
mod credentials;
mod extent;
mod fetch;
mod gate;
mod options;
mod raw;
mod remote_read;
mod selector;
mod spool;
mod steps;
mod tls;
mod windows;

use std::sync::Mutex;

use forewarn_schema::{TimeRange, Timestamp};
use tokio::sync::OnceCell;

use self::client::{Client, Failure};
pub use self::credentials::BearerToken;
pub use self::fetch::{Fetch, SourceResolution};
pub use self::options::PrometheusOptions;
pub use self::selector::promql;
pub use self::tls::TlsOptions;
use crate::NoProgress;
use crate::source::{SourceError, SourceInfo};

/// `probe` asks whether a server is there; someone waits for the answer.
const PROBE_RETRIES: u32 = 2;

/// A Prometheus-compatible server: a [`HistorySource`](crate::HistorySource) of values at steps, and a
/// [`SampleSource`](crate::SampleSource) of raw samples.
pub struct PrometheusSource {
    client: Client,
    /// What the server can, once it was asked.
    best: OnceCell<Fetch>,
    /// Windows of steps that were answered from samples coarser than raw ones.
    coarse: Mutex<Vec<(TimeRange, SourceResolution)>>,
}

impl PrometheusSource {
    /// Checks the options and reads the files they name; asks nothing yet.
    pub fn new(options: PrometheusOptions) -> Result<Self, SourceError> {
        Ok(Self { client: Client::new(options)?, best: OnceCell::new(), coarse: Mutex::default() })
    }

    /// Whether it is there, and what it says of itself.
    async fn info(&self) -> Result<SourceInfo, SourceError> {
        let retries = self.client.options.retries.min(PROBE_RETRIES);
        let form = [("query", "vector(1)".to_owned()), ("partial_response", "false".to_owned())];
        // Build information would do, but not every compatible server and proxy has it.
        let body = self.client.post("/api/v1/query", &form, "a probe", retries, &NoProgress).await;
        let body = body.map_err(Failure::into_error)?;
        answer::label_sets(&body).map_err(|e| self.client.answer_error(e, "a probe"))?;
        let version = self.client.get("/api/v1/status/buildinfo").await.and_then(|body| answer::version(&body));
        Ok(SourceInfo { kind: "prometheus".to_owned(), url: self.client.url().to_owned(), version })
    }

    /// What every question about samples says besides what it asks. Servers leave alone what they do not know.
    fn parameters(&self, resolution: SourceResolution) -> Vec<(&'static str, String)> {
        let options = &self.client.options;
        let mut parameters = vec![
            ("timeout", seconds_of(options.timeout)),
            // Thanos: no answer rather than a part of it; samples of this resolution or finer.
            ("partial_response", "false".to_owned()),
            ("max_source_resolution", resolution.parameter().to_owned()),
            // VictoriaMetrics: the times that were asked for, exactly; no answer rather than a part of it.
            ("nocache", "1".to_owned()),
            ("deny_partial_response", "1".to_owned()),
        ];
        parameters.extend(options.dedup.map(|dedup| ("dedup", dedup.to_string())));
        parameters.extend(options.replica_labels.iter().map(|label| ("replicaLabels[]", label.clone())));
        parameters
    }
}

/// Unix seconds to the millisecond, as the query API takes them: written from whole numbers, so that none is rounded.
fn seconds(at: Timestamp) -> String {
    let (whole, millis) = (at.millis().div_euclid(1000), at.millis().rem_euclid(1000));
    match (whole, millis) {
        (whole, 0) => whole.to_string(),
        // -0.25 is 0.75 after -1.
        (whole, millis) if whole < 0 => format!("{:.3}", whole as f64 + millis as f64 / 1000.0),
        (whole, millis) => format!("{whole}.{millis:03}"),
    }
}

fn seconds_of(duration: std::time::Duration) -> String {
    seconds(Timestamp::from_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
}

/// See [`crate::fuzzing`].
pub(crate) mod fuzzing {
    use bytes::Bytes;
    use forewarn_schema::{Step, TimeRange, Timestamp};

    /// Every reading of a query API's answer.
    pub fn query_answer(body: &[u8]) {
        let range = TimeRange { start: Timestamp::from_seconds(0), end: Timestamp::from_seconds(86_400) };
        let _ = super::answer::matrix(body, range, Step::MINUTE);
        let _ = super::answer::samples(body, range);
        let _ = super::answer::series(body);
        let _ = super::answer::label_sets(body);
        let _ = super::answer::any_names(body);
        let _ = super::answer::version(body);
        let _ = super::answer::Refusal::of(body);
    }

    /// An answer of remote read, in frames and in one message.
    pub fn remote_read(body: &[u8]) {
        let all = TimeRange { start: Timestamp::from_millis(i64::MIN), end: Timestamp::from_millis(i64::MAX) };
        for content_type in ["application/x-streamed-protobuf", "application/x-protobuf"] {
            let body = Bytes::copy_from_slice(body);
            let _ = super::remote_read::decode(content_type, body, all, 16 << 20, &mut |_| Ok(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_milliseconds() {
        let text = |millis| seconds(Timestamp::from_millis(millis));
        assert_eq!(
            [text(1_767_225_600_000), text(250), text(60_005), text(-250)],
            ["1767225600", "0.250", "60.005", "-0.250"]
        );
    }
}
