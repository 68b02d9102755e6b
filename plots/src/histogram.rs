//! How often which value: errors of forecasts, anomaly scores, lead times.

use crate::extent::{Extent, Scale, drawable};
use crate::svg::{Anchor, Svg, bold_width, fitted, text_width};
use crate::ticks::value_ticks;
use crate::time_chart::Size;
use crate::unit::Unit;

/// What [`histogram`] draws.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Drawn above the chart.
    pub title: String,
    /// For screen readers.
    pub description: String,
    /// Of the values.
    pub unit: Unit,
    /// What is counted; NaN and the infinities are left out and counted in a note.
    pub values: Vec<f64>,
    /// How many bins, 1..=200.
    pub bins: usize,
    /// Vertical lines with a name: a threshold, a median.
    pub marks: Vec<(f64, String)>,
    /// Pixels.
    pub size: Size,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            title: String::new(),
            description: String::new(),
            unit: Unit::default(),
            values: Vec::new(),
            bins: 40,
            marks: Vec::new(),
            size: Size { width: 720, height: 220 },
        }
    }
}

/// Draws `chart` as one `<svg>` element. Bins are of equal width; a value on an edge belongs to the bin
/// above it, the largest to the last.
pub fn histogram(chart: &Histogram) -> String {
    let width = f64::from(chart.size.width.clamp(160, 4000));
    let height = f64::from(chart.size.height.clamp(140, 4000));
    let mut svg = Svg::new(width, height, &chart.title, &chart.description);
    svg.text("fw-title", 2.0, 18.0, Anchor::Start, &fitted(&chart.title, (width - 4.0) / 1.15));
    let values: Vec<f64> = chart.values.iter().copied().filter(|v| drawable(*v)).collect();
    if values.is_empty() {
        svg.text("", width / 2.0, height / 2.0, Anchor::Middle, "No data to show");
        return svg.finish();
    }

    let mut extent = Extent::EMPTY;
    values.iter().for_each(|v| extent.add(*v));
    if extent.low == extent.high {
        let half = if extent.low == 0.0 { 0.5 } else { extent.low.abs() * 0.05 };
        extent = Extent { low: extent.low - half, high: extent.high + half };
    }
    let counts = count(&values, extent, chart.bins.clamp(1, 200));
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;

    let heights = Extent { low: 0.0, high: most * 1.05 };
    let (top, bottom) = (42.0, height - 26.0);
    let ticks = value_ticks(Unit::Count, 0.0, most, ((bottom - top) / 40.0).clamp(2.0, 6.0) as usize);
    let ticks: Vec<f64> = ticks.into_iter().filter(|t| t.fract() == 0.0).collect();
    let left = ticks.iter().map(|t| text_width(&Unit::Count.format(*t))).fold(20.0, f64::max) + 10.0;
    let right = width - 20.0;
    let (x, y) = (Scale::new(extent, left, right), Scale::new(heights, bottom, top));
    for tick in ticks {
        svg.line("fw-grid", left, y.at(tick), right, y.at(tick));
        svg.text("", left - 7.0, y.at(tick) + 4.0, Anchor::End, &Unit::Count.format(tick));
    }
    let bin = (right - left) / counts.len() as f64;
    for (i, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let y = y.at(*n as f64);
        svg.rect("fw-b0", left + i as f64 * bin, y, (bin - 1.0).max(0.5), bottom - y);
    }
    svg.line("fw-axis", left, bottom, right, bottom);
    for tick in value_ticks(chart.unit, extent.low, extent.high, ((right - left) / 90.0).clamp(2.0, 10.0) as usize) {
        svg.line("fw-axis", x.at(tick), bottom, x.at(tick), bottom + 4.0);
        svg.text("", x.at(tick), bottom + 17.0, Anchor::Middle, &chart.unit.format(tick));
    }
    for (value, name) in chart.marks.iter().filter(|(v, _)| drawable(*v) && extent.low <= *v && *v <= extent.high) {
        let at = x.at(*value);
        svg.line("fw-breach-mid", at, top - 4.0, at, bottom);
        let half = bold_width(name) / 2.0;
        let centre = at.clamp(left + half, (right - half).max(left + half));
        svg.text("fw-breach-text fw-halo", centre, top - 8.0, Anchor::Middle, name);
    }
    let left_out = chart.values.len() - values.len();
    if left_out > 0 {
        let note = format!("{left_out} without a value left out");
        svg.text("", right, 34.0, Anchor::End, &note);
    }
    svg.finish()
}

fn count(values: &[f64], extent: Extent, bins: usize) -> Vec<usize> {
    let mut counts = vec![0; bins];
    for value in values {
        let share = (value - extent.low) / (extent.high - extent.low);
        let bin = ((share * bins as f64).floor().max(0.0) as usize).min(bins - 1);
        counts[bin] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_bin() {
        assert_eq!(count(&[0.0, 1.0, 2.0, 3.0, 4.0], Extent { low: 0.0, high: 4.0 }, 4), [1, 1, 1, 2]);
    }

    #[test]
    fn degenerate_input_draws_and_holds_no_nan() {
        for values in [vec![], vec![0.0], vec![f64::NAN, 3.0, 3.0], vec![-1e299, 1e299]] {
            let svg = histogram(&Histogram { values, bins: 0, ..Histogram::default() });
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
