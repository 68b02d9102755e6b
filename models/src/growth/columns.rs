//! What every explanation of a run is fitted to, made once: least squares need of each no more than four sums over its own column.
//!
//! A server fits sixty explanations to each target at every step, so this is where its time goes. The columns have a fixed length,
//! what was not seen weighs nothing, and sums are taken in four parts side by side, always the same ones, so that every machine gets
//! the same bits.

use wide::f64x4;

use super::MAX_BINS;
use super::bins::Bins;
use super::shape::{Clock, Shape};

/// Sums are taken in so many parts.
const LANES: usize = 4;
const _: () = assert!(MAX_BINS.is_multiple_of(LANES));
/// The last so many bins tell what lies above a fit now.
const RECENT: usize = 6;
/// A bin a whole run ago counts `exp(-1)` of the last one.
const FORGETTING: f64 = 1.0;

type Column = [f64; MAX_BINS];

/// See the module.
pub(super) struct Columns<'a> {
    bins: &'a Bins,
    /// What a bin counts for, the last one 1; 0 where it was not seen.
    weight: Column,
    /// The same times the load less 1, and times the value less `middle`.
    load: Column,
    value: Column,
    /// The weighted mean of the values: sums of squares about it lose nothing.
    pub middle: f64,
    /// Where the clock of load is that of time: no load is known.
    steady: bool,
    /// The sum of weights.
    pub count: f64,
    /// Sums of products of load and value with the weight and with each other.
    pub loads: f64,
    pub loads_squared: f64,
    pub values: f64,
    pub values_by_load: f64,
    pub values_squared: f64,
    /// Bins among the last that were seen: how many, and sums over them.
    pub recent: Recent,
}

/// Sums over the last bins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    pub count: f64,
    pub loads: f64,
    pub values: f64,
}

/// Sums over the column of one explanation's growth.
pub(super) struct Grown {
    pub sum: f64,
    pub by_load: f64,
    pub by_value: f64,
    pub squared: f64,
    /// Over the last bins that were seen, each counting 1.
    pub recent: f64,
}

impl<'a> Columns<'a> {
    pub(super) fn new(bins: &'a Bins) -> Self {
        let count = bins.values.len();
        let mut columns = Self {
            bins,
            weight: [0.0; MAX_BINS],
            load: [0.0; MAX_BINS],
            value: [0.0; MAX_BINS],
            middle: 0.0,
            steady: bins.loads.iter().all(|load| *load == 1.0),
            count: 0.0,
            loads: 0.0,
            loads_squared: 0.0,
            values: 0.0,
            values_by_load: 0.0,
            values_squared: 0.0,
            recent: Recent::default(),
        };
        // What was long ago says less of what comes, as growths change slowly. Discounted least squares (Brown 1963).
        let ago = FORGETTING / count as f64;
        geometric(&mut columns.weight[..count], (-ago * (count as f64 - 1.0)).exp(), ago);
        for (weight, value) in columns.weight.iter_mut().zip(&bins.values) {
            if value.is_finite() {
                columns.count += *weight;
                columns.middle += *weight * value;
            } else {
                *weight = 0.0;
            }
        }
        columns.middle /= columns.count;
        for bin in (0..count).filter(|bin| bins.values[*bin].is_finite()) {
            let (weight, load, value) = (columns.weight[bin], bins.loads[bin] - 1.0, bins.values[bin] - columns.middle);
            columns.load[bin] = weight * load;
            columns.value[bin] = weight * value;
            columns.loads += weight * load;
            columns.loads_squared += weight * load * load;
            columns.values += weight * value;
            columns.values_by_load += weight * load * value;
            columns.values_squared += weight * value * value;
            if bin + RECENT >= count {
                columns.recent.count += 1.0;
                columns.recent.loads += load;
                columns.recent.values += value;
            }
        }
        columns
    }

    /// The sums of a growth that begins at `onset` of its clock, with bin `from`, at `rate` times its own length; in units of that
    /// length, see [`super::evidence::Candidate::grown`].
    pub(super) fn grown(&self, shape: Shape, clock: Clock, rate: f64, from: usize, onset: f64) -> Grown {
        let count = self.bins.values.len();
        let mut column: Column = [0.0; MAX_BINS];
        let growing = &mut column[from..count];
        match (shape, clock) {
            (Shape::Flat, _) => {}
            (_, Clock::Time) => along_time(shape, rate, growing),
            (_, Clock::Load) if self.steady => along_time(shape, rate, growing),
            (_, Clock::Load) => {
                for (grown, x) in growing.iter_mut().zip(&self.bins.load_clock[from..count]) {
                    *grown = shape.at(1.0 - x / onset, rate);
                }
            }
        }
        self.products(from, &column)
    }

    fn products(&self, from: usize, grown: &Column) -> Grown {
        let from = from / LANES * LANES;
        let [mut sum, mut by_load, mut by_value, mut squared] = [f64x4::ZERO; 4];
        let ours = lanes(grown, from).zip(lanes(&self.weight, from));
        for ((grown, weight), (load, value)) in ours.zip(lanes(&self.load, from).zip(lanes(&self.value, from))) {
            let weighted = weight * grown;
            sum += weighted;
            squared += weighted * grown;
            by_load += load * grown;
            by_value += value * grown;
        }
        let total = |parts: f64x4| {
            let [a, b, c, d] = parts.to_array();
            (a + b) + (c + d)
        };
        let count = self.bins.values.len();
        let recent = count.saturating_sub(RECENT)..count;
        Grown {
            sum: total(sum),
            by_load: total(by_load),
            by_value: total(by_value),
            squared: total(squared),
            recent: recent.filter(|bin| self.weight[*bin] > 0.0).map(|bin| grown[bin]).sum(),
        }
    }
}

fn lanes(column: &Column, from: usize) -> impl Iterator<Item = f64x4> {
    column[from..].as_chunks::<LANES>().0.iter().map(|four| f64x4::new(*four))
}

/// [`Shape::at`] in the middle of each of equal parts of a length of 1.
fn along_time(shape: Shape, rate: f64, grown: &mut [f64]) {
    let (part, length) = (1.0 / grown.len() as f64, 1.0 / rate);
    match shape {
        Shape::Flat => grown.fill(0.0),
        Shape::Linear => (0..).zip(grown).for_each(|(bin, grown)| *grown = (f64::from(bin) + 0.5) * part),
        Shape::Accelerating => {
            geometric(grown, (0.5 * rate * part).exp(), rate * part);
            grown.iter_mut().for_each(|grown| *grown = (*grown - 1.0) * length);
        }
        Shape::Settling => {
            geometric(grown, (-0.5 * rate * part).exp(), -rate * part);
            grown.iter_mut().for_each(|grown| *grown = (1.0 - *grown) * length);
        }
    }
}

/// `first * exp(k * exponent)` for each `k` from 0 on: a multiplication each, four of them side by side.
fn geometric(values: &mut [f64], first: f64, exponent: f64) {
    let stride = f64x4::splat((LANES as f64 * exponent).exp());
    let mut next = f64x4::new(std::array::from_fn(|lane| first * (lane as f64 * exponent).exp()));
    let (fours, rest) = values.as_chunks_mut::<LANES>();
    for four in fours {
        *four = next.to_array();
        next *= stride;
    }
    rest.copy_from_slice(&next.to_array()[..rest.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_growth_along_time_is_the_shape_at_each_bin(bins in 1..MAX_BINS, rate in 0.5..48.0_f64) {
            for shape in [Shape::Flat, Shape::Linear, Shape::Accelerating, Shape::Settling] {
                let mut column: Column = [f64::NAN; MAX_BINS];
                along_time(shape, rate, &mut column[..bins]);
                for (bin, grown) in column[..bins].iter().enumerate() {
                    let wanted = shape.at((bin as f64 + 0.5) / bins as f64, rate);
                    prop_assert!((grown - wanted).abs() <= 1e-11 * wanted.abs().max(1e-3), "{shape:?} {bin}: {grown} {wanted}");
                }
            }
        }
    }
}
