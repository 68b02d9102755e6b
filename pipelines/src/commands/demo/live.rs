//! The live half of the demo: a real server on a simulated clock, real remote write over HTTP, a webhook
//! that checks the signature, and a label that goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use forewarn_inference::{Clock, Server, ServerHandle, ServerOptions};
use forewarn_schema::{LabelSet, Step, Timestamp, Verdict};
use forewarn_testkit::webhook::{WebhookReceiver, verify};
use forewarn_testkit::{Fault, Shop, http, remote_write};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::cli::Serve;
use crate::commands::{open, serve};
use crate::config::Config;
use crate::outcome::Outcome;
use crate::progress::say;

/// The last samples before the live part, so that rates over five minutes are there at once.
const RUN_UP: Duration = Duration::from_secs(600);
const STEP: Duration = Duration::from_secs(60);
/// A delivery on loopback takes milliseconds; this is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Live<'a> {
    pub(super) config: &'a Config,
    pub(super) shop: &'a Arc<Shop>,
    pub(super) receiver: &'a WebhookReceiver,
    pub(super) secret: &'a str,
    pub(super) from: Timestamp,
}

/// The server under replay and the way to it.
struct Replayed {
    url: String,
    handle: ServerHandle,
    now: Arc<AtomicI64>,
    lateness: Duration,
}

impl Live<'_> {
    /// Replays the live part, `pace` of real time a minute. With `once` it ends after the first request
    /// was delivered and labelled; else it goes on serving until Ctrl-C.
    pub(super) async fn replay(&self, once: bool, pace: Duration) -> anyhow::Result<Outcome> {
        let now = Arc::new(AtomicI64::new(self.from.millis()));
        let clock: Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
        };
        let mut options =
            ServerOptions { ticker: false, clock, ..serve::server_options(self.config, &Serve { listen: None })? };
        let lateness = options.lateness;
        let registry = open::moving_registry(self.config).await?;
        let mut engine = open::engine(self.config, &registry).await?;
        options.warmed_until = serve::warm(self.config, &mut engine).await?;
        let server = Server::bind(options, Arc::clone(&self.config.signals), engine, registry).await?;
        let url = format!("http://{}", server.local_addr());
        let replayed = Replayed { url, handle: server.handle(), now, lateness };
        let (stop, stopped) = oneshot::channel::<()>();
        let interrupt = serve::shutdown()?;
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        say(&format!("serving at {}/ ; the leaks of cart and checkout are under way", replayed.url));
        let story = tokio::select! {
            story = self.play(&replayed, once, pace) => story,
            () = interrupt => Ok(Outcome::new("stopped", json!({"stopped": true}))),
        };
        let _ = stop.send(());
        running.await?.context("the server")?;
        story
    }

    async fn play(&self, server: &Replayed, once: bool, pace: Duration) -> anyhow::Result<Outcome> {
        let mut at = self.from - RUN_UP;
        while at < self.from {
            server.write(self.shop, at).await?;
            at = at + STEP;
        }
        let mut told = Vec::new();
        while at < self.shop.range().end {
            server.write(self.shop, at).await?;
            server.tick(at).await;
            let requests = server.get("/api/v1/requests").await?;
            let requests = requests.as_array().cloned().unwrap_or_default();
            for request in requests.iter().rev() {
                let id = text(request, "id");
                if told.contains(&id) {
                    continue;
                }
                let story = self.deliver_and_label(server, request).await?;
                told.push(id);
                if once {
                    return Ok(story);
                }
                say(story.text());
            }
            at = at + STEP;
            tokio::time::sleep(pace).await;
        }
        if once {
            bail!("the leaks reached their limits and no request was emitted");
        }
        say(&format!("the replay is over; the page stays at {}/ until Ctrl-C", server.url));
        std::future::pending().await
    }

    /// Waits for the request at the webhook, checks the signature, looks up the key, labels.
    async fn deliver_and_label(&self, server: &Replayed, request: &Value) -> anyhow::Result<Outcome> {
        let id = text(request, "id");
        let delivered = self.wait_for_delivery(&id).await?;
        verify(self.secret, &delivered).map_err(anyhow::Error::msg).context("the webhook's signature")?;
        let truth = self.truth_of(request);
        let verdict = if truth.is_some() { Verdict::TruePositive } else { Verdict::FalsePositive };
        let label = json!({
            "prediction_id": text(request, "prediction_id"),
            "verdict": verdict,
            "note": "the demo knows what it put in",
        });
        let stored = server.post("/api/v1/feedback", &label).await?;
        let labels = server.get("/api/v1/feedback").await?;
        let stored_id = text(&stored, "id");
        let seen = labels.as_array().is_some_and(|all| all.iter().any(|l| text(l, "id") == stored_id));
        ensure!(seen, "label {stored_id} was accepted and is not in the log");
        let (breach, truth_text) = (&request["predicted_breach"], truth.map(|f| f.breach.to_string()));
        let mut lines = vec![
            format!(
                "{} request {id}: {} of {} {}, breach between {} and {} (median {})",
                text(request, "at"),
                text(request, "kind"),
                text(request, "service"),
                labels_text(&request["labels"]),
                text(breach, "p10"),
                text(breach, "p90"),
                text(breach, "p50"),
            ),
            format!("  why: {}", text(&request["evidence"], "summary")),
            format!("  delivered to the webhook, signature verified; mode {}", text(request, "mode")),
        ];
        lines.push(match &truth_text {
            Some(at) => format!("  the limit is really reached at {at}; labelled {verdict} ({stored_id})"),
            None => format!("  nothing of the kind is coming; labelled {verdict} ({stored_id})"),
        });
        Ok(Outcome::new(
            lines.join("\n"),
            json!({"request": request, "signature": "verified", "truth": truth_text, "label": stored}),
        ))
    }

    async fn wait_for_delivery(&self, id: &str) -> anyhow::Result<http::Request> {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let requests = self.receiver.requests();
            if let Some(found) = requests.into_iter().find(|r| r.header("webhook-id") == Some(id)) {
                return Ok(found);
            }
            ensure!(std::time::Instant::now() < until, "request {id} was not delivered within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The fault that a request is about, if there is one.
    fn truth_of(&self, request: &Value) -> Option<&Fault> {
        let at: Timestamp = text(request, "at").parse().ok()?;
        let labels: LabelSet = serde_json::from_value(request["labels"].clone()).unwrap_or_default();
        self.shop.truth().iter().find(|fault| {
            let same_pod = labels.get("pod").is_none_or(|pod| fault.labels.get("pod") == Some(pod));
            fault.service == text(request, "service")
                && fault.kind.as_str() == text(request, "kind")
                && same_pod
                && fault.onset <= at
                && at <= fault.end
        })
    }
}

impl Replayed {
    /// One scrape of the shop, posted as a Prometheus would.
    async fn write(&self, shop: &Arc<Shop>, at: Timestamp) -> anyhow::Result<()> {
        self.now.store(at.millis().max(self.now.load(Ordering::SeqCst)), Ordering::SeqCst);
        let (shop, url) = (Arc::clone(shop), format!("{}/api/v1/write", self.url));
        let posted = tokio::task::spawn_blocking(move || {
            let body = remote_write::encode_scrape(at, &shop.scrape(at));
            http::post(&url, &remote_write::HEADERS, &body)
        });
        let response = posted.await??;
        ensure!((200..300).contains(&response.status), "remote write: {} {}", response.status, response.body_text());
        Ok(())
    }

    async fn tick(&self, at: Timestamp) {
        let now = at.align_down(Step::MINUTE) + self.lateness;
        self.now.store(now.millis(), Ordering::SeqCst);
        self.handle.tick(now).await;
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        let response = tokio::task::spawn_blocking(move || http::get(&url)).await??;
        ensure!(response.status == 200, "GET {path}: {} {}", response.status, response.body_text());
        Ok(serde_json::from_slice(&response.body)?)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (url, bytes) = (format!("{}{path}", self.url), body.to_string().into_bytes());
        let posted =
            tokio::task::spawn_blocking(move || http::post(&url, &[("content-type", "application/json")], &bytes));
        let response = posted.await??;
        ensure!((200..300).contains(&response.status), "POST {path}: {} {}", response.status, response.body_text());
        Ok(serde_json::from_slice(&response.body)?)
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn labels_text(labels: &Value) -> String {
    serde_json::from_value::<LabelSet>(labels.clone()).unwrap_or_default().to_string()
}
