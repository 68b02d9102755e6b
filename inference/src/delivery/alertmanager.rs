//! Alertmanager as a second sink: every request that is open or approved is an alert there, for as long as it is.
//!
//! An alert is a state and not a message, so nothing is queued: each instance is told the whole state, at every change and again before it
//! would forget. One that was down knows everything after the next telling; one that is down holds up nobody, as each has a task of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forewarn_schema::{RequestStatus, Timestamp};
use reqwest::Client;
use serde::Serialize;
use tokio::sync::Notify;

use super::alert::{Alert, Clocks};
use super::{LOOK_EVERY, backoff};
use crate::app::AppState;
use crate::error::chain;

/// Alerts told at most: as many as the page shows requests.
const MOST_ALERTS: u32 = 500;
/// Alerts in one post.
const BATCH: usize = 100;
/// An alert that is over is told for so long: an instance that missed its end hears it later.
const TOLD_AFTER: Duration = Duration::from_secs(15 * 60);
/// People are called for so long by one remediation that made things worse.
const CALLED_FOR: Duration = Duration::from_secs(4 * 3600);
/// So many tellings may be missed before an instance thinks that an alert is over.
const TELLINGS: u32 = 4;
/// What is kept of an instance's complaint, in bytes.
const MOST_ERROR: usize = 300;

/// One Alertmanager.
#[derive(Debug)]
pub(crate) struct Instance {
    url: url::Url,
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Tellings that failed since the last that did not.
    failures: u32,
    told_at: Option<Timestamp>,
    firing: usize,
    last_error: Option<String>,
}

/// How one Alertmanager is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertmanagerStatus {
    /// Where it is.
    pub url: String,
    /// Whether the last telling was taken; null before the first.
    pub up: Option<bool>,
    /// When it was last told everything, by the wall clock.
    pub told_at: Option<Timestamp>,
    /// Alerts that fire there, as far as it was told.
    pub firing: usize,
    /// Tellings that failed since the last that did not.
    pub failures: u32,
    /// Why the last one failed, where it did.
    pub last_error: Option<String>,
}

impl Instance {
    pub(crate) fn new(url: url::Url) -> Self {
        Self { url, state: Mutex::default(), bell: Notify::new() }
    }

    /// Something changed.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Without a trailing slash.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    pub(crate) fn status(&self) -> AlertmanagerStatus {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        AlertmanagerStatus {
            url: self.url().to_owned(),
            up: (state.told_at.is_some() || state.failures > 0).then_some(state.failures == 0),
            told_at: state.told_at,
            firing: state.firing,
            failures: state.failures,
            last_error: state.last_error.clone(),
        }
    }

    fn note(&self, told: Result<usize, String>, now: Timestamp) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Ok(firing) => *state = State { failures: 0, told_at: Some(now), firing, last_error: None },
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                state.last_error = Some(error);
            }
        }
        state.failures
    }
}

/// Tells one instance for ever.
pub(super) async fn keep_telling(app: AppState, instance: Arc<Instance>, client: Client, every: Duration) {
    let mut told: Option<(Vec<Alert>, tokio::time::Instant)> = None;
    loop {
        let wait = match current(&app, every).await {
            Err(error) => {
                tracing::error!(error = chain(&error), "requests not readable, alerts not told");
                LOOK_EVERY
            }
            // Ends move with the clock; what else changed is news.
            Ok(alerts) if told.as_ref().is_some_and(|(known, at)| same(known, &alerts) && at.elapsed() < every) => {
                LOOK_EVERY.min(every)
            }
            Ok(alerts) => {
                let firing = alerts.iter().filter(|alert| alert.is_firing).count();
                let result = tell(&client, &instance, &alerts).await;
                let word = if result.is_ok() { "taken" } else { "failed" };
                app.0.metrics.alerts_told(instance.url(), word);
                if let Err(error) = &result {
                    tracing::warn!(alertmanager = instance.url(), %error, "alerts not taken");
                }
                let failures = instance.note(result.map(|()| firing), (app.0.options.wall_clock)());
                match failures {
                    0 => {
                        told = Some((alerts, tokio::time::Instant::now()));
                        LOOK_EVERY.min(every)
                    }
                    n => backoff::delay(instance.url(), n - 1).min(every),
                }
            }
        };
        tokio::select! {
            () = instance.bell.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn same(known: &[Alert], alerts: &[Alert]) -> bool {
    known.len() == alerts.len()
        && known.iter().zip(alerts).all(|(a, b)| a.is_firing == b.is_firing && a.labels == b.labels)
}

/// What every instance should know now: at most one alert a label set, the newest request's.
async fn current(app: &AppState, every: Duration) -> Result<Vec<Alert>, crate::state::StateError> {
    let clocks = Clocks::new(app.now(), (app.0.options.wall_clock)());
    let stopped = app.0.store.stopped().await?;
    let requests = app.0.store.requests_in_sight(clocks.now - TOLD_AFTER, MOST_ALERTS).await?;
    let links = app.links_for_messages().await;
    let mut alerts: Vec<Alert> = Vec::new();
    for stored in requests {
        let is_open = matches!(stored.status, RequestStatus::Open | RequestStatus::Approved);
        // A stop takes back what was asked, as far as it can.
        let ended = match (&stopped, is_open) {
            (_, false) => Some(stored.status_at),
            (Some(stop), true) => Some(stop.since.max(stored.request.at)),
            (None, true) => (stored.request.expires_at <= clocks.now).then_some(stored.request.expires_at),
        };
        if ended.is_some_and(|ended| ended + TOLD_AFTER < clocks.now) {
            continue;
        }
        let mut alert = Alert::new(&stored.request, ended, every * TELLINGS, &clocks, &app.0.public_url);
        alert.annotations.extend(super::links::annotations(links.as_ref(), &stored.request));
        if alerts.iter().all(|known| known.labels != alert.labels) {
            alerts.push(alert);
        }
    }
    // A stop does not silence this: what was done is done.
    for worsened in app.0.store.worsened_since(clocks.now - CALLED_FOR - TOLD_AFTER, MOST_ALERTS).await? {
        let ends = worsened.verification.at + CALLED_FOR;
        let ended = (ends <= clocks.now).then_some(ends);
        let alert = Alert::worsened(&worsened, ended, every * TELLINGS, &clocks, &app.0.public_url);
        if alerts.iter().all(|known| known.labels != alert.labels) {
            alerts.push(alert);
        }
    }
    Ok(alerts)
}

/// Posts all of them; the error says what the instance, or the network, said.
async fn tell(client: &Client, instance: &Instance, alerts: &[Alert]) -> Result<(), String> {
    let url = format!("{}/api/v2/alerts", instance.url());
    // With nothing to tell, an empty post still says whether it is there.
    let batches: Vec<&[Alert]> = if alerts.is_empty() { vec![&[]] } else { alerts.chunks(BATCH).collect() };
    for batch in batches {
        let body = serde_json::to_vec(batch).map_err(|e| e.to_string())?;
        let request = client.post(&url).header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        let mut response = request.send().await.map_err(|e| chain(&e.without_url()))?;
        if !response.status().is_success() {
            let status = response.status();
            let said = response.chunk().await.ok().flatten().unwrap_or_default();
            let said = String::from_utf8_lossy(&said[..said.len().min(MOST_ERROR)]).replace(['\n', '\r'], " ");
            return Err(format!("it answered {status}: {said}"));
        }
    }
    Ok(())
}
