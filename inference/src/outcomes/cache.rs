//! The rolling figures as they are shown: of two windows, by kind and by service, made anew where something was settled or labelled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forewarn_schema::{BreachKind, Settlement, TimeRange, Timestamp};
use tokio::time::Instant;

use super::{Labels, Rolling, Scope};
use crate::app::AppState;
use crate::error::AppError;
use crate::scoring::blocking;

const DAY: Duration = Duration::from_secs(86_400);
/// The windows, by name and days.
pub const WINDOWS: [(&str, u32); 2] = [("7d", 7), ("28d", 28)];
/// Windows move even where nothing happens.
const STALE: Duration = Duration::from_secs(600);
/// Points of the picture over time, one a day, each of the week before it.
const DAYS: u32 = 28;

/// Everything that is shown of how good it has been.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    /// Of each of [`WINDOWS`].
    pub windows: Vec<Window>,
    /// The week before each of the last 28 days' ends, oldest first, of all kinds together.
    pub weeks: Vec<(Timestamp, Rolling)>,
}

/// The figures of one window; what has no case is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// As in [`WINDOWS`].
    pub name: &'static str,
    /// Of all kinds together.
    pub all: Rolling,
    /// By kind.
    pub kinds: BTreeMap<BreachKind, Rolling>,
    /// By service.
    pub services: BTreeMap<String, Rolling>,
}

/// The figures that were made last, with what they were made of.
#[derive(Default)]
pub(crate) struct RollingCache(Mutex<Option<Kept>>);

struct Kept {
    of: [i64; 4],
    made: Instant,
    outcomes: Arc<Outcomes>,
}

impl AppState {
    /// How good it has been lately, from what was settled and labelled.
    pub async fn outcomes(&self) -> Result<Arc<Outcomes>, AppError> {
        let of = self.0.store.settled_so_far().await?;
        if let Some(kept) = &*self.0.rolling.0.lock().unwrap_or_else(PoisonError::into_inner)
            && kept.of == of
            && kept.made.elapsed() < STALE
        {
            return Ok(Arc::clone(&kept.outcomes));
        }
        let now = self.now();
        let settled = self.0.store.settlements_since(now - DAY * (2 * DAYS)).await?;
        let labels = Labels::of(&self.0.store.feedback().await?);
        let outcomes = Arc::new(blocking(move || Outcomes::of(&settled, &labels, now)).await?);
        let kept = Kept { of, made: Instant::now(), outcomes: Arc::clone(&outcomes) };
        *self.0.rolling.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(outcomes)
    }
}

impl Outcomes {
    /// The figures at `now`.
    pub fn of(settled: &[Settlement], labels: &Labels, now: Timestamp) -> Self {
        // Before the first settlement nothing was watched: that time makes no week without a false alarm.
        let first = settled.iter().map(|s| s.at.min(s.settled_at)).min().unwrap_or(now);
        // A settlement of this very moment is in.
        let until = |end: Timestamp, days: u32| TimeRange {
            start: (end - DAY * days).max(first.min(end - DAY)),
            end: end + Duration::from_millis(1),
        };
        let window = |(name, days): (&'static str, u32)| {
            let range = until(now, days);
            let of = |scope: Scope<'_>| Rolling::of(settled, labels, range, scope);
            let services: BTreeSet<&str> = settled.iter().map(|s| s.service.as_str()).collect();
            let by_service = services.into_iter().map(|s| (s.to_owned(), of(Scope { service: Some(s), kind: None })));
            let by_kind = BreachKind::ALL.map(|kind| (kind, of(Scope { service: None, kind: Some(kind) })));
            Window {
                name,
                all: of(Scope::default()),
                kinds: by_kind.into_iter().filter(|(_, r)| !r.is_empty()).collect(),
                services: by_service.filter(|(_, r)| !r.is_empty()).collect(),
            }
        };
        let weeks = (0..DAYS).rev().map(|back| now - DAY * back).filter(|end| *end >= first);
        let weeks = weeks.map(|end| (end, Rolling::of(settled, labels, until(end, 7), Scope::default())));
        Self { windows: WINDOWS.map(window).into(), weeks: weeks.collect() }
    }
}
