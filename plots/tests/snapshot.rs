//! The text of one whole chart is reviewed when it changes.

use std::f64::consts::TAU;

use forewarn_plots::{
    BandPoint, BreachInterval, FanPoint, Limit, Line, Marker, MarkerKind, TimeChart, Unit, time_chart,
};
use forewarn_schema::{Sample, Timestamp};

const MIB: f64 = 1024.0 * 1024.0;

fn minute(m: i64) -> Timestamp {
    Timestamp::from_seconds(1_767_830_400 + 60 * m)
}

#[test]
fn leak_with_everything_on_it() {
    let normal = |m: i64| (220.0 + 20.0 * (m as f64 / 1440.0 * TAU).sin()) * MIB;
    let seen = |m: i64| normal(m) + (m - 180).max(0) as f64 * 0.9 * MIB;
    let chart = TimeChart {
        title: "Memory of checkout, pod checkout-1".to_owned(),
        description: "Memory rises to its limit in about 2 hours.".to_owned(),
        show_title: true,
        unit: Unit::Bytes,
        lines: vec![Line {
            name: "seen".to_owned(),
            // A scrape outage from minute 60 to 80.
            samples: (0..300)
                .step_by(10)
                .filter(|m| !(60..140).contains(m))
                .map(|m| Sample { at: minute(m), value: seen(m) })
                .collect(),
        }],
        band: (0..=480)
            .step_by(60)
            .map(|m| BandPoint {
                at: minute(m),
                low: normal(m) - 15.0 * MIB,
                mid: normal(m),
                high: normal(m) + 15.0 * MIB,
            })
            .collect(),
        fan: (0..=180)
            .step_by(60)
            .map(|m| {
                let (mid, spread) = (seen(299) + m as f64 * 0.9 * MIB, m as f64 * 0.2 * MIB);
                FanPoint { at: minute(299 + m), p10: mid - spread, p50: mid, p90: mid + spread }
            })
            .collect(),
        limit: Some(Limit { value: 420.0 * MIB, name: "limit".to_owned() }),
        breach: Some(BreachInterval { p10: minute(380), p50: minute(410), p90: minute(450) }),
        markers: vec![Marker { at: minute(250), kind: MarkerKind::Request, text: "restart-pod".to_owned() }],
        now: Some(minute(299)),
        ..TimeChart::default()
    };
    // One element a line, so that a change is read as a diff.
    insta::assert_snapshot!(time_chart(&chart).replace("><", ">\n<"));
}
