//! What a model did not learn from, as its manifest has it: for a page, in words and times.

use forewarn_models::bundle::BundleManifest;
use forewarn_plots::{Unit, format_utc};
use forewarn_schema::TimeRange;
use serde::{Deserialize, Serialize};

use crate::exclusions::{LeftOut, Share, merged};
use crate::fit::FitQuality;

/// Of one training window, what is no part of the normal that was learnt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotLearnt {
    /// All of it together, each hour counted once.
    pub total: Share,
    /// Of the training window, in hours.
    pub window_hours: f64,
    /// Why, and what people say is normal whatever it looks like. The reasons may overlap.
    pub reasons: LeftOut,
    /// When, sorted and apart.
    pub times: Vec<TimeRange>,
}

impl NotLearnt {
    /// `None` where the manifest says nothing of it, as that of another version may.
    pub(crate) fn of(manifest: &BundleManifest) -> Option<Self> {
        let quality = manifest.quality.as_ref()?;
        // An evaluation that takes the forecaster away puts its own words around those of the fit.
        let fitted = quality.get("fit").unwrap_or(quality);
        let FitQuality { excluded, left_out, .. } = serde_json::from_value(fitted.clone()).ok()?;
        // Where nothing but the samples had a say, it is all ways to breaches.
        let of_samples = || LeftOut { incidents: Share::of(&excluded), ..LeftOut::default() };
        Some(Self {
            total: Share::of(&excluded),
            window_hours: manifest.created_from.duration().as_secs_f64() / 3600.0,
            reasons: left_out.unwrap_or_else(of_samples),
            times: merged(excluded),
        })
    }

    /// In a sentence or four.
    pub(crate) fn words(&self) -> String {
        let Self { total, window_hours, reasons, .. } = self;
        let window = hours(*window_hours);
        let because = [
            (reasons.incidents, "way to a breach", "ways to a breach"),
            (reasons.labelled, "incident that people labelled", "incidents that people labelled"),
            (reasons.maintenance, "time of maintenance or silence", "times of maintenance or silence"),
            (reasons.deployments, "deployment", "deployments"),
        ];
        let because: Vec<(u64, String)> = because
            .into_iter()
            .filter(|(share, ..)| share.count > 0)
            .map(|(s, one, more)| counted(s, one, more))
            .collect();
        let mut words = match &because[..] {
            [] => format!("Nothing was left out of its normal: all {window} of its history were learnt from."),
            _ => {
                let share = Unit::Ratio.format(total.hours / window_hours);
                let list: Vec<&str> = because.iter().map(|(_, words)| words.as_str()).collect();
                let overlap = if because.len() > 1 { "; an hour may have several reasons" } else { "" };
                format!(
                    "Not learnt as normal: {} ({share}) of {window}, {}{overlap}.",
                    hours(total.hours),
                    list.join(", ")
                )
            }
        };
        if reasons.certainly_normal.count > 0 {
            let (_, normal) = counted(reasons.certainly_normal, "time", "times");
            words.push_str(&format!(" Learnt as normal, for people say that nothing was wrong: {normal}."));
        }
        match reasons.missed {
            0 => {}
            1 => words.push_str(" One breach that people say was missed counted twice."),
            n => words.push_str(&format!(" {n} breaches that people say were missed counted twice.")),
        }
        words
    }

    /// The newest of its times, at most so many, newest first; and how many older ones there are.
    pub(crate) fn newest(&self, most: usize) -> (Vec<String>, usize) {
        let shown = self.times.iter().rev().take(most);
        let words = |range: &TimeRange| {
            format!(
                "{} to {} ({})",
                format_utc(range.start),
                format_utc(range.end),
                hours(range.duration().as_secs_f64() / 3600.0)
            )
        };
        (shown.map(words).collect(), self.times.len().saturating_sub(most))
    }
}

fn hours(hours: f64) -> String {
    Unit::Seconds.format(hours * 3600.0)
}

fn counted(share: Share, one: &str, more: &str) -> (u64, String) {
    let what = if share.count == 1 { one } else { more };
    (share.count, format!("{} {what} ({})", share.count, hours(share.hours)))
}

#[cfg(test)]
mod tests {
    use forewarn_schema::Timestamp;

    use super::*;

    fn not_learnt(total: f64, reasons: LeftOut) -> NotLearnt {
        let total = Share { count: 1, hours: total };
        NotLearnt { total, window_hours: 14.0 * 24.0, reasons, times: vec![] }
    }

    /// With plain spaces.
    fn words(of: &NotLearnt) -> String {
        of.words().replace('\u{a0}', " ")
    }

    fn share(count: u64, hours: f64) -> Share {
        Share { count, hours }
    }

    #[test]
    fn nothing_left_out_is_said_too() {
        assert_eq!(
            words(&not_learnt(0.0, LeftOut::default())),
            "Nothing was left out of its normal: all 14 d of its history were learnt from."
        );
    }

    #[test]
    fn each_reason_is_counted_with_its_span_and_one_is_no_plural() {
        let reasons = LeftOut {
            incidents: share(3, 12.5),
            labelled: share(1, 2.0),
            maintenance: share(2, 4.0),
            deployments: share(0, 0.0),
            certainly_normal: share(1, 1.0),
            missed: 2,
            digest: None,
        };
        assert_eq!(
            words(&not_learnt(16.8, reasons)),
            "Not learnt as normal: 16 h 48 min (5 %) of 14 d, 3 ways to a breach (12 h 30 min), 1 incident that people labelled (2 h), \
             2 times of maintenance or silence (4 h); an hour may have several reasons. Learnt as normal, for people say that \
             nothing was wrong: 1 time (1 h). 2 breaches that people say were missed counted twice."
        );
    }

    #[test]
    fn the_newest_times_come_first_and_the_rest_is_counted() {
        let hour = |h: i64| Timestamp::from_seconds(h * 3600);
        let times = (0..5).map(|d| TimeRange { start: hour(24 * d), end: hour(24 * d + 1) }).collect();
        let (shown, older) = NotLearnt { times, ..not_learnt(5.0, LeftOut::default()) }.newest(2);
        let shown: Vec<String> = shown.iter().map(|time| time.replace('\u{a0}', " ")).collect();
        assert_eq!(
            shown,
            [
                "1970-01-05 00:00 UTC to 1970-01-05 01:00 UTC (1 h)",
                "1970-01-04 00:00 UTC to 1970-01-04 01:00 UTC (1 h)",
            ]
        );
        assert_eq!(older, 3);
    }
}
