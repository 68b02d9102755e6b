//! Why a store does not take a sample.

use forewarn_schema::Timestamp;

/// A sample was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PushError {
    /// Older than what is still kept.
    #[error("a sample must not be older than {oldest}, got {at} (series {series})")]
    OutOfOrder {
        /// The series.
        series: String,
        /// The sample's time.
        at: Timestamp,
        /// The oldest time still kept.
        oldest: Timestamp,
    },
    /// The series has another value at that time. The first one stays. Of a native histogram the sum is
    /// named.
    #[error("a series has one value at a time, got {got} after {kept} at {at} (series {series})")]
    Duplicate {
        /// The series.
        series: String,
        /// The sample's time.
        at: Timestamp,
        /// The value that stays.
        kept: f64,
        /// The value refused.
        got: f64,
    },
    /// A native histogram that is none.
    #[error("a native histogram needs {wanted} (series {series} at {at})")]
    BadHistogram {
        /// The series.
        series: String,
        /// The sample's time.
        at: Timestamp,
        /// What it lacks.
        wanted: &'static str,
    },
    /// One series more than the store may hold.
    #[error("at most {max} series are kept in memory, got one more (series {series})")]
    TooManySeries {
        /// The series refused.
        series: String,
        /// The cap.
        max: usize,
    },
    /// One sample more than a series may hold.
    #[error("at most {max} samples of a series are kept in memory, got one more (series {series})")]
    TooManySamples {
        /// The series.
        series: String,
        /// The cap.
        max: usize,
    },
}
