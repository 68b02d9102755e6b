//! The chart of a target: what was seen, what is normal at that time of the day, what is forecast, the
//! limit, and when it will be reached. Times are UTC.

mod reading;

use std::time::Duration;

use forewarn_schema::{BandPoint, FanPoint, Sample, TimeRange, Timestamp};

use crate::extent::{Extent, Scale, drawable};
use crate::legend::{self, Entry, Swatch};
use crate::path::{Dot, Edge, area_path, line_path, runs, usual_gap};
use crate::svg::{Anchor, Svg, bold_width, fitted, text_width};
use crate::ticks::{time_ticks, value_ticks};
use crate::unit::{Unit, format_day_time, format_utc};

pub use self::reading::{Reading, readings};

/// Width and height in pixels; less than 160 by 120 is drawn as 160 by 120, more than 4000 as 4000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Sorted by time. A NaN is a gap.
    pub samples: Vec<Sample>,
}

/// What must not be reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// In the chart's unit.
    pub value: f64,
    /// Beside the line, with the value: `limit`.
    pub name: String,
}

/// When the limit will be reached: an 80 % interval and its median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreachInterval {
    /// One in ten breaches comes before this.
    pub p10: Timestamp,
    /// The median.
    pub p50: Timestamp,
    /// Nine in ten breaches come before this.
    pub p90: Timestamp,
}

/// What a marker marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkerKind {
    /// A remediation request went out.
    Request,
    /// Somebody gave a label.
    Label,
    /// The limit was reached.
    Breach,
}

impl MarkerKind {
    fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Label => "label",
            Self::Breach => "breach",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Request => "fw-mark-request",
            Self::Label => "fw-mark-label",
            Self::Breach => "fw-mark-breach",
        }
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Marker {
    /// When.
    pub at: Timestamp,
    /// What it is.
    pub kind: MarkerKind,
    /// Shown as a tooltip, with the time.
    pub text: String,
}

/// What [`time_chart`] draws. Everything may be empty.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeChart {
    /// For screen readers, and above the chart where `show_title` is set.
    pub title: String,
    /// For screen readers: what the chart says, in a sentence.
    pub description: String,
    /// Whether the title is drawn.
    pub show_title: bool,
    /// Of every value.
    pub unit: Unit,
    /// Pixels.
    pub size: Size,
    /// The first is what was seen; up to four are told apart.
    pub lines: Vec<Line>,
    /// Sorted by time.
    pub band: Vec<BandPoint>,
    /// Sorted by time. An edge that is NaN makes the point a gap.
    pub fan: Vec<FanPoint>,
    /// Left out of the axis where it is 20 times as large as all else; then an arrow names it.
    pub limit: Option<Limit>,
    /// When the limit will be reached.
    pub breach: Option<BreachInterval>,
    /// Sorted by nothing in particular.
    pub markers: Vec<Marker>,
    /// Where the past ends.
    pub now: Option<Timestamp>,
    /// What is shown; `None`: everything, but of the future at most twice as much as of the past.
    pub range: Option<TimeRange>,
    /// Samples farther apart are not joined; `None`: five times their usual distance.
    pub max_gap: Option<Duration>,
    /// Whether a script may turn pixels into times: an invisible `rect.fw-plot` over the plot then says what it spans,
    /// in Unix milliseconds, as `data-from` and `data-to`.
    pub interactive: bool,
}

impl Default for TimeChart {
    fn default() -> Self {
        Self {
            title: String::new(),
            description: String::new(),
            show_title: false,
            unit: Unit::default(),
            size: Size { width: 720, height: 260 },
            lines: Vec::new(),
            band: Vec::new(),
            fan: Vec::new(),
            limit: None,
            breach: None,
            markers: Vec::new(),
            now: None,
            range: None,
            max_gap: None,
            interactive: false,
        }
    }
}

const LINE_CLASSES: [&str; 4] = ["fw-line fw-s0", "fw-line fw-s1", "fw-line fw-s2", "fw-line fw-s3"];
const TITLE_HEIGHT: f64 = 24.0;
const STRIP_HEIGHT: f64 = 18.0;
const BOTTOM: f64 = 38.0;
const RIGHT: f64 = 14.0;

/// Draws `chart` as one `<svg>` element.
pub fn time_chart(chart: &TimeChart) -> String {
    let width = f64::from(chart.size.width.clamp(160, 4000));
    let height = f64::from(chart.size.height.clamp(120, 4000));
    let mut svg = Svg::new(width, height, &chart.title, &chart.description);
    let mut top = 4.0;
    if chart.show_title {
        svg.text("fw-title", 2.0, 18.0, Anchor::Start, &fitted(&chart.title, (width - 4.0) / 1.15));
        top += TITLE_HEIGHT;
    }
    let Some((start, end)) = shown_range(chart) else {
        svg.text("", width / 2.0, (top + height) / 2.0, Anchor::Middle, "No data to show");
        return svg.finish();
    };

    let entries = legend_entries(chart);
    let legend_width = width - 4.0;
    legend::draw(&mut svg, &entries, 2.0, top, legend_width);
    top += legend::rows(&entries, legend_width) as f64 * legend::ROW;
    top += if chart.now.is_some() || chart.breach.is_some() || !chart.markers.is_empty() { STRIP_HEIGHT } else { 8.0 };
    let bottom = (height - BOTTOM).max(top + 24.0);

    let (extent, limit_is_shown) = value_extent(chart, start, end);
    let wanted = ((bottom - top) / 38.0).round().clamp(2.0, 8.0) as usize;
    let ticks = value_ticks(chart.unit, extent.low, extent.high, wanted);
    let labels: Vec<String> = ticks.iter().map(|t| chart.unit.format(*t)).collect();
    let left = labels.iter().map(|l| text_width(l)).fold(20.0, f64::max) + 10.0;
    let right = width - RIGHT;
    let frame = Frame {
        left,
        right,
        top,
        bottom,
        x: Scale::new(Extent { low: 0.0, high: end.seconds_since(start).max(0.001) }, left, right),
        y: Scale::new(extent, bottom, top),
        start,
        end,
    };

    for (tick, label) in ticks.iter().zip(&labels) {
        let y = frame.y.at(*tick);
        svg.line("fw-grid", left, y, right, y);
        svg.text("", left - 7.0, y + 4.0, Anchor::End, label);
    }
    draw_time_axis(&mut svg, &frame);

    svg.open_clip(left, top, right - left, bottom - top);
    draw_breach(&mut svg, chart, &frame);
    draw_series(&mut svg, chart, &frame);
    svg.close_clip();
    draw_limit(&mut svg, chart, &frame, limit_is_shown);
    if chart.interactive {
        // Under the pins: they keep their tooltips.
        let span = [("data-from", start.millis()), ("data-to", end.millis())];
        svg.data_rect("fw-plot", left, top, right - left, bottom - top, &span);
    }
    draw_strip(&mut svg, chart, &frame);
    svg.finish()
}

/// Where the plot lies, and the two scales.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
    start: Timestamp,
    end: Timestamp,
}

impl Frame {
    fn x_of(&self, at: Timestamp) -> f64 {
        self.x.at(at.seconds_since(self.start))
    }

    fn shows(&self, at: Timestamp) -> bool {
        self.start <= at && at <= self.end
    }
}

/// From when to when; `None` where there is nothing to draw.
fn shown_range(chart: &TimeChart) -> Option<(Timestamp, Timestamp)> {
    if let Some(range) = chart.range {
        return (!range.is_empty()).then_some((range.start, range.end));
    }
    let seen = chart.lines.iter().flat_map(|l| &l.samples).filter(|s| drawable(s.value)).map(|s| s.at);
    let known = seen.chain(chart.band.iter().map(|b| b.at)).chain(chart.now);
    let ahead = chart.fan.iter().map(|f| f.at).chain(chart.breach.iter().map(|b| b.p90));
    let start = known.clone().chain(ahead.clone()).min()?;
    let past = known.max().unwrap_or(start);
    let mut end = ahead.max().unwrap_or(past).max(past);
    let past_span = past.millis().saturating_sub(start.millis());
    if past_span > 0 {
        end = end.min(Timestamp::from_millis(past.millis().saturating_add(past_span.saturating_mul(2))));
    }
    if end == start {
        // A single instant: a minute on either side.
        let minute = Duration::from_secs(60);
        return Some((start - minute, end + minute));
    }
    Some((start, end))
}

/// The range of the value axis, and whether the limit is on it.
fn value_extent(chart: &TimeChart, start: Timestamp, end: Timestamp) -> (Extent, bool) {
    let inside = |at: &Timestamp| start <= *at && *at <= end;
    let mut extent = Extent::EMPTY;
    chart.lines.iter().flat_map(|l| &l.samples).filter(|s| inside(&s.at)).for_each(|s| extent.add(s.value));
    let nothing_seen = extent.is_empty();
    for point in chart.band.iter().filter(|b| inside(&b.at)) {
        extent.add(point.low);
        extent.add(point.high);
    }
    let mut limit_is_shown = false;
    if let Some(limit) = &chart.limit {
        let largest = extent.low.abs().max(extent.high.abs());
        limit_is_shown = drawable(limit.value)
            && (extent.is_empty() || chart.breach.is_some() || largest == 0.0 || limit.value.abs() <= 20.0 * largest);
        if limit_is_shown {
            extent.add(limit.value);
        }
    }
    // A fan that has run away would press what was seen into a line: it may add half of the range.
    let firm = extent;
    let room = if firm.is_empty() {
        f64::INFINITY
    } else if nothing_seen {
        // A look at the future alone: the fan is what there is to see, as far as the limit's size allows.
        firm.high.abs().max(firm.low.abs())
    } else {
        (firm.high - firm.low).max(firm.high.abs() * 0.1) * 0.5
    };
    // Its points are far apart: of a close look at it none may lie inside.
    let at_the_edges = [start, end].into_iter().filter_map(|at| fan_at(&chart.fan, at));
    let inside_it = chart.fan.iter().filter(|f| inside(&f.at)).map(|f| [f.p10, f.p50, f.p90]);
    for values in inside_it.chain(at_the_edges) {
        for value in values.into_iter().filter(|v| drawable(*v)) {
            let never_below = if firm.low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
            extent.add(value.clamp((firm.low - room).max(never_below), (firm.high + room).max(never_below)));
        }
    }
    (extent.padded(), limit_is_shown)
}

fn legend_entries(chart: &TimeChart) -> Vec<Entry> {
    let mut entries: Vec<Entry> = chart
        .lines
        .iter()
        .enumerate()
        .map(|(i, line)| Entry { swatch: Swatch::Line(LINE_CLASSES[i % LINE_CLASSES.len()]), name: line.name.clone() })
        .collect();
    let mut add = |swatch, name: &str| entries.push(Entry { swatch, name: name.to_owned() });
    if !chart.band.is_empty() {
        add(Swatch::Area("fw-band", "fw-band-mid"), "normal at this time");
    }
    if !chart.fan.is_empty() {
        add(Swatch::Area("fw-fan", "fw-fan-mid"), "forecast (80 %)");
    }
    if chart.breach.is_some() {
        add(Swatch::Area("fw-breach", "fw-breach"), "predicted breach (80 %)");
    }
    for kind in [MarkerKind::Request, MarkerKind::Label, MarkerKind::Breach] {
        if chart.markers.iter().any(|m| m.kind == kind) {
            add(Swatch::Pin(kind.class()), kind.name());
        }
    }
    entries
}

fn draw_time_axis(svg: &mut Svg, frame: &Frame) {
    svg.line("fw-axis", frame.left, frame.bottom, frame.right, frame.bottom);
    let wanted = ((frame.right - frame.left) / 74.0).floor().clamp(2.0, 16.0) as usize;
    let (mut taken_to, mut period_taken_to) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    let mut is_first = true;
    for tick in time_ticks(frame.start, frame.end, wanted) {
        let x = frame.x_of(tick.at);
        svg.line("fw-axis", x, frame.bottom, x, frame.bottom + 4.0);
        let half = text_width(&tick.label) / 2.0;
        if x - half > taken_to {
            svg.text("", x, frame.bottom + 17.0, Anchor::Middle, &tick.label);
            taken_to = x + half + 6.0;
        }
        if let Some(period) = &tick.period {
            // The zone is said once, where the eye begins to read.
            let text = if is_first { format!("{period}, UTC") } else { period.clone() };
            let half = bold_width(&text) / 2.0;
            if x - half > period_taken_to {
                let centre = x.max(half + 2.0);
                svg.text("fw-strong", centre, frame.bottom + 32.0, Anchor::Middle, &text);
                period_taken_to = centre + half + 6.0;
            }
        }
        is_first = false;
    }
}

fn draw_series(svg: &mut Svg, chart: &TimeChart, frame: &Frame) {
    let gap_of = |millis: &[i64]| match chart.max_gap {
        Some(gap) => i64::try_from(gap.as_millis()).unwrap_or(i64::MAX),
        None => usual_gap(millis),
    };
    let dot = |at: Timestamp, value: f64| {
        drawable(value).then(|| Dot { millis: at.millis(), x: frame.x_of(at), y: frame.y.at(value) })
    };
    let edge = |at: Timestamp, low: f64, high: f64| {
        (drawable(low) && drawable(high)).then(|| Edge {
            millis: at.millis(),
            x: frame.x_of(at),
            top: frame.y.at(high),
            bottom: frame.y.at(low),
        })
    };

    // Seasonal expectations may come at any spacing: their own, not that of the samples.
    let band_gap = usual_gap(&chart.band.iter().map(|b| b.at.millis()).collect::<Vec<_>>());
    let band = around(&chart.band, |b| b.at, frame.start, frame.end).iter();
    svg.path("fw-band", &area_path(&runs(band.clone().map(|b| edge(b.at, b.low, b.high)), |e| e.millis, band_gap)));
    svg.path("fw-band-mid", &line_path(&runs(band.map(|b| dot(b.at, b.mid)), |d| d.millis, band_gap)));

    svg.path("fw-fan", &area_path(&runs(chart.fan.iter().map(|f| edge(f.at, f.p10, f.p90)), |e| e.millis, i64::MAX)));
    svg.path("fw-fan-mid", &line_path(&runs(chart.fan.iter().map(|f| dot(f.at, f.p50)), |d| d.millis, i64::MAX)));

    // The first line is drawn last, on top.
    for (i, line) in chart.lines.iter().enumerate().rev() {
        let shown = around(&line.samples, |s| s.at, frame.start, frame.end);
        let gap = gap_of(&shown.iter().map(|s| s.at.millis()).collect::<Vec<_>>());
        let dots = shown.iter().map(|s| dot(s.at, s.value));
        svg.path(LINE_CLASSES[i % LINE_CLASSES.len()], &line_path(&runs(dots, |d| d.millis, gap)));
    }
}

/// The points of `points` (sorted by time) from `start` to `end`, and the next one on either side: what leads out of the
/// plot is drawn up to its edge.
fn around<T>(points: &[T], at: impl Fn(&T) -> Timestamp, start: Timestamp, end: Timestamp) -> &[T] {
    let from = points.partition_point(|p| at(p) < start).saturating_sub(1);
    let to = points.partition_point(|p| at(p) <= end).saturating_add(1).min(points.len());
    points.get(from..to).unwrap_or_default()
}

/// Where the fan (sorted by time) is at `at`, on the straight line between its points; `None` outside.
fn fan_at(fan: &[FanPoint], at: Timestamp) -> Option<[f64; 3]> {
    let next = fan.partition_point(|f| f.at < at);
    let (a, b) = (fan.get(next.checked_sub(1)?)?, fan.get(next)?);
    let share = at.seconds_since(a.at) / b.at.seconds_since(a.at);
    let between = |from: f64, to: f64| from + share * (to - from);
    Some([between(a.p10, b.p10), between(a.p50, b.p50), between(a.p90, b.p90)])
}

fn draw_breach(svg: &mut Svg, chart: &TimeChart, frame: &Frame) {
    let Some(breach) = chart.breach else { return };
    let (from, to) = (frame.x_of(breach.p10), frame.x_of(breach.p90));
    // An interval of no width still shows.
    svg.rect("fw-breach", from, frame.top, (to - from).max(2.0), frame.bottom - frame.top);
    let middle = frame.x_of(breach.p50);
    svg.line("fw-breach-mid", middle, frame.top, middle, frame.bottom);
}

fn draw_limit(svg: &mut Svg, chart: &TimeChart, frame: &Frame, is_shown: bool) {
    let Some(limit) = chart.limit.as_ref().filter(|l| drawable(l.value)) else { return };
    let text = format!("{} {}", limit.name, chart.unit.format(limit.value));
    let text = fitted(text.trim(), (frame.right - frame.left) * 0.7);
    let x = frame.left + 6.0;
    if !is_shown {
        let (arrow, y) = if limit.value > 0.0 { ("↑", frame.top + 13.0) } else { ("↓", frame.bottom - 6.0) };
        svg.text("fw-limit-text fw-halo", x, y, Anchor::Start, &format!("{arrow} {text}"));
        return;
    }
    let y = frame.y.at(limit.value);
    svg.line("fw-limit", frame.left, y, frame.right, y);
    let y = if y - 18.0 < frame.top { y + 15.0 } else { y - 6.0 };
    svg.text("fw-limit-text fw-halo", x, y, Anchor::Start, &text);
}

/// Above the plot: what "now" is, when the breach comes, and pins for events. Texts that would run into
/// each other give way, the tooltips stay.
fn draw_strip(svg: &mut Svg, chart: &TimeChart, frame: &Frame) {
    let mut taken: Vec<(f64, f64)> = Vec::new();
    let baseline = frame.top - 5.0;
    let mut write = |svg: &mut Svg, class: &str, x: f64, text: &str, may_give_way: bool| {
        let half = bold_width(text) / 2.0;
        let centre = if frame.right - frame.left > 2.0 * half {
            x.clamp(frame.left + half, (frame.right + RIGHT - 2.0 - half).max(frame.left + half))
        } else {
            (frame.left + frame.right) / 2.0
        };
        let (from, to) = (centre - half - 4.0, centre + half + 4.0);
        if may_give_way && taken.iter().any(|(a, b)| from < *b && *a < to) {
            return;
        }
        taken.push((from, to));
        svg.text(class, centre, baseline, Anchor::Middle, text);
    };

    if let Some(breach) = chart.breach {
        let text = if breach.p50 > frame.end {
            format!("breach {} →", format_day_time(breach.p50))
        } else {
            format!("breach {}", format_day_time(breach.p50))
        };
        write(svg, "fw-breach-text", frame.x_of(breach.p50), &text, false);
    }
    if let Some(now) = chart.now.filter(|n| frame.shows(*n)) {
        let x = frame.x_of(now);
        svg.line("fw-now", x, frame.top - 3.0, x, frame.bottom);
        write(svg, "", x, "now", true);
    }
    for marker in chart.markers.iter().filter(|m| frame.shows(m.at)) {
        let x = frame.x_of(marker.at);
        svg.open_group(&format!("{} {}: {}", format_utc(marker.at), marker.kind.name(), marker.text));
        svg.line("fw-mark-line", x, frame.top, x, frame.bottom);
        svg.path(marker.kind.class(), &legend::pin(x, frame.top + 9.0));
        svg.close_group();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(m: i64) -> Timestamp {
        Timestamp::from_seconds(1_767_830_400 + 60 * m)
    }

    fn line(samples: impl IntoIterator<Item = (i64, f64)>) -> Line {
        let samples = samples.into_iter().map(|(m, value)| Sample { at: minute(m), value }).collect();
        Line { name: "used".to_owned(), samples }
    }

    #[test]
    fn nothing_to_show_is_said() {
        assert!(time_chart(&TimeChart::default()).contains("No data to show"));
        let all_nan = TimeChart { lines: vec![line([(0, f64::NAN), (1, f64::INFINITY)])], ..TimeChart::default() };
        assert!(time_chart(&all_nan).contains("No data to show"));
    }

    #[test]
    fn degenerate_input_draws_and_holds_no_nan() {
        let at = Timestamp::from_millis;
        let charts = [
            TimeChart { lines: vec![line([(0, 5.0)])], ..TimeChart::default() },
            TimeChart { lines: vec![line([(0, 0.0), (1, 0.0)])], ..TimeChart::default() },
            TimeChart { lines: vec![line([(5, 1.0), (1, 2.0)])], ..TimeChart::default() },
            TimeChart { now: Some(minute(0)), ..TimeChart::default() },
            TimeChart {
                lines: vec![Line {
                    name: "x".repeat(500),
                    samples: [(i64::MIN, -1e299), (0, f64::NAN), (i64::MAX, 1e299)]
                        .map(|(m, value)| Sample { at: at(m), value })
                        .to_vec(),
                }],
                limit: Some(Limit { value: f64::NAN, name: "limit".to_owned() }),
                breach: Some(BreachInterval { p10: at(i64::MAX), p50: at(i64::MIN), p90: at(0) }),
                fan: vec![FanPoint { at: at(i64::MAX), p10: f64::NAN, p50: f64::INFINITY, p90: f64::MAX }],
                band: vec![BandPoint { at: at(0), low: 3.0, mid: f64::NAN, high: 1.0 }],
                size: Size { width: 0, height: u32::MAX },
                ..TimeChart::default()
            },
        ];
        for chart in charts {
            let svg = time_chart(&chart);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.ends_with("</svg>"));
        }
    }

    #[test]
    fn text_is_escaped_everywhere() {
        let evil = "</svg><script>alert(\"1\")</script>".to_owned();
        let svg = time_chart(&TimeChart {
            title: evil.clone(),
            description: evil.clone(),
            show_title: true,
            lines: vec![Line { name: evil.clone(), ..line([(0, 1.0), (1, 2.0)]) }],
            limit: Some(Limit { value: 2.0, name: evil.clone() }),
            markers: vec![Marker { at: minute(1), kind: MarkerKind::Label, text: evil }],
            ..TimeChart::default()
        });
        assert!(!svg.contains("<script") && !svg.contains("\"1\""), "{svg}");
    }

    #[test]
    fn a_close_look_between_two_points_of_the_fan_shows_it() {
        let point = |m: i64, v: f64| FanPoint { at: minute(m), p10: v - 1.0, p50: v, p90: v + 1.0 };
        let chart = TimeChart {
            lines: vec![line((0..60).map(|m| (m, 10.0)))],
            fan: vec![point(60, 10.0), point(180, 22.0)],
            limit: Some(Limit { value: 20.0, name: "limit".to_owned() }),
            ..TimeChart::default()
        };
        let (extent, _) = value_extent(&chart, minute(90), minute(120));
        assert!(extent.low < 12.0 && extent.high > 20.0, "{extent:?}");
        assert_eq!(fan_at(&chart.fan, minute(120)), Some([15.0, 16.0, 17.0]));
        assert_eq!(fan_at(&chart.fan, minute(181)), None);
    }

    #[test]
    fn a_fan_that_runs_away_does_not_flatten_the_past() {
        let mut chart = TimeChart {
            lines: vec![line((0..60).map(|m| (m, 100.0 + m as f64)))],
            fan: vec![FanPoint { at: minute(61), p10: 1e9, p50: 1e9, p90: 1e9 }],
            ..TimeChart::default()
        };
        let (extent, _) = value_extent(&chart, minute(0), minute(61));
        assert!(extent.high < 300.0, "{extent:?}");
        chart.limit = Some(Limit { value: 1e6, name: "limit".to_owned() });
        assert!(time_chart(&chart).contains("↑ limit 1M"), "a far limit is named, not drawn");
    }
}
