//! How unusual one service looks now, and why: what each detector measures, from the state that the scorer keeps.
//!
//! The LSTM's residual is worked out from remembered values when it is asked for, and not carried from step to step: a
//! backtest that asks every five minutes says the same as a server that asks every minute, and pays a fifth.

use std::collections::BTreeMap;
use std::sync::Arc;

use forewarn_features::Absence;
use forewarn_schema::{AnomalyScore, SignalEvidence, Timestamp};

use super::ServiceScorer;
use super::forecast::DECILES_APART;
use super::history::TargetHistory;
use crate::baselines::{HORIZONS, SignalBaseline};
use crate::bundle::ModelBundle;
use crate::ensemble::{Detector, RawScores};
use crate::forecast_input::{LOOKBACK, window_input};
use crate::lstm::LstmForecaster;

/// At most this many signals explain a prediction.
const MAX_EVIDENCE: usize = 5;
/// What was seen longer ago, in steps, says nothing of now.
const STALE_AFTER: f64 = 10.0;
/// A forecast is never surer than this, in units of the signal's scale.
const LEAST_DEVIATION: f64 = 0.5;

/// How unusual the service looks now, and why.
#[derive(Default)]
pub(super) struct Anomaly {
    pub score: AnomalyScore,
    /// Strongest first.
    pub evidence: Arc<[SignalEvidence]>,
    /// What is missed, in a few words; empty where nothing is.
    pub missed: String,
}

impl Anomaly {
    /// Sorted, and cut to the strongest.
    pub(super) fn new(score: AnomalyScore, mut evidence: Vec<SignalEvidence>) -> Self {
        evidence.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        evidence.truncate(MAX_EVIDENCE);
        Self { score, evidence: evidence.into(), missed: String::new() }
    }

    /// With what is missed: as unusual as it is that a signal is not there, or as what is there looks, whichever is more.
    fn missing(mut self, absences: &[Absence]) -> Self {
        let Some(first) = absences.iter().map(|absence| absence.last).min() else { return self };
        let usual = absences.iter().map(|absence| absence.usual).fold(0.0, f64::max);
        self.score = AnomalyScore::saturating(usual.max(self.score.get()));
        let names: Vec<&str> = absences.iter().map(|absence| absence.signal.as_str()).collect();
        self.missed = format!("{} missing since {first}", names.join(", "));
        self
    }
}

impl ServiceScorer {
    /// What the detectors say at `at`, in the order of [`Detector::ALL`], NaN where one says nothing. The LSTM is asked only
    /// `with_lstm`, as it costs a hundred times what the others do. `None` without a bundle, without a signal, or where
    /// what was last seen is too old.
    pub fn raw_scores(&self, at: Timestamp, with_lstm: bool) -> Option<RawScores> {
        let bundle = self.bundle.as_deref()?;
        self.measure(bundle, at, self.worst_forecast(bundle, at, with_lstm))
    }

    fn measure(&self, bundle: &ModelBundle, at: Timestamp, worst_forecast: Option<(&str, f64)>) -> Option<RawScores> {
        if !self.is_fresh(at) || self.row.is_empty() || self.row.iter().all(|v| v.is_nan()) {
            return None;
        }
        let joint = bundle.ensemble.joint().map_or(f64::NAN, |joint| joint.distance(&self.row));
        let lstm = worst_forecast.map_or(f64::NAN, |(_, residual)| residual);
        Some([bundle.forest.score(&self.row), seasonal_residual(&self.row), joint, lstm])
    }

    pub(super) fn is_fresh(&self, at: Timestamp) -> bool {
        self.latest.as_ref().is_some_and(|l| at.seconds_since(l.at) <= STALE_AFTER * self.step.seconds())
    }

    pub(super) fn anomaly(&self, at: Timestamp) -> Anomaly {
        let Some(bundle) = self.bundle.as_deref() else { return self.warming.anomaly(self.is_fresh(at)) };
        let absences = bundle.pipeline.absences(&self.feature_state, at);
        let worst_forecast = self.worst_forecast(bundle, at, bundle.ensemble.asks(Detector::LstmResidual));
        let raw = self.measure(bundle, at, worst_forecast);
        let (Some(raw), Some(latest)) = (raw, &self.latest) else { return Anomaly::default().missing(&absences) };
        let weights = self.weights(bundle, &raw, worst_forecast.map(|(signal, _)| signal));
        let weigh = |signal: &str| weights.get(signal).copied().unwrap_or(0.0);
        let readings = bundle.pipeline.readings(latest).into_iter();
        let evidence = readings.map(|r| SignalEvidence {
            weight: weigh(&r.signal),
            signal: r.signal,
            seen: r.seen,
            expected: Some(r.expected),
        });
        Anomaly::new(bundle.ensemble.score(&raw), evidence.collect()).missing(&absences)
    }

    /// How much each signal has to do with the score: every detector's own shares, by what the detector itself counts.
    fn weights<'a>(
        &self,
        bundle: &'a ModelBundle,
        raw: &RawScores,
        worst_forecast: Option<&'a str>,
    ) -> BTreeMap<&'a str, f64> {
        let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
        let mut by_column = |share: f64, columns: Vec<f64>| {
            for (column, of_column) in columns.into_iter().enumerate() {
                *weights.entry(bundle.pipeline.signal_of(column)).or_default() += share * of_column;
            }
        };
        let shares = bundle.ensemble.shares(raw);
        for (detector, share) in Detector::ALL.into_iter().zip(shares).filter(|(_, share)| *share > 0.0) {
            match detector {
                Detector::IsolationForest => by_column(share, bundle.forest.explain(&self.row)),
                Detector::SeasonalResidual => by_column(share, seasonal_shares(&self.row)),
                Detector::JointResidual => {
                    by_column(share, bundle.ensemble.joint().map_or_else(Vec::new, |joint| joint.shares(&self.row)));
                }
                Detector::LstmResidual => {}
            }
        }
        let of_lstm = shares[Detector::LstmResidual as usize];
        if of_lstm > 0.0
            && let Some(signal) = worst_forecast
        {
            *weights.entry(signal).or_default() += of_lstm;
        }
        weights
    }

    /// The target that is furthest from what the LSTM forecast [`HORIZONS`]`[0]` steps ago: its signal, and how far in
    /// standard deviations of that forecast. `None` where it is not `asked`.
    fn worst_forecast<'a>(&'a self, bundle: &'a ModelBundle, at: Timestamp, asked: bool) -> Option<(&'a str, f64)> {
        let lstm = bundle.lstm.as_ref().filter(|_| asked)?;
        let residuals =
            self.targets.iter().filter(|(_, history)| history.is_live(at)).filter_map(|((signal, _), history)| {
                let baseline = bundle.baselines.signals.get(&**signal)?;
                Some((&**signal, forecast_residual(history, lstm, baseline, bundle)?))
            });
        // Of equals the first, so that the order of targets settles it.
        residuals.reduce(|worst, next| if next.1 > worst.1 { next } else { worst })
    }
}

/// How far the last value lies from what `lstm` says of it from the steps up to [`HORIZONS`]`[0]` before it.
fn forecast_residual(
    history: &TargetHistory,
    lstm: &LstmForecaster,
    baseline: &SignalBaseline,
    bundle: &ModelBundle,
) -> Option<f64> {
    let ahead = HORIZONS[0];
    let recent: Vec<(Timestamp, f64)> = history.fractions(LOOKBACK + ahead).collect();
    let (window, later) = recent.split_at_checked(LOOKBACK)?;
    let (came, from) = (later.get(ahead - 1)?.1, window.last()?.1);
    let input = window_input(window, baseline, &bundle.baselines)?;
    let [low, mid, high] = lstm.forecast(&input)[0].map(f64::from);
    let deviation = ((high - low) / DECILES_APART).max(LEAST_DEVIATION);
    let residual = (((came - from) / baseline.scale - mid) / deviation).abs();
    residual.is_finite().then_some(residual)
}

/// Root mean square of the signals' distances from normal; NaN where none is known.
fn seasonal_residual(row: &[f32]) -> f64 {
    let squares = row.iter().step_by(2).filter(|z| z.is_finite()).map(|z| f64::from(*z).powi(2));
    let (sum, count) = squares.fold((0.0, 0.0), |(sum, count), square| (sum + square, count + 1.0));
    if count > 0.0 { f64::sqrt(sum / count) } else { f64::NAN }
}

/// The share of each column in [`seasonal_residual`].
fn seasonal_shares(row: &[f32]) -> Vec<f64> {
    let square = |(i, z): (usize, &f32)| if i.is_multiple_of(2) && z.is_finite() { f64::from(*z).powi(2) } else { 0.0 };
    let squares: Vec<f64> = row.iter().enumerate().map(square).collect();
    let total: f64 = squares.iter().sum();
    squares.into_iter().map(|square| if total > 0.0 { square / total } else { 0.0 }).collect()
}
