//! A forecaster as named arrays, and back. What is read is hostile: settings and shapes are checked
//! before anything is allocated after them. The arrays are described in `docs/formats/model-tensors.md`.

use super::error::LstmError;
use super::forecaster::LstmForecaster;
use super::hyperparams::{Device, LstmParams, QUANTILES};
use super::network::{GATES, Weights};
use crate::{NamedTensor, TensorData};

const DIMS: &str = "lstm.dims";
const HORIZONS: &str = "lstm.horizons";
const QUANTILE_LEVELS: &str = "lstm.quantiles";
const TRAINING: &str = "lstm.training";
const LEARNING_RATE: &str = "lstm.learning_rate";
const INPUT: &str = "lstm.input.weight";
const RECURRENT: &str = "lstm.recurrent.weight";
const BIAS: &str = "lstm.bias";
const HEAD: &str = "lstm.head.weight";
const HEAD_BIAS: &str = "lstm.head.bias";

impl Weights {
    pub(super) fn named(&self) -> [(&'static str, &[f32]); 5] {
        [
            (INPUT, &self.input),
            (RECURRENT, &self.recurrent),
            (BIAS, &self.bias),
            (HEAD, &self.head),
            (HEAD_BIAS, &self.head_bias),
        ]
    }
}

impl LstmForecaster {
    /// The forecaster as arrays whose names begin with `lstm.`.
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        let params = self.params();
        let dims = [params.lookback, params.features, params.hidden_size].map(|dim| dim as i32).to_vec();
        let horizons = params.horizons.iter().map(|horizon| *horizon as i32).collect();
        let quantiles = params.quantiles.iter().flat_map(|quantile| bits(quantile.to_bits())).collect();
        let [seed_low, seed_high] = bits(params.seed);
        let training = vec![params.batch as i32, params.steps as i32, seed_low, seed_high, params.device as i32];
        let rate = bits(params.learning_rate.to_bits()).to_vec();
        let mut tensors = vec![
            array(DIMS, vec![3], TensorData::I32(dims)),
            array(HORIZONS, vec![params.horizons.len()], TensorData::I32(horizons)),
            array(QUANTILE_LEVELS, vec![QUANTILES, 2], TensorData::I32(quantiles)),
            array(TRAINING, vec![5], TensorData::I32(training)),
            array(LEARNING_RATE, vec![2], TensorData::I32(rate)),
        ];
        let shapes = shapes(params);
        for ((name, values), shape) in self.weights().named().into_iter().zip(shapes) {
            tensors.push(array(name, shape, TensorData::F32(values.to_vec())));
        }
        tensors
    }

    /// Reads the arrays that [`to_tensors`](Self::to_tensors) gives; arrays with other names are left alone.
    ///
    /// Refuses settings that [`LstmParams::check`] refuses, shapes that do not fit them, and weights that
    /// are not finite. The device may be one that this build does not have.
    pub fn from_tensors(tensors: &[NamedTensor]) -> Result<Self, LstmError> {
        let dims = ints(tensors, DIMS, &[3])?;
        let horizons = find(tensors, HORIZONS)?.shape.clone();
        if horizons.len() != 1 {
            return Err(tensor_error(HORIZONS, format!("must have one dimension, has shape {horizons:?}")));
        }
        let mut quantiles = [0.0; QUANTILES];
        for (quantile, halves) in
            quantiles.iter_mut().zip(ints(tensors, QUANTILE_LEVELS, &[QUANTILES, 2])?.chunks_exact(2))
        {
            *quantile = f64::from_bits(unbits([halves[0], halves[1]]));
        }
        let training = ints(tensors, TRAINING, &[5])?;
        let rate = ints(tensors, LEARNING_RATE, &[2])?;
        let params = LstmParams {
            lookback: natural(dims[0]),
            features: natural(dims[1]),
            hidden_size: natural(dims[2]),
            horizons: ints(tensors, HORIZONS, &horizons)?.iter().map(|horizon| natural(*horizon)).collect(),
            quantiles,
            batch: natural(training[0]),
            steps: natural(training[1]),
            learning_rate: f64::from_bits(unbits([rate[0], rate[1]])),
            seed: unbits([training[2], training[3]]),
            device: device(training[4])?,
        };
        let params = params.check()?.params().clone();
        let [input, recurrent, bias, head, head_bias] = shapes(&params);
        let weights = Weights {
            input: floats(tensors, INPUT, &input)?,
            recurrent: floats(tensors, RECURRENT, &recurrent)?,
            bias: floats(tensors, BIAS, &bias)?,
            head: floats(tensors, HEAD, &head)?,
            head_bias: floats(tensors, HEAD_BIAS, &head_bias)?,
        };
        Self::from_weights(params, weights)
    }
}

/// Shapes of the weights, in the order of [`Weights::named`].
fn shapes(params: &LstmParams) -> [Vec<usize>; 5] {
    let gates = GATES * params.hidden_size;
    [
        vec![params.features, gates],
        vec![params.hidden_size, gates],
        vec![gates],
        vec![params.hidden_size, params.outputs()],
        vec![params.outputs()],
    ]
}

fn array(name: &str, shape: Vec<usize>, data: TensorData) -> NamedTensor {
    NamedTensor { name: name.to_owned(), shape, data }
}

/// 64 bits as two i32, low half first: the format has no wider numbers.
fn bits(wide: u64) -> [i32; 2] {
    [wide as u32 as i32, (wide >> 32) as u32 as i32]
}

fn unbits([low, high]: [i32; 2]) -> u64 {
    u64::from(low as u32) | u64::from(high as u32) << 32
}

/// A negative number becomes 0, which no setting allows.
fn natural(stored: i32) -> usize {
    usize::try_from(stored).unwrap_or(0)
}

fn device(stored: i32) -> Result<Device, LstmError> {
    let known = [Device::Flex, Device::Ndarray, Device::Cuda];
    let found = known.into_iter().find(|device| *device as i32 == stored);
    found.ok_or_else(|| tensor_error(TRAINING, format!("names an unknown device, {stored}")))
}

fn tensor_error(name: &'static str, problem: String) -> LstmError {
    LstmError::Tensor { name, problem }
}

/// The one array of this name; its data has as many elements as its shape says.
fn find<'a>(tensors: &'a [NamedTensor], name: &'static str) -> Result<&'a NamedTensor, LstmError> {
    let mut named = tensors.iter().filter(|tensor| tensor.name == name);
    let Some(tensor) = named.next() else {
        return Err(tensor_error(name, "is missing".to_owned()));
    };
    if named.next().is_some() {
        return Err(tensor_error(name, "is there twice".to_owned()));
    }
    let length = match &tensor.data {
        TensorData::F32(values) => values.len(),
        TensorData::I32(values) => values.len(),
    };
    let product = tensor.shape.iter().try_fold(1_usize, |product, extent| product.checked_mul(*extent));
    if product != Some(length) {
        return Err(tensor_error(name, format!("has shape {:?} but {length} elements", tensor.shape)));
    }
    Ok(tensor)
}

fn shaped<'a>(tensors: &'a [NamedTensor], name: &'static str, shape: &[usize]) -> Result<&'a TensorData, LstmError> {
    let tensor = find(tensors, name)?;
    if tensor.shape != shape {
        return Err(tensor_error(name, format!("must have shape {shape:?}, has {:?}", tensor.shape)));
    }
    Ok(&tensor.data)
}

fn ints<'a>(tensors: &'a [NamedTensor], name: &'static str, shape: &[usize]) -> Result<&'a [i32], LstmError> {
    match shaped(tensors, name, shape)? {
        TensorData::I32(values) => Ok(values),
        TensorData::F32(_) => Err(tensor_error(name, "must hold i32, holds f32".to_owned())),
    }
}

fn floats(tensors: &[NamedTensor], name: &'static str, shape: &[usize]) -> Result<Vec<f32>, LstmError> {
    match shaped(tensors, name, shape)? {
        TensorData::F32(values) => Ok(values.clone()),
        TensorData::I32(_) => Err(tensor_error(name, "must hold f32, holds i32".to_owned())),
    }
}
