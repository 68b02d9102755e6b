//! A challenger beside the champion on the same steps: what each said, what happened, and whether the challenger may take over. It has
//! passed the gate on held-out history, so that what is asked here is whether real traffic shows it to be worse; in doubt the champion stays.
//! Pure: pairs and counts come in, a verdict comes out. Who scores, keeps and settles them is the server's affair.

use forewarn_schema::{Prediction, Probability, TimeToBreach};
use serde::{Deserialize, Serialize};

use crate::metrics::{mean, median, pinball_loss};

/// A pair is kept where either calls the breach at least this probable: what both call impossible, and is, says nothing of the difference.
pub const KEPT_FROM: f64 = 0.05;
/// The challenger must have scored this share of the period's steps.
const SCORED: f64 = 0.5;
/// How much larger a loss may be before it is worse: this share, and for the Brier score this much besides.
const WORSE_BY: f64 = 0.05;
const BRIER_BY: f64 = 0.005;
/// Breaches with an interval of both from which on intervals are compared.
const LEAST_INTERVALS: usize = 10;
/// The share of breaches that an honest interval holds, and how much further from it the challenger may be.
const COVERAGE: f64 = 0.8;
const COVERAGE_BY: f64 = 0.1;

/// What one of the two said of a target at a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// That the breach comes within the horizon.
    pub probability: Probability,
    /// When; `None`: not in sight.
    pub time_to_breach: Option<TimeToBreach>,
}

impl From<&Prediction> for Said {
    fn from(p: &Prediction) -> Self {
        Self { probability: p.breach_probability, time_to_breach: p.time_to_breach_seconds }
    }
}

/// What both said of one target at one step, and what happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Who serves.
    pub champion: Said,
    /// Who may.
    pub challenger: Said,
    /// Seconds until the breach that came within the horizon; `None`: none came.
    pub happened: Option<f64>,
}

/// What one of the two asked for, or would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Requests whose horizon is over.
    pub requests: usize,
    /// Those of them after which no breach came.
    pub false_alarms: usize,
    /// Breaches that a request had announced.
    pub announced: usize,
}

/// What a period comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Period {
    /// Steps that should have been scored, and those that the challenger scored.
    pub steps: usize,
    /// See above.
    pub scored: usize,
    /// Settled pairs.
    pub pairs: Vec<Pair>,
    /// Breaches of the service.
    pub breaches: usize,
    /// What the champion asked for.
    pub champion: Asked,
    /// What the challenger would have.
    pub challenger: Asked,
}

/// One side's figures; `None` where there was nothing to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Mean squared error of the probability.
    pub brier: Option<f64>,
    /// Mean pinball loss of p10, p50 and p90 over breaches that both had in sight, seconds.
    pub pinball_seconds: Option<f64>,
    /// The share of those that lay in the 80 % interval.
    pub coverage: Option<f64>,
    /// The median error of p50, as a share of the time that was left.
    pub time_error: Option<f64>,
    /// What it asked for.
    #[serde(flatten)]
    pub asked: Asked,
}

/// Both sides, and what that comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Who serves.
    pub champion: Figures,
    /// Who may.
    pub challenger: Figures,
    /// Settled pairs.
    pub pairs: usize,
    /// Breaches of the service.
    pub breaches: usize,
    /// Whether the challenger takes over.
    pub takes_over: bool,
    /// Why, or why not.
    pub reason: String,
}

/// Compares the two over one period.
pub fn compare(period: &Period) -> Comparison {
    let champion = figures(&period.pairs, |pair| pair.champion, period.champion);
    let challenger = figures(&period.pairs, |pair| pair.challenger, period.challenger);
    let worse = against(period, &champion, &challenger);
    let reason = worse.clone().unwrap_or_else(|| {
        let (pairs, breaches) = (period.pairs.len(), period.breaches);
        format!("not worse on real traffic: {pairs} settled predictions, {breaches} breaches")
    });
    let (pairs, breaches) = (period.pairs.len(), period.breaches);
    Comparison { champion, challenger, pairs, breaches, takes_over: worse.is_none(), reason }
}

/// Why the champion stays; `None` where nothing speaks for it.
fn against(period: &Period, champion: &Figures, challenger: &Figures) -> Option<String> {
    let Period { steps, scored, .. } = period;
    if (*scored as f64) < *steps as f64 * SCORED || *scored == 0 {
        return Some(format!("it scored {scored} of {steps} steps, too few to tell"));
    }
    let (false_alarms, before) = (challenger.asked.false_alarms, champion.asked.false_alarms);
    if false_alarms > before {
        return Some(format!("it would have made {false_alarms} false alarms, what serves made {before}"));
    }
    let (announced, before) = (challenger.asked.announced, champion.asked.announced);
    if announced < before {
        return Some(format!("it would have announced {announced} breaches, what serves announced {before}"));
    }
    if let Some((now, before)) = challenger.brier.zip(champion.brier)
        && now > before * (1.0 + WORSE_BY) + BRIER_BY
    {
        return Some(format!("its probabilities are worse: a Brier score of {now:.4}, what serves has {before:.4}"));
    }
    if both_in_sight(&period.pairs).count() < LEAST_INTERVALS {
        return None;
    }
    if let Some((now, before)) = challenger.pinball_seconds.zip(champion.pinball_seconds)
        && now > before * (1.0 + WORSE_BY)
    {
        return Some(format!("its times are worse: a pinball loss of {now:.0} s, what serves has {before:.0} s"));
    }
    if let Some((now, before)) = challenger.coverage.zip(champion.coverage)
        && (now - COVERAGE).abs() > (before - COVERAGE).abs() + COVERAGE_BY
    {
        return Some(format!(
            "its intervals hold {:.0} % of breaches, those of what serves {:.0} %",
            now * 100.0,
            before * 100.0
        ));
    }
    None
}

/// Pairs before a breach that both had in sight, with the seconds until it.
fn both_in_sight(pairs: &[Pair]) -> impl Iterator<Item = (&Pair, f64)> {
    let in_sight = |pair: &Pair| pair.champion.time_to_breach.is_some() && pair.challenger.time_to_breach.is_some();
    pairs.iter().filter(move |pair| in_sight(pair)).filter_map(|pair| Some((pair, pair.happened?)))
}

fn figures(pairs: &[Pair], side: impl Fn(&Pair) -> Said, asked: Asked) -> Figures {
    let squared = pairs.iter().map(|pair| {
        let error = side(pair).probability.get() - f64::from(u8::from(pair.happened.is_some()));
        error * error
    });
    let timed: Vec<(TimeToBreach, f64)> =
        both_in_sight(pairs).filter_map(|(pair, after)| Some((side(pair).time_to_breach?, after))).collect();
    let of = |quantile: f64, at: fn(&TimeToBreach) -> f64| {
        pinball_loss(timed.iter().map(|(said, after)| (*after, at(said))), quantile)
    };
    let pinball = [of(0.1, TimeToBreach::p10), of(0.5, TimeToBreach::p50), of(0.9, TimeToBreach::p90)];
    let held = timed.iter().map(|(said, after)| f64::from(u8::from((said.p10()..=said.p90()).contains(after))));
    let errors = timed.iter().filter(|(_, after)| *after > 0.0).map(|(said, after)| (said.p50() - after).abs() / after);
    Figures {
        brier: mean(squared),
        pinball_seconds: mean(pinball.into_iter().flatten()),
        coverage: mean(held),
        time_error: median(errors),
        asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(probability: f64, hours: Option<f64>) -> Said {
        let time_to_breach = hours.map(|h| TimeToBreach::new(h * 2700.0, h * 3600.0, h * 4500.0).unwrap());
        Said { probability: Probability::saturating(probability), time_to_breach }
    }

    fn pair(champion: Said, challenger: Said, hours: Option<f64>) -> Pair {
        Pair { champion, challenger, happened: hours.map(|h| h * 3600.0) }
    }

    fn calm() -> Period {
        let asked = Asked::default();
        Period { steps: 100, scored: 100, pairs: vec![], breaches: 0, champion: asked, challenger: asked }
    }

    #[test]
    fn a_calm_period_lets_take_over_what_passed_the_gate_and_one_that_was_not_scored_does_not() {
        assert!(compare(&calm()).takes_over);
        for scored in [0, 49] {
            let found = compare(&Period { scored, ..calm() });
            assert!(!found.takes_over && found.reason.contains("too few to tell"), "{}", found.reason);
        }
        assert!(!compare(&Period { steps: 0, scored: 0, ..calm() }).takes_over);
    }

    #[test]
    fn one_false_alarm_more_or_one_breach_less_keeps_the_champion() {
        let asked = |false_alarms, announced| Asked { requests: false_alarms + announced, false_alarms, announced };
        let with = |champion, challenger| compare(&Period { champion, challenger, breaches: 2, ..calm() });
        assert!(with(asked(1, 1), asked(1, 1)).takes_over && with(asked(1, 1), asked(0, 2)).takes_over);
        assert!(with(asked(0, 2), asked(1, 2)).reason.contains("1 false alarms"));
        assert!(with(asked(0, 2), asked(0, 1)).reason.contains("announced 1 breaches"));
    }

    #[test]
    fn probabilities_and_times_must_not_be_worse() {
        let pairs = |challenger: Said, hours: Option<f64>| vec![pair(said(0.8, Some(3.0)), challenger, hours); 12];
        let over = |pairs| compare(&Period { pairs, ..calm() });
        assert!(over(pairs(said(0.8, Some(3.0)), Some(3.0))).takes_over);
        assert!(over(pairs(said(0.4, Some(3.0)), Some(3.0))).reason.contains("Brier"));
        assert!(over(pairs(said(0.9, Some(3.0)), None)).reason.contains("Brier"), "sure of what did not come");
        assert!(over(pairs(said(0.8, Some(5.0)), Some(3.0))).reason.contains("pinball"));
        let few: Vec<Pair> = pairs(said(0.8, Some(5.0)), Some(3.0)).into_iter().take(9).collect();
        assert!(over(few).takes_over, "too few breaches say nothing of intervals");
    }

    #[test]
    fn figures_of_nothing_are_none() {
        let found = compare(&calm());
        assert_eq!(found.champion, Figures::default());
        assert_eq!(serde_json::to_value(&found).unwrap()["challenger"]["brier"], serde_json::Value::Null);
    }
}
