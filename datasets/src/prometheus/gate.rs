//! How many requests a source may have under way: at most what was configured, fewer while the server says that it has
//! too many, none at all for as long as it asks to be left alone.
//!
//! Additive increase, multiplicative decrease (Chiu, Jain 1989): each answer lets a fraction of one more request in,
//! each "too many" halves what is let in. What was already under way at the last halving says nothing new.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Shared by all requests to one server.
#[derive(Debug)]
pub(super) struct Gate {
    most: usize,
    state: Mutex<State>,
    /// Rung when there may be room.
    room: Notify,
}

#[derive(Debug)]
struct State {
    /// Between 1 and `most`; as many requests as it has whole units.
    limit: f64,
    under_way: usize,
    /// How many have been let in since the beginning.
    entered: u64,
    /// `entered` when the limit was last lowered.
    lowered_at: u64,
    quiet_until: Option<Instant>,
}

/// One request under way; over when dropped.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    number: u64,
}

impl Gate {
    /// At least 1 is let in.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let state = State { limit: most as f64, under_way: 0, entered: 0, lowered_at: 0, quiet_until: None };
        Self { most, state: Mutex::new(state), room: Notify::new() }
    }

    /// Waits for room.
    pub(super) async fn enter(&self) -> Pass<'_> {
        loop {
            // Made before looking, so that a ring in between is not missed.
            let room = self.room.notified();
            let quiet_until = {
                let mut state = self.state();
                match state.quiet_until.filter(|until| *until > Instant::now()) {
                    None if state.under_way < state.limit as usize => {
                        state.under_way += 1;
                        state.entered += 1;
                        return Pass { gate: self, number: state.entered };
                    }
                    quiet_until => quiet_until,
                }
            };
            match quiet_until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => room.await,
            }
        }
    }

    /// As many as may be under way now.
    #[cfg(test)]
    fn limit(&self) -> usize {
        self.state().limit as usize
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers alone: what a panic elsewhere left is as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The server answered as it should.
    pub(super) fn answered(&self) {
        let mut state = self.gate.state();
        state.limit = (state.limit + 1.0 / state.limit).min(self.gate.most as f64);
        drop(state);
        self.gate.room.notify_one();
    }

    /// The server has too much to do, and asks for `quiet`.
    pub(super) fn too_many(&self, quiet: Option<Duration>) {
        let mut state = self.gate.state();
        if self.number > state.lowered_at {
            state.limit = (state.limit / 2.0).max(1.0);
            state.lowered_at = state.entered;
        }
        if let Some(until) = quiet.and_then(|quiet| Instant::now().checked_add(quiet)) {
            state.quiet_until = Some(state.quiet_until.map_or(until, |other| other.max(until)));
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.under_way = state.under_way.saturating_sub(1);
        drop(state);
        self.gate.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn one_wave_of_refusals_halves_once_and_answers_bring_it_back() {
        let gate = Gate::new(8);
        let mut wave = Vec::new();
        for _ in 0..8 {
            wave.push(gate.enter().await);
        }
        wave.iter().for_each(|pass| pass.too_many(None));
        assert_eq!(gate.limit(), 4);
        drop(wave);
        gate.enter().await.too_many(None);
        assert_eq!(gate.limit(), 2);
        for _ in 0..10 {
            gate.enter().await.too_many(None);
        }
        assert_eq!(gate.limit(), 1);
        for _ in 0..100 {
            gate.enter().await.answered();
        }
        assert_eq!(gate.limit(), 8);
    }

    #[tokio::test]
    async fn never_more_are_under_way_than_allowed_and_all_get_in() {
        let (gate, now, most) = (Arc::new(Gate::new(3)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..50)
            .map(|k| {
                let (gate, now, most) = (Arc::clone(&gate), Arc::clone(&now), Arc::clone(&most));
                tokio::spawn(async move {
                    let pass = gate.enter().await;
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    if k % 7 == 0 {
                        pass.too_many(None)
                    } else {
                        pass.answered()
                    }
                    now.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn a_server_that_asks_for_quiet_has_it_from_all() {
        let gate = Gate::new(4);
        let before = Instant::now();
        gate.enter().await.too_many(Some(Duration::from_millis(200)));
        gate.enter().await;
        assert!(before.elapsed() >= Duration::from_millis(200));
    }
}
