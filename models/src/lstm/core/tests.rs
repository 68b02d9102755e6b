//! Claims about the recurrence, against one in double precision and its finite differences.

use pulp::{Scalar, Simd};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::backward::Passed;
use super::forward::{Activations, Run};
use super::*;

/// Weights, windows and what the loss is weighed with.
struct Case {
    features: usize,
    hidden: usize,
    lookback: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    windows: Vec<f32>,
    by_last: Vec<f32>,
}

impl Case {
    fn new(batch: usize, lookback: usize, features: usize, hidden: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut draw = |count: usize, bound: f32| (0..count).map(|_| rng.random_range(-bound..bound)).collect();
        Self {
            features,
            hidden,
            lookback,
            weight: draw((features + hidden) * GATES * hidden, 0.4),
            bias: draw(GATES * hidden, 1.0),
            windows: draw(batch * lookback * features, 2.0),
            by_last: draw(batch * hidden, 1.0),
        }
    }

    fn cell(&self) -> Cell {
        let (input, recurrent) = self.weight.split_at(self.features * GATES * self.hidden);
        Cell::new(input, recurrent, &self.bias)
    }

    /// The last hidden states in double precision, by the definition.
    fn exact(&self) -> Vec<f64> {
        let (features, hidden) = (self.features, self.hidden);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut last = Vec::new();
        for window in self.windows.chunks_exact(self.lookback * features) {
            let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
            for row in window.chunks_exact(features) {
                let values: Vec<f64> = row.iter().map(|value| f64::from(*value)).chain(h.iter().copied()).collect();
                let sum = |at: usize| -> f64 {
                    let weights = self.weight[at..].iter().step_by(GATES * hidden);
                    let products = values.iter().zip(weights).map(|(value, weight)| value * f64::from(*weight));
                    f64::from(self.bias[at]) + products.sum::<f64>()
                };
                for unit in 0..hidden {
                    let [i, f, o, g] = [0, 1, 2, 3].map(|gate| sum(gate * hidden + unit));
                    c[unit] = sigmoid(f) * c[unit] + sigmoid(i) * g.tanh();
                    h[unit] = sigmoid(o) * c[unit].tanh();
                }
            }
            last.extend(h);
        }
        last
    }

    fn exact_loss(&self) -> f64 {
        self.exact().iter().zip(&self.by_last).map(|(h, by)| h * f64::from(*by)).sum()
    }

    /// Central differences of the loss by the numbers that `of` picks.
    fn differences(&mut self, of: fn(&mut Self) -> &mut Vec<f32>) -> Vec<f64> {
        let count = of(self).len();
        (0..count)
            .map(|at| {
                let kept = of(self)[at];
                let mut at_offset = |offset: f32| {
                    of(self)[at] = kept + offset;
                    (f64::from(of(self)[at]), self.exact_loss())
                };
                let ((x1, loss1), (x0, loss0)) = (at_offset(1e-3), at_offset(-1e-3));
                of(self)[at] = kept;
                (loss1 - loss0) / (x1 - x0)
            })
            .collect()
    }
}

#[test]
fn forward_is_the_definition_and_backward_its_derivative() {
    // Rows and units that do not fill a tile or a line; more rows than a group; a single step.
    for (batch, lookback, features, hidden) in [(5, 7, 3, 19), (70, 2, 1, 2), (13, 3, 18, 5), (3, 1, 2, 4)] {
        let mut case = Case::new(batch, lookback, features, hidden);
        let mut activations = Activations::default();
        let last = case.cell().run_keeping(&case.windows, lookback, &mut activations);
        assert_eq!(last, case.cell().run(&case.windows, lookback));
        for (ours, exact) in last.iter().zip(case.exact()) {
            assert!((f64::from(*ours) - exact).abs() < 1e-6, "{ours} for {exact}");
        }
        let passed = Passed {
            weight: &case.weight,
            windows: &case.windows,
            lookback,
            features,
            hidden,
            activations: &activations,
        };
        let found = passed.gradients(&case.by_last, true);
        let pairs = [
            (found.weight, case.differences(|case| &mut case.weight)),
            (found.bias, case.differences(|case| &mut case.bias)),
            (found.windows.unwrap(), case.differences(|case| &mut case.windows)),
        ];
        for (ours, differences) in pairs {
            assert_eq!(ours.len(), differences.len());
            for (ours, difference) in ours.iter().zip(differences) {
                let error = (f64::from(*ours) - difference).abs();
                assert!(error < 2e-5 * (1.0 + difference.abs()), "{ours} for {difference}");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_bits_alone_in_a_batch_and_whatever_the_width_of_vectors() {
    let case = Case::new(70, 9, 5, 35);
    let cell = case.cell();
    let batch = cell.run(&case.windows, case.lookback);
    for (window, last) in case.windows.chunks_exact(45).zip(batch.chunks_exact(35)) {
        assert_eq!(cell.run(window, case.lookback), last);
    }
    let mut activations = Activations::default();
    let run = Run { cell: &cell, windows: &case.windows, lookback: 9, keep: false, activations: &mut activations };
    assert_eq!(Scalar.vectorize(run), batch);
}

#[test]
fn memory_of_a_larger_batch_changes_nothing() {
    let (small, large) = (Case::new(3, 4, 2, 5), Case::new(9, 8, 2, 5));
    let mut used = Activations::default();
    large.cell().run_keeping(&large.windows, 8, &mut used);
    let mut fresh = Activations::default();
    let gradients = [&mut used, &mut fresh].map(|activations| {
        small.cell().run_keeping(&small.windows, 4, activations);
        let passed =
            Passed { weight: &small.weight, windows: &small.windows, lookback: 4, features: 2, hidden: 5, activations };
        passed.gradients(&small.by_last, false).weight
    });
    assert_eq!(gradients[0], gradients[1]);
}
