//! What can be wrong with the settings, the rows or the stored arrays of an isolation forest.

/// Why a forest could not be fitted or read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IsolationForestError {
    /// A setting is outside its range.
    #[error("{name} must be in {min}..={max}, got {got}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Smallest value allowed.
        min: usize,
        /// Largest value allowed.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// The rows are not a rectangle.
    #[error("rows must hold a multiple of {features} values, got {values}")]
    Ragged {
        /// Values per row.
        features: usize,
        /// Values given in all.
        values: usize,
    },
    /// Isolation needs something to isolate from.
    #[error("a forest needs at least 2 rows, got {got}")]
    TooFewRows {
        /// Rows given.
        got: usize,
    },
    /// A training value is infinite.
    #[error("values must be finite or missing, got {got} (row {row}, feature {feature})")]
    Infinite {
        /// Row of the value.
        row: usize,
        /// Feature of the value.
        feature: usize,
        /// The value.
        got: f32,
    },
    /// A stored array is absent, twice there, or of another kind or shape than the format says.
    #[error("tensor {name} {problem}")]
    Tensor {
        /// Name of the array.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The stored arrays do not describe trees.
    #[error("tree {tree}, node {node}: {problem}")]
    Node {
        /// Which tree.
        tree: usize,
        /// Which node of that tree, its root being 0.
        node: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}
