//! `forewarn.toml`: read strictly, completed with defaults and the environment, and checked whole before
//! anything is opened. Precedence: flags (the commands), `FOREWARN_…` variables, file, defaults.
//!
//! `file` is what may be written, `load` reads it and names the place of a mistake, `resolve` turns it
//! into what the commands use (`resolve_door` what of it is about who comes in).

mod autonomy;
mod feedback;
mod file;
mod lineage;
mod load;
mod resolve;
mod resolve_door;
mod safety;
mod shard;
mod telemetry;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forewarn_datasets::{BearerToken, Fetch, PrometheusOptions, SourceResolution, TlsOptions};
use forewarn_features::{Calendar, SignalSet};
use forewarn_inference::{
    Alertmanagers, AutonomyOptions, Credential, DoorOptions, FeedbackOptions, RateOptions, Reach, SafetyOptions,
};
use forewarn_models::lstm::Device;
use forewarn_schema::{Mode, Step};

use crate::lineage::LineageOptions;
use crate::schedule::Schedule;

pub(crate) use units::{Secret, human_bytes};

/// A configuration that has been checked whole.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where it was read from.
    pub(crate) path: PathBuf,
    /// `file:///…` or `s3://…`: datasets, models, reports.
    pub(crate) store_url: String,
    /// `sqlite:///…` or `postgres://…`: predictions, requests, feedback. It may hold a password.
    pub(crate) state_url: Secret,
    /// The same, without what is secret in it.
    pub(crate) state_shown: String,
    /// From row to row of the dataset.
    pub(crate) step: Step,
    /// How far back `pull` goes by default.
    pub(crate) history: Duration,
    /// Whose time of day and days of the week are learnt.
    pub(crate) calendar: Calendar,
    /// At least one where a command pulls.
    pub(crate) sources: Vec<Source>,
    /// Presets and `[[signal]]`s.
    pub(crate) signals: Arc<SignalSet>,
    /// What `[train]` says.
    pub(crate) train: Train,
    /// What `[serve]` says.
    pub(crate) serve: Serve,
    /// What `[requests]` says.
    pub(crate) requests: Requests,
    /// What `[telemetry]` says.
    pub(crate) telemetry: Option<Telemetry>,
    /// What `[feedback]` says.
    pub(crate) feedback: FeedbackOptions,
    /// Whether thresholds and probabilities follow labels.
    pub(crate) learn: bool,
}

/// Where traces go.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    pub(crate) url: url::Url,
    pub(crate) headers: Vec<(String, Secret)>,
    /// 0..=1.
    pub(crate) sample: f64,
}

/// One `[[source]]`.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) kind: SourceKind,
    pub(crate) url: String,
    pub(crate) token: Option<Secret>,
    pub(crate) basic: Option<(String, Secret)>,
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: usize,
    pub(crate) retries: u32,
    /// External labels that tell replicas apart.
    pub(crate) replica_labels: Vec<String>,
    /// Series to pull besides those that the signals read.
    pub(crate) series: Vec<Vec<forewarn_schema::LabelMatcher>>,
    /// Blocks: for how long a block marked for deletion is still read; `None`: the source's own default.
    pub(crate) ignore_delay: Option<Duration>,
    pub(crate) give_up_after: Duration,
    /// The file that `token` was read from.
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) tls: TlsOptions,
    pub(crate) fetch: Fetch,
    pub(crate) max_source_resolution: SourceResolution,
    pub(crate) dedup: Option<bool>,
    pub(crate) logs: LogKeys,
}

impl Source {
    /// How to reach it as a query API.
    pub(crate) fn prometheus_options(&self) -> PrometheusOptions {
        let bearer = match (&self.token_file, &self.token) {
            (Some(path), _) => Some(BearerToken::File(path.clone())),
            (None, token) => token.as_ref().map(|t| BearerToken::Text(t.expose().to_owned())),
        };
        PrometheusOptions {
            name: self.name.clone(),
            url: self.url.clone(),
            bearer,
            basic: self.basic.as_ref().map(|(user, password)| (user.clone(), password.expose().to_owned())),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
            tls: self.tls.clone(),
            fetch: self.fetch,
            dedup: self.dedup,
            replica_labels: self.replica_labels.clone(),
            max_source_resolution: self.max_source_resolution,
            timeout: self.timeout,
            concurrency: self.concurrency,
            retries: self.retries,
            give_up_after: self.give_up_after,
            ..PrometheusOptions::default()
        }
    }
}

/// How the lines of a source of logs are read; of others, all `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogKeys {
    pub(crate) service: Option<String>,
    pub(crate) level: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) time: Option<String>,
    pub(crate) dedup_window: Option<Duration>,
}

/// What speaks at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceKind {
    /// Any Prometheus-compatible query API.
    Prometheus,
    /// TSDB blocks in a bucket.
    Blocks,
    /// Fluent Bit JSON lines in a bucket.
    Logs,
}

impl SourceKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Blocks => "blocks",
            Self::Logs => "logs",
        }
    }
}

/// `[train]`.
#[derive(Clone, Debug)]
pub(crate) struct Train {
    pub(crate) device: Device,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    /// Of each service's LSTM; the fleet's, at which they begin, takes twenty times as many.
    pub(crate) lstm_steps: Option<usize>,
    /// How much of the end `run` keeps away from training and judges the candidates by.
    pub(crate) holdout: Duration,
    /// When `forewarn schedule` runs.
    pub(crate) schedule: Schedule,
    /// It begins up to so much later, each runner at its own time.
    pub(crate) jitter: Duration,
    /// Whether `serve` runs it, too.
    pub(crate) in_server: bool,
    pub(crate) lineage: LineageOptions,
    /// How long what passed the gate scores beside what serves; 0: it takes over at once.
    pub(crate) shadow: Duration,
}

/// `[serve]`.
#[derive(Clone, Debug)]
pub(crate) struct Serve {
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<String>,
    pub(crate) shard: String,
    pub(crate) access: Vec<Credential>,
    pub(crate) allow_unauthenticated_remote: bool,
    pub(crate) lateness: Duration,
    pub(crate) max_series: usize,
    /// In bytes.
    pub(crate) max_memory: Option<u64>,
    pub(crate) max_body_bytes: usize,
    /// Where in the store.
    pub(crate) checkpoint: String,
    /// `None`: never.
    pub(crate) checkpoint_every: Option<Duration>,
    pub(crate) door: DoorOptions,
    pub(crate) rates: RateOptions,
    /// Where samples are fetched from.
    pub(crate) pull: Option<Source>,
    pub(crate) otlp_promote: Vec<String>,
}

/// `[requests]`.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    pub(crate) webhook: Option<Webhook>,
    pub(crate) alertmanagers: Option<Alertmanagers>,
    pub(crate) safety: SafetyOptions,
    pub(crate) autonomy: AutonomyOptions,
    pub(crate) weekly_budget: u32,
    pub(crate) mode: Mode,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    /// `None`: made at the first `serve` and kept beside the state.
    pub(crate) secret: Option<Secret>,
    pub(crate) reach: Reach,
}

/// The configuration cannot be used: exit code 2.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Config {
    /// Reads `path`, with the variables of `environment` laid over it.
    pub(crate) fn load(path: &Path, environment: &[(String, String)]) -> Result<Self, ConfigError> {
        let text = load::read(path)?;
        Self::from_text(path, &text, environment)
    }

    /// As [`Config::load`], of a text that was read already; `path` is for messages and relative names.
    pub(crate) fn from_text(path: &Path, text: &str, environment: &[(String, String)]) -> Result<Self, ConfigError> {
        let file = load::parse(path, text, environment)?;
        resolve::resolve(path, text, file, environment)
    }
}

/// The process' environment. Read in one place, so that everything else can be tested without it.
pub(crate) fn environment() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    all.sort();
    all
}
