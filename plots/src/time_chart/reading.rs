//! What a chart says at one time, in words: for whoever points at it, and for whoever cannot see it.

use std::time::Duration;

use forewarn_schema::Timestamp;

use super::{TimeChart, drawable, fan_at, format_day_time, shown_range, value_extent};

/// The chart at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// How high above the bottom of the plot what was seen lies, or the median forecast, as a share of its height; `None` where
    /// there is nothing, or it is outside.
    pub height: Option<f64>,
    /// Whether it was seen; else it is forecast.
    pub is_past: bool,
    /// The time, the value and what is normal then: `5 Jan 12:03 UTC: 42, normally 20 to 30`.
    pub text: String,
}

/// Forecasts that lie closer together would be told in the same words.
const CLOSEST: f64 = 60.0;

/// Readings through the shown range of `chart`, oldest first: of its first line, and after that of its forecast. At most `most`,
/// spread over the time; none where nothing is drawn, and of `most` below 2.
pub fn readings(chart: &TimeChart, most: usize) -> Vec<Reading> {
    let (Some((start, end)), true) = (shown_range(chart), most > 1) else { return Vec::new() };
    let width = end.seconds_since(start) / (most - 1) as f64;
    let (extent, _) = value_extent(chart, start, end);
    let height = |value: f64| {
        let share = (value - extent.low) / (extent.high - extent.low);
        (drawable(value) && (0.0..=1.0).contains(&share)).then_some(share)
    };
    let column = |at: Timestamp| (at.seconds_since(start) / width) as usize;
    let mut readings: Vec<Reading> = Vec::new();
    let samples = chart.lines.first().map_or(&[][..], |line| &line.samples);
    for sample in samples.iter().filter(|s| start <= s.at && s.at <= end) {
        // Of each column the last one.
        if readings.last().is_some_and(|last| column(last.at) == column(sample.at)) {
            readings.pop();
        }
        let value = if sample.value.is_nan() { "no sample".to_owned() } else { chart.unit.format(sample.value) };
        let text = sentence(chart, sample.at, value);
        readings.push(Reading { at: sample.at, height: height(sample.value), is_past: true, text });
    }
    let (seen_to, spacing) = (readings.last().map(|last| last.at), width.max(CLOSEST));
    for number in usize::from(seen_to.is_some())..most {
        let at = seen_to.unwrap_or(start) + Duration::from_secs_f64(spacing * number as f64);
        let Some(forecast) = fan_at(&chart.fan, at).filter(|_| at <= end) else { continue };
        let [p10, p50, p90] = forecast.map(|value| chart.unit.format(value));
        let text = sentence(chart, at, format!("forecast {p50}, {p10} to {p90}"));
        readings.push(Reading { at, height: height(forecast[1]), is_past: false, text });
    }
    readings
}

fn sentence(chart: &TimeChart, at: Timestamp, value: String) -> String {
    let normal = normal(chart, at).map(|normal| format!(", {normal}")).unwrap_or_default();
    format!("{} UTC: {value}{normal}", format_day_time(at))
}

/// What is normal at `at`, on the straight line between what is known around it.
fn normal(chart: &TimeChart, at: Timestamp) -> Option<String> {
    let next = chart.band.partition_point(|b| b.at < at);
    let after = chart.band.get(next)?;
    let (low, high) = if after.at == at {
        (after.low, after.high)
    } else {
        let before = chart.band.get(next.checked_sub(1)?)?;
        let share = at.seconds_since(before.at) / after.at.seconds_since(before.at);
        (before.low + share * (after.low - before.low), before.high + share * (after.high - before.high))
    };
    let known = drawable(low) && drawable(high);
    known.then(|| format!("normally {} to {}", chart.unit.format(low), chart.unit.format(high)))
}

#[cfg(test)]
mod tests {
    use forewarn_schema::{BandPoint, FanPoint, Sample};

    use super::super::Line;
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_seconds(1_767_571_200 + minute * 60)
    }

    fn chart(samples: Vec<Sample>) -> TimeChart {
        let band = |minute, low| BandPoint { at: at(minute), low, mid: low + 5.0, high: low + 10.0 };
        let fan = |minute, p50: f64| FanPoint { at: at(minute), p10: p50 - 10.0, p50, p90: p50 + 10.0 };
        TimeChart {
            lines: vec![Line { name: "pool".to_owned(), samples }],
            band: vec![band(0, 20.0), band(60, 40.0)],
            fan: vec![fan(60, 50.0), fan(120, 80.0)],
            ..TimeChart::default()
        }
    }

    #[test]
    fn it_says_what_was_seen_what_is_normal_and_what_is_forecast() {
        let samples = (0..=60)
            .map(|minute| Sample { at: at(minute), value: if minute == 30 { f64::NAN } else { minute as f64 } });
        let readings = readings(&chart(samples.collect()), 1000);
        let text = |minute: i64| {
            let near = readings.iter().min_by_key(|r| (r.at.millis() - at(minute).millis()).abs()).unwrap();
            near.text.replace('\u{a0}', " ")
        };
        assert_eq!(text(0), "5 Jan 00:00 UTC: 0, normally 20 to 30");
        assert_eq!(text(15), "5 Jan 00:15 UTC: 15, normally 25 to 35");
        assert_eq!(text(30), "5 Jan 00:30 UTC: no sample, normally 30 to 40");
        assert!(text(90).starts_with("5 Jan 01:30 UTC: forecast 65, 55 to 75"), "{}", text(90));
        assert!(readings.is_sorted_by_key(|r| r.at) && readings.len() <= 1000);
        assert_eq!(readings.iter().filter(|r| r.is_past).count(), 61);
        let gap = readings.iter().find(|r| r.text.contains("no sample")).unwrap();
        assert_eq!(gap.height, None);
        assert!(readings.iter().all(|r| r.height.is_none_or(|h| (0.0..=1.0).contains(&h))));
    }

    #[test]
    fn there_are_no_more_than_can_be_told_apart_and_the_last_one_is_there() {
        let samples: Vec<_> = (0..=60).map(|minute| Sample { at: at(minute), value: 1.0 }).collect();
        let few = readings(&chart(samples.clone()), 12);
        assert!((8..=12).contains(&few.len()), "{few:?}");
        assert!(few.iter().any(|r| r.at == at(60)), "what was seen last: {few:?}");
        assert_eq!(readings(&chart(samples), 1), []);
        assert_eq!(readings(&TimeChart::default(), 100), []);
        let nothing = chart(vec![]);
        assert!(readings(&TimeChart { band: vec![], fan: vec![], ..nothing }, 100).is_empty());
    }
}
