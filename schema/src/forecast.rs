//! What is drawn of one target beside its samples: what is normal at a time, and what is forecast for one.

use crate::Timestamp;

/// What is normal at one time, in the signal's own unit (in a chart: in the chart's). NaN where that is not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BandPoint {
    /// When.
    pub at: Timestamp,
    /// Lower edge: two standard deviations below `mid`.
    pub low: f64,
    /// What is expected.
    pub mid: f64,
    /// Upper edge: two standard deviations above `mid`.
    pub high: f64,
}

/// What is forecast for one time: quantiles 0.1, 0.5 and 0.9, `p10 <= p50 <= p90`, in the signal's own unit (in a chart:
/// in the chart's). NaN where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FanPoint {
    /// When.
    pub at: Timestamp,
    /// One in ten lies below.
    pub p10: f64,
    /// The median.
    pub p50: f64,
    /// Nine in ten lie below.
    pub p90: f64,
}
