//! How unusual each row of a table of numbers is, said as the rows come: no training run, no settings, no look ahead.
//!
//! Two questions make the score. *How far is the row from what these columns do together?* is the `distance`, which
//! is held for as long as that lasts, and fills the lower half of 0..1. *Are there values that were never seen before?*
//! is the `novelty` of the columns, said once, at the `onset`, in the upper half. A person who is to be woken up
//! looks at the upper half; one who looks for the extent of an incident at the order of all.
//!
//! Not here: the score of a service in the serving path (`scorer`), which knows its normal from history.

mod distance;
mod novelty;
mod onset;
mod tail;
mod value_store;

use distance::RowDistance;
pub(crate) use distance::{cholesky, squared_length};
use novelty::ColumnNovelty;
use onset::Onset;

/// Rows at the start in which everything is new, so that nothing is called so.
const WARM_UP: usize = 100;
/// The memories of the distance, in rows: half of what is remembered is younger.
const HALF_LIVES: [f64; 2] = [3.0, 20.0];
/// Added to a distance before its logarithm is taken; in squared spreads, where a usual row has 1.
const DISTANCE_FLOOR: f64 = 0.1;
/// The distance, in squared spreads, that fills half of the lower half.
const MIDDLE_DISTANCE: f64 = 10.0;
/// The distance, in squared spreads, at which new values count half: new, but close to the usual, is rounding.
const HALF_BELIEVED_AT: f64 = 3.0;
/// An onset must be this strong to be said: new by four spreads, or by less and as rare.
const LEAST_STRENGTH: f64 = 4.0;
/// The strength that fills half of the upper half.
const MIDDLE_STRENGTH: f64 = 4.0;
/// Larger values are missing ones: their squares are not finite.
const LARGEST: f64 = 1e100;

/// The score from which on a row is worth waking somebody up: an onset four times as strong as must be to be said.
pub const ALARM_LEVEL: f64 = 0.9;

/// Scores the rows of one table, in their order.
///
/// Memory is bounded whatever the number of rows: some 150 KiB a column and as much for every 64 columns. The same
/// rows give the same bits.
///
/// ```
/// use forewarn_models::anomaly::{ALARM_LEVEL, AnomalyScorer};
///
/// let mut scorer = AnomalyScorer::new(1);
/// let cpu = |minute: u32| 30.0 + f64::from(minute * 7 % 11);
/// for minute in 0..500 {
///     assert!(scorer.push(&[cpu(minute)]) < ALARM_LEVEL);
/// }
/// assert!(scorer.push(&[95.0]) >= ALARM_LEVEL);
/// ```
#[derive(Clone, Debug)]
pub struct AnomalyScorer {
    distance: RowDistance,
    held: [DecayingMean; HALF_LIVES.len()],
    columns: Vec<ColumnNovelty>,
    onset: Onset,
    learn_rows: Option<usize>,
    seen: usize,
}

impl AnomalyScorer {
    /// For rows of `columns` numbers, learning from every row as it comes.
    pub fn new(columns: usize) -> Self {
        Self {
            distance: RowDistance::new(columns),
            held: HALF_LIVES.map(DecayingMean::new),
            columns: vec![ColumnNovelty::default(); columns],
            onset: Onset::new(LEAST_STRENGTH),
            learn_rows: None,
            seen: 0,
        }
    }

    /// The same, but what the columns usually do is learnt from the first `rows` only. Which values were seen is
    /// remembered all the same: a value is new once.
    #[must_use]
    pub fn learning_from_the_first(mut self, rows: usize) -> Self {
        self.learn_rows = Some(rows);
        self
    }

    /// The score of `row`, 0..1, from it and the rows before it; 0 while nothing is known.
    ///
    /// What is not finite, or beyond ±1e100, is missing: it is no evidence, and nothing is learnt from it. Fields beyond
    /// the number of columns are left out, those that lack are missing.
    pub fn push(&mut self, row: &[f64]) -> f64 {
        let present = |value: f64| if value.abs() <= LARGEST { value } else { f64::NAN };
        let mut row: Vec<f64> = row.iter().copied().map(present).collect();
        row.resize(self.columns.len(), f64::NAN);
        let learn = self.learn_rows.is_none_or(|rows| self.seen < rows);
        let distance = self.distance.push(&row, learn);
        let held = self.held.each_mut().map(|mean| mean.push(distance));
        let strength = self.strength(&row) * saturate(distance, HALF_BELIEVED_AT);
        self.seen += 1;
        let warm = self.seen > WARM_UP.min(self.learn_rows.unwrap_or(WARM_UP));
        if warm && let Some(strength) = self.onset.push(strength) {
            let score = 0.5 + 0.5 * saturate(strength, MIDDLE_STRENGTH);
            // What several columns do together says more than how new each is, short of an alarm.
            if self.columns.len() == 1 || score >= ALARM_LEVEL {
                return score;
            }
        }
        // The geometric mean of now, a while and a longer while: what lasts is held, and its start is not late.
        let logs = held.into_iter().chain([distance]).map(|d| (d / DISTANCE_FLOOR).ln_1p());
        let level = (logs.sum::<f64>() / (1 + HALF_LIVES.len()) as f64).exp_m1() * DISTANCE_FLOOR;
        0.5 * saturate(level, MIDDLE_DISTANCE)
    }

    /// How new the row's values are, mean over the columns: where there are many, one of them is new all the time.
    fn strength(&mut self, row: &[f64]) -> f64 {
        let count = self.columns.len();
        let strengths = self.columns.iter_mut().zip(row).map(|(column, value)| column.push(*value, count));
        strengths.sum::<f64>() / count.max(1) as f64
    }
}

/// 0..1 for 0..infinity, one half at `middle`; keeps the order of what it is given.
fn saturate(value: f64, middle: f64) -> f64 {
    value / (value + middle)
}

/// The mean of all so far, weighed by age; unlike the usual recursion it is not drawn to where it began.
#[derive(Clone, Debug)]
struct DecayingMean {
    keep: f64,
    sum: f64,
    weight: f64,
}

impl DecayingMean {
    fn new(half_life: f64) -> Self {
        Self { keep: 0.5_f64.powf(half_life.recip()), sum: 0.0, weight: 0.0 }
    }

    fn push(&mut self, value: f64) -> f64 {
        self.sum = self.sum * self.keep + value;
        self.weight = self.weight * self.keep + 1.0;
        self.sum / self.weight
    }
}

#[cfg(test)]
mod tests;
