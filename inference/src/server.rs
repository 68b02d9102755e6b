//! Puts the parts together, moves time, and stops in order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forewarn_features::SignalSet;
use forewarn_features::live::LiveSignals;
use forewarn_models::scorer::ServiceMemory;
use forewarn_models::{Engine, EngineOutput, ModelRegistry};
use forewarn_schema::{Prediction, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument as _, field};

use crate::access::Access;
use crate::app::{AppState, ReloadReport, Shared};
use crate::checkpoint::{self, Checkpoint, CheckpointError, Made};
use crate::delivery::{self, WebhookSecret};
use crate::door::{Door, DoorListener, Peer};
use crate::error::{AppError, ServeError, chain};
use crate::leader::{self, Leadership};
use crate::metrics::Metrics;
use crate::models::ModelSlots;
use crate::options::ServerOptions;
use crate::pull::Pulling;
use crate::rates::Rate;
use crate::scoring::{Schedule, Scorer, blocking};
use crate::state::{ServerLock, StateError, StateStore, StoredStep};

/// Requests this old may still cover an episode or count against a service's weekly budget.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// Remote writes decoded at the same time; each may hold its decompressed body.
pub(crate) const DECODERS: usize = 4;
/// What is in flight when the server is told to stop may take this long.
const DRAIN: Duration = Duration::from_secs(10);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// A server that has its port, its state and its models, and does not answer yet.
pub struct Server {
    app: AppState,
    stepper: Arc<Mutex<Stepper>>,
    listener: TcpListener,
    local_addr: SocketAddr,
    secret: Option<WebhookSecret>,
    lock: ServerLock,
}

/// A handle on a server, running or not; a clone is another handle on the same one.
#[derive(Clone)]
pub struct ServerHandle {
    app: AppState,
    stepper: Arc<Mutex<Stepper>>,
}

/// Where time stands.
#[derive(Default)]
struct Stepper {
    /// The last step that was evaluated.
    last: Option<Timestamp>,
    /// What it said, while that is not stored: no step comes after it until it is.
    unsaved: Option<(Timestamp, EngineOutput)>,
}

impl Server {
    /// Opens state and port, restores what was announced before, and gives `engine` the promoted models.
    ///
    /// Refuses an address that other machines reach (unless allowed), a state database that another
    /// server holds, and a port in use. A registry that cannot be read is not refused: the rules serve
    /// until it can.
    pub async fn bind(
        options: ServerOptions,
        signals: Arc<SignalSet>,
        engine: Engine,
        registry: ModelRegistry,
    ) -> Result<Self, ServeError> {
        let door = Arc::new(Door::open(options.door.clone())?);
        let opened = door.now();
        opened.lets_in(&options.access)?;
        let asks_who = !options.access.is_empty() || !opened.users.is_empty() || opened.asks_for_certificates;
        let asked = asks_who || options.allow_unauthenticated_remote;
        if !options.listen.ip().is_loopback() && !asked {
            return Err(ServeError::RemoteNotAllowed { listen: options.listen });
        }
        if let Some(webhook) = &options.webhook
            && !matches!(webhook.url.scheme(), "http" | "https")
        {
            return Err(ServeError::Webhook { scheme: webhook.url.scheme().to_owned() });
        }
        for url in options.alertmanagers.iter().flat_map(|of| &of.urls) {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(ServeError::Alertmanager { scheme: url.scheme().to_owned() });
            }
        }
        let live = LiveSignals::new(Arc::clone(&signals), options.step, options.max_series)?;
        let store =
            StateStore::open_capped(&options.state_url, options.state_max_bytes).await?.of_shard(&options.shard);
        let lock = store.lock_server()?;
        let secret = match &options.webhook {
            Some(webhook) if store.is_shared() && webhook.secret.is_none() => return Err(ServeError::NoSharedSecret),
            Some(webhook) => Some(delivery::secret_for(webhook.secret.clone(), store.path())?),
            None => None,
        };
        let listen = |source| ServeError::Listen { listen: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let public_url = match &options.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None if opened.tls.is_some() => format!("https://{local_addr}"),
            None => format!("http://{local_addr}"),
        };
        let scorer = Arc::new(Scorer::new(options.step, live, engine, options.max_memory));
        let now = (options.clock)();
        let remembered = store.requests_since(now - REMEMBERED).await?;
        let remembered: Vec<_> = remembered.into_iter().map(|stored| stored.request).collect();
        scorer.restore(&remembered);
        if options.learn {
            scorer.watch(&remembered, &store.reached().await?);
        }
        let last = options.warmed_until.map(|until| until.align_down(options.step));
        let app = AppState(Arc::new(Shared {
            public_url,
            signals,
            scorer,
            leadership: Leadership::new(&store),
            store,
            registry,
            slots: ModelSlots::default(),
            metrics: Arc::new(Metrics::new()),
            outbox: Notify::new(),
            hurry: AtomicBool::new(false),
            alertmanagers: options.alertmanagers.iter().flat_map(|of| of.urls.iter().cloned()).map(instance).collect(),
            draining: AtomicBool::new(false),
            decoders: Semaphore::new(DECODERS),
            body_room: Semaphore::new(crate::http::BODY_ROOM),
            access: Access::new(options.access.clone()),
            door,
            pulling: options.feed.clone().map(Pulling::new),
            requests: Rate::new(options.rates.requests_per_second),
            writes: Rate::new(options.rates.writes_per_second),
            quality: Default::default(),
            link_key: Default::default(),
            links: Rate::new(crate::links::A_SECOND),
            last_run: Default::default(),
            shadows: Default::default(),
            rolling: Default::default(),
            learning: Default::default(),
            options,
        }));
        if let Err(error) = app.reload().await {
            tracing::error!(error = chain(&error), "models not read, the rules serve until they can be");
        }
        let stepper = Arc::new(Mutex::new(Stepper { last, unsaved: None }));
        Ok(Self { app, stepper, listener, local_addr, secret, lock })
    }

    /// Goes on from what an earlier server had seen, where that is later than what the engine was shown and of the same step;
    /// returns whether it did.
    pub async fn recall(&self, checkpoint: Checkpoint) -> bool {
        let mut stepper = self.stepper.lock().await;
        let step = self.app.0.options.step;
        if !checkpoint.is_of(step) || stepper.last.is_some_and(|last| last >= checkpoint.at()) {
            return false;
        }
        stepper.last = Some(checkpoint.at());
        let scorer = Arc::clone(&self.app.0.scorer);
        blocking(move || checkpoint.show(&scorer)).await.is_ok()
    }

    /// What was seen of workloads that may be others': each is gone on with when the first sample of it comes, and nothing is said of
    /// it before.
    pub fn expect(&self, seen: Vec<ServiceMemory>) {
        self.app.0.scorer.expect(seen);
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether it is spoken to under TLS.
    pub fn speaks_tls(&self) -> bool {
        self.app.0.door.now().tls.is_some()
    }

    /// A handle, for as long as anybody wants it.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { app: self.app.clone(), stepper: Arc::clone(&self.stepper) }
    }

    /// Serves until `shutdown` is done; then takes no more, finishes what is in flight (at most 10 s),
    /// and closes the state. What still waits for delivery is delivered by the next server.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let handle = self.handle();
        let mut tasks = Tasks::default();
        if self.app.0.options.ticker {
            tasks.add(tokio::spawn(keep_ticking(handle.clone())));
        }
        tasks.add(tokio::spawn(keep_house(handle.clone())));
        tasks.add(tokio::spawn(keep_checkpoints(handle.clone())));
        if self.app.0.door.has_files() {
            tasks.add(tokio::spawn(crate::door::watch(self.app.clone())));
        }
        if self.app.0.leadership.is_shared() {
            let name = format!("{}#{}", self.app.0.public_url, crate::unique_id::unique_id(self.app.now()));
            tasks.add(tokio::spawn(leader::keep_leading(handle.clone(), name)));
        }
        for delivery in delivery::start(&self.app, self.secret)? {
            tasks.add(delivery);
        }
        let stopping = Arc::new(Notify::new());
        let (app, told) = (self.app.clone(), Arc::clone(&stopping));
        let drain = async move {
            shutdown.await;
            app.0.draining.store(true, Ordering::Relaxed);
            told.notify_one();
        };
        tracing::info!(listen = %self.local_addr, "serving");
        let router = crate::http::router(self.app.clone()).into_make_service_with_connect_info::<Peer>();
        let listener = DoorListener::new(self.listener, self.local_addr, Arc::clone(&self.app.0.door));
        let serve = axum::serve(listener, router).with_graceful_shutdown(drain);
        let served = tokio::select! {
            served = async { serve.await } => served.map_err(|e| ServeError::Http(e.into())),
            () = async { stopping.notified().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        };
        // A step in the middle of being stored ends first.
        let stepper = self.stepper.lock().await;
        tasks.stop();
        handle.put_checkpoint(stepper.last).await;
        self.app.0.leadership.resign(&self.app.0.store).await;
        self.app.0.store.close().await;
        drop((stepper, self.lock));
        tracing::info!("stopped");
        served
    }
}

impl ServerHandle {
    /// Evaluates and stores every step that is due at `now`; returns how many. A step is due a lateness
    /// after its time, in order, once. When what a step decided cannot be stored, it is kept and no
    /// step follows until it can.
    pub async fn tick(&self, now: Timestamp) -> usize {
        let mut stepper = self.stepper.lock().await;
        if !self.save(&mut stepper).await {
            return 0;
        }
        if self.app.0.store.failure().is_some() && self.app.0.store.probe().await.is_err() {
            return 0;
        }
        self.app.recall_happenings(now).await;
        let options = &self.app.0.options;
        let schedule = Schedule {
            step: options.step,
            lateness: options.lateness.min(options.step.duration()),
            max_catch_up: options.max_catch_up,
        };
        let mut evaluated = 0;
        while let Some(at) = schedule.next(stepper.last, self.app.0.scorer.arrivals(), now) {
            let guardrails = async {
                self.app.before_step(at).await?;
                self.app.guardrails(at, now).await
            };
            let guardrails = match guardrails.await {
                Ok(guardrails) => guardrails,
                Err(error) => {
                    // What must not be done is not known, so nothing is: the step waits.
                    tracing::error!(error = chain(&error), step = %at, "not known what holds requests back, trying again");
                    self.app.0.metrics.state_failed();
                    break;
                }
            };
            self.app.learn(at).await;
            let begun = Instant::now();
            let step = tracing::debug_span!("step", at = %at, predictions = field::Empty, requests = field::Empty);
            let scorer = Arc::clone(&self.app.0.scorer);
            let evaluate = tracing::debug_span!(parent: &step, "evaluate");
            let output = blocking(move || evaluate.in_scope(|| scorer.evaluate(at, guardrails))).await;
            let output = output.and_then(|result| result);
            stepper.last = Some(at);
            match output {
                Ok(output) => {
                    step.record("predictions", output.predictions.len());
                    step.record("requests", output.requests.len());
                    stepper.unsaved = Some((at, output));
                }
                Err(error) => {
                    // The next step may work; this one is lost, and counted.
                    tracing::error!(error = chain(&error), step = %at, "step not evaluated");
                    self.app.0.metrics.step(true);
                    continue;
                }
            }
            evaluated += 1;
            if !self.save(&mut stepper).instrument(tracing::debug_span!(parent: &step, "store")).await {
                break;
            }
            self.app.0.metrics.step_took(begun.elapsed());
        }
        evaluated
    }

    /// Serves what the registry names now; see [`AppState::reload`].
    pub async fn reload(&self) -> Result<ReloadReport, AppError> {
        self.app.reload().await
    }

    /// Keeps what was seen, for the next server; nothing where that is not wanted.
    pub async fn checkpoint(&self) {
        let stepper = self.stepper.lock().await;
        let made = self.make_checkpoint(stepper.last).await;
        // It is put away while steps go on.
        drop(stepper);
        self.put_away(made).await;
    }

    async fn put_checkpoint(&self, at: Option<Timestamp>) {
        let made = self.make_checkpoint(at).await;
        self.put_away(made).await;
    }

    async fn make_checkpoint(&self, at: Option<Timestamp>) -> Option<Result<Made, CheckpointError>> {
        let shared = &self.app.0;
        let (options, at) = shared.options.checkpoint.as_ref().zip(at)?;
        Some(checkpoint::make(Arc::clone(&shared.scorer), options, at, shared.options.step).await)
    }

    async fn put_away(&self, made: Option<Result<Made, CheckpointError>>) {
        let (Some(made), Some(options)) = (made, &self.app.0.options.checkpoint) else { return };
        let put = match made {
            Ok(made) => made.put(options).await,
            Err(error) => Err(error),
        };
        match put {
            Ok(bytes) => tracing::debug!(bytes, path = options.path, "checkpoint written"),
            Err(error) => {
                tracing::warn!(error = chain(&error), "checkpoint not written, a restart would go back to the last one")
            }
        }
    }

    /// What the server can be asked.
    pub fn app(&self) -> &AppState {
        &self.app
    }

    pub(crate) fn leadership(&self) -> &Leadership {
        &self.app.0.leadership
    }

    pub(crate) fn store(&self) -> &StateStore {
        &self.app.0.store
    }

    /// Goes on from what another server announced; between two steps, `lead` is called.
    pub(crate) async fn go_on(&self, lead: impl FnOnce()) -> Result<(), StateError> {
        let _between_steps = self.stepper.lock().await;
        let announced = self.app.0.store.requests_since(self.app.now() - REMEMBERED).await?;
        let announced: Vec<_> = announced.into_iter().map(|stored| stored.request).collect();
        self.app.0.scorer.adopt(self.app.now(), &announced);
        self.app.adopt_shadows().await?;
        self.app.0.scorer.watched().recall_again();
        lead();
        self.app.0.outbox.notify_one();
        Ok(())
    }

    /// Stores and shows what the last step said; `false` where it could not be stored. While another server leads it is
    /// only shown, and what this one would have asked for is not.
    async fn save(&self, stepper: &mut Stepper) -> bool {
        let Some((at, mut output)) = stepper.unsaved.take() else { return true };
        let shared = &self.app.0;
        if shared.leadership.watches() {
            shared.metrics.step(false);
            shared.scorer.publish(at, unasked(output));
            shared.scorer.watched().leave_to_others(at);
            return true;
        }
        for request in &mut output.requests {
            let url = format!("{}/api/v1/requests/{}/outcome", shared.public_url, request.id);
            request.outcome_url.get_or_insert(url);
        }
        let (announce, limits) = (shared.options.webhook.is_some(), self.app.limits());
        let StoredStep { fresh, refused } = match shared.store.save_step(&output, announce, &limits).await {
            Ok(stored) => stored,
            Err(error) if error.is_not_leading() => {
                shared.leadership.watch(&shared.store);
                shared.metrics.step(false);
                shared.scorer.publish(at, unasked(output));
                return true;
            }
            Err(error) => {
                tracing::error!(error = chain(&error), step = %at, "decisions not stored, trying again");
                shared.metrics.state_failed();
                stepper.unsaved = Some((at, output));
                return false;
            }
        };
        if !refused.is_empty() {
            tracing::info!(?refused, "others asked meanwhile, held back");
            output = shared.scorer.withdraw(output, &refused);
        }
        for request in output.requests.iter().filter(|request| fresh.contains(&request.id)) {
            tracing::info!(request_id = %request.id, service = %request.service, kind = %request.kind, "request emitted");
            shared.metrics.request(request);
        }
        if let Err(error) = shared.store.save_reached(&shared.scorer.followed()).await {
            // Nothing waits for it: the next one that goes further is stored with all that it reached.
            tracing::warn!(error = chain(&error), step = %at, "not stored how far requests would have gone");
        }
        shared.metrics.step(false);
        self.app.after_step(at, &output.predictions).await;
        self.app.after_shadow(at, &output.predictions).await;
        let (scorer, predictions) = (Arc::clone(&shared.scorer), output.predictions);
        if let Err(error) = blocking(move || scorer.publish(at, predictions)).await {
            tracing::error!(error = chain(&error), step = %at, "step stored and not shown");
        }
        if !fresh.is_empty() {
            self.app.ring();
        }
        self.app.settle(at).await;
        true
    }
}

fn instance(url: url::Url) -> Arc<delivery::Instance> {
    Arc::new(delivery::Instance::new(url))
}

/// What a server says that does not lead: there may be no request of that id.
fn unasked(mut output: EngineOutput) -> Vec<Prediction> {
    for prediction in &mut output.predictions {
        prediction.request_id = None;
    }
    output.predictions
}

/// Tasks that end with the server.
#[derive(Default)]
struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    fn add(&mut self, task: JoinHandle<()>) {
        self.0.push(task);
    }

    fn stop(&mut self) {
        for task in self.0.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn keep_ticking(handle: ServerHandle) {
    let step = handle.app.0.options.step.duration();
    let mut interval = tokio::time::interval((step / 10).clamp(Duration::from_millis(20), Duration::from_millis(500)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now = handle.app.now();
        let Some(pulling) = &handle.app.0.pulling else {
            handle.tick(now).await;
            continue;
        };
        // Steps wait for their samples.
        if let Some(fetched) = pulling.advance(&handle.app, now).await {
            handle.tick(fetched).await;
        }
    }
}

async fn keep_checkpoints(handle: ServerHandle) {
    let Some(every) = handle.app.0.options.checkpoint.as_ref().map(|options| options.every) else { return };
    let mut interval = tokio::time::interval_at(Instant::now() + every, every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        handle.checkpoint().await;
    }
}

/// Whether somebody promoted or rolled back since this was asked last: one small read, where looking at every pointer would be one
/// a service.
#[derive(Default)]
struct Moves {
    last: Option<Option<bytes::Bytes>>,
}

impl Moves {
    async fn came(&mut self, registry: &ModelRegistry) -> bool {
        // What cannot be read now is read the next time; the poll says why.
        let Ok(now) = registry.last_moved().await else { return false };
        self.last.replace(now.clone()).is_some_and(|before| before != now)
    }
}

/// Expires requests, follows the registry, drops what is old.
async fn keep_house(handle: ServerHandle) {
    let shared = &handle.app.0;
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut polled = Instant::now();
    let mut moves = Moves::default();
    let mut pruned: Option<Instant> = None;
    loop {
        interval.tick().await;
        let leads = shared.leadership.leads();
        if leads && let Err(error) = shared.store.expire(handle.app.now()).await {
            tracing::error!(error = chain(&error), "requests not expired");
        }
        if let Some(every) = shared.options.registry_poll
            && (polled.elapsed() >= every || moves.came(&shared.registry).await)
        {
            polled = Instant::now();
            if let Err(error) = shared.slots.poll(&shared.registry, &shared.scorer, &shared.metrics).await {
                tracing::warn!(error = chain(&error), "registry not read, the same models serve");
            }
            if let Err(error) = handle.app.follow_shadows().await {
                tracing::warn!(error = chain(&error), "registry not read, the same challengers score");
            }
            if let Err(error) = handle.app.look_at_quality().await {
                tracing::warn!(error = chain(&error), "newest report not read, its figures are not shown");
            }
            if let Err(error) = shared.last_run.look(&shared.registry.runs()).await {
                tracing::warn!(error = chain(&error), "records of runs not read");
            }
            if let Err(error) = handle.app.take_drift().await {
                tracing::error!(error = chain(&error), "drift not taken, trying again");
            }
        }
        if leads && pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
            pruned = Some(Instant::now());
            if let Err(error) = shared.store.prune(handle.app.now()).await {
                tracing::error!(error = chain(&error), "old rows not dropped");
            }
        }
    }
}
