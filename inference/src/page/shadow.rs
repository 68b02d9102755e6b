//! A challenger beside what serves, as a card of `/models` shows it: until when, or how its period ended and both sides' figures.

use forewarn_models::registry::Shadow;
use forewarn_models::shadow::Figures;
use forewarn_plots::{Unit, format_utc};

use super::words;

pub(super) struct ShadowCard {
    pub(super) version: String,
    pub(super) state: &'static str,
    pub(super) tone: &'static str,
    pub(super) text: String,
    /// The challenger and what served, where they were compared.
    pub(super) lines: Vec<ShadowLine>,
    /// Settled predictions and breaches that the figures rest on.
    pub(super) rests_on: String,
}

/// A dash where there was nothing to measure.
pub(super) struct ShadowLine {
    pub(super) who: &'static str,
    pub(super) announced: String,
    pub(super) false_alarms: String,
    pub(super) brier: String,
    pub(super) pinball: String,
    pub(super) error: String,
    pub(super) coverage: String,
}

impl ShadowCard {
    /// `refused`: why the challenger does not score here, where it does not.
    pub(super) fn new(shadow: &Shadow, refused: Option<String>) -> Self {
        let version = shadow.version.to_string();
        let Some(end) = &shadow.ended else {
            let (state, tone, text) = match refused {
                None => {
                    ("In shadow", "warn", format!("It scores beside what serves until {}.", format_utc(shadow.until)))
                }
                Some(error) => ("In shadow, not loaded", "bad", super::view::full_sentence(&error)),
            };
            return Self { version, state, tone, text, lines: Vec::new(), rests_on: String::new() };
        };
        let (state, tone) = if end.promoted { ("Took over", "good") } else { ("Refused by its shadow period", "bad") };
        let compared = end.comparison.as_ref();
        Self {
            version,
            state,
            tone,
            text: super::view::full_sentence(&end.reason),
            lines: compared.map_or_else(Vec::new, |c| {
                vec![line("Challenger", &c.challenger, c.breaches), line("Served", &c.champion, c.breaches)]
            }),
            rests_on: compared.map_or_else(String::new, |c| {
                format!("{} settled predictions and {} breaches up to {}.", c.pairs, c.breaches, format_utc(end.at))
            }),
        }
    }
}

fn line(who: &'static str, figures: &Figures, breaches: usize) -> ShadowLine {
    let dash = || "–".to_owned();
    let share = |value: Option<f64>| value.map_or_else(dash, |value| Unit::Ratio.format(value));
    ShadowLine {
        who,
        announced: if breaches > 0 { format!("{} of {breaches}", figures.asked.announced) } else { dash() },
        false_alarms: figures.asked.false_alarms.to_string(),
        brier: figures.brier.map_or_else(dash, |brier| format!("{brier:.3}")),
        pinball: figures.pinball_seconds.map_or_else(dash, words::span),
        error: share(figures.time_error),
        coverage: share(figures.coverage),
    }
}
