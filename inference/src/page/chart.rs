//! A target's chart: history, what is normal, forecast, limit, predicted breach, and what happened on
//! the way (requests and labels).

use forewarn_models::TargetView;
use forewarn_plots::{BreachInterval, Limit, Line, Marker, Reading, Size, TimeChart, Unit, readings, time_chart};
use forewarn_schema::{TimeRange, Timestamp};

use super::words;
use super::zoom::Zoom;

/// One chart for each width of screen: text in a chart that is scaled down cannot be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Charts {
    pub(super) wide: String,
    pub(super) narrow: String,
}

const WIDE: Size = Size { width: 960, height: 300 };
const NARROW: Size = Size { width: 344, height: 280 };

/// What `zoom` asks for of `view`.
pub(super) fn charts(view: &TargetView, unit: Unit, zoom: &Zoom, markers: &[Marker]) -> Charts {
    let draw = |size| time_chart(&chart(view, unit, zoom, markers, size));
    Charts { wide: draw(WIDE), narrow: draw(NARROW) }
}

/// One for every second pixel of the wide chart.
const MOST_READINGS: usize = 480;

/// What the chart says at one time after the other, for `reading.js`: an array of Unix milliseconds, height, and words.
pub(super) fn readings_json(view: &TargetView, unit: Unit, zoom: &Zoom) -> Readings {
    let readings = readings(&chart(view, unit, zoom, &[], WIDE), MOST_READINGS);
    let newest = readings.iter().rposition(|reading| reading.is_past).unwrap_or(0);
    let written = readings.iter().map(|Reading { at, height, text, .. }| {
        // A thousandth of the height is less than a pixel.
        let height = height.map(|share| (share * 1000.0).round() / 1000.0);
        serde_json::json!([at.millis(), height, text])
    });
    // Nothing in it may end the element that holds it.
    let json = serde_json::Value::from_iter(written).to_string().replace('<', "\\u003c");
    Readings { json, last: readings.len().saturating_sub(1), newest }
}

/// See [`readings_json`].
pub(super) struct Readings {
    pub(super) json: String,
    /// The place of the last one.
    pub(super) last: usize,
    /// The place of the last one that was seen.
    pub(super) newest: usize,
}

fn chart(view: &TargetView, unit: Unit, zoom: &Zoom, markers: &[Marker], size: Size) -> TimeChart {
    let now = view.prediction.at;
    let breach = view.prediction.time_to_breach_seconds.map(|ttb| BreachInterval {
        p10: words::ahead(now, ttb.p10()),
        p50: words::ahead(now, ttb.p50()),
        p90: words::ahead(now, ttb.p90()),
    });
    let name = words::kind(view.kind, &view.signal);
    TimeChart {
        title: format!("{name}: {} {}", view.service, words::target(&view.labels, &view.service)).trim_end().to_owned(),
        description: view.prediction.explanation.summary.clone(),
        unit,
        size,
        lines: vec![Line { name: view.signal.clone(), samples: view.history.clone() }],
        band: view.expected.clone(),
        fan: view.fan.clone(),
        limit: Some(Limit { value: view.limit, name: "limit".to_owned() }),
        breach,
        markers: markers.to_vec(),
        now: Some(now),
        range: zoom.between(view).or_else(|| back_from_now(view, zoom, breach)).filter(|range| !range.is_empty()),
        interactive: true,
        ..TimeChart::default()
    }
}

fn back_from_now(view: &TargetView, zoom: &Zoom, breach: Option<BreachInterval>) -> Option<TimeRange> {
    let Zoom::Back(_, past) = zoom else { return None };
    let now = view.prediction.at;
    let first = view.history.first().map_or(now, |s| s.at);
    let start = past.map_or(first, |past| (now - past).max(first));
    TimeRange::new(start, shown_until(view, start, now, breach)).ok()
}

/// As far as the breach and a little more, or as the forecast; never so far that the past is squeezed
/// into less than two fifths of the width.
fn shown_until(view: &TargetView, start: Timestamp, now: Timestamp, breach: Option<BreachInterval>) -> Timestamp {
    let past = now.seconds_since(start).max(600.0);
    let last = match breach {
        Some(breach) => breach.p90.seconds_since(now) * 1.08,
        None => view.fan.last().map_or(0.0, |f| f.at.seconds_since(now)),
    };
    words::ahead(now, last.clamp(0.0, past * 1.5))
}
