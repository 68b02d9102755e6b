//! Which selectors an expression has, and how far back it reaches: what must be kept, or asked for, to
//! evaluate it.

use super::LOOKBACK_MS;
use super::node::{RangeNode, RangeSource, ScalarNode, SelectNode, VectorNode};
use super::selector::Selector;

impl ScalarNode {
    /// Calls `visit` with every selector below, and how far it looks back from `back_ms` ago.
    pub(super) fn selectors<'n>(&'n self, back_ms: i64, visit: &mut dyn FnMut(&'n Selector, i64)) {
        match self {
            Self::Number(_) | Self::Time => {}
            Self::OfVector(of) => of.selectors(back_ms, visit),
            Self::Negate(of) => of.selectors(back_ms, visit),
            Self::Binary { lhs, rhs, .. } => {
                lhs.selectors(back_ms, visit);
                rhs.selectors(back_ms, visit);
            }
        }
    }
}

impl VectorNode {
    /// Calls `visit` with every selector below, and how far it looks back from `back_ms` ago.
    pub(super) fn selectors<'n>(&'n self, back_ms: i64, visit: &mut dyn FnMut(&'n Selector, i64)) {
        match self {
            Self::Select(select) | Self::SampleTime { select, .. } => select.visit(LOOKBACK_MS, back_ms, visit),
            Self::OverRange { range, parameters, .. } => {
                range.selectors(back_ms, visit);
                parameters.iter().for_each(|p| p.selectors(back_ms, visit));
            }
            Self::AbsentOverTime { range, .. } => range.selectors(back_ms, visit),
            Self::Map { of, parameters, .. } => {
                of.selectors(back_ms, visit);
                parameters.iter().for_each(|p| p.selectors(back_ms, visit));
            }
            Self::Relabel { of, .. } | Self::Absent { of, .. } | Self::CountValues { of, .. } => {
                of.selectors(back_ms, visit);
            }
            Self::HistogramQuantile { quantile, of, .. } => {
                quantile.selectors(back_ms, visit);
                of.selectors(back_ms, visit);
            }
            Self::OfScalar(scalar) => scalar.selectors(back_ms, visit),
            Self::Aggregate { parameter, of, .. } => {
                if let Some(parameter) = parameter {
                    parameter.selectors(back_ms, visit);
                }
                of.selectors(back_ms, visit);
            }
            Self::WithScalar { vector, scalar, .. } => {
                vector.selectors(back_ms, visit);
                scalar.selectors(back_ms, visit);
            }
            Self::Join { lhs, rhs, .. } | Self::Set { lhs, rhs, .. } => {
                lhs.selectors(back_ms, visit);
                rhs.selectors(back_ms, visit);
            }
        }
    }
}

impl RangeNode {
    /// How far in the past its window ends.
    pub(super) fn offset_ms(&self) -> i64 {
        match &self.of {
            RangeSource::Select(select) => select.selector.offset_ms,
            RangeSource::Subquery(subquery) => subquery.offset_ms,
        }
    }

    fn selectors<'n>(&'n self, back_ms: i64, visit: &mut dyn FnMut(&'n Selector, i64)) {
        match &self.of {
            RangeSource::Select(select) => select.visit(self.width_ms, back_ms, visit),
            RangeSource::Subquery(subquery) => {
                let back_ms = back_ms.saturating_add(self.width_ms).saturating_add(subquery.offset_ms);
                subquery.of.selectors(back_ms, visit);
            }
        }
    }
}

impl SelectNode {
    fn visit<'n>(&'n self, width_ms: i64, back_ms: i64, visit: &mut dyn FnMut(&'n Selector, i64)) {
        visit(&self.selector, back_ms.saturating_add(self.selector.offset_ms).saturating_add(width_ms));
    }
}
