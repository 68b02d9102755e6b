//! What is remembered of a run, as it is weighed: finer the nearer it is to now.

use forewarn_features::seasonal::median;

/// A step's change is usual unless it is among this share of the largest.
const UNUSUAL: usize = 200;

/// Steps that are remembered by one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// How many, at least 1.
    pub steps: usize,
    /// The fraction; NaN where nothing was seen.
    pub value: f64,
    /// The load relative to its mean; never NaN, 1 where it is not known.
    pub load: f64,
    /// The least fraction that a tooth left over; NaN where none fell.
    pub trough: f64,
}

/// One fall of a saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tooth {
    /// Steps ago.
    pub age: usize,
    /// By how much the fraction fell.
    pub height: f64,
}

/// A run without its labels: what is remembered of it.
#[derive(Clone, Debug)]
pub struct Course {
    /// Oldest first, without a hole.
    pub stretches: Vec<Stretch>,
    /// Oldest first; none where teeth mean nothing.
    pub teeth: Vec<Tooth>,
    /// The largest usual rise from one step to the next; NaN where too little was seen to say, or no tooth was.
    pub usual_rise: f64,
}

impl Course {
    /// How many steps it is long.
    pub fn steps(&self) -> usize {
        self.stretches.iter().map(|stretch| stretch.steps).sum()
    }
}

/// The largest change that is usual; NaN of fewer than 60.
pub(crate) fn usual_rise(changes: impl Iterator<Item = f64>) -> f64 {
    let mut changes: Vec<f64> = changes.collect();
    if changes.len() < 60 {
        return f64::NAN;
    }
    let place = changes.len() - 1 - (changes.len() / UNUSUAL).max(1);
    *changes.select_nth_unstable_by(place, f64::total_cmp).1
}

/// One standard deviation of single steps, from the changes between neighbours; 0 of fewer than ten.
pub(crate) fn noise(changes: impl Iterator<Item = f64>) -> f64 {
    let mut changes: Vec<f64> = changes.map(f64::abs).collect();
    if changes.len() < 10 {
        return 0.0;
    }
    1.4826 * median(&mut changes) / std::f64::consts::SQRT_2
}

#[cfg(test)]
impl Course {
    /// As if every step were remembered by itself; teeth as they are noticed where everything is.
    pub(crate) fn of_steps(fractions: &[f64], loads: &[f64]) -> Self {
        let changes = || fractions.windows(2).map(|p| p[1] - p[0]).filter(|c| c.is_finite());
        let rise = usual_rise(changes());
        let least = super::Saw::least_tooth(rise);
        let fall = |i: usize| if i == 0 { f64::NAN } else { fractions[i - 1] - fractions[i] };
        let of_step = |i: usize| {
            let trough = if fall(i) >= least { fractions[i] } else { f64::NAN };
            Stretch { steps: 1, value: fractions[i], load: loads[i], trough }
        };
        let tooth = |i: usize| Tooth { age: fractions.len() - 1 - i, height: fall(i) };
        Self {
            stretches: (0..fractions.len()).map(of_step).collect(),
            teeth: (0..fractions.len()).filter(|i| fall(*i) >= least).map(tooth).collect(),
            usual_rise: rise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_not_the_largest_and_too_little_says_nothing() {
        assert_eq!(usual_rise((0..1000).map(f64::from)), 994.0);
        assert!(usual_rise((0..59).map(f64::from)).is_nan());
        assert_eq!(noise([1.0, -1.0].into_iter()), 0.0);
    }
}
