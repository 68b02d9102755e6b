//! Does a probability mean what it says: predicted on one axis, observed on the other.

use crate::extent::{Extent, Scale, drawable};
use crate::svg::{Anchor, Svg, fitted, text_width};
use crate::time_chart::Size;
use crate::unit::Unit;

/// One bin: of `count` predictions that said about `predicted`, a share `observed` came true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationPoint {
    /// 0..=1.
    pub predicted: f64,
    /// 0..=1.
    pub observed: f64,
    /// How many predictions; the area of the dot.
    pub count: u64,
    /// Between where `observed` may as well lie, drawn as a whisker; `None` where that is not known.
    pub interval: Option<(f64, f64)>,
}

/// What [`calibration_chart`] draws: also the nominal and the measured coverage of intervals.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationChart {
    /// Drawn above the chart.
    pub title: String,
    /// For screen readers.
    pub description: String,
    /// Name of the horizontal axis: `predicted`.
    pub predicted_name: String,
    /// Name of the vertical axis: `came true`.
    pub observed_name: String,
    /// Points outside 0..=1 or NaN are left out.
    pub points: Vec<CalibrationPoint>,
    /// Pixels.
    pub size: Size,
}

impl Default for CalibrationChart {
    fn default() -> Self {
        Self {
            title: String::new(),
            description: String::new(),
            predicted_name: "predicted".to_owned(),
            observed_name: "observed".to_owned(),
            points: Vec::new(),
            size: Size { width: 340, height: 320 },
        }
    }
}

/// Draws `chart` as one `<svg>` element. On the diagonal, what was said is what happened.
pub fn calibration_chart(chart: &CalibrationChart) -> String {
    let width = f64::from(chart.size.width.clamp(160, 4000));
    let height = f64::from(chart.size.height.clamp(160, 4000));
    let mut svg = Svg::new(width, height, &chart.title, &chart.description);
    svg.text("fw-title", 2.0, 18.0, Anchor::Start, &fitted(&chart.title, (width - 4.0) / 1.15));
    let is_share = |v: f64| drawable(v) && (0.0..=1.0).contains(&v);
    let points: Vec<&CalibrationPoint> =
        chart.points.iter().filter(|p| is_share(p.predicted) && is_share(p.observed)).collect();
    if points.is_empty() {
        svg.text("", width / 2.0, height / 2.0, Anchor::Middle, "No data to show");
        return svg.finish();
    }

    let (left, right, top, bottom) = (48.0, width - 16.0, 52.0, height - 40.0);
    let whole = Extent { low: 0.0, high: 1.0 };
    let (x, y) = (Scale::new(whole, left, right), Scale::new(whole, bottom, top));
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let label = Unit::Ratio.format(share);
        svg.line("fw-grid", x.at(share), top, x.at(share), bottom);
        svg.line("fw-grid", left, y.at(share), right, y.at(share));
        let half = text_width(&label) / 2.0;
        svg.text("", x.at(share).min(width - half - 1.0), bottom + 16.0, Anchor::Middle, &label);
        svg.text("", left - 7.0, y.at(share) + 4.0, Anchor::End, &label);
    }
    svg.line("fw-axis", left, bottom, right, bottom);
    svg.line("fw-ideal", x.at(0.0), y.at(0.0), x.at(1.0), y.at(1.0));
    svg.text("", right, height - 8.0, Anchor::End, &format!("{} →", chart.predicted_name));
    svg.text("", 2.0, 40.0, Anchor::Start, &format!("↑ {}", chart.observed_name));

    let most = points.iter().map(|p| p.count).max().unwrap_or(1).max(1) as f64;
    for point in points {
        let radius = 3.5 + 6.5 * (point.count as f64 / most).sqrt();
        if let Some((low, high)) = point.interval.filter(|(low, high)| is_share(*low) && is_share(*high)) {
            svg.line("fw-whisker", x.at(point.predicted), y.at(low), x.at(point.predicted), y.at(high));
        }
        let tip = format!(
            "{} {}, {} {}, {} predictions",
            chart.predicted_name,
            Unit::Ratio.format(point.predicted),
            chart.observed_name,
            Unit::Ratio.format(point.observed),
            point.count
        );
        svg.circle("fw-dot", x.at(point.predicted), y.at(point.observed), radius, &tip);
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_are_no_shares_are_left_out() {
        let point =
            |predicted, observed| CalibrationPoint { predicted, observed, count: 3, interval: Some((0.3, f64::NAN)) };
        let chart = CalibrationChart {
            points: vec![point(0.5, 0.4), point(f64::NAN, 0.1), point(0.2, 7.0)],
            ..CalibrationChart::default()
        };
        assert_eq!(calibration_chart(&chart).matches("<circle").count(), 1);
        assert!(calibration_chart(&CalibrationChart::default()).contains("No data to show"));
    }
}
