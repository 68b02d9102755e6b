//! The gate between a candidate and serving: a model earns its place, a false alarm costs more than
//! a miss. Pure comparison of figures; where they come from is the business of `evaluate` and `compare`.
//!
//! A figure is held against a candidate only where it is worse beyond the interval of the difference: of
//! two equal models each is worse in half of its figures. False alarms get no such benefit of the doubt.

use forewarn_models::ForecastModel;
use serde::{Deserialize, Serialize};

use crate::compare::{Comparison, Difference};
use crate::report::ForecastQuality;

/// Announcing nothing where the other announced this many breaches is refused without asking chance.
const BLIND: u64 = 2;

/// What is asked of a candidate beyond the intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromotionGate {
    /// How far the pinball loss of a candidate that serves its LSTM may lie above the best baseline's, as a
    /// share, even where that is sure. Default 0.02: less than one week differs from the next.
    pub forecast_tolerance: f64,
    /// How many incidents more a candidate must announce for each false alarm that it raises more. Default 3:
    /// a missed breach leaves people where they are today, a wrong remediation makes an outage.
    pub incidents_per_false_alarm: u64,
}

impl Default for PromotionGate {
    fn default() -> Self {
        Self { forecast_tolerance: 0.02, incidents_per_false_alarm: 3 }
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
    /// Beside the model that serves now; `None` where the rules serve.
    pub current: Option<&'a Comparison>,
    /// Beside the rules alone.
    pub rules: &'a Comparison,
    /// All candidates together beside what serves now: one service has too few incidents to show what all
    /// of them show.
    pub all: Option<&'a Comparison>,
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
        against.extend(input.current.into_iter().flat_map(|c| self.judge_alarms("the current model", c)));
        against.extend(self.judge_alarms("the rules", input.rules));
        let here = input.current.unwrap_or(input.rules);
        against.extend(input.all.into_iter().flat_map(|all| judge_together(all, here)));
        if against.is_empty() {
            let rules = input.rules;
            in_favour.push(format!(
                "It predicted {} of {} with {}, and the rules {} with {}.",
                rules.predicted,
                count(rules.breaches, "breach", "breaches"),
                count(rules.false_alarms, "false alarm", "false alarms"),
                rules.other_predicted,
                rules.other_false_alarms,
            ));
            GateVerdict::Pass { reason: in_favour.join(" ") }
        } else {
            GateVerdict::Refuse { reason: against.join(" ") }
        }
    }

    /// Which forecast has earned its place: the LSTM where its pinball loss is not worse than the best
    /// baseline's, beyond the tolerance and beyond doubt, else that baseline. `None` where nothing was judged.
    pub fn earned(&self, forecast: &ForecastQuality) -> Option<ForecastModel> {
        let loss_of = |model| forecast.score(model).map(|s| s.pinball_loss);
        let (best, best_loss) = best_baseline(forecast)?;
        // A NaN loss must not pass, so the comparison is for the good case.
        let earns = loss_of(ForecastModel::Lstm).is_some_and(|loss| {
            let in_doubt = forecast.lstm_beside_baseline.is_some_and(|d| d.interval.is_some() && !d.is_surely_worse());
            loss <= best_loss * (1.0 + self.forecast_tolerance) || loss.is_finite() && in_doubt
        });
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
                "Its LSTM's pinball loss {loss:.4} is worse than the {} baseline's {best_loss:.4} by more than {:.0} %{}.",
                words(best),
                self.forecast_tolerance * 100.0,
                if forecast.lstm_beside_baseline.is_some() { ", and that is no chance" } else { "" },
            ))
        }
    }

    fn judge_alarms(&self, name: &str, beside: &Comparison) -> Vec<String> {
        let mut against = Vec::new();
        let more = beside.false_alarms.saturating_sub(beside.other_false_alarms);
        let gained = beside.episodes_gained.saturating_sub(beside.episodes_lost);
        if gained < more * self.incidents_per_false_alarm {
            against.push(format!(
                "It raised {}, {name} {}. A false alarm costs more than a miss: it would have to announce {} more for that, \
                 and announced {gained}.",
                count(beside.false_alarms, "false alarm", "false alarms"),
                beside.other_false_alarms,
                count(more * self.incidents_per_false_alarm, "incident", "incidents"),
            ));
        }
        if is_blind(beside) || beside.surely_loses_breaches() {
            against.push(format!(
                "It predicted {} of {}, {name} {}.",
                beside.predicted,
                count(beside.breaches, "breach", "breaches"),
                beside.other_predicted,
            ));
        }
        against.extend(worse_figures(beside).map(|(what, d)| figure_sentence("It", what, name, d)));
        against
    }
}

/// What all candidates together do worse than what serves now, beyond chance, each candidate answers for
/// that does it worse, too.
fn judge_together(all: &Comparison, here: &Comparison) -> Vec<String> {
    let mut against = Vec::new();
    if all.surely_loses_breaches() && here.episodes_lost > here.episodes_gained {
        against.push(format!(
            "All candidates together predicted {} of {}, what serves now {}, and this service is among those that lost.",
            all.predicted,
            count(all.breaches, "breach", "breaches"),
            all.other_predicted,
        ));
    }
    for (what, together) in worse_figures(all) {
        let of_this = figures(here).into_iter().find(|(name, ..)| *name == what).and_then(|(_, d, _)| d);
        if of_this.is_some_and(|d| d.worse_by() > 0.0 && !d.is_surely_worse()) {
            let sentence = figure_sentence("All candidates together", what, "what serves now", together);
            against.push(format!("{sentence} This service is among those that lost."));
        }
    }
    against
}

fn is_blind(beside: &Comparison) -> bool {
    beside.predicted == 0 && beside.other_predicted >= BLIND
}

const TIME_ERROR: &str = "mean error of the time to breach half-way";
const COVERAGE: &str = "distance of the intervals' coverage from 80 %";
const BRIER: &str = "Brier score of the breach probability";

/// The figures that are gated by their intervals, in the words of a reason, and how much worse each must be to matter to
/// anybody: over many calm days a difference far below what a reader sees is sure, too.
fn figures(beside: &Comparison) -> [(&'static str, Option<Difference>, f64); 3] {
    [
        (TIME_ERROR, beside.time_to_breach_error, 0.02),
        (COVERAGE, beside.interval_coverage, 0.02),
        (BRIER, beside.brier_score, 0.002),
    ]
}

fn worse_figures(beside: &Comparison) -> impl Iterator<Item = (&'static str, Difference)> {
    figures(beside).into_iter().filter_map(|(what, difference, matters)| {
        let worse = difference.filter(Difference::is_surely_worse)?;
        (worse.worse_by() >= matters).then_some((what, worse))
    })
}

fn figure_sentence(who: &str, what: &str, name: &str, difference: Difference) -> String {
    let verb = if who == "It" { "has" } else { "have" };
    let range = difference.interval.map_or_else(String::new, |i| format!(", worse by {:.3} to {:.3}", i.low, i.high));
    format!("{who} {verb} {:.3} as {what}, {name} {:.3}{range}.", difference.candidate, difference.other)
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
    use crate::intervals::{Interval, coin_at_least};
    use crate::report::ForecastScore;

    /// What the candidate and the other announced of so many incidents, and how often each cried wolf.
    fn beside(breaches: u64, ours: (u64, u64), theirs: (u64, u64)) -> Comparison {
        let (lost, gained) = (theirs.0.saturating_sub(ours.0), ours.0.saturating_sub(theirs.0));
        Comparison {
            breaches,
            predicted: ours.0,
            other_predicted: theirs.0,
            episodes_lost: lost,
            episodes_gained: gained,
            chance_of_loss: coin_at_least(lost, lost + gained),
            false_alarms: ours.1,
            other_false_alarms: theirs.1,
            ..Comparison::default()
        }
    }

    fn forecast(lstm: f64, trend: f64, naive: f64) -> ForecastQuality {
        let score =
            |model, pinball_loss| ForecastScore { model, pinball_loss, interval_coverage: None, by_horizon: vec![] };
        let scores = vec![
            score(ForecastModel::Lstm, lstm),
            score(ForecastModel::SeasonalNaive, naive),
            score(ForecastModel::Trend, trend),
        ];
        ForecastQuality { origins: 10, horizons_seconds: vec![300.0], scores, lstm_beside_baseline: None }
    }

    fn judge(lstm: f64, current: &Comparison) -> GateVerdict {
        let forecast = forecast(lstm, 1.0, 2.0);
        let serves = ForecastModel::Lstm;
        let input = GateInput { serves, forecast: Some(&forecast), current: Some(current), rules: current, all: None };
        PromotionGate::default().judge(&input)
    }

    #[test]
    fn a_better_forecast_and_no_worse_alarms_pass() {
        let verdict = judge(0.8, &beside(4, (3, 0), (3, 0)));
        assert_eq!(
            verdict.reason(),
            "Its LSTM's pinball loss is 0.8000, the best baseline's (trend) 1.0000. \
             It predicted 3 of 4 breaches with 0 false alarms, and the rules 3 with 0."
        );
        assert!(verdict.passes());
    }

    #[test]
    fn a_worse_or_nan_forecast_does_not_serve() {
        let quiet = beside(0, (0, 0), (0, 0));
        assert!(judge(1.01, &quiet).passes(), "within the tolerance");
        assert!(!judge(1.03, &quiet).passes());
        assert!(!judge(f64::NAN, &quiet).passes());
    }

    #[test]
    fn a_forecast_is_refused_where_it_is_worse_beyond_doubt_as_well() {
        let with = |low, high| {
            let interval = Some(Interval { low, high });
            let lstm_beside_baseline = Some(Difference { candidate: 1.05, other: 1.0, interval });
            PromotionGate::default().earned(&ForecastQuality { lstm_beside_baseline, ..forecast(1.05, 1.0, 2.0) })
        };
        assert_eq!(with(-0.02, 0.12), Some(ForecastModel::Lstm), "a week more may turn it round");
        assert_eq!(with(0.01, 0.09), Some(ForecastModel::Trend));
    }

    #[test]
    fn one_more_false_alarm_or_all_breaches_lost_is_refused_with_both_reasons() {
        let verdict = judge(0.8, &beside(4, (0, 1), (4, 0)));
        assert!(!verdict.passes());
        for wanted in ["It raised 1 false alarm, the current model 0.", "It predicted 0 of 4 breaches, the rules 4."] {
            assert!(verdict.reason().contains(wanted), "{:?} must say {wanted:?}", verdict.reason());
        }
    }

    #[test]
    fn false_alarms_have_a_price_and_misses_a_doubt() {
        assert!(!judge(0.8, &beside(9, (5, 1), (4, 0))).passes(), "one incident does not pay for a false alarm");
        assert!(judge(0.8, &beside(9, (7, 1), (4, 0))).passes(), "three do");
        assert!(judge(0.8, &beside(9, (7, 0), (9, 0))).passes(), "two lost of nine may be chance");
        assert!(!judge(0.8, &beside(9, (4, 0), (9, 0))).passes(), "five of nine are not");
        assert!(!judge(0.8, &beside(2, (0, 0), (2, 0))).passes(), "to be blind is refused without asking chance");
    }

    #[test]
    fn a_figure_counts_where_its_difference_is_sure() {
        let with = |low, high| {
            let interval = Some(Interval { low, high });
            let time_to_breach_error = Some(Difference { candidate: 0.4, other: 0.2, interval });
            judge(0.8, &Comparison { time_to_breach_error, ..beside(9, (9, 0), (9, 0)) })
        };
        assert!(with(-0.1, 0.5).passes());
        let verdict = with(0.1, 0.3);
        assert!(verdict.reason().contains("worse by 0.100 to 0.300"), "{}", verdict.reason());
    }

    #[test]
    fn a_difference_that_nobody_would_see_does_not_count_however_sure_it_is() {
        let with = |more: f64| {
            let interval = Some(Interval { low: more * 0.9, high: more * 1.1 });
            let brier_score = Some(Difference { candidate: 0.002 + more, other: 0.002, interval });
            judge(0.8, &Comparison { brier_score, ..beside(0, (0, 0), (0, 0)) })
        };
        assert!(with(0.0004).passes());
        assert!(!with(0.02).passes());
    }

    #[test]
    fn who_loses_answers_for_what_all_lose_together() {
        let all = beside(20, (12, 0), (18, 0));
        let verdict = |here: &Comparison| {
            let input =
                GateInput { serves: ForecastModel::Trend, forecast: None, current: None, rules: here, all: Some(&all) };
            PromotionGate::default().judge(&input)
        };
        assert!(verdict(&beside(3, (3, 0), (3, 0))).passes());
        let lost = verdict(&beside(3, (2, 0), (3, 0)));
        assert!(lost.reason().contains("among those that lost"), "{}", lost.reason());
    }

    #[test]
    fn an_lstm_that_nobody_could_judge_does_not_serve() {
        let quiet = beside(0, (0, 0), (0, 0));
        let input = |serves| GateInput { serves, forecast: None, current: None, rules: &quiet, all: None };
        assert!(!PromotionGate::default().judge(&input(ForecastModel::Lstm)).passes());
        assert!(PromotionGate::default().judge(&input(ForecastModel::Trend)).passes());
    }
}
