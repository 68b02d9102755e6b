//! What may be written into `forewarn.toml`, section by section, with the defaults. Every key is a field
//! here; anything else is refused.

use std::collections::BTreeMap;

use forewarn_datasets::{Fetch, SourceResolution};
use forewarn_features::Signal;
use forewarn_inference::{RateOptions, Role, TlsFiles};
use forewarn_models::lstm::Device;
use forewarn_schema::{Mode, Step, Timestamp};
use serde::Deserialize;

use super::SourceKind;
use super::autonomy::AutonomySection;
use super::units::{Bytes, Span};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) store: StoreSection,
    pub(super) dataset: DatasetSection,
    pub(super) source: Vec<SourceSection>,
    pub(super) signals: SignalsSection,
    pub(super) signal: Vec<Signal>,
    pub(super) train: TrainSection,
    pub(super) serve: ServeSection,
    pub(super) requests: RequestsSection,
    pub(super) telemetry: TelemetrySection,
    pub(super) feedback: super::feedback::FeedbackSection,
    pub(super) autonomy: AutonomySection,
}

/// Traces of a server; none are sent without `otlp`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TelemetrySection {
    /// A receiver of OTLP over HTTP.
    pub(super) otlp: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    /// The share of traces that is kept.
    pub(super) sample: f64,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { otlp: None, headers: BTreeMap::new(), sample: 0.1 }
    }
}

/// Without a store everything lives in `./forewarn-data`; without a state it lives in the store's
/// directory.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StoreSection {
    pub(super) url: Option<String>,
    pub(super) state: Option<String>,
    /// PostgreSQL's, where it is not in the URL.
    pub(super) state_password: Option<String>,
    pub(super) state_password_file: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DatasetSection {
    pub(super) step: Step,
    pub(super) history: Span,
    /// Whose clock people go by: an IANA name.
    pub(super) time_zone: String,
    /// Local days that are like a Sunday, `YYYY-MM-DD`.
    pub(super) holidays: Vec<String>,
}

impl Default for DatasetSection {
    fn default() -> Self {
        let (time_zone, holidays) = ("UTC".to_owned(), Vec::new());
        Self { step: Step::MINUTE, history: Span::days(14), time_zone, holidays }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceSection {
    pub(super) name: Option<String>,
    pub(super) kind: SourceKind,
    pub(super) url: String,
    pub(super) token: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default = "SourceSection::timeout")]
    pub(super) timeout: Span,
    #[serde(default = "SourceSection::concurrency")]
    pub(super) concurrency: usize,
    #[serde(default = "SourceSection::retries")]
    pub(super) retries: u32,
    /// External labels that tell replicas apart: of a query API, or of blocks.
    pub(super) replica_labels: Option<Vec<String>>,
    /// Selectors of series to pull besides those that the signals read.
    pub(super) series: Option<Vec<String>>,
    /// Blocks: for how long a block marked for deletion is still read.
    pub(super) ignore_delay: Option<Span>,
    #[serde(default = "SourceSection::give_up_after")]
    pub(super) give_up_after: Span,
    pub(super) ca_file: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) server_name: Option<String>,
    pub(super) fetch: Option<Fetch>,
    pub(super) max_source_resolution: Option<SourceResolution>,
    pub(super) dedup: Option<bool>,
    /// Logs: where a line says what; and how far apart copies of one line may lie.
    pub(super) service_key: Option<String>,
    pub(super) level_key: Option<String>,
    pub(super) message_key: Option<String>,
    pub(super) time_key: Option<String>,
    pub(super) dedup_window: Option<Span>,
}

impl SourceSection {
    fn timeout() -> Span {
        Span::seconds(60)
    }
    fn concurrency() -> usize {
        4
    }
    fn retries() -> u32 {
        5
    }
    fn give_up_after() -> Span {
        Span::seconds(600)
    }

    /// The first key that is written and that a source of this kind does not have, and the kinds that have it.
    pub(super) fn misplaced_key(&self) -> Option<(&'static str, &'static [SourceKind])> {
        use SourceKind::{Blocks, Logs, Prometheus};
        const API: &[SourceKind] = &[Prometheus];
        const SAMPLES: &[SourceKind] = &[Prometheus, Blocks];
        [
            ("fetch", self.fetch.is_some(), API),
            ("max_source_resolution", self.max_source_resolution.is_some(), API),
            ("dedup", self.dedup.is_some(), API),
            ("server_name", self.server_name.is_some(), API),
            ("replica_labels", self.replica_labels.is_some(), SAMPLES),
            ("series", self.series.is_some(), SAMPLES),
            ("ignore_delay", self.ignore_delay.is_some(), &[Blocks]),
            ("service_key", self.service_key.is_some(), &[Logs]),
            ("level_key", self.level_key.is_some(), &[Logs]),
            ("message_key", self.message_key.is_some(), &[Logs]),
            ("time_key", self.time_key.is_some(), &[Logs]),
            ("dedup_window", self.dedup_window.is_some(), &[Logs]),
        ]
        .into_iter()
        .find(|(_, written, kinds)| *written && !kinds.contains(&self.kind))
        .map(|(key, _, kinds)| (key, kinds))
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SignalsSection {
    pub(super) presets: Vec<String>,
}

impl Default for SignalsSection {
    fn default() -> Self {
        Self { presets: forewarn_features::presets::NAMES.map(str::to_owned).to_vec() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TrainSection {
    pub(super) device: Device,
    /// When `forewarn schedule` runs, and `forewarn serve` with `in_server`.
    pub(super) schedule: String,
    /// It begins up to so much later.
    pub(super) jitter: Span,
    pub(super) in_server: bool,
    /// 0: as many as there are cores.
    pub(super) threads: usize,
    pub(super) seed: u64,
    pub(super) lstm_steps: Option<usize>,
    pub(super) holdout: Span,
    /// How long what passed the gate scores beside what serves before it may take over; 0: it takes over at once.
    pub(super) shadow: Span,
    pub(super) openlineage: LineageSection,
}

/// `[train.openlineage]`: a collector, a file, both or neither.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LineageSection {
    pub(super) url: Option<String>,
    pub(super) token: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) file: Option<String>,
    pub(super) namespace: Option<String>,
}

impl Default for TrainSection {
    fn default() -> Self {
        Self {
            device: Device::Flex,
            schedule: "Sun 03:00 UTC".to_owned(),
            jitter: Span::seconds(600),
            in_server: false,
            threads: 0,
            seed: 1,
            lstm_steps: None,
            holdout: Span::days(3),
            openlineage: LineageSection::default(),
            shadow: Span::seconds(0),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServeSection {
    pub(super) listen: String,
    pub(super) public_url: Option<String>,
    /// Servers of one shard score the same targets, and one of them asks.
    pub(super) shard: String,
    /// Who may ask for what; without any, nobody is asked.
    pub(super) access: Vec<AccessSection>,
    /// Where nobody is asked who they are, listening beyond this machine must be wanted.
    pub(super) allow_unauthenticated_remote: bool,
    /// How long a step waits for late samples before it is evaluated.
    pub(super) lateness: Span,
    pub(super) max_series: usize,
    /// What the process may take of memory.
    pub(super) max_memory: Option<Bytes>,
    pub(super) max_body: Bytes,
    /// Where in the store what was seen is kept over a restart (without: where the shard says), and how often; never where
    /// that is 0.
    pub(super) checkpoint: Option<String>,
    pub(super) checkpoint_every: Span,
    pub(super) tls: Option<TlsFiles>,
    /// A `web.yml` as Prometheus has one.
    pub(super) web_config_file: Option<String>,
    pub(super) rate_limit: RateSection,
    /// The name of a `[[source]]` or a URL: samples are fetched there, not waited for.
    pub(super) pull: Option<String>,
    pub(super) otlp: OtlpSection,
}

impl Default for ServeSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9797".to_owned(),
            public_url: None,
            shard: String::new(),
            access: Vec::new(),
            allow_unauthenticated_remote: false,
            lateness: Span::seconds(15),
            max_series: 200_000,
            max_memory: None,
            max_body: Bytes(16 << 20),
            checkpoint: None,
            checkpoint_every: Span::seconds(300),
            tls: None,
            web_config_file: None,
            rate_limit: RateSection::default(),
            pull: None,
            otlp: OtlpSection::default(),
        }
    }
}

/// `[serve.otlp]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OtlpSection {
    /// Attributes of a resource that become labels of its series.
    pub(super) promote_resource_attributes: Vec<String>,
}

/// `[serve.rate_limit]`: of each caller; 0: as many as they like.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateSection {
    pub(super) requests_per_second: f64,
    pub(super) writes_per_second: f64,
}

impl Default for RateSection {
    fn default() -> Self {
        let RateOptions { requests_per_second, writes_per_second } = RateOptions::default();
        Self { requests_per_second, writes_per_second }
    }
}

/// `[[serve.access]]`: a token for programs, a password for people, the name in a certificate; or none of them for a user of
/// `web.yml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessSection {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) token: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) certificate: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RequestsSection {
    pub(super) webhook: Option<String>,
    pub(super) webhook_secret: Option<String>,
    pub(super) webhook_secret_file: Option<String>,
    /// Networks besides the public ones that the webhook may lie in.
    pub(super) allow_networks: Vec<String>,
    /// Every instance of Alertmanager to tell of requests.
    pub(super) alertmanager: Vec<String>,
    pub(super) weekly_budget: u32,
    /// Of all services.
    pub(super) max_per_hour: u32,
    /// With a request that may act, at the same time.
    pub(super) max_workloads: u32,
    pub(super) mode: Mode,
    /// When nothing is asked.
    pub(super) maintenance: Vec<MaintenanceSection>,
}

/// `[[requests.maintenance]]`: once from and to, or weekly such as `"Sun 02:00-04:00"` by `[dataset] time_zone`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaintenanceSection {
    /// Left out: every one.
    pub(super) service: Option<String>,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    pub(super) weekly: Option<String>,
}

impl Default for RequestsSection {
    fn default() -> Self {
        Self {
            webhook: None,
            webhook_secret: None,
            webhook_secret_file: None,
            allow_networks: vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()],
            alertmanager: Vec::new(),
            weekly_budget: 5,
            max_per_hour: 20,
            max_workloads: 10,
            mode: Mode::DryRun,
            maintenance: Vec::new(),
        }
    }
}

/// What `FOREWARN_<SECTION>_<KEY>` may set. Lists of tables are for the file alone.
pub(super) const FROM_ENVIRONMENT: &[(&str, &str)] = &[
    ("store", "url"),
    ("store", "state"),
    ("store", "state_password"),
    ("store", "state_password_file"),
    ("dataset", "step"),
    ("dataset", "history"),
    ("dataset", "time_zone"),
    ("dataset", "holidays"),
    ("signals", "presets"),
    ("train", "device"),
    ("train", "schedule"),
    ("train", "jitter"),
    ("train", "in_server"),
    ("train", "threads"),
    ("train", "seed"),
    ("train", "lstm_steps"),
    ("train", "holdout"),
    ("train", "shadow"),
    ("serve", "listen"),
    ("serve", "public_url"),
    ("serve", "shard"),
    ("serve", "allow_unauthenticated_remote"),
    ("serve", "lateness"),
    ("serve", "max_series"),
    ("serve", "max_memory"),
    ("serve", "checkpoint"),
    ("serve", "checkpoint_every"),
    ("serve", "web_config_file"),
    ("serve", "pull"),
    ("serve", "max_body"),
    ("requests", "webhook"),
    ("requests", "webhook_secret"),
    ("requests", "webhook_secret_file"),
    ("requests", "alertmanager"),
    ("requests", "weekly_budget"),
    ("requests", "max_per_hour"),
    ("requests", "max_workloads"),
    ("requests", "mode"),
    ("telemetry", "otlp"),
    ("telemetry", "sample"),
    ("feedback", "links_valid"),
    ("autonomy", "climb"),
    ("autonomy", "highest"),
    ("autonomy", "dry_run"),
    ("autonomy", "verified_successes"),
    ("autonomy", "settling"),
    ("autonomy", "hold"),
    ("autonomy", "outcome_grace"),
    ("feedback", "learn"),
];
