//! The gate between a candidate and serving: a model earns its place, a false alarm costs more than
//! a miss. Pure comparison of figures; where they come from is `evaluate`'s business.

use forewarn_models::ForecastModel;
use serde::{Deserialize, Serialize};

use crate::report::{AlarmQuality, ForecastQuality};

/// How much worse a candidate may be than what it replaces and still pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromotionGate {
    /// How far the pinball loss of a candidate that serves its LSTM may lie above the best
    /// baseline's, as a share. Default 0.02: two figures of one service differ by about that from
    /// one held-out week to the next.
    pub forecast_tolerance: f64,
    /// How far recall may fall below the current model's (and the rules'), 0..=1. Default 0.05.
    pub recall_tolerance: f64,
    /// How many false alarms more than the current model (and the rules) are allowed over the whole
    /// range. Default 0: each costs trust.
    pub extra_false_alarms: u64,
}

impl Default for PromotionGate {
    fn default() -> Self {
        Self { forecast_tolerance: 0.02, recall_tolerance: 0.05, extra_false_alarms: 0 }
    }
}

/// May the candidate serve? With the reason as sentences for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum GateVerdict {
    /// It may.
    Pass {
        /// Why.
        reason: String,
    },
    /// It may not; the current model, or the rules, go on serving.
    Refuse {
        /// Everything that speaks against it.
        reason: String,
    },
}

impl GateVerdict {
    /// Whether the candidate may serve.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Pass { .. })
    }

    /// Why.
    pub fn reason(&self) -> &str {
        match self {
            Self::Pass { reason } | Self::Refuse { reason } => reason,
        }
    }
}

/// The figures that the gate compares, of one service on one held-out range.
#[derive(Clone, Copy, Debug)]
pub struct GateInput<'a> {
    /// Which forecast the candidate serves.
    pub serves: ForecastModel,
    /// How the forecasts did; `None` where no origin could be judged.
    pub forecast: Option<&'a ForecastQuality>,
    /// Requests with the candidate.
    pub candidate: &'a AlarmQuality,
    /// Requests with the model that serves now; `None` where the rules serve.
    pub current: Option<&'a AlarmQuality>,
    /// Requests with the rules alone.
    pub rules: &'a AlarmQuality,
}

impl PromotionGate {
    /// Judges one candidate. What cannot be measured speaks neither for nor against it, except that
    /// an LSTM whose forecast could not be judged does not serve.
    pub fn judge(&self, input: &GateInput<'_>) -> GateVerdict {
        let mut against = Vec::new();
        let mut in_favour = Vec::new();
        match self.judge_forecast(input) {
            Ok(sentence) => in_favour.push(sentence),
            Err(sentence) => against.push(sentence),
        }
        against
            .extend(input.current.into_iter().flat_map(|c| self.judge_alarms(input.candidate, "the current model", c)));
        against.extend(self.judge_alarms(input.candidate, "the rules", input.rules));
        if against.is_empty() {
            let candidate = input.candidate;
            in_favour.push(format!(
                "It predicted {} of {} with {}, and the rules {} with {}.",
                candidate.predicted,
                count(candidate.breaches, "breach", "breaches"),
                count(candidate.false_alarms, "false alarm", "false alarms"),
                input.rules.predicted,
                input.rules.false_alarms,
            ));
            GateVerdict::Pass { reason: in_favour.join(" ") }
        } else {
            GateVerdict::Refuse { reason: against.join(" ") }
        }
    }

    /// Which forecast has earned its place: the LSTM where its pinball loss is not worse than the best
    /// baseline's beyond the tolerance, else that baseline. `None` where nothing was judged.
    pub fn earned(&self, forecast: &ForecastQuality) -> Option<ForecastModel> {
        let loss_of = |model| forecast.score(model).map(|s| s.pinball_loss);
        let (best, best_loss) = best_baseline(forecast)?;
        // A NaN loss must not pass, so the comparison is for the good case.
        let earns =
            loss_of(ForecastModel::Lstm).is_some_and(|loss| loss <= best_loss * (1.0 + self.forecast_tolerance));
        Some(if earns { ForecastModel::Lstm } else { best })
    }

    fn judge_forecast(&self, input: &GateInput<'_>) -> Result<String, String> {
        let Some(forecast) = input.forecast else {
            return if input.serves == ForecastModel::Lstm {
                Err("It would serve its LSTM, but no forecast of it could be judged on the held-out range.".to_owned())
            } else {
                Ok(format!("It serves the {} baseline.", words(input.serves)))
            };
        };
        let loss_of = |model| forecast.score(model).map(|s| s.pinball_loss);
        let (Some((best, best_loss)), Some(loss)) = (best_baseline(forecast), loss_of(input.serves)) else {
            return if input.serves == ForecastModel::Lstm {
                Err("It would serve its LSTM, but that has no pinball loss to compare with a baseline's.".to_owned())
            } else {
                Ok(format!("It serves the {} baseline.", words(input.serves)))
            };
        };
        if input.serves != ForecastModel::Lstm {
            let lstm = loss_of(ForecastModel::Lstm).map_or_else(String::new, |l| format!(" (its LSTM's is {l:.4})"));
            return Ok(format!("It serves the {} baseline, pinball loss {loss:.4}{lstm}.", words(input.serves)));
        }
        if self.earned(forecast) == Some(ForecastModel::Lstm) {
            Ok(format!("Its LSTM's pinball loss is {loss:.4}, the best baseline's ({}) {best_loss:.4}.", words(best)))
        } else {
            Err(format!(
                "Its LSTM's pinball loss {loss:.4} is worse than the {} baseline's {best_loss:.4} by more than {:.0} %.",
                words(best),
                self.forecast_tolerance * 100.0,
            ))
        }
    }

    fn judge_alarms(&self, candidate: &AlarmQuality, name: &str, other: &AlarmQuality) -> Vec<String> {
        let mut against = Vec::new();
        if candidate.false_alarms > other.false_alarms + self.extra_false_alarms {
            against.push(format!(
                "It raised {}, {name} {}.",
                count(candidate.false_alarms, "false alarm", "false alarms"),
                other.false_alarms,
            ));
        }
        if let (Some(recall), Some(wanted)) = (candidate.recall, other.recall)
            && recall < wanted - self.recall_tolerance
        {
            against.push(format!(
                "It predicted {} of {}, {name} {}.",
                candidate.predicted,
                count(candidate.breaches, "breach", "breaches"),
                other.predicted,
            ));
        }
        against
    }
}

fn best_baseline(forecast: &ForecastQuality) -> Option<(ForecastModel, f64)> {
    let baselines = [ForecastModel::Trend, ForecastModel::SeasonalNaive];
    let losses = baselines.into_iter().filter_map(|m| Some((m, forecast.score(m)?.pinball_loss)));
    losses.min_by(|a, b| a.1.total_cmp(&b.1))
}

/// The model's name in a sentence.
pub fn words(model: ForecastModel) -> &'static str {
    match model {
        ForecastModel::Trend => "trend",
        ForecastModel::SeasonalNaive => "seasonal-naive",
        ForecastModel::Lstm => "LSTM",
    }
}

/// `1 breach`, `2 breaches`.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ForecastScore;

    fn alarms(breaches: u64, predicted: u64, false_alarms: u64) -> AlarmQuality {
        let recall = (breaches > 0).then(|| predicted as f64 / breaches as f64);
        AlarmQuality { breaches, predicted, false_alarms, recall, ..AlarmQuality::default() }
    }

    fn forecast(lstm: f64, trend: f64, naive: f64) -> ForecastQuality {
        let score =
            |model, pinball_loss| ForecastScore { model, pinball_loss, interval_coverage: None, by_horizon: vec![] };
        let scores = vec![
            score(ForecastModel::Lstm, lstm),
            score(ForecastModel::SeasonalNaive, naive),
            score(ForecastModel::Trend, trend),
        ];
        ForecastQuality { origins: 10, horizons_seconds: vec![300.0], scores }
    }

    fn judge(lstm: f64, candidate: AlarmQuality, current: AlarmQuality) -> GateVerdict {
        let forecast = forecast(lstm, 1.0, 2.0);
        let input = GateInput {
            serves: ForecastModel::Lstm,
            forecast: Some(&forecast),
            candidate: &candidate,
            current: Some(&current),
            rules: &current,
        };
        PromotionGate::default().judge(&input)
    }

    #[test]
    fn a_better_forecast_and_no_worse_alarms_pass() {
        let verdict = judge(0.8, alarms(4, 3, 0), alarms(4, 3, 0));
        assert_eq!(
            verdict.reason(),
            "Its LSTM's pinball loss is 0.8000, the best baseline's (trend) 1.0000. \
             It predicted 3 of 4 breaches with 0 false alarms, and the rules 3 with 0."
        );
        assert!(verdict.passes());
    }

    #[test]
    fn a_worse_or_nan_forecast_does_not_serve() {
        assert!(judge(1.01, alarms(0, 0, 0), alarms(0, 0, 0)).passes(), "within the tolerance");
        assert!(!judge(1.03, alarms(0, 0, 0), alarms(0, 0, 0)).passes());
        assert!(!judge(f64::NAN, alarms(0, 0, 0), alarms(0, 0, 0)).passes());
    }

    #[test]
    fn one_more_false_alarm_or_a_lost_breach_is_refused_with_both_reasons() {
        let verdict = judge(0.8, alarms(4, 2, 1), alarms(4, 4, 0));
        assert!(!verdict.passes());
        for wanted in ["It raised 1 false alarm, the current model 0.", "It predicted 2 of 4 breaches, the rules 4."] {
            assert!(verdict.reason().contains(wanted), "{:?} must say {wanted:?}", verdict.reason());
        }
    }

    #[test]
    fn an_lstm_that_nobody_could_judge_does_not_serve() {
        let quiet = alarms(0, 0, 0);
        let input = |serves| GateInput { serves, forecast: None, candidate: &quiet, current: None, rules: &quiet };
        assert!(!PromotionGate::default().judge(&input(ForecastModel::Lstm)).passes());
        assert!(PromotionGate::default().judge(&input(ForecastModel::Trend)).passes());
    }
}
