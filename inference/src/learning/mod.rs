//! Thresholds that learn: reads what people, alerts and the data said of announcements, asks `models::learning` where thresholds
//! stand by that, serves with them from the next step on, and keeps a log of every move.
//!
//! Nothing is remembered from one time to the next but that log: the thresholds follow from the stored labels alone, so that every
//! server on the same database has the same ones, before and after a restart, and a label taken back was never there.

mod evidence;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forewarn_models::learning::{Caution, LearningParams, Learnt, Move, Recalibration, Standing, Stretch, learn};
use forewarn_schema::{BreachKind, Timestamp};
use serde::Serialize;

use crate::app::AppState;
use crate::error::{AppError, chain};
use crate::scoring::blocking;
use crate::state::{JudgedMark, ThresholdMove};

/// What the data settled is learnt from for so long; what people said, always.
const SETTLED: Duration = Duration::from_secs(90 * 86_400);
const DAY_MS: i64 = 86_400_000;
/// How many moves are shown.
const SHOWN: u32 = 200;

/// What is learnt now.
#[derive(Default)]
pub(crate) struct Learning {
    told: Mutex<Told>,
}

#[derive(Clone, Default)]
struct Told {
    /// Of what the rest was learnt; `None`: nothing yet.
    mark: Option<Mark>,
    learnt: Learnt,
    recalibration: Recalibration,
    /// Whether the log still lacks moves.
    unlogged: bool,
}

/// Labels, the day, and which models serve: where none of them changed, nothing else is learnt. Settlements count from the next
/// midnight on, when thresholds move.
type Mark = (JudgedMark, i64, Vec<(String, String)>);

/// Where thresholds stand, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThresholdsView {
    /// Whether they learn; if not, each stands at its start.
    pub learning: bool,
    /// Those that labels speak of; all others stand at their start.
    pub thresholds: Vec<ThresholdView>,
    /// What probabilities turned out to be worth, by kind; kinds that are not here keep theirs.
    pub recalibration: Vec<RecalibrationView>,
    /// Every change that was served with, newest first, at most 200; also those that were taken back since.
    pub moves: Vec<ThresholdMove>,
}

/// One threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThresholdView {
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// How it came there from its start, by the labels that there are now.
    pub steps: Vec<Move>,
}

/// The map of one kind's probabilities.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecalibrationView {
    /// Of which kind of breach.
    pub kind: BreachKind,
    /// How.
    #[serde(flatten)]
    pub map: Stretch,
}

impl Learning {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Thresholds that labels speak of.
    pub(crate) fn standing(&self) -> Vec<Standing> {
        self.told().learnt.standing.clone()
    }
}

impl AppState {
    /// Where thresholds stand, and why.
    pub async fn thresholds(&self) -> Result<ThresholdsView, AppError> {
        let Told { learnt, recalibration, .. } = self.0.learning.told().clone();
        let Learnt { standing, moves, .. } = learnt;
        let steps = |one: &Standing| {
            let of_it = |m: &&Move| m.service == one.service && m.kind == one.kind;
            moves.iter().filter(of_it).cloned().collect()
        };
        Ok(ThresholdsView {
            learning: self.0.options.learn,
            thresholds: standing.iter().map(|one| ThresholdView { standing: one.clone(), steps: steps(one) }).collect(),
            recalibration: recalibration.maps().map(|(kind, map)| RecalibrationView { kind, map }).collect(),
            moves: self.0.store.threshold_moves(SHOWN).await?,
        })
    }

    /// Learns from the labels there are, for the step at `at`; where there is nothing new it asks only whether there is. What cannot be
    /// read leaves thresholds where they were.
    pub(crate) async fn learn(&self, at: Timestamp) {
        if !self.0.options.learn {
            return;
        }
        if let Err(error) = self.try_to_learn(at).await {
            tracing::warn!(error = chain(&error), "labels not read, thresholds stay where they are");
        }
    }

    async fn try_to_learn(&self, at: Timestamp) -> Result<(), AppError> {
        let shared = &self.0;
        let day = at.millis().div_euclid(DAY_MS);
        let mark = (shared.store.judged_mark().await?, day, shared.slots.serving());
        let is_known = shared.learning.told().mark.as_ref() == Some(&mark);
        if !is_known {
            self.learn_anew(at, mark).await?;
        }
        if shared.learning.told().unlogged && shared.leadership.leads() {
            self.log_moves(at).await?;
            shared.learning.told().unlogged = false;
        }
        Ok(())
    }

    async fn learn_anew(&self, at: Timestamp, mark: Mark) -> Result<(), AppError> {
        let shared = &self.0;
        let evidence = evidence::read(&shared.store, at - SETTLED).await?;
        let midnight = Timestamp::from_millis(mark.1 * DAY_MS);
        let scorer = std::sync::Arc::clone(&shared.scorer);
        let learning = move || {
            let starts: BTreeMap<Option<&str>, Caution> = {
                let services = evidence.iter().map(|e| Some(e.judged.service.as_str()));
                scorer.starts(services.chain([None]))
            };
            let params = LearningParams::default();
            let unknown = starts[&None];
            let start = |service: Option<&str>, _: BreachKind| starts.get(&service).copied().unwrap_or(unknown);
            let learnt = learn(&start, &evidence, midnight, &params);
            let recalibration = Recalibration::learn(&evidence, midnight, &params);
            scorer.set_learnt(learnt.thresholds.clone(), recalibration.clone());
            (learnt, recalibration)
        };
        let (learnt, recalibration) = blocking(learning).await?;
        *shared.learning.told() = Told { mark: Some(mark), learnt, recalibration, unlogged: true };
        Ok(())
    }

    /// Notes where thresholds stand elsewhere than the log says.
    async fn log_moves(&self, at: Timestamp) -> Result<(), AppError> {
        let standing = self.0.learning.standing();
        let last = self.0.store.last_threshold_moves().await?;
        let moved = changes(&standing, &last, at);
        for one in &moved {
            let (service, kind) = (one.service.as_deref().unwrap_or("*"), one.kind);
            let (from, to) = (one.from.min_probability, one.to.min_probability);
            tracing::info!(service, %kind, from, to, "threshold moved");
        }
        Ok(self.0.store.add_threshold_moves(&moved).await?)
    }
}

/// What changed since the log was written. A threshold that no label speaks of any more is back at its start.
fn changes(standing: &[Standing], last: &[ThresholdMove], at: Timestamp) -> Vec<ThresholdMove> {
    let key = |service: &Option<String>, kind: BreachKind| (service.clone(), kind);
    let logged: BTreeMap<_, &ThresholdMove> = last.iter().map(|m| (key(&m.service, m.kind), m)).collect();
    let mut moves = Vec::new();
    for one in standing {
        let from = logged.get(&key(&one.service, one.kind)).map_or(one.start, |m| m.to);
        if from != one.now {
            let (service, kind, because) = (one.service.clone(), one.kind, Some(one.because));
            moves.push(ThresholdMove { at, service, kind, start: one.start, from, to: one.now, because });
        }
    }
    for (known, moved) in logged {
        let is_gone = standing.iter().all(|one| key(&one.service, one.kind) != known);
        if is_gone && moved.to != moved.start {
            moves.push(ThresholdMove { at, from: moved.to, to: moved.start, because: None, ..moved.clone() });
        }
    }
    moves
}
