//! A named array, as it is written into an artifact.

/// An array with a name and a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Unique within an artifact, such as `forest.threshold`.
    pub name: String,
    /// Its extents; their product is the number of elements.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub data: TensorData,
}

/// The elements of a [`NamedTensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 32-bit integers.
    I32(Vec<i32>),
}
