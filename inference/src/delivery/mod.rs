//! Gets remediation requests to the webhook: at least once, in order per target, never after their
//! expiry. What to send is in the state database's outbox; a crash at any point sends it again, with
//! the same id, and the receiver tells them apart by that.

mod alert;
mod alertmanager;
mod backoff;
mod links;
mod reach;
mod signature;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, StatusCode};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, field};

pub(crate) use self::alert::{ALERT_NAME, WORSENED_NAME};
pub use self::alertmanager::AlertmanagerStatus;
pub(crate) use self::alertmanager::Instance;
pub use self::reach::{OutOfReach, Reach};
pub use self::signature::{SignatureError, WebhookSecret, WebhookSecretError, sign_webhook, verify_webhook};
use forewarn_models::guardrails::Maintenance;

use crate::app::AppState;
use crate::error::{AppError, ServeError, chain};
use crate::options::Webhook;
use crate::state::{Fate, OutboxEntry};

/// One try; a receiver that needs longer should answer first and work then.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Targets served at the same time.
const PARALLEL: u32 = 8;
/// The outbox is looked at this often even when nobody says that something is in it.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_FOR_OTHERS: Duration = Duration::from_secs(1);

/// Sends what is in the outbox.
pub(crate) struct Delivery {
    app: AppState,
    client: Client,
    url: reqwest::Url,
    secret: WebhookSecret,
    /// When a target whose last try failed may be tried again. A restart tries at once.
    not_before: BTreeMap<String, Instant>,
}

impl Delivery {
    pub(crate) fn new(app: AppState, webhook: &Webhook, secret: WebhookSecret) -> Result<Self, ServeError> {
        let client = client(&webhook.url, &webhook.reach)?;
        Ok(Self { app, client, url: webhook.url.clone(), secret, not_before: BTreeMap::new() })
    }

    /// Sends for ever; ends only by being dropped, which loses nothing.
    pub(crate) async fn run(mut self) {
        loop {
            let wait = if self.app.0.leadership.leads() { self.round().await } else { LOOK_EVERY };
            tokio::select! {
                () = self.app.0.outbox.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Tries what may be tried now; returns how long until there may be more to do.
    async fn round(&mut self) -> Duration {
        let heads = match self.app.0.store.outbox_heads(1000).await {
            Ok(heads) => heads,
            Err(error) => {
                tracing::error!(error = chain(&error), "outbox not readable");
                return LOOK_EVERY;
            }
        };
        let held = match held(&self.app).await {
            Ok(held) => held,
            Err(error) => {
                tracing::error!(error = chain(&error), "not known whether messages may leave, so none does");
                return LOOK_EVERY;
            }
        };
        if self.app.0.hurry.swap(false, std::sync::atomic::Ordering::Relaxed) {
            self.not_before.clear();
        }
        let (now, time) = (Instant::now(), self.app.now());
        self.not_before.retain(|_, at| *at > now);
        let due: Vec<OutboxEntry> = heads
            .into_iter()
            // What is too late is put away whatever holds it.
            .filter(|e| time > e.expires_at || e.is_escalation() || !held.covers(&service_of(&e.payload)))
            .filter(|e| !self.not_before.contains_key(&e.target_key))
            .take(PARALLEL as usize)
            .collect();
        let tried_any = !due.is_empty();
        let mut tries = JoinSet::new();
        for entry in due {
            let (app, client, url) = (self.app.clone(), self.client.clone(), self.url.clone());
            let secret = self.secret.clone();
            let span = tracing::debug_span!(
                "deliver",
                otel.kind = "client",
                request_id = entry.event_id,
                attempt = entry.attempts + 1,
                fate = field::Empty
            );
            let told = span.clone();
            let one_try = async move {
                let (fate, retry_after) = attempt(&app, &client, url, &secret, &entry).await;
                told.record("fate", fate.as_str());
                (entry, fate, retry_after)
            };
            tries.spawn(one_try.instrument(span));
        }
        while let Some(tried) = tries.join_next().await {
            let Ok((entry, fate, retry_after)) = tried else { continue };
            self.settle(&entry, &fate, retry_after).await;
        }
        if tried_any {
            return Duration::ZERO;
        }
        // What another server approves nobody here is told of.
        let look_every = if self.app.0.leadership.is_shared() { LOOK_FOR_OTHERS } else { LOOK_EVERY };
        let soonest = self.not_before.values().min().map(|at| at.saturating_duration_since(Instant::now()));
        soonest.unwrap_or(look_every).min(look_every)
    }

    async fn settle(&mut self, entry: &OutboxEntry, fate: &Fate, retry_after: Option<Duration>) {
        match fate {
            Fate::Delivered => {}
            Fate::Retry { error } => {
                let wait = retry_after.unwrap_or_else(|| backoff::delay(&entry.event_id, entry.attempts));
                self.not_before.insert(entry.target_key.clone(), Instant::now() + wait);
                tracing::warn!(request_id = entry.event_id, attempt = entry.attempts + 1, %error, "delivery failed");
            }
            Fate::Refused { error } => {
                tracing::error!(request_id = entry.event_id, %error, "delivery refused for good");
            }
            Fate::Expired => {
                tracing::warn!(request_id = entry.event_id, "request expired before it could be delivered");
            }
        }
        self.app.0.metrics.delivery(fate.as_str());
        if let Err(error) = self.app.0.store.outbox_tried(entry.seq, fate, self.app.now()).await {
            // It will be sent again: better twice than never.
            tracing::error!(error = chain(&error), "delivery not noted");
            self.not_before.insert(entry.target_key.clone(), Instant::now() + LOOK_EVERY);
        }
    }
}

/// Of which services no message may leave now: of all while requests are stopped, and of those that are being worked on.
async fn held(app: &AppState) -> Result<Maintenance, AppError> {
    let mut held = app.maintenance(&[app.now()]).await?;
    held.everything |= app.0.store.stopped().await?.is_some();
    Ok(held)
}

/// Whom a message is about; nobody where it does not say, so that only a stop holds it.
fn service_of(payload: &str) -> String {
    #[derive(serde::Deserialize)]
    struct About {
        service: String,
    }
    serde_json::from_str(payload).map(|about: About| about.service).unwrap_or_default()
}

/// Speaks to nobody but who was configured.
fn client(url: &reqwest::Url, reach: &Reach) -> Result<Client, ServeError> {
    reach.check_host(url.host())?;
    forewarn_storage::install_crypto_provider();
    Client::builder()
        // A redirect would take a signed message to an address that nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(reach.clone()))
        .timeout(TIMEOUT)
        .build()
        .map_err(|e| ServeError::Http(e.into()))
}

/// One try, and how long the receiver asked to be left alone after a failure.
async fn attempt(
    app: &AppState,
    client: &Client,
    url: reqwest::Url,
    secret: &WebhookSecret,
    entry: &OutboxEntry,
) -> (Fate, Option<Duration>) {
    if app.now() > entry.expires_at {
        return (Fate::Expired, None);
    }
    let payload = links::added(app, &entry.payload).await;
    let timestamp = (app.0.options.wall_clock)().millis().div_euclid(1000);
    let signature = sign_webhook(secret, &entry.event_id, timestamp, payload.as_bytes());
    let sent = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("forewarn/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &entry.event_id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", signature)
        .body(payload)
        .send()
        .await;
    match sent {
        Ok(response) => {
            let wait = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
            (judge(response.status()), wait.map(|s| Duration::from_secs(s).min(backoff::LONGEST)))
        }
        // The URL may hold a secret, so it is not shown.
        Err(error) => (Fate::Retry { error: chain(&error.without_url()) }, None),
    }
}

/// What an answer means: a server's trouble, a time-out and a redirect (somebody's mistake, which may
/// be mended) are tried again until the expiry; a refusal of the message itself is not.
fn judge(status: StatusCode) -> Fate {
    const AGAIN: [StatusCode; 6] = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    let error = format!("the webhook answered {status}");
    if status.is_success() {
        Fate::Delivered
    } else if status.is_client_error() && !AGAIN.contains(&status) {
        Fate::Refused { error }
    } else {
        Fate::Retry { error }
    }
}

/// The secret from the options, or else the one kept beside the state database, made on first use.
/// A database in memory gets one for its own lifetime.
pub(crate) fn secret_for(
    app_secret: Option<WebhookSecret>,
    state: Option<&std::path::Path>,
) -> Result<WebhookSecret, ServeError> {
    match (app_secret, state) {
        (Some(secret), _) => Ok(secret),
        (None, None) => Ok(WebhookSecret::generate()),
        (None, Some(state)) => {
            let path = state.with_file_name("webhook.secret");
            let secret = WebhookSecret::load_or_create(&path);
            let secret =
                secret.map_err(|e| ServeError::Secret { path: path.display().to_string(), source: e.into() })?;
            tracing::info!(path = %path.display(), "webhook messages are signed with the secret in this file");
            Ok(secret)
        }
    }
}

/// Starts a task for the webhook and one for each Alertmanager, as far as there are any.
pub(crate) fn start(
    app: &AppState,
    secret: Option<WebhookSecret>,
) -> Result<Vec<tokio::task::JoinHandle<()>>, ServeError> {
    let options = &app.0.options;
    let mut tasks = Vec::new();
    if let (Some(webhook), Some(secret)) = (&options.webhook, secret) {
        tasks.push(tokio::spawn(Delivery::new(app.clone(), webhook, secret)?.run()));
    }
    if let Some(of) = &options.alertmanagers {
        for (url, instance) in of.urls.iter().zip(&app.0.alertmanagers) {
            let (client, instance) = (client(url, &of.reach)?, Arc::clone(instance));
            tasks.push(tokio::spawn(alertmanager::keep_telling(app.clone(), instance, client, of.tell_every)));
        }
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_message_ends_the_tries() {
        assert_eq!(judge(StatusCode::NO_CONTENT), Fate::Delivered);
        for code in [301, 308, 401, 404, 429, 500, 503] {
            let status = StatusCode::from_u16(code).unwrap();
            assert!(matches!(judge(status), Fate::Retry { .. }), "{code}");
        }
        for code in [400, 410, 422] {
            let status = StatusCode::from_u16(code).unwrap();
            assert!(matches!(judge(status), Fate::Refused { .. }), "{code}");
        }
    }
}
