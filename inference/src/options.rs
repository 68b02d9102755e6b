//! What the server is told: where it listens, what it keeps, whom it tells. Every cap on what comes
//! from outside is here. Reading a configuration file is the binary's job.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forewarn_schema::{BreachKind, Step, Timestamp};
use url::Url;

use crate::access::Credential;
use crate::autonomy::AutonomyOptions;
use crate::checkpoint::CheckpointOptions;
use crate::delivery::{Reach, WebhookSecret};
use crate::door::DoorOptions;
use crate::pull::SampleFeed;
use crate::rates::RateOptions;
use crate::safety::SafetyOptions;

/// Tells the time. Tests and the demo bring their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    })
}

/// Where remediation requests go.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// `http://` or `https://`. Its user name and password, if any, are never logged.
    pub url: Url,
    /// What messages are signed with; `None`: one is made once, and kept beside the state database
    /// in `webhook.secret`.
    pub secret: Option<WebhookSecret>,
    /// Which addresses may be reached.
    pub reach: Reach,
}

/// Which Alertmanagers are told of requests: all instances of a highly available pair, as they do not tell each other of alerts.
#[derive(Clone, Debug)]
pub struct Alertmanagers {
    /// `http://` or `https://`, without `/api/v2`.
    pub urls: Vec<Url>,
    /// Which addresses may be reached.
    pub reach: Reach,
    /// How often each is told what has not changed; after four times as long without, it thinks that an alert is over.
    pub tell_every: Duration,
}

impl Alertmanagers {
    /// Told every minute.
    pub fn new(urls: Vec<Url>, reach: Reach) -> Self {
        Self { urls, reach, tell_every: Duration::from_secs(60) }
    }
}

/// How labels come in besides over the API and the page.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackOptions {
    /// For how long a link by which somebody may label is good: one on the page from now on, one in a message from the
    /// request's expiry on. Zero: there are none.
    pub links_valid: Duration,
    /// What alerts of others are about.
    pub alerts: AlertMapping,
}

impl Default for FeedbackOptions {
    /// Links are good for a week.
    fn default() -> Self {
        Self { links_valid: Duration::from_secs(7 * 86_400), alerts: AlertMapping::default() }
    }
}

/// How an alert that Alertmanager tells of says what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertMapping {
    /// Labels that name the workload; the first that an alert has counts.
    pub service_labels: Vec<String>,
    /// Labels that name the kind of breach, as predictions write it; the first whose value is one counts.
    pub kind_labels: Vec<String>,
    /// Kinds by the name of the alert; these come first.
    pub kinds: BTreeMap<String, BreachKind>,
}

impl Default for AlertMapping {
    /// `service` or else `node`; `kind` or else an alert that is called as a kind is.
    fn default() -> Self {
        let texts = |all: [&str; 2]| all.map(str::to_owned).to_vec();
        Self {
            service_labels: texts(["service", "node"]),
            kind_labels: texts(["kind", "alertname"]),
            kinds: BTreeMap::new(),
        }
    }
}

/// How to serve. Start from [`ServerOptions::default`].
#[derive(Clone)]
pub struct ServerOptions {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may ask for what; empty: nobody is asked who they are.
    pub access: Vec<Credential>,
    /// TLS, and whom a `web.yml` names.
    pub door: DoorOptions,
    /// How often one caller may ask.
    pub rates: RateOptions,
    /// Whether to listen beyond this machine although nobody is asked who they are.
    pub allow_unauthenticated_remote: bool,
    /// `sqlite:///path/state.db`, or `postgres://…` for several servers; it may hold a password.
    pub state_url: String,
    /// Servers of one shard score the same targets, and one of them asks and delivers. Only where they share a database.
    pub shard: String,
    /// The size that the state database may grow to, in bytes; `None`: the disk's.
    pub state_max_bytes: Option<u64>,
    /// Whom to tell of remediation requests; `None`: they are only stored and shown.
    pub webhook: Option<Webhook>,
    /// Which Alertmanagers to tell of them besides.
    pub alertmanagers: Option<Alertmanagers>,
    /// What holds requests back.
    pub safety: SafetyOptions,
    /// How playbooks earn to act by themselves.
    pub autonomy: AutonomyOptions,
    /// Whether thresholds and probabilities follow what announcements turned out to be.
    pub learn: bool,
    /// How others reach this server, for the outcome URL of requests; `None`: the listen address. Only with it do
    /// messages carry links to label by.
    pub public_url: Option<Url>,
    /// How labels come in.
    pub feedback: FeedbackOptions,
    /// The distance between two evaluations.
    pub step: Step,
    /// How long after its time a step is evaluated, so that its samples have arrived; never more than
    /// a step.
    pub lateness: Duration,
    /// Series held in memory; samples of more are refused.
    pub max_series: usize,
    /// What the process may take of memory, in bytes; when what it holds will come to more, samples of series that it does not
    /// know yet are refused. `None`: no such limit.
    pub max_memory: Option<u64>,
    /// The compressed body of a remote write, in bytes.
    pub max_write_bytes: usize,
    /// The same, decompressed, in bytes.
    pub max_decoded_bytes: usize,
    /// The body of any other request, in bytes.
    pub max_body_bytes: usize,
    /// Where samples are fetched from; `None`: they are written to us.
    pub feed: Option<Arc<dyn SampleFeed>>,
    /// Attributes of an OTLP resource that become labels of its series, besides `job` and `instance`.
    pub otlp_promote: Vec<String>,
    /// How far ahead of the clock a sample may be.
    pub future_cutoff: Duration,
    /// How much of the past is evaluated at most after a gap; what is older is skipped.
    pub max_catch_up: Duration,
    /// The engine was shown history up to here; steps up to it are not evaluated again.
    pub warmed_until: Option<Timestamp>,
    /// Where what was seen is kept over a restart; `None`: nowhere.
    pub checkpoint: Option<CheckpointOptions>,
    /// How often the registry is asked for newly promoted models; `None`: only on reload.
    pub registry_poll: Option<Duration>,
    /// How long a candidate that passed the gate scores beside what serves before it may take over, when it is promoted here; 0: it
    /// takes over at once.
    pub shadow: Duration,
    /// Whether time moves by itself; if not, only by [`ServerHandle::tick`](crate::ServerHandle::tick).
    pub ticker: bool,
    /// The time of the data: which steps are due, what is too far ahead, what is expired.
    pub clock: Clock,
    /// The time on the wire: when a message was signed. Apart from `clock` only where that is replayed.
    pub wall_clock: Clock,
}

impl Default for ServerOptions {
    /// Listens on `127.0.0.1:9797`, keeps state in memory, tells nobody; a step of a minute, 15 s late,
    /// 200,000 series, bodies of 16 MiB (32 MiB decompressed), 1 MiB for all but remote write.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9797)),
            access: Vec::new(),
            door: DoorOptions::default(),
            rates: RateOptions::default(),
            allow_unauthenticated_remote: false,
            state_url: "sqlite::memory:".to_owned(),
            shard: String::new(),
            state_max_bytes: None,
            webhook: None,
            alertmanagers: None,
            safety: SafetyOptions::default(),
            autonomy: AutonomyOptions::default(),
            learn: true,
            public_url: None,
            feedback: FeedbackOptions::default(),
            step: Step::MINUTE,
            lateness: Duration::from_secs(15),
            max_series: 200_000,
            max_memory: None,
            max_write_bytes: 16 << 20,
            max_decoded_bytes: 32 << 20,
            max_body_bytes: 1 << 20,
            feed: None,
            otlp_promote: Vec::new(),
            future_cutoff: Duration::from_secs(600),
            max_catch_up: Duration::from_secs(86_400),
            warmed_until: None,
            checkpoint: None,
            registry_poll: Some(Duration::from_secs(30)),
            shadow: Duration::ZERO,
            ticker: true,
            clock: system_clock(),
            wall_clock: system_clock(),
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("listen", &self.listen)
            .field("state_url", &crate::StateStore::shown(&self.state_url))
            .field("webhook", &self.webhook.as_ref().map(|w| w.url.host_str()))
            .field("step", &self.step)
            .field("lateness", &self.lateness)
            .finish_non_exhaustive()
    }
}
