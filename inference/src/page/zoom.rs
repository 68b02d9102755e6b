//! Which stretch of time a target's chart shows: a range back from now, or any two times. In the URL, so that a link
//! shows what its sender saw.

use std::time::Duration;

use forewarn_models::TargetView;
use forewarn_schema::{TimeRange, Timestamp};

use super::filter::Query;

/// Ranges to choose from: key, name, how far back.
const RANGES: [(&str, &str, Option<u64>); 5] = [
    ("1h", "1 h", Some(3600)),
    ("6h", "6 h", Some(6 * 3600)),
    ("1d", "1 day", Some(86_400)),
    ("3d", "3 days", Some(3 * 86_400)),
    ("all", "All", None),
];
const USUAL: &str = "1d";
/// Nothing closer can be told apart: samples come once a step.
const LEAST: i64 = 300_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Zoom {
    /// This far back, and what is ahead; `None`: all that is remembered.
    Back(&'static str, Option<Duration>),
    /// From one time to another, in Unix milliseconds.
    Between(i64, i64),
}

/// A range to choose.
pub(super) struct RangeChoice {
    pub(super) name: &'static str,
    pub(super) href: String,
    pub(super) is_chosen: bool,
}

impl Zoom {
    /// What cannot be read, or is the wrong way round, is the usual day.
    pub(super) fn read(query: &Query) -> Self {
        let number = |name: &str| query.get(name).and_then(|value| value.parse::<i64>().ok());
        if let (Some(from), Some(to)) = (number("from"), number("to"))
            && from < to
        {
            return Self::Between(from, to);
        }
        let wanted = query.get("range").map_or(USUAL, String::as_str);
        Self::back(wanted).or_else(|| Self::back(USUAL)).unwrap_or(Self::Back(USUAL, None))
    }

    fn back(key: &str) -> Option<Self> {
        let (key, _, seconds) = RANGES.into_iter().find(|(known, ..)| *known == key)?;
        Some(Self::Back(key, seconds.map(Duration::from_secs)))
    }

    /// The buttons above the chart of the target at `path`.
    pub(super) fn choices(&self, path: &str) -> Vec<RangeChoice> {
        let choice = |(key, name, _): (&'static str, &'static str, _)| RangeChoice {
            name,
            href: if key == USUAL { path.to_owned() } else { format!("{path}?range={key}") },
            is_chosen: matches!(self, Self::Back(chosen, _) if *chosen == key),
        };
        RANGES.into_iter().map(choice).collect()
    }

    /// As the query of a URL, with the `?`.
    pub(super) fn query(&self) -> String {
        match self {
            Self::Back(key, _) if *key == USUAL => String::new(),
            Self::Back(key, _) => format!("?range={key}"),
            Self::Between(from, to) => format!("?from={from}&to={to}"),
        }
    }

    /// The two times, held within what is remembered and what is forecast of `view`, at least five minutes apart;
    /// `None` where a range back is asked for.
    pub(super) fn between(&self, view: &TargetView) -> Option<TimeRange> {
        let Self::Between(from, to) = *self else { return None };
        let now = view.prediction.at;
        let first = view.history.first().map_or(now, |s| s.at).millis();
        let breach = view.prediction.time_to_breach_seconds.map(|t| super::words::ahead(now, t.p90()));
        let last = view.fan.last().map(|f| f.at).max(breach).unwrap_or(now).max(now).millis();
        let from = from.clamp(first, (last - LEAST).max(first));
        let to = to.clamp(from.saturating_add(LEAST), last.max(from.saturating_add(LEAST)));
        TimeRange::new(Timestamp::from_millis(from), Timestamp::from_millis(to)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Zoom {
        Zoom::read(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_cannot_be_shown_is_the_usual_day() {
        let usual = read(&[]);
        assert_eq!(usual.query(), "");
        for odd in [vec![("range", "9y")], vec![("from", "5"), ("to", "5")], vec![("from", "x"), ("to", "7")]] {
            assert_eq!(read(&odd), usual, "{odd:?}");
        }
    }

    #[test]
    fn a_zoom_survives_its_own_url() {
        assert_eq!(read(&[("range", "6h")]).query(), "?range=6h");
        assert_eq!(read(&[("from", "1000"), ("to", "900000")]).query(), "?from=1000&to=900000");
        let chosen: Vec<bool> = read(&[("range", "6h")]).choices("/t").iter().map(|c| c.is_chosen).collect();
        assert_eq!(chosen, [false, true, false, false, false]);
    }
}
