//! The shapes that a growth can have.

use serde::{Deserialize, Serialize};

/// What a growth proceeds by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// Steps.
    Time,
    /// Steps times the relative load: what leaks a little with each request.
    Load,
}

/// How a growth proceeds along its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// There is none.
    Flat,
    /// By as much in each unit of the clock.
    Linear,
    /// By more and more: `(exp(r x) - 1) / r`.
    Accelerating,
    /// By less and less, towards a level: `(1 - exp(-r x)) / r`. A cache that fills, a warm-up.
    Settling,
}

impl Shape {
    /// The growth after `x` of its clock (0 before it began) at rate `r`, in units in which its first step is one.
    pub(super) fn at(self, x: f64, r: f64) -> f64 {
        match self {
            _ if x <= 0.0 => 0.0,
            Self::Flat => 0.0,
            Self::Linear => x,
            // An overflow would make the fit NaN; e^50 is past every limit.
            Self::Accelerating => (r * x).min(50.0).exp_m1() / r,
            Self::Settling => -(-r * x).exp_m1() / r,
        }
    }
}
