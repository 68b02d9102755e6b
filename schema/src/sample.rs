//! Samples and series.

use serde::{Deserialize, Serialize};

use crate::{LabelSet, Timestamp};

/// The bits of Prometheus' staleness marker, a signalling NaN. Compare bits: arithmetic quietens it.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether `value` is the staleness marker, which ends a series; an ordinary NaN is not.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One value at one time. The value may be NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// What, in the metric's unit.
    pub value: f64,
}

/// Samples of one label set, sorted by time, no time twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What tells it apart, metric name included where there is one.
    pub labels: LabelSet,
    /// Sorted by time.
    pub samples: Vec<Sample>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_nan_is_not_stale() {
        assert!(is_stale(f64::from_bits(STALE_NAN_BITS)));
        assert!(!is_stale(f64::NAN));
    }
}
