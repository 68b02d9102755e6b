//! A server on a spare port whose clock the test moves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use forewarn_features::SignalSet;
use forewarn_inference::{Checkpoint, Reach, Server, ServerHandle, ServerOptions, Webhook, WebhookSecret};
use forewarn_models::decision::DecisionParams;
use forewarn_models::scorer::ServiceMemory;
use forewarn_models::{Engine, EngineOptions, ModelRegistry};
use forewarn_schema::{LabelSet, Timestamp};
use forewarn_testkit::remote_write::{HEADERS, encode_scrape};
use forewarn_testkit::webhook::WebhookReceiver;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600;
pub(crate) const LATENESS: i64 = 15;

pub(crate) struct Rig {
    pub(crate) base: String,
    pub(crate) handle: ServerHandle,
    pub(crate) client: Client,
    now: Arc<AtomicI64>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// The options that every test starts from: state and models in `folder`, time stands at the start.
pub(crate) fn options(folder: &Path) -> ServerOptions {
    ServerOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        state_url: format!("sqlite://{}", folder.join("state.db").display()),
        ticker: false,
        registry_poll: None,
        ..ServerOptions::default()
    }
}

pub(crate) async fn bind(folder: &Path, options: ServerOptions) -> Result<Server, forewarn_inference::ServeError> {
    let signals = Arc::new(SignalSet::new(&["hikaricp".to_owned()], vec![]).unwrap());
    let registry = ModelRegistry::open(&format!("file://{}", folder.join("store").display())).await.unwrap();
    let engine = Engine::new(Arc::clone(&signals), EngineOptions::default());
    Server::bind(options, signals, engine, registry).await
}

/// The same with a registry of the test's own.
pub(crate) async fn start_on(folder: &Path, registry: ModelRegistry, tweak: impl FnOnce(&mut ServerOptions)) -> Rig {
    let now = Arc::new(AtomicI64::new(START));
    let options = clocked(folder, &now, tweak);
    let signals = Arc::new(SignalSet::new(&["hikaricp".to_owned()], vec![]).unwrap());
    let engine = Engine::new(Arc::clone(&signals), EngineOptions::default());
    run(Server::bind(options, signals, engine, registry).await.unwrap(), now)
}

/// The same with an engine that decides as the test wants it, at a time of its own.
pub(crate) async fn start_deciding(folder: &Path, decision: DecisionParams, seconds: i64) -> Rig {
    let now = Arc::new(AtomicI64::new(seconds));
    let options = clocked(folder, &now, |_| ());
    let signals = Arc::new(SignalSet::new(&["hikaricp".to_owned()], vec![]).unwrap());
    let registry = ModelRegistry::open(&format!("file://{}", folder.join("store").display())).await.unwrap();
    let engine = Engine::new(Arc::clone(&signals), EngineOptions { decision, ..EngineOptions::default() });
    run(Server::bind(options, signals, engine, registry).await.unwrap(), now)
}

/// The same with an engine of the test's own, which expects what was seen of these services.
pub(crate) async fn start_with(
    folder: &Path,
    (signals, engine): (Arc<SignalSet>, Engine),
    seen: Vec<ServiceMemory>,
    tweak: impl FnOnce(&mut ServerOptions),
) -> Rig {
    let now = Arc::new(AtomicI64::new(START));
    let options = clocked(folder, &now, tweak);
    let registry = ModelRegistry::open(&format!("file://{}", folder.join("store").display())).await.unwrap();
    let server = Server::bind(options, signals, engine, registry).await.unwrap();
    server.expect(seen);
    run(server, now)
}

fn clocked(folder: &Path, now: &Arc<AtomicI64>, tweak: impl FnOnce(&mut ServerOptions)) -> ServerOptions {
    let mut options = options(folder);
    let clock = Arc::clone(now);
    options.clock = Arc::new(move || Timestamp::from_seconds(clock.load(Ordering::SeqCst)));
    tweak(&mut options);
    options
}

pub(crate) async fn start(folder: &Path, tweak: impl FnOnce(&mut ServerOptions)) -> Rig {
    start_at(folder, START, tweak).await
}

pub(crate) async fn start_at(folder: &Path, seconds: i64, tweak: impl FnOnce(&mut ServerOptions)) -> Rig {
    begin(folder, seconds, None, tweak).await
}

/// Goes on from what another server has seen.
pub(crate) async fn start_from(
    folder: &Path,
    seconds: i64,
    checkpoint: Checkpoint,
    tweak: impl FnOnce(&mut ServerOptions),
) -> Rig {
    begin(folder, seconds, Some(checkpoint), tweak).await
}

async fn begin(
    folder: &Path,
    seconds: i64,
    checkpoint: Option<Checkpoint>,
    tweak: impl FnOnce(&mut ServerOptions),
) -> Rig {
    let now = Arc::new(AtomicI64::new(seconds));
    let options = clocked(folder, &now, tweak);
    let server = bind(folder, options).await.unwrap();
    if let Some(checkpoint) = checkpoint {
        assert!(server.recall(checkpoint).await);
    }
    run(server, now)
}

fn run(server: Server, now: Arc<AtomicI64>) -> Rig {
    let scheme = if server.speaks_tls() { "https" } else { "http" };
    let (base, handle) = (format!("{scheme}://{}", server.local_addr()), server.handle());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(async move {
        server.run(async { drop(stopped.await) }).await.unwrap();
    });
    forewarn_storage::install_crypto_provider();
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    Rig { base, handle, client, now, stop: Some(stop), running }
}

/// A server that starts once a request has expired that the one before it could not deliver, and that request.
pub(crate) async fn started_after_expiry(folder: &Path, receiver: &WebhookReceiver, secret: &str) -> (Rig, Value) {
    let deaf = WebhookReceiver::start(usize::MAX).unwrap();
    let rig = start(folder, |options| options.webhook = Some(webhook(&deaf, secret))).await;
    let request = rig.leak_until_request(START).await;
    let expires: Timestamp = serde_json::from_value(request["expires_at"].clone()).unwrap();
    rig.crash().await;
    let after = expires.millis() / 1000 + 1;
    let rig = start_at(folder, after, |options| options.webhook = Some(webhook(receiver, secret))).await;
    (rig, request)
}

impl Rig {
    pub(crate) fn set_now(&self, seconds: i64) {
        self.now.store(seconds, Ordering::SeqCst);
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, body).await
    }

    /// Remote write, with a sender's headers.
    pub(crate) async fn write(&self, body: Vec<u8>) -> (StatusCode, Value) {
        let mut request = self.client.post(format!("{}/api/v1/write", self.base)).body(body);
        for (name, value) in HEADERS {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    pub(crate) async fn metric(&self, line: &str) -> Option<f64> {
        let text = self.client.get(format!("{}/metrics", self.base)).send().await.unwrap().text().await.unwrap();
        text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
    }

    /// Connections of pod cart-1 leak, a quarter a minute, up to 100: a scrape and a tick a minute, until
    /// `done` or for eight hours. Returns when it ended.
    pub(crate) async fn leak(&self, from: i64, mut done: impl AsyncFnMut(&Self) -> bool) -> i64 {
        for minute in 0..480 {
            let at = from + minute * 60;
            self.set_now(at + LATENESS);
            let (status, answer) = self.write(pool_scrape(at, 10.0 + 0.25 * minute as f64)).await;
            assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
            assert_eq!(self.handle.tick(Timestamp::from_seconds(at + LATENESS)).await, 1);
            if done(self).await {
                return at;
            }
        }
        from + 480 * 60
    }

    pub(crate) async fn leak_until_request(&self, from: i64) -> Value {
        self.leak(from, async |rig: &Self| rig.get("/api/v1/requests").await.1[0].is_object()).await;
        let (_, requests) = self.get("/api/v1/requests").await;
        assert_eq!(requests.as_array().unwrap().len(), 1, "one request an episode: {requests}");
        requests[0].clone()
    }

    /// The leak goes on from a quarter of the limit; returns once a request is there.
    pub(crate) async fn leak_until_request_from(&self, from: i64) {
        let ended = self.leak(from, async |rig: &Self| rig.get("/api/v1/requests").await.1[0].is_object()).await;
        assert!(ended < from + 480 * 60, "the leak was not announced");
    }

    /// Stops as an operator would.
    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.running.await.unwrap();
    }

    /// Stops as a crash would: nothing is finished.
    pub(crate) async fn crash(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
    }
}

pub(crate) fn pool_scrape(at: i64, active: f64) -> Vec<u8> {
    encode_scrape(Timestamp::from_seconds(at), &pool_series("cart", active))
}

/// What the first pod of a service says of its connections.
pub(crate) fn pool_series(service: &str, active: f64) -> [(LabelSet, f64); 2] {
    let pod = format!("{service}-1");
    let series = |name: &str| LabelSet::from([("__name__", name), ("service", service), ("pod", &pod)]);
    [(series("hikaricp_connections_active"), active), (series("hikaricp_connections_max"), 100.0)]
}

pub(crate) fn webhook(receiver: &WebhookReceiver, secret: &str) -> Webhook {
    let secret = Some(WebhookSecret::parse(secret).unwrap());
    Webhook { url: receiver.url().parse().unwrap(), secret, reach: Reach::default() }
}
