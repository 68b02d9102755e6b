//! Of several servers on one database one leads: it stores what it decides and delivers; the others score the same samples,
//! answer, take labels and approvals, and watch. When the leader stops to beat one of them takes over, and goes on from
//! what was announced. A database that one server has to itself is led by that server.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::error::chain;
use crate::server::ServerHandle;
use crate::state::{Seen, StateStore, Term};

/// How often a leader says that it lives, and the others look.
const BEAT: Duration = Duration::from_secs(1);
/// A leader that was not heard of for so long is taken to be gone, also by itself.
const LEASE: Duration = Duration::from_secs(5);

/// Whether this server leads.
pub(crate) struct Leadership {
    /// `None`: nobody else can.
    lead: Option<Mutex<Lead>>,
}

#[derive(Clone, Copy)]
enum Lead {
    Leads { term: Term, heard: Instant },
    Watches,
}

impl Leadership {
    pub(crate) fn new(store: &StateStore) -> Self {
        Self { lead: store.is_shared().then(|| Mutex::new(Lead::Watches)) }
    }

    /// Whether another server leads, so that nothing is to be stored of what this one decides.
    pub(crate) fn watches(&self) -> bool {
        matches!(self.get(), Some(Lead::Watches))
    }

    /// Whether this server may deliver. One that has the lead and was silent for a while may not, but goes on to store
    /// what it decides: the database has the last word on that.
    pub(crate) fn leads(&self) -> bool {
        match self.get() {
            None => true,
            Some(Lead::Leads { heard, .. }) => heard.elapsed() < LEASE,
            Some(Lead::Watches) => false,
        }
    }

    /// Whether other servers may work beside this one.
    pub(crate) fn is_shared(&self) -> bool {
        self.lead.is_some()
    }

    fn get(&self) -> Option<Lead> {
        self.lead.as_ref().map(|lead| *lead.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, to: Lead) {
        if let Some(lead) = &self.lead {
            *lead.lock().unwrap_or_else(PoisonError::into_inner) = to;
        }
    }

    /// Another one took over.
    pub(crate) fn watch(&self, store: &StateStore) {
        store.set_term(None);
        if matches!(self.get(), Some(Lead::Leads { .. })) {
            tracing::warn!("another server leads now; this one watches");
        }
        self.set(Lead::Watches);
    }

    /// Gives the lead back, where this server has it.
    pub(crate) async fn resign(&self, store: &StateStore) {
        let Some(Lead::Leads { term, .. }) = self.get() else { return };
        store.set_term(None);
        self.set(Lead::Watches);
        // Where this fails the others wait until they see it gone.
        if let Ok(Err(error)) = tokio::time::timeout(BEAT, store.resign(term)).await {
            tracing::warn!(error = chain(&error), "lead not given back");
        }
    }
}

/// Beats while this server leads, and otherwise watches the one that does; for ever.
pub(crate) async fn keep_leading(handle: ServerHandle, name: String) {
    let mut interval = tokio::time::interval(BEAT);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Since when the leader looks as it does.
    let mut seen: Option<(Option<Seen>, Instant)> = None;
    loop {
        interval.tick().await;
        let (leadership, store) = (handle.leadership(), handle.store());
        match leadership.get() {
            None => return,
            Some(Lead::Leads { term, heard }) => {
                let began = Instant::now();
                match tokio::time::timeout(LEASE, store.beat(term)).await {
                    Ok(Ok(true)) => leadership.set(Lead::Leads { term, heard: began }),
                    Ok(Ok(false)) => leadership.watch(store),
                    // The database is away: nobody can take over meanwhile, so the term may well go on after.
                    Ok(Err(error)) => {
                        tracing::error!(error = chain(&error), silent = ?heard.elapsed(), "lead not kept")
                    }
                    Err(_) => tracing::error!(silent = ?heard.elapsed(), "lead not kept: the state database is silent"),
                }
                seen = None;
            }
            Some(Lead::Watches) => {
                let now = match tokio::time::timeout(LEASE, store.leader()).await {
                    Ok(Ok(now)) => now,
                    // While nobody can be heard of, silence says nothing.
                    _ => {
                        seen = None;
                        continue;
                    }
                };
                let free = now.as_ref().is_none_or(|leader| leader.holder.is_empty());
                let silent = seen.as_ref().filter(|(before, _)| *before == now).map(|(_, since)| since.elapsed());
                if !free && silent.is_none() {
                    seen = Some((now, Instant::now()));
                } else if free || silent.is_some_and(|silent| silent >= LEASE) {
                    seen = None;
                    take(&handle, &name, now).await;
                }
            }
        }
    }
}

/// Takes the lead and goes on from what was announced, or leaves it to whoever was faster.
async fn take(handle: &ServerHandle, name: &str, seen: Option<Seen>) {
    let (leadership, store) = (handle.leadership(), handle.store());
    let began = Instant::now();
    let term = match store.take_lead(name, seen.as_ref()).await {
        Ok(Some(term)) => term,
        Ok(None) => return,
        Err(error) => return tracing::error!(error = chain(&error), "lead not taken"),
    };
    store.set_term(Some(term));
    let led = handle.go_on(|| leadership.set(Lead::Leads { term, heard: began })).await;
    match led {
        Ok(()) => tracing::info!(name, "this server leads"),
        Err(error) => {
            tracing::error!(error = chain(&error), "lead not taken: what was announced cannot be read");
            store.set_term(None);
        }
    }
}
