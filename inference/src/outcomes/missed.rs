//! Breaches that no request announced in time.

use std::time::Duration;

use forewarn_models::decision::window;
use forewarn_models::settle::{Breach, Happened, agree};
use forewarn_schema::{Became, Probability, Settlement, TimeRange, Timestamp, stable_id};

use crate::app::AppState;
use crate::state::{StateError, StoredRequest};

/// A request that says a breach is further away than this is not looked for.
const FURTHEST: Duration = Duration::from_secs(8 * 86_400);

impl AppState {
    /// Of what happened: the breaches that somebody could have announced, and that no request did in time. Of replicas that came to their
    /// limits side by side the first one speaks for all.
    pub(super) async fn missed(&self, happened: &[Happened], now: Timestamp) -> Result<Vec<Settlement>, StateError> {
        let mut missed = Vec::new();
        for (place, one) in happened.iter().enumerate() {
            let Some(breach) = one.breach().filter(|breach| !breach.is_sudden()) else { continue };
            let requests = self.0.store.requests_since(breach.onset.min(breach.at - FURTHEST)).await?;
            if is_announced(&breach, &requests) {
                continue;
            }
            let known = self.0.store.breaches_of(&one.service, &one.signal, breach.onset - FURTHEST).await?;
            let mut before = known.iter().chain(&happened[..place]).filter_map(Happened::breach);
            let speaks_for_it = before.any(|other| {
                (other.at, &other.labels) < (breach.at, &breach.labels)
                    && !other.is_sudden()
                    && breach.side_by_side(&other)
            });
            if !speaks_for_it {
                missed.push(self.miss(one, &breach, now));
            }
        }
        Ok(missed)
    }

    fn miss(&self, one: &Happened, breach: &Breach, now: Timestamp) -> Settlement {
        let on_the_way = TimeRange { start: breach.onset, end: breach.at };
        let likely = self.0.scorer.watched().most_likely(&one.service, &one.signal, &one.labels, on_the_way);
        let labels = breach.labels.to_string();
        Settlement {
            id: stable_id("m", &[&one.service, &one.signal, &labels, &breach.at.millis().to_string()]),
            request_id: None,
            service: one.service.to_string(),
            signal: one.signal.to_string(),
            kind: breach.kind,
            labels: breach.labels.clone(),
            at: breach.at,
            probability: likely.map(Probability::saturating),
            horizon_seconds: forewarn_models::scorer::horizon_seconds(breach.kind),
            time_to_breach_seconds: None,
            model_version: self.serving(&one.service),
            became: Became::Missed { at: breach.at },
            settled_at: now,
        }
    }
}

impl AppState {
    /// The model that serves a service now.
    fn serving(&self, service: &str) -> String {
        let serving = self.0.slots.serving().into_iter().find(|(served, _)| served == service);
        serving.map_or_else(|| "rules".to_owned(), |(_, version)| version)
    }
}

/// Whether a request was made on the way to it (or said that it would come when it came), early enough to help.
fn is_announced(breach: &Breach, requests: &[StoredRequest]) -> bool {
    let lead = breach.required_lead(breach.onset);
    requests.iter().map(|stored| &stored.request).any(|request| {
        let until = request.at + window::speaks_for(request.kind, request.at, request.predicted_breach.p90);
        request.service == *breach.service
            && request.kind == breach.kind
            && agree(&request.labels, &breach.labels)
            && (breach.onset <= request.at || breach.at <= until)
            && request.at + lead <= breach.at
    })
}
