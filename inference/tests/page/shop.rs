//! A server over a small shop whose memory and connections leak: history through the engine, the last
//! hour through remote write, time in the test's hands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use forewarn_features::{FeaturePipelineParams, LiveSignals, ServiceStep, SignalSet, presets};
use forewarn_inference::{AutonomyOptions, Server, ServerHandle, ServerOptions, Webhook};
use forewarn_models::baselines::Baselines;
use forewarn_models::bundle::BundleManifest;
use forewarn_models::ensemble::{AnomalyEnsemble, Detector, RawScores};
use forewarn_models::isolation_forest::IsolationForestParams;
use forewarn_models::{Engine, EngineOptions, ForecastModel, ModelBundle, ModelRegistry};
use forewarn_schema::{LabelSet, Sample, Step, TimeRange, Timestamp};
use forewarn_testkit::{Shop, ShopParams, remote_write};

/// Long enough for a profile of the week.
const HISTORY: Duration = Duration::from_secs(8 * 86_400);
const LIVE: Duration = Duration::from_secs(60 * 60);
const LATENESS: Duration = Duration::from_secs(15);
/// The weekly report that lies beside the evaluation.
pub(crate) const WEEK: &str = "20260119T010000Z-week";

/// A server that runs until this is dropped.
pub(crate) struct RunningShop {
    pub(crate) url: String,
    pub(crate) handle: ServerHandle,
    pub(crate) client: reqwest::Client,
    clock: Arc<AtomicI64>,
    shop: Option<Shop>,
    _folder: tempfile::TempDir,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl RunningShop {
    /// Nothing has been sent to it yet.
    pub(crate) async fn empty() -> Self {
        Self::start(None, None, AutonomyOptions::default()).await
    }

    /// The leaks go on for `minutes`.
    pub(crate) async fn goes_on(&mut self, minutes: u64) {
        let now = Timestamp::from_millis(self.clock.load(Ordering::SeqCst)).align_down(Step::MINUTE);
        let next = now + Step::MINUTE.duration();
        self.send_live(TimeRange::new(next, next + Duration::from_secs(60 * minutes)).unwrap()).await;
    }

    /// Sends a scrape of `series` at each of `minutes` of the live time.
    pub(crate) async fn send_series(
        &self,
        minutes: std::ops::Range<u64>,
        series: impl Fn(u64) -> Vec<(LabelSet, f64)>,
    ) {
        for minute in minutes {
            self.send_scrape(ShopParams::demo_live_start() + Duration::from_secs(60 * minute), &series(minute)).await;
        }
    }

    /// Two leaks have been under way for an hour or two, and the requests for them are out.
    pub(crate) async fn leaking() -> Self {
        Self::leaking_to(None).await
    }

    /// The same, where requests go to a webhook.
    pub(crate) async fn leaking_to(webhook: Option<Webhook>) -> Self {
        Self::leaking_under(webhook, AutonomyOptions::default()).await
    }

    /// The same, where playbooks earn otherwise.
    pub(crate) async fn leaking_under(webhook: Option<Webhook>, autonomy: AutonomyOptions) -> Self {
        let shop = Shop::new(ShopParams::demo(7));
        let mut running = Self::start(Some(shop), webhook, autonomy).await;
        let live = ShopParams::demo_live_start();
        running.send_live(TimeRange::new(live, live + LIVE).unwrap()).await;
        running
    }

    async fn start(shop: Option<Shop>, webhook: Option<Webhook>, autonomy: AutonomyOptions) -> Self {
        forewarn_storage::install_crypto_provider();
        let names = presets::NAMES.map(str::to_owned);
        let signals = Arc::new(SignalSet::new(&names, vec![]).unwrap());
        let live_start = ShopParams::demo_live_start();
        let mut engine = Engine::new(Arc::clone(&signals), EngineOptions::default());
        let folder = tempfile::tempdir().unwrap();
        let registry = ModelRegistry::open(&format!("file://{}", folder.path().display())).await.unwrap();
        if let Some(shop) = &shop {
            let range = TimeRange::new(live_start - HISTORY, live_start).unwrap();
            let history = warm(&mut engine, &signals, shop, range);
            // One service has a model, another a candidate, the third rules alone.
            let promoted = registry.publish(&fit("checkout", &history["checkout"], &signals, range)).await.unwrap();
            registry.promote("checkout", &promoted, live_start, "for the test").await.unwrap();
            let candidate = registry.publish(&fit("cart", &history["cart"], &signals, range)).await.unwrap();
            // What the gate said, as the server reads it.
            let alarms = |predicted: u32, false_alarms: f64, error: f64| {
                serde_json::json!({"breaches": 6, "predicted": predicted, "false_alarms_per_week": false_alarms,
                    "median_lead_seconds": 7860.0, "median_time_to_breach_error": error, "interval_coverage": 0.79})
            };
            let judged = serde_json::json!({"headline": "1 of 1 candidates passes.", "services": [{
                "service": "cart",
                "candidate": {"version": candidate.to_string()},
                "current_version": "rules",
                "verdict": {"verdict": "pass", "reason": "beats the rules"},
                "candidate_alarms": alarms(6, 0.25, 0.17),
                "rules_alarms": alarms(5, 1.5, 0.31),
            }]});
            let report = [
                ("report.html".to_owned(), "<!doctype html><title>Report</title><p>Recall 1.0".into()),
                ("report.json".to_owned(), judged.to_string().into()),
            ];
            registry.put_report("20260119T000000Z", &report.into()).await.unwrap();
            let week = [
                ("week.html".to_owned(), "<!doctype html><title>Week</title><p>a quiet week".into()),
                ("week.json".to_owned(), "{}".into()),
            ];
            registry.put_report(WEEK, &week.into()).await.unwrap();
        }
        let clock = Arc::new(AtomicI64::new(live_start.millis()));
        let told = Arc::clone(&clock);
        let options = ServerOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            warmed_until: shop.as_ref().map(|_| live_start - Step::MINUTE.duration()),
            lateness: LATENESS,
            webhook,
            autonomy,
            ticker: false,
            clock: Arc::new(move || Timestamp::from_millis(told.load(Ordering::SeqCst))),
            ..ServerOptions::default()
        };
        let server = Server::bind(options, signals, engine, registry).await.unwrap();
        let (url, handle) = (format!("http://{}", server.local_addr()), server.handle());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { url, handle, client, clock, shop, _folder: folder, _stop: stop }
    }

    /// Sends what the shop shows in `range`, step by step, as Prometheus would.
    async fn send_live(&mut self, range: TimeRange) {
        let shop = self.shop.take().expect("only a shop with data is sent");
        let mut at = range.start;
        while at < range.end {
            self.send_scrape(at, &shop.scrape(at)).await;
            at = at + Step::MINUTE.duration();
        }
        self.shop = Some(shop);
    }

    async fn send_scrape(&self, at: Timestamp, series: &[(LabelSet, f64)]) {
        self.clock.store((at + LATENESS).millis(), Ordering::SeqCst);
        let mut request = self.client.post(format!("{}/api/v1/write", self.url));
        for (name, value) in remote_write::HEADERS {
            request = request.header(name, value);
        }
        let response = request.body(remote_write::encode_scrape(at, series)).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        self.handle.tick(at + LATENESS).await;
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// As a browser without the script sends a form: status, and where it leads or what it says.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.url)).header("sec-fetch-site", "same-origin");
        let response = request.form(fields).send().await.unwrap();
        let location = response.headers().get("location").map(|l| l.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        match location {
            Some(location) => (status, location),
            None => (status, response.text().await.unwrap()),
        }
    }
}

/// Shows `engine` what was scraped in `range`, and returns it by service.
fn warm(
    engine: &mut Engine,
    signals: &Arc<SignalSet>,
    shop: &Shop,
    range: TimeRange,
) -> BTreeMap<String, Vec<ServiceStep>> {
    let mut live = LiveSignals::new(Arc::clone(signals), Step::MINUTE, 10_000).unwrap();
    let mut history: BTreeMap<String, Vec<ServiceStep>> = BTreeMap::new();
    let mut at = range.start;
    while at < range.end {
        for (labels, value) in shop.scrape(at) {
            live.push(&labels, Sample { at, value }).unwrap();
        }
        let steps = live.step(at).unwrap();
        engine.observe(at, &steps);
        for step in steps {
            history.entry(step.service.to_string()).or_default().push(step);
        }
        at = at + Step::MINUTE.duration();
    }
    history
}

/// A model as training would make one, without the learnt forecaster.
fn fit(service: &str, steps: &[ServiceStep], signals: &SignalSet, range: TimeRange) -> ModelBundle {
    let pipeline = FeaturePipelineParams::default().fit(steps, signals, Step::MINUTE, &[]);
    let mut state = pipeline.new_state();
    let rows: Vec<f32> = steps.iter().flat_map(|step| pipeline.transform(&mut state, step)).collect();
    let width = pipeline.names().len();
    let params = IsolationForestParams { trees: 50, sample_size: 256, seed: 7 };
    let forest = params.check().unwrap().fit(&rows, width).unwrap();
    let raw: Vec<RawScores> =
        rows.chunks_exact(width).map(|row| [forest.score(row), f64::NAN, f64::NAN, f64::NAN]).collect();
    let ensemble = AnomalyEnsemble::fit(&raw, &[(Detector::IsolationForest, 1.0)], None).unwrap();
    let bundle = ModelBundle {
        manifest: BundleManifest::unsealed(service, range, Step::MINUTE, 7),
        signals: signals.clone(),
        pipeline,
        forest,
        ensemble,
        lstm: None,
        baselines: Baselines::fit(steps, signals, Step::MINUTE, None),
        forecast: ForecastModel::Trend,
        rehearsed: Default::default(),
    };
    bundle.sealed().unwrap()
}
