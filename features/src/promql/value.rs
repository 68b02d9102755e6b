//! What a vector is made of while it is computed.

use std::sync::Arc;

use forewarn_schema::LabelSet;

use super::native::FloatHistogram;

/// A number, or a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Value {
    /// The number; a histogram is none.
    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }
}

/// One element of an instant vector. Labels are shared, never changed in place.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) labels: Arc<LabelSet>,
    pub(super) value: Value,
}

impl Element {
    /// A number.
    pub(super) fn float(labels: Arc<LabelSet>, value: f64) -> Self {
        Self { labels, value: Value::Float(value) }
    }
}
