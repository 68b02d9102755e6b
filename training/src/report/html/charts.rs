//! The report's charts, from what was measured to SVG.

use forewarn_plots::{
    BreachInterval, CalibrationChart, CalibrationPoint, FanPoint, Limit, Line, Marker, MarkerKind, Range, RangeChart,
    RangeGroup, Size, TimeChart, Unit, calibration_chart, range_chart, time_chart,
};
use forewarn_schema::Sample;

use crate::alarms::is_about;
use crate::drift::{self, SignalDrift};
use crate::gate::words;
use crate::report::{BreachReport, Calibration, ForecastChart, PathPoint, Picture, RequestReport, ServiceReport};
use crate::words::{kind_words, shown, unit_of};

/// Pixels.
const CHART: Size = Size { width: 720, height: 240 };
const LOW_CHART: Size = Size { width: 720, height: 190 };
/// A time to breach that is this many times the longest true one leaves the chart: the rest would be flat.
const LONGEST_SHOWN: f64 = 3.0;
/// What has drifted further than so many spreads is drawn at the edge.
const SPREADS_SHOWN: f64 = 6.0;

/// What the target of a breach did, with its requests.
pub(super) fn breach_picture(report: &ServiceReport, breach: &BreachReport) -> Option<String> {
    let picture = breach.picture.as_ref()?;
    let title = format!("{}, {} {}", report.service, kind_words(breach.kind), shown(&breach.labels));
    let mut markers = markers_of(report, |r| is_about(r, breach.kind, &breach.labels));
    markers.push(Marker { at: breach.at, kind: MarkerKind::Breach, text: "limit reached".to_owned() });
    let first = report
        .requests
        .iter()
        .find(|r| is_about(r, breach.kind, &breach.labels) && breach.onset <= r.at && r.at < breach.at);
    Some(target_chart(title, unit_of(breach.kind), picture, markers, first))
}

/// What the target of a request did that no breach followed.
pub(super) fn request_picture(report: &ServiceReport, request: &RequestReport) -> Option<String> {
    let picture = request.picture.as_ref()?;
    let title = format!("{}, {} {}", report.service, kind_words(request.kind), shown(&picture.labels));
    let markers = markers_of(report, |r| r.id == request.id);
    Some(target_chart(title, unit_of(request.kind), picture, markers, Some(request)))
}

fn markers_of(report: &ServiceReport, wanted: impl Fn(&RequestReport) -> bool) -> Vec<Marker> {
    let marker = |r: &RequestReport| Marker { at: r.at, kind: MarkerKind::Request, text: r.summary.clone() };
    report.requests.iter().filter(|r| wanted(r)).map(marker).collect()
}

fn target_chart(
    title: String,
    unit: Unit,
    picture: &Picture,
    markers: Vec<Marker>,
    request: Option<&RequestReport>,
) -> String {
    let fan = |p: &crate::report::PictureFan| FanPoint {
        at: p.at,
        p10: p.forecast[0],
        p50: p.forecast[1],
        p90: p.forecast[2],
    };
    let range = picture.points.first().zip(picture.points.last());
    time_chart(&TimeChart {
        title,
        description: "What the target did, its limit, and what was forecast when the request went out.".to_owned(),
        show_title: true,
        unit,
        size: CHART,
        lines: vec![Line { name: "seen".to_owned(), samples: picture.points.clone() }],
        fan: picture.fan.iter().map(fan).collect(),
        limit: picture.limit.map(|value| Limit { value, name: "limit".to_owned() }),
        breach: request.map(|r| BreachInterval {
            p10: r.predicted_breach.p10,
            p50: r.predicted_breach.p50,
            p90: r.predicted_breach.p90,
        }),
        markers,
        range: range.map(|(first, last)| forewarn_schema::TimeRange { start: first.at, end: last.at }),
        ..TimeChart::default()
    })
}

/// What was said of the time to breach on the way, beside the truth.
pub(super) fn path_chart(report: &ServiceReport, breach: &BreachReport) -> Option<String> {
    let longest = breach.path.iter().map(|p| p.truth).fold(0.0, f64::max);
    if breach.path.len() < 2 {
        return None;
    }
    let first = breach.path[0].at;
    let on_the_way = |r: &RequestReport| is_about(r, breach.kind, &breach.labels) && first <= r.at && r.at <= breach.at;
    let fan = |p: &PathPoint| {
        let [p10, p50, p90] = p.predicted.unwrap_or([f64::NAN; 3]).map(|v| v.min(longest * LONGEST_SHOWN));
        FanPoint { at: p.at, p10, p50, p90 }
    };
    Some(time_chart(&TimeChart {
        title: format!("Time to breach of {}, {} {}", report.service, breach.kind, shown(&breach.labels)),
        description: "What was predicted on the way to the breach, beside how long it really took.".to_owned(),
        show_title: true,
        unit: Unit::Seconds,
        size: LOW_CHART,
        lines: vec![Line {
            name: "truth".to_owned(),
            samples: breach.path.iter().map(|p| Sample { at: p.at, value: p.truth }).collect(),
        }],
        fan: breach.path.iter().map(fan).collect(),
        markers: markers_of(report, on_the_way),
        ..TimeChart::default()
    }))
}

pub(super) fn forecast_chart(service: &str, chart: &ForecastChart) -> String {
    let ahead = Unit::Seconds.format(chart.horizon_seconds);
    let title = format!(
        "{} of {service} {}, forecast {ahead} ahead ({})",
        chart.signal,
        shown(&chart.labels),
        words(chart.model)
    );
    time_chart(&TimeChart {
        title,
        description: format!("What came, and what had been forecast for that time {ahead} earlier."),
        show_title: true,
        unit: unit_of(chart.kind),
        size: CHART,
        lines: vec![Line {
            name: "came".to_owned(),
            samples: chart.points.iter().map(|p| Sample { at: p.at, value: p.truth }).collect(),
        }],
        fan: chart
            .points
            .iter()
            .map(|p| FanPoint { at: p.at, p10: p.forecast[0], p50: p.forecast[1], p90: p.forecast[2] })
            .collect(),
        limit: chart.limit.map(|value| Limit { value, name: "limit".to_owned() }),
        ..TimeChart::default()
    })
}

pub(super) fn anomaly_chart(report: &ServiceReport) -> Option<String> {
    if report.anomaly_scores.len() < 2 {
        return None;
    }
    let breaches = report.breaches.iter().map(|b| Marker {
        at: b.at,
        kind: MarkerKind::Breach,
        text: format!("{} {}", b.kind, shown(&b.labels)),
    });
    let requests = report.requests.iter().map(|r| Marker {
        at: r.at,
        kind: MarkerKind::Request,
        text: format!("{} {}", r.kind, shown(&r.labels)),
    });
    Some(time_chart(&TimeChart {
        title: format!("Anomaly score of {}", report.service),
        description: "The highest calibrated score of each stretch of time, with requests and breaches.".to_owned(),
        show_title: true,
        size: LOW_CHART,
        lines: vec![Line {
            name: "score".to_owned(),
            samples: report.anomaly_scores.iter().map(|p| Sample { at: p.at, value: p.score }).collect(),
        }],
        markers: breaches.chain(requests).collect(),
        ..TimeChart::default()
    }))
}

/// Of the predictions that said so much, how many came true.
pub(super) fn reliability_chart(calibration: &Calibration) -> String {
    let points = calibration.probability.iter().map(|bin| CalibrationPoint {
        predicted: bin.predicted,
        observed: bin.observed,
        count: bin.count,
        interval: Some((bin.interval.low, bin.interval.high)),
    });
    calibration_chart(&CalibrationChart {
        title: "Breach probability".to_owned(),
        description: "On the diagonal, what was said is what happened.".to_owned(),
        observed_name: "came true".to_owned(),
        points: points.collect(),
        ..CalibrationChart::default()
    })
}

/// How many intervals held the truth, by how far away the breach was.
pub(super) fn coverage_chart(calibration: &Calibration) -> String {
    let group = |bin: &crate::report::TimeBin| RangeGroup {
        name: time_bin_words(bin),
        note: Unit::Ratio.format(bin.coverage),
        ranges: vec![Some(Range { low: bin.interval.low, mid: bin.coverage, high: bin.interval.high })],
    };
    range_chart(&RangeChart {
        title: "80 % intervals that held the truth".to_owned(),
        description: "By how far away the breach was; honest ones lie on the line at 80 %.".to_owned(),
        unit: Unit::Ratio,
        series: vec!["coverage, with its 90 % interval".to_owned()],
        reference: Some(0.8),
        shown: Some((0.0, 1.0)),
        groups: calibration.time_to_breach.iter().map(group).collect(),
        width: 460,
    })
}

pub(super) fn time_bin_words(bin: &crate::report::TimeBin) -> String {
    let span = |seconds| Unit::Seconds.format(seconds);
    match bin.to_seconds {
        Some(to) if bin.from_seconds == 0.0 => format!("under {}", span(to)),
        Some(to) => format!("{} to {}", span(bin.from_seconds), span(to)),
        None => format!("over {}", span(bin.from_seconds)),
    }
}

/// Each signal's middle 80 % then and now, in spreads from the training's median.
pub(super) fn drift_chart(service: &str, drift: &[SignalDrift]) -> Option<String> {
    let in_spreads = |signal: &SignalDrift| {
        let shift = signal.shift.filter(|s| *s != 0.0);
        let width = signal.training[2] - signal.training[0];
        // Of a signal whose median stands still, the spread follows from its width.
        let spread = shift.map_or(width / 2.563, |s| (signal.last_week[1] - signal.training[1]) / s);
        let range = |of: [f64; 3]| {
            let [low, mid, high] = of.map(|v| (v - signal.training[1]) / spread);
            Some(Range { low, mid, high }).filter(|_| spread > 0.0)
        };
        vec![range(signal.training), range(signal.last_week)]
    };
    let groups: Vec<RangeGroup> = drift
        .iter()
        .map(|signal| RangeGroup {
            name: signal.signal.clone(),
            note: drift::words(signal),
            ranges: in_spreads(signal),
        })
        .collect();
    (!groups.is_empty()).then(|| {
        range_chart(&RangeChart {
            title: format!("Signals of {service}, in spreads from the training's median"),
            description: "The middle 80 % of each signal's values in training and in the last week.".to_owned(),
            series: vec!["training".to_owned(), "last week".to_owned()],
            reference: Some(0.0),
            shown: Some((-SPREADS_SHOWN, SPREADS_SHOWN)),
            groups,
            ..RangeChart::default()
        })
    })
}
