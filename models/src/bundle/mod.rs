//! A bundle: everything learnt about one service, and how it becomes bytes and comes back.
//!
//! JSON for what is small, safetensors for arrays: nothing in a bundle can execute code. The bytes are checked before they
//! are understood, and the same bundle has the same bytes everywhere. Not here: where bundles are kept (`registry`).

mod artifact;
mod error;
mod manifest;
mod tensors;
mod version;

use std::collections::BTreeMap;

use bytes::Bytes;
use forewarn_features::pipeline::FittedFeaturePipeline;
use forewarn_features::{Signal, SignalSet};
use serde::{Deserialize, Serialize};

pub use artifact::{
    Artifact, MANIFEST_FILE, MAX_MANIFEST_BYTES, MAX_PARTS_BYTES, MAX_TENSORS_BYTES, PARTS_FILE, TENSORS_FILE,
};
pub(crate) use artifact::{cap_of, check_listing};
pub use error::BundleError;
pub use manifest::{BundleManifest, FORMAT_VERSION, FileEntry};
pub use version::ModelVersion;

use crate::NamedTensor;
use crate::baselines::{Baselines, HORIZONS};
use crate::ensemble::{AnomalyEnsemble, Detector};
use crate::forecast_input::{FEATURES, LOOKBACK};
use crate::isolation_forest::IsolationForest;
use crate::lstm::LstmForecaster;
use crate::rehearsal::Rehearsed;

/// Which forecast serves a service: the one that was best on its own held-out history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForecastModel {
    /// The robust trend.
    Trend,
    /// The value of the same time of day and week.
    SeasonalNaive,
    /// The LSTM forecaster.
    Lstm,
}

/// Everything learnt about one service.
#[derive(Clone, Debug)]
pub struct ModelBundle {
    /// What it is and where it comes from.
    pub manifest: BundleManifest,
    /// The signals it was fitted for.
    pub signals: SignalSet,
    /// From a step to a row of features.
    pub pipeline: FittedFeaturePipeline,
    /// From a row to a raw anomaly score.
    pub forest: IsolationForest,
    /// From what the detectors say of a step to its anomaly score.
    pub ensemble: AnomalyEnsemble,
    /// The learnt forecaster, where one could be fitted.
    pub lstm: Option<LstmForecaster>,
    /// The forecasts that are always there.
    pub baselines: Baselines,
    /// Which forecast serves.
    pub forecast: ForecastModel,
    /// What a replay of the training window taught.
    pub rehearsed: Rehearsed,
}

/// `parts.json`, borrowed to be written.
#[derive(Serialize)]
struct PartsOut<'a> {
    forecast: ForecastModel,
    signals: &'a SignalSet,
    pipeline: &'a FittedFeaturePipeline,
    ensemble: &'a AnomalyEnsemble,
    baselines: &'a Baselines,
    rehearsed: &'a Rehearsed,
}

/// `parts.json` as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartsIn {
    forecast: ForecastModel,
    signals: Vec<Signal>,
    pipeline: FittedFeaturePipeline,
    ensemble: AnomalyEnsemble,
    baselines: Baselines,
    rehearsed: Rehearsed,
}

const FOREST_PREFIX: &str = "forest.";
const LSTM_PREFIX: &str = "lstm.";

impl ModelBundle {
    /// The bundle as files. Whatever the manifest says of files, digest and version is computed anew, so that the same
    /// content gives the same bytes and the same version.
    pub fn to_artifact(&self) -> Result<Artifact, BundleError> {
        let parts = PartsOut {
            forecast: self.forecast,
            signals: &self.signals,
            pipeline: &self.pipeline,
            ensemble: &self.ensemble,
            baselines: &self.baselines,
            rehearsed: &self.rehearsed,
        };
        let parts = serde_json::to_vec(&parts).map_err(|e| BundleError::malformed(PARTS_FILE, e))?;
        let mut arrays = self.forest.to_tensors();
        if let Some(lstm) = &self.lstm {
            arrays.extend(lstm.to_tensors());
        }
        let files = BTreeMap::from([
            (PARTS_FILE.to_owned(), Bytes::from(parts)),
            (TENSORS_FILE.to_owned(), Bytes::from(tensors::encode(&arrays)?)),
        ]);
        Artifact::seal(&self.manifest, files)
    }

    /// Reads a bundle back. Hostile bytes give an error: every file is checked against the manifest, then every part
    /// by its own reader, then the parts against each other.
    pub fn from_artifact(artifact: &Artifact) -> Result<Self, BundleError> {
        let manifest = artifact.checked_manifest()?;
        let parts: PartsIn =
            serde_json::from_slice(artifact.file(PARTS_FILE)?).map_err(|e| BundleError::malformed(PARTS_FILE, e))?;
        // Sorted and checked as when they came from a configuration.
        let signals = SignalSet::new(&[], parts.signals).map_err(|e| BundleError::malformed(PARTS_FILE, e))?;
        let arrays = tensors::decode(artifact.file(TENSORS_FILE)?)?;
        let has_lstm = check_prefixes(&arrays)?;
        let malformed = |e: &dyn std::error::Error| BundleError::malformed(TENSORS_FILE, e);
        let forest = IsolationForest::from_tensors(&arrays).map_err(|e| malformed(&e))?;
        let lstm = match has_lstm {
            true => Some(LstmForecaster::from_tensors(&arrays).map_err(|e| malformed(&e))?),
            false => None,
        };
        let bundle = Self {
            manifest,
            signals,
            pipeline: parts.pipeline,
            forest,
            ensemble: parts.ensemble,
            lstm,
            baselines: parts.baselines,
            forecast: parts.forecast,
            rehearsed: parts.rehearsed,
        };
        bundle.check_fit()?;
        Ok(bundle)
    }

    /// The same bundle with the version that its content has.
    pub fn sealed(mut self) -> Result<Self, BundleError> {
        self.manifest = self.to_artifact()?.checked_manifest()?;
        Ok(self)
    }

    /// What each part assumes of the others; a forest wider than the rows it gets would otherwise read past them.
    fn check_fit(&self) -> Result<(), BundleError> {
        if self.forecast == ForecastModel::Lstm && self.lstm.is_none() {
            let reason = "the forecast is lstm, but there is no lstm";
            return Err(BundleError::Inconsistent(reason.to_owned()));
        }
        if let Some(lstm) = &self.lstm {
            let (lookback, features, horizons) = (LOOKBACK, FEATURES, HORIZONS);
            let params = lstm.params();
            if (params.lookback, params.features) != (lookback, features) || params.horizons != horizons {
                let (got_lookback, got_features, got_horizons) = (params.lookback, params.features, &params.horizons);
                return Err(BundleError::Inconsistent(format!(
                    "the lstm must see {lookback} steps of {features} features and forecast {horizons:?} steps ahead, \
                     got {got_lookback}, {got_features} and {got_horizons:?}"
                )));
            }
        }
        if !self.pipeline.is_well_formed() || !self.baselines.is_well_formed() {
            let reason = "a profile must cover every slot and have a positive spread, and a column must have one";
            return Err(BundleError::Inconsistent(reason.to_owned()));
        }
        if !self.rehearsed.is_well_formed() {
            let reason = "a stretch must lie in 0.5..=2, a probability in 0..=1, a factor of a shape above 0";
            return Err(BundleError::Inconsistent(reason.to_owned()));
        }
        if !self.ensemble.is_well_formed(self.pipeline.names().len()) {
            let reason =
                "the ensemble must have sorted parts whose weights sum to 1, and a distance as wide as the rows";
            return Err(BundleError::Inconsistent(reason.to_owned()));
        }
        if self.ensemble.asks(Detector::LstmResidual) && self.lstm.is_none() {
            let reason = "the ensemble asks the lstm, but there is no lstm";
            return Err(BundleError::Inconsistent(reason.to_owned()));
        }
        let (rows, forest) = (self.pipeline.names().len(), self.forest.features());
        if rows != forest {
            let reason = format!("the forest must take the pipeline's {rows} features, got {forest}");
            return Err(BundleError::Inconsistent(reason));
        }
        Ok(())
    }
}

/// Whether an LSTM is among the tensors. One that belongs to no part is refused: it would be carried along unread.
fn check_prefixes(tensors: &[NamedTensor]) -> Result<bool, BundleError> {
    let mut has_lstm = false;
    for tensor in tensors {
        let of_lstm = tensor.name.starts_with(LSTM_PREFIX);
        if !of_lstm && !tensor.name.starts_with(FOREST_PREFIX) {
            let reason = format!("a tensor's name must start with forest. or lstm., got {:?}", tensor.name);
            return Err(BundleError::malformed(TENSORS_FILE, reason));
        }
        has_lstm |= of_lstm;
    }
    Ok(has_lstm)
}
