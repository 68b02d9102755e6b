//! Settings of a forecaster, before and after they are checked.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::algorithm::{LstmTrainingSet, Trainer};
use super::error::LstmError;
use super::forecaster::LstmForecaster;

/// Number of quantiles a forecast has.
pub const QUANTILES: usize = 3;

/// Where a forecaster is trained. Serving never needs a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The CPU device that burn's authors keep: the default.
    #[default]
    Flex,
    /// The older CPU device, deprecated upstream.
    Ndarray,
    /// An NVIDIA GPU. Only in builds with the cargo feature `cuda`.
    Cuda,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Cuda => "cuda",
        })
    }
}

impl Device {
    /// The devices of this build.
    pub fn available() -> &'static [Self] {
        if cfg!(feature = "cuda") { &[Self::Flex, Self::Ndarray, Self::Cuda] } else { &[Self::Flex, Self::Ndarray] }
    }
}

/// Settings of a forecaster, not yet checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmParams {
    /// Rows a forecast looks back on, in steps, 1..=4096.
    pub lookback: usize,
    /// Values per row, 1..=4096.
    pub features: usize,
    /// Size of the hidden state, 1..=1024.
    pub hidden_size: usize,
    /// How far ahead each forecast is, in steps; strictly increasing, 1 to 64 of them.
    pub horizons: Vec<usize>,
    /// The quantiles forecast, strictly increasing, strictly between 0 and 1.
    pub quantiles: [f64; QUANTILES],
    /// Windows per training step, 1..=65,536; fewer if there are fewer windows.
    pub batch: usize,
    /// Training steps, 1..=1,000,000.
    pub steps: usize,
    /// Adam's learning rate at the start, in (0, 1]; it falls to a tenth along half a cosine.
    pub learning_rate: f64,
    /// Same seed, windows, settings and device: the same forecaster, bit for bit, also when others are
    /// trained at the same time.
    pub seed: u64,
    /// Where to train.
    pub device: Device,
}

impl Default for LstmParams {
    fn default() -> Self {
        Self {
            lookback: 60,
            features: 1,
            hidden_size: 32,
            horizons: vec![5, 15, 30, 60],
            quantiles: [0.1, 0.5, 0.9],
            batch: 64,
            steps: 300,
            learning_rate: 0.005,
            seed: 1,
            device: Device::Flex,
        }
    }
}

impl LstmParams {
    /// Checks each setting against its range. Whether this build has the device is checked by `fit`,
    /// because a forecaster trained elsewhere serves here.
    pub fn check(self) -> Result<CheckedLstmParams, LstmError> {
        check_range("lookback", 1..=4096, self.lookback)?;
        check_range("features", 1..=4096, self.features)?;
        check_range("hidden_size", 1..=1024, self.hidden_size)?;
        check_range("number of horizons", 1..=64, self.horizons.len())?;
        check_range("batch", 1..=65_536, self.batch)?;
        check_range("steps", 1..=1_000_000, self.steps)?;
        if self.horizons[0] == 0 || !self.horizons.is_sorted_by(|a, b| a < b) {
            return Err(setting("horizons", "positive and strictly increasing", &self.horizons));
        }
        let inside = self.quantiles.iter().all(|quantile| *quantile > 0.0 && *quantile < 1.0);
        if !inside || !self.quantiles.is_sorted_by(|a, b| a < b) {
            return Err(setting("quantiles", "strictly increasing between 0 and 1", &self.quantiles));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return Err(setting("learning_rate", "in (0, 1]", &self.learning_rate));
        }
        Ok(CheckedLstmParams(self))
    }

    /// Values the head gives: `QUANTILES` per horizon.
    pub(super) fn outputs(&self) -> usize {
        self.horizons.len() * QUANTILES
    }
}

/// Settings of a forecaster that are known to be in range.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedLstmParams(LstmParams);

impl CheckedLstmParams {
    /// The settings.
    pub fn params(&self) -> &LstmParams {
        &self.0
    }

    /// Trains a forecaster on `set` for the set number of steps.
    ///
    /// `on_step` hears the number of each step done, from 1, and the loss of its batch. Each step takes
    /// the next `batch` windows of a shuffled order, which is shuffled anew after each pass. The windows
    /// must be finite: the caller fills what is missing and says so in a feature of its own.
    pub fn fit(&self, set: &LstmTrainingSet, on_step: &dyn Fn(usize, f32)) -> Result<LstmForecaster, LstmError> {
        self.fit_from(None, set, on_step)
    }

    /// As [`fit`](Self::fit), beginning at the weights of `init` if there is one: a prior that many series
    /// have taught needs fewer steps, and a smaller learning rate, on one of them. Its shape must be this
    /// one's: features, hidden size, horizons and quantiles.
    pub fn fit_from(
        &self,
        init: Option<&LstmForecaster>,
        set: &LstmTrainingSet,
        on_step: &dyn Fn(usize, f32),
    ) -> Result<LstmForecaster, LstmError> {
        let mut trainer = Trainer::new(self, init, set)?;
        for step in 1..=self.0.steps {
            let loss = trainer.step()?;
            on_step(step, loss);
        }
        trainer.finish()
    }
}

fn check_range(name: &'static str, range: RangeInclusive<usize>, got: usize) -> Result<(), LstmError> {
    if range.contains(&got) {
        return Ok(());
    }
    Err(LstmError::Setting { name, want: format!("in {}..={}", range.start(), range.end()), got: got.to_string() })
}

fn setting(name: &'static str, want: &str, got: &dyn fmt::Debug) -> LstmError {
    LstmError::Setting { name, want: want.to_owned(), got: format!("{got:?}") }
}
