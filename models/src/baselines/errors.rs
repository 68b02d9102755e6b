//! How far the two rules are off, measured on the training data: their intervals, and the bar that a
//! learnt forecaster has to pass.

use forewarn_features::SeasonalProfile;
use forewarn_schema::{Step, Timestamp};
use serde::{Deserialize, Serialize};

/// How many steps ahead forecasts are compared.
pub const HORIZONS: [usize; 4] = [5, 15, 30, 60];
/// Which quantiles they give.
pub const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];

/// Error quantiles per horizon of [`HORIZONS`], in units of the signal's scale: what to add to a
/// rule's point forecast for its 0.1, 0.5 and 0.9 quantiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastErrors {
    /// Of the seasonal-naive rule: the last value, moved as the profile moves.
    pub seasonal_naive: Vec<[f64; 3]>,
    /// Of the trend rule: the last value, moved on by the robust slope of the last hour.
    pub trend: Vec<[f64; 3]>,
}

impl ForecastErrors {
    /// Measures at up to a few thousand origins spread over `series`; a horizon that nothing reaches
    /// gets zeros.
    pub fn measure(series: &[&[(Timestamp, f64)]], profile: &SeasonalProfile, scale: f64, step: Step) -> Self {
        let mut naive_errors: Vec<Vec<f64>> = vec![Vec::new(); HORIZONS.len()];
        let mut trend_errors: Vec<Vec<f64>> = vec![Vec::new(); HORIZONS.len()];
        let longest = HORIZONS[HORIZONS.len() - 1];
        let total: usize = series.iter().map(|s| s.len()).sum();
        let stride = (total / 3000).max(7);
        for points in series {
            for origin in (60..points.len().saturating_sub(longest)).step_by(stride) {
                let slope = recent_slope(&points[origin - 60..=origin]);
                let (at, now) = points[origin];
                for (h, horizon) in HORIZONS.into_iter().enumerate() {
                    let (later, truth) = points[origin + horizon];
                    if later.millis() - at.millis() != step.millis() * horizon as i64 {
                        continue; // A gap lies between.
                    }
                    naive_errors[h].push((truth - seasonal_naive(profile, at, now, later)) / scale);
                    trend_errors[h].push((truth - (now + slope * horizon as f64)) / scale);
                }
            }
        }
        let quantiles = |errors: Vec<Vec<f64>>| errors.into_iter().map(quantiles_of).collect();
        Self { seasonal_naive: quantiles(naive_errors), trend: quantiles(trend_errors) }
    }

    /// Whether what was deserialised has an entry a horizon.
    pub fn is_well_formed(&self) -> bool {
        self.seasonal_naive.len() == HORIZONS.len() && self.trend.len() == HORIZONS.len()
    }
}

/// The seasonal-naive point forecast: today moves as the profile moves.
pub fn seasonal_naive(profile: &SeasonalProfile, at: Timestamp, now: f64, later: Timestamp) -> f64 {
    now + profile.level(later) - profile.level(at)
}

/// The robust slope a step over one hour of points: the median of the slopes between its two halves.
pub fn recent_slope(points: &[(Timestamp, f64)]) -> f64 {
    let half = points.len() / 2;
    if half == 0 {
        return 0.0;
    }
    let mut slopes: Vec<f64> = (0..half).map(|i| (points[i + half].1 - points[i].1) / half as f64).collect();
    forewarn_features::seasonal::median(&mut slopes)
}

fn quantiles_of(mut errors: Vec<f64>) -> [f64; 3] {
    if errors.is_empty() {
        return [0.0; 3];
    }
    errors.sort_by(f64::total_cmp);
    QUANTILES.map(|q| errors[((errors.len() - 1) as f64 * q).round() as usize])
}
