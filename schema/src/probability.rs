//! Numbers that are bounded by what they mean.

use serde::{Deserialize, Serialize};

/// A number was asked to be a probability or a score and is not in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{what} must be in 0..=1, got {got}")]
pub struct OutOfUnitRange {
    what: &'static str,
    got: f64,
}

macro_rules! unit_interval {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Refuses what is outside 0..=1, NaN included.
            pub fn new(value: f64) -> Result<Self, OutOfUnitRange> {
                if (0.0..=1.0).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(OutOfUnitRange { what: $what, got: value })
                }
            }

            /// Clamps into 0..=1; NaN becomes 0.
            pub fn saturating(value: f64) -> Self {
                if value.is_nan() { Self(0.0) } else { Self(value.clamp(0.0, 1.0)) }
            }

            /// The number, in 0..=1.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfUnitRange;
            fn try_from(value: f64) -> Result<Self, OutOfUnitRange> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
    };
}

unit_interval!(
    /// How likely it is that the limit is reached within the horizon, 0..=1.
    Probability,
    "probability"
);
unit_interval!(
    /// How unusual a service looks, calibrated: the share of normal steps that look less unusual, 0..=1.
    AnomalyScore,
    "anomaly score"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_probability() {
        assert!(Probability::new(f64::NAN).is_err());
        assert_eq!(Probability::new(1.2).unwrap_err().to_string(), "probability must be in 0..=1, got 1.2");
        assert_eq!(Probability::saturating(f64::NAN).get(), 0.0);
        assert!(serde_json::from_str::<AnomalyScore>("-1").is_err());
    }
}
