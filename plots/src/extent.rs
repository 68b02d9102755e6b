//! From values to pixels: the range of an axis and the straight map onto the screen.

/// What larger numbers would do to the arithmetic below; a metric that large is broken.
const ABSURD: f64 = 1e300;

/// Whether a value can be drawn.
pub(crate) fn drawable(value: f64) -> bool {
    value.abs() < ABSURD
}

/// The smallest interval that holds what was added; empty at first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extent {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Extent {
    pub(crate) const EMPTY: Self = Self { low: f64::INFINITY, high: f64::NEG_INFINITY };

    /// Ignores what cannot be drawn.
    pub(crate) fn add(&mut self, value: f64) {
        if drawable(value) {
            self.low = self.low.min(value);
            self.high = self.high.max(value);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.low > self.high
    }

    /// An axis that a person expects: from zero where the values are not all far above it, with a little
    /// air at the ends that are not zero, and never of no length.
    pub(crate) fn padded(self) -> Self {
        if self.is_empty() {
            return Self { low: 0.0, high: 1.0 };
        }
        let Self { mut low, mut high } = self;
        if low > 0.0 && low < 0.7 * high {
            low = 0.0;
        } else if high < 0.0 && high > 0.7 * low {
            high = 0.0;
        }
        let span = high - low;
        let air = if span > 0.0 {
            span * 0.07
        } else if low == 0.0 {
            1.0
        } else {
            low.abs() * 0.1
        };
        if high != 0.0 || span == 0.0 {
            high += air;
        }
        if low != 0.0 {
            low -= air;
        }
        Self { low, high }
    }
}

/// A straight map of `low..high` onto `from..to` pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: f64,
    span: f64,
    from: f64,
    to: f64,
}

impl Scale {
    pub(crate) fn new(extent: Extent, from: f64, to: f64) -> Self {
        let span = extent.high - extent.low;
        Self { low: extent.low, span: if span > 0.0 { span } else { 1.0 }, from, to }
    }

    /// Values far outside are held within ten lengths of the axis, which the clip hides.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = ((value - self.low) / self.span).clamp(-10.0, 11.0);
        self.from + share * (self.to - self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_a_length_whatever_it_holds() {
        for values in [vec![], vec![0.0], vec![5.0], vec![-5.0, -5.0], vec![f64::NAN, f64::INFINITY, 1e308]] {
            let mut extent = Extent::EMPTY;
            for value in &values {
                extent.add(*value);
            }
            let padded = extent.padded();
            assert!(padded.high > padded.low, "{values:?} gave {padded:?}");
        }
    }

    #[test]
    fn zero_is_on_the_axis_unless_all_is_far_above_it() {
        assert_eq!(Extent { low: 100.0, high: 500.0 }.padded().low, 0.0);
        assert!(Extent { low: 400.0, high: 500.0 }.padded().low > 300.0);
    }
}
