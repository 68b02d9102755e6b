//! Anomaly scores as rows come in: an isolation forest over what each column is, how much it moved and
//! how far it lies from its recent middle, grown anew on the past from time to time, its scores set
//! against those of the past.
//!
//! Nothing of a row's future enters its score: the forest and the calibration are fitted on rows before
//! it, and its features look back.

use std::collections::VecDeque;

use forewarn_models::calibration::ScoreCalibrator;
use forewarn_models::isolation_forest::{IsolationForest, IsolationForestParams};

/// The first forest needs this many rows; scores before it are 0, since nothing is known to be odd.
const FIRST_FIT: usize = 64;
/// From then on the forest is grown anew whenever the rows have doubled, but at the latest after these.
const REFIT_EVERY: usize = 500;
/// Rows that a forest is grown from.
const WINDOW: usize = 5000;
/// Rows whose median is the recent middle.
const RECENT: usize = 30;
const TREES: usize = 100;
const SAMPLE: usize = 256;
const SEED: u64 = 1;

/// See the module.
pub(super) struct OnlineScorer {
    columns: Vec<Column>,
    /// Stop learning after this many rows.
    train_rows: Option<usize>,
    seen: usize,
    next_fit: usize,
    /// Feature rows, oldest first, at most [`WINDOW`] (or all training rows).
    window: VecDeque<Vec<f32>>,
    model: Option<Model>,
}

struct Model {
    forest: IsolationForest,
    calibrator: ScoreCalibrator,
}

#[derive(Default)]
struct Column {
    recent: VecDeque<f64>,
    last: Option<f64>,
}

const FEATURES_PER_COLUMN: usize = 3;

impl Column {
    /// Value, change, distance from the recent median; a missing value stands where the last one did.
    fn push(&mut self, value: f64) -> [f64; FEATURES_PER_COLUMN] {
        let last = self.last.unwrap_or(0.0);
        let value = if value.is_finite() { value } else { last };
        let change = self.last.map_or(0.0, |last| value - last);
        let middle = median(&self.recent).unwrap_or(value);
        self.last = Some(value);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(value);
        [value, change, value - middle]
    }
}

impl OnlineScorer {
    /// For rows of `columns` numbers. `train_rows`: learn from that many rows, then no more.
    pub(super) fn new(columns: usize, train_rows: Option<usize>) -> Self {
        Self {
            columns: (0..columns).map(|_| Column::default()).collect(),
            train_rows,
            seen: 0,
            next_fit: FIRST_FIT.min(train_rows.unwrap_or(FIRST_FIT)),
            window: VecDeque::new(),
            model: None,
        }
    }

    /// The score of `row`, 0..1, from it and the rows before it.
    pub(super) fn push(&mut self, row: &[f64]) -> anyhow::Result<f64> {
        let features: Vec<f32> =
            self.columns.iter_mut().zip(row).flat_map(|(column, value)| column.push(*value)).map(narrow).collect();
        if self.seen == self.next_fit {
            self.fit()?;
        }
        let score = match &self.model {
            Some(model) => model.calibrator.calibrate(model.forest.score(&features)).get(),
            None => 0.0,
        };
        let learning = self.train_rows.is_none_or(|n| self.seen < n);
        if learning {
            // With a fixed training set all of it counts; else the past fades.
            if self.train_rows.is_none() && self.window.len() == WINDOW {
                self.window.pop_front();
            }
            self.window.push_back(features);
        }
        self.seen += 1;
        Ok(score)
    }

    fn fit(&mut self) -> anyhow::Result<()> {
        let width = self.columns.len() * FEATURES_PER_COLUMN;
        let rows: Vec<f32> = self.window.iter().flatten().copied().collect();
        let params = IsolationForestParams { trees: TREES, sample_size: SAMPLE.min(self.window.len()), seed: SEED };
        let forest = params.check()?.fit(&rows, width)?;
        let mut raw = vec![0.0; self.window.len()];
        forest.score_rows(&rows, &mut raw, 1);
        self.model = Some(Model { calibrator: ScoreCalibrator::fit(&raw)?, forest });
        let step = self.seen.clamp(1, REFIT_EVERY);
        self.next_fit = match self.train_rows {
            // Once more when the training rows are complete, then never again.
            Some(n) if self.seen >= n => usize::MAX,
            Some(n) => (self.seen + step).min(n),
            None => self.seen + step,
        };
        Ok(())
    }
}

fn narrow(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

fn median(values: &VecDeque<f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_testkit::noise::Noise;

    fn rows(n: usize) -> Vec<f64> {
        let noise = Noise::new(5);
        (0..n).map(|i| 10.0 * (i as f64 / 48.0).sin() + noise.normal(1, i as i64)).collect()
    }

    fn scores(rows: &[f64], train_rows: Option<usize>) -> Vec<f64> {
        let mut scorer = OnlineScorer::new(1, train_rows);
        rows.iter().map(|v| scorer.push(&[*v]).unwrap()).collect()
    }

    #[test]
    fn a_spike_scores_highest() {
        let mut series = rows(1500);
        series[1200] += 40.0;
        let scores = scores(&series, None);
        let highest = (0..1500).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        assert!((1200..=1201).contains(&highest), "highest at {highest}");
        assert!(scores.iter().all(|s| (0.0..=1.0).contains(s)));
    }

    #[test]
    fn the_future_does_not_change_a_score() {
        let series = rows(1500);
        for train_rows in [None, Some(400)] {
            let whole = scores(&series, train_rows);
            let part = scores(&series[..900], train_rows);
            assert_eq!(whole[..900], part[..]);
        }
    }

    #[test]
    fn after_its_training_rows_it_learns_no_more() {
        let series = rows(1000);
        let mut other = series.clone();
        // What comes between is as normal, only different: a scorer that learnt from it would score the end otherwise.
        for value in &mut other[500..900] {
            *value *= 0.5;
        }
        assert_eq!(scores(&series, Some(400))[960..], scores(&other, Some(400))[960..]);
    }

    #[test]
    fn holes_and_constants_do_not_stop_it() {
        let mut scorer = OnlineScorer::new(2, None);
        for i in 0..200 {
            let value = if i % 7 == 0 { f64::NAN } else { 3.0 };
            assert!(scorer.push(&[value, f64::MAX]).unwrap().is_finite());
        }
    }
}
