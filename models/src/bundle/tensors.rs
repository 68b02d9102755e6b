//! Named arrays as a safetensors file: data only, no code, every length checked before it is used.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. Only F32 and I32 are written and read.

use std::borrow::Cow;

use safetensors::tensor::{Dtype, SafeTensors, View, serialize};

use super::BundleError;
use super::artifact::TENSORS_FILE;
use crate::{NamedTensor, TensorData};

/// The JSON header names each tensor in some 100 bytes; a bundle has a few dozen.
const MAX_HEADER_BYTES: u64 = 256 * 1024;
const MAX_TENSORS: usize = 1024;
const MAX_RANK: usize = 4;

/// The bytes of `tensors`, in an order that does not depend on theirs.
pub(super) fn encode(tensors: &[NamedTensor]) -> Result<Vec<u8>, BundleError> {
    for tensor in tensors {
        let elements: usize = tensor.shape.iter().product();
        let got = tensor.data.len();
        if elements != got {
            let reason =
                format!("{} of shape {:?} must have {elements} elements, got {got}", tensor.name, tensor.shape);
            return Err(BundleError::malformed(TENSORS_FILE, reason));
        }
    }
    serialize(tensors.iter().map(|t| (t.name.as_str(), t)), None).map_err(|e| BundleError::malformed(TENSORS_FILE, e))
}

/// The tensors in `bytes`, sorted by name. Refuses other element types, more than 1024 tensors, more than four
/// dimensions, a header over 256 KiB, and whatever safetensors refuses (overlaps, holes, lengths that do not match).
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<NamedTensor>, BundleError> {
    let malformed = |reason: String| BundleError::malformed(TENSORS_FILE, reason);
    // Safetensors itself allows a header of 100 MB, which as JSON would grow to a multiple of that.
    let header_bytes = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
    match header_bytes {
        None => return Err(malformed(format!("must start with 8 bytes of header length, got {} bytes", bytes.len()))),
        Some(got) if got > MAX_HEADER_BYTES => {
            return Err(malformed(format!("the header must have at most {MAX_HEADER_BYTES} bytes, got {got}")));
        }
        Some(_) => {}
    }
    let parsed = SafeTensors::deserialize(bytes).map_err(|e| malformed(e.to_string()))?;
    if parsed.len() > MAX_TENSORS {
        return Err(malformed(format!("must hold at most {MAX_TENSORS} tensors, got {}", parsed.len())));
    }
    let mut tensors = Vec::with_capacity(parsed.len());
    for (name, view) in parsed.iter() {
        if view.shape().len() > MAX_RANK {
            return Err(malformed(format!(
                "{name:?} must have at most {MAX_RANK} dimensions, got {}",
                view.shape().len()
            )));
        }
        let data = match view.dtype() {
            Dtype::F32 => TensorData::F32(words(view.data()).map(f32::from_le_bytes).collect()),
            Dtype::I32 => TensorData::I32(words(view.data()).map(i32::from_le_bytes).collect()),
            other => return Err(malformed(format!("{name:?} must be F32 or I32, got {other:?}"))),
        };
        tensors.push(NamedTensor { name: name.to_owned(), shape: view.shape().to_vec(), data });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// Four bytes at a time; safetensors has checked that the length is a multiple of the element's.
fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    bytes.as_chunks::<4>().0.iter().copied()
}

impl TensorData {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I32(values) => values.len(),
        }
    }
}

impl View for &NamedTensor {
    fn dtype(&self) -> Dtype {
        match self.data {
            TensorData::F32(_) => Dtype::F32,
            TensorData::I32(_) => Dtype::I32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match &self.data {
            TensorData::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            TensorData::I32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        self.data.len() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<NamedTensor> {
        vec![
            NamedTensor { name: "forest.feature".into(), shape: vec![3], data: TensorData::I32(vec![-1, 0, 7]) },
            NamedTensor {
                name: "lstm.weight".into(),
                shape: vec![2, 2],
                data: TensorData::F32(vec![0.5, f32::NAN, -0.0, 1e-40]),
            },
        ]
    }

    #[test]
    fn tensors_come_back_bit_for_bit_whatever_their_order() {
        let mut reversed = sample();
        reversed.reverse();
        let bytes = encode(&sample()).unwrap();
        assert_eq!(bytes, encode(&reversed).unwrap());
        assert_eq!(bytes, encode(&decode(&bytes).unwrap()).unwrap());
        let TensorData::F32(values) = &decode(&bytes).unwrap()[1].data else { panic!("must be F32") };
        assert_eq!(values[2].to_bits(), (-0.0f32).to_bits());
        assert!(values[1].is_nan());
    }

    #[test]
    fn a_header_larger_than_its_cap_is_refused_before_it_is_parsed() {
        let mut bytes = (MAX_HEADER_BYTES + 1).to_le_bytes().to_vec();
        bytes.resize(64, b' ');
        assert!(decode(&bytes).unwrap_err().to_string().contains("header must have at most"));
    }

    #[test]
    fn a_tensor_whose_shape_does_not_hold_its_elements_is_not_written() {
        let wrong = NamedTensor { name: "w".into(), shape: vec![2, 2], data: TensorData::F32(vec![1.0]) };
        assert!(encode(&[wrong]).unwrap_err().to_string().contains("must have 4 elements, got 1"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn arbitrary_headers_never_panic(header in "\\{\"[a-z_]{1,12}\":\\{\"dtype\":\"(F32|I32|F64|BOOL)\",\"shape\":\\[[0-9]{1,20}(,[0-9]{1,20}){0,5}\\],\"data_offsets\":\\[[0-9]{1,20},[0-9]{1,20}\\]\\}\\}", data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend(data);
            let _ = decode(&bytes);
        }
    }
}
