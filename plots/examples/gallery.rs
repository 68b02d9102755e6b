//! Writes a page with every kind of chart, to look at: `cargo run -p forewarn-plots --example gallery -- out.html`.

use std::f64::consts::TAU;
use std::path::PathBuf;

use forewarn_plots::{
    BandPoint, BarChart, BarGroup, BreachInterval, CalibrationChart, CalibrationPoint, FanPoint, Histogram, Limit,
    Line, Marker, MarkerKind, Range, RangeChart, RangeGroup, STYLE, Size, TimeChart, Unit, bar_chart,
    calibration_chart, histogram, range_chart, time_chart,
};
use forewarn_schema::{Sample, Timestamp};

const MIB: f64 = 1024.0 * 1024.0;
const NOW: i64 = 1440 + 800;

fn minute(m: i64) -> Timestamp {
    Timestamp::from_seconds(1_767_830_400 + 60 * m)
}

/// A small repeatable noise in -1..1.
fn noise(i: i64) -> f64 {
    let x = (i as f64 * 12.9898).sin() * 43_758.547;
    2.0 * (x - x.floor()) - 1.0
}

fn leak() -> TimeChart {
    let normal = |m: i64| (260.0 - 60.0 * (m as f64 / 1440.0 * TAU).cos()) * MIB;
    let seen = |m: i64| normal(m) + 6.0 * noise(m) * MIB + (m - 1700).max(0) as f64 * 0.25 * MIB;
    TimeChart {
        title: "Memory of checkout".to_owned(),
        show_title: true,
        unit: Unit::Bytes,
        lines: vec![Line {
            name: "seen".to_owned(),
            samples: (800..NOW)
                .filter(|m| !(1100..1160).contains(m))
                .map(|m| Sample { at: minute(m), value: seen(m) })
                .collect(),
        }],
        band: (800..NOW + 480)
            .step_by(15)
            .map(|m| BandPoint {
                at: minute(m),
                low: normal(m) - 25.0 * MIB,
                mid: normal(m),
                high: normal(m) + 25.0 * MIB,
            })
            .collect(),
        fan: (0..=480)
            .step_by(10)
            .map(|m| {
                let (mid, spread) = (normal(NOW + m) + (NOW + m - 1700) as f64 * 0.25 * MIB, 4.0 + m as f64 * 0.12);
                FanPoint { at: minute(NOW + m), p10: mid - spread * MIB, p50: mid, p90: mid + spread * MIB }
            })
            .collect(),
        limit: Some(Limit { value: 512.0 * MIB, name: "limit".to_owned() }),
        breach: Some(BreachInterval { p10: minute(NOW + 180), p50: minute(NOW + 270), p90: minute(NOW + 380) }),
        markers: vec![
            Marker { at: minute(2000), kind: MarkerKind::Request, text: "restart-pod".to_owned() },
            Marker { at: minute(2090), kind: MarkerKind::Label, text: "true_positive".to_owned() },
        ],
        now: Some(minute(NOW)),
        ..TimeChart::default()
    }
}

fn quiet() -> TimeChart {
    TimeChart {
        title: "Error share of cart: far from its limit".to_owned(),
        show_title: true,
        unit: Unit::Ratio,
        lines: vec![Line {
            name: "seen".to_owned(),
            samples: (0..1440)
                .map(|m| Sample {
                    at: minute(m),
                    value: 0.001 + 0.0004 * noise(m) + if m == 700 { 0.004 } else { 0.0 },
                })
                .collect(),
        }],
        limit: Some(Limit { value: 0.5, name: "limit".to_owned() }),
        now: Some(minute(1439)),
        ..TimeChart::default()
    }
}

fn countdown() -> TimeChart {
    let left = |m: i64| (5000 - m) as f64 * 60.0;
    TimeChart {
        title: "Predicted time to breach against the truth".to_owned(),
        show_title: true,
        unit: Unit::Seconds,
        lines: vec![
            Line {
                name: "truth".to_owned(),
                samples: (0..4900).step_by(5).map(|m| Sample { at: minute(m), value: left(m) }).collect(),
            },
            Line {
                name: "predicted".to_owned(),
                samples: (300..4900)
                    .step_by(5)
                    .map(|m| Sample { at: minute(m), value: left(m) * (1.0 + 0.1 * noise(m / 60)) })
                    .collect(),
            },
        ],
        fan: (300..4900)
            .step_by(30)
            .map(|m| FanPoint { at: minute(m), p10: left(m) * 0.85, p50: f64::NAN, p90: left(m) * 1.2 })
            .collect(),
        ..TimeChart::default()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out: PathBuf = std::env::args_os().nth(1).ok_or("wanted the file to write, got nothing")?.into();
    let narrow = |chart: TimeChart| TimeChart { size: Size { width: 340, height: 250 }, ..chart };
    let charts = [
        time_chart(&leak()),
        time_chart(&quiet()),
        time_chart(&countdown()),
        bar_chart(&BarChart {
            title: "Pinball loss, lower is better".to_owned(),
            series: ["seasonal naive", "trend", "lstm"].map(str::to_owned).to_vec(),
            groups: ["checkout", "cart", "payments-gateway-with-a-long-name"]
                .into_iter()
                .enumerate()
                .map(|(i, name)| BarGroup {
                    name: name.to_owned(),
                    values: vec![0.5 + i as f64 * 0.1, 0.42, if i == 1 { f64::NAN } else { 0.21 }],
                })
                .collect(),
            ..BarChart::default()
        }),
        histogram(&Histogram {
            title: "Lead time of requests".to_owned(),
            unit: Unit::Seconds,
            values: (0..400).map(|i| 9000.0 + 4000.0 * (noise(i) + noise(i + 977) + noise(i + 31))).collect(),
            marks: vec![(9000.0, "median".to_owned())],
            ..Histogram::default()
        }),
        calibration_chart(&CalibrationChart {
            title: "Breach probability".to_owned(),
            observed_name: "came true".to_owned(),
            points: (0..10)
                .map(|i| {
                    let p = 0.05 + f64::from(i) / 10.0;
                    CalibrationPoint {
                        predicted: p,
                        observed: (p + 0.07 * noise(i.into())).clamp(0.0, 1.0),
                        count: 400 / (1 + i as u64),
                        interval: Some(((p - 0.08).max(0.0), (p + 0.1).min(1.0))),
                    }
                })
                .collect(),
            ..CalibrationChart::default()
        }),
        range_chart(&RangeChart {
            title: "Then and now, in units of the spread".to_owned(),
            series: vec!["training".to_owned(), "last week".to_owned()],
            groups: ["memory", "traffic", "latency"]
                .into_iter()
                .enumerate()
                .map(|(i, name)| RangeGroup {
                    name: name.to_owned(),
                    note: "as before".to_owned(),
                    ranges: [0.0, i as f64].map(|mid| Some(Range { low: mid - 1.3, mid, high: mid + 1.2 })).into(),
                })
                .collect(),
            ..RangeChart::default()
        }),
        time_chart(&narrow(leak())),
        time_chart(&narrow(quiet())),
        time_chart(&TimeChart { title: "Nothing yet".to_owned(), show_title: true, ..TimeChart::default() }),
    ];
    let figures: String = charts.iter().map(|svg| format!("<figure>{svg}</figure>\n")).collect();
    let style = "body{background:var(--fw-surface);margin:16px}figure{margin:0 0 28px}";
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Charts</title><style>{STYLE}{style}</style>{figures}</html>"
    );
    std::fs::write(out, page)?;
    Ok(())
}
