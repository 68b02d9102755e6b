//! Bars side by side: one group a row (a service), one bar a series (a model).

use crate::extent::{Extent, Scale, drawable};
use crate::legend::{self, Entry, Swatch};
use crate::svg::{Anchor, Svg, bold_width, fitted, text_width};
use crate::ticks::value_ticks;
use crate::unit::Unit;

/// The bars of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BarGroup {
    /// Beside the bars.
    pub name: String,
    /// One value a series, in their order; what is missing or not finite is written as `no value`.
    pub values: Vec<f64>,
}

/// What [`bar_chart`] draws.
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart {
    /// Drawn above the chart.
    pub title: String,
    /// For screen readers.
    pub description: String,
    /// Of every value.
    pub unit: Unit,
    /// Names of the series, for the legend; up to four are told apart.
    pub series: Vec<String>,
    /// Rows, from the top; the first 200 are drawn.
    pub groups: Vec<BarGroup>,
    /// Pixels; the height follows from the number of bars.
    pub width: u32,
}

impl Default for BarChart {
    fn default() -> Self {
        Self {
            title: String::new(),
            description: String::new(),
            unit: Unit::default(),
            series: Vec::new(),
            groups: Vec::new(),
            width: 720,
        }
    }
}

const BLOCKS: [&str; 4] = ["fw-b0", "fw-b1", "fw-b2", "fw-b3"];
const BAR: f64 = 13.0;
const BETWEEN: f64 = 12.0;
const MOST_GROUPS: usize = 200;

/// Draws `chart` as one `<svg>` element, as high as it needs to be.
pub fn bar_chart(chart: &BarChart) -> String {
    let width = f64::from(chart.width.clamp(200, 4000));
    let groups = &chart.groups[..chart.groups.len().min(MOST_GROUPS)];
    let bars = chart.series.len();
    let entries: Vec<Entry> = chart
        .series
        .iter()
        .enumerate()
        .map(|(i, name)| Entry { swatch: Swatch::Block(BLOCKS[i % BLOCKS.len()]), name: name.clone() })
        .collect();
    let top = 28.0 + legend::rows(&entries, width - 4.0) as f64 * legend::ROW + 6.0;
    let row = bars as f64 * BAR + BETWEEN;
    let is_empty = groups.is_empty() || bars == 0;
    let height = if is_empty { top + 60.0 } else { top + groups.len() as f64 * row + 24.0 };

    let mut svg = Svg::new(width, height, &chart.title, &chart.description);
    svg.text("fw-title", 2.0, 18.0, Anchor::Start, &fitted(&chart.title, (width - 4.0) / 1.15));
    if is_empty {
        svg.text("", width / 2.0, height / 2.0, Anchor::Middle, "No data to show");
        return svg.finish();
    }
    legend::draw(&mut svg, &entries, 2.0, 28.0, width - 4.0);

    let names = groups.iter().map(|g| bold_width(&g.name)).fold(20.0, f64::max).min(width * 0.3);
    let values = groups.iter().flat_map(|g| g.values.iter().take(bars));
    let written = values.map(|v| text_width(&chart.unit.format(*v))).fold(58.0, f64::max).min(width * 0.3);
    let (left, right, bottom) = (names + 12.0, width - written - 6.0, height - 24.0);
    let mut extent = Extent { low: 0.0, high: 0.0 };
    groups.iter().flat_map(|g| g.values.iter().take(bars)).for_each(|v| extent.add(*v));
    if extent.low == extent.high {
        extent.high = 1.0;
    }
    let x = Scale::new(extent, left, right);
    let ticks = value_ticks(chart.unit, extent.low, extent.high, ((right - left) / 90.0).clamp(2.0, 8.0) as usize);
    for tick in ticks {
        svg.line("fw-grid", x.at(tick), top, x.at(tick), bottom);
        svg.text("", x.at(tick), bottom + 16.0, Anchor::Middle, &chart.unit.format(tick));
    }
    for (g, group) in groups.iter().enumerate() {
        let y = top + g as f64 * row + BETWEEN / 2.0;
        let middle = y + bars as f64 * BAR / 2.0 + 4.0;
        svg.text("fw-strong", left - 8.0, middle, Anchor::End, &fitted(&group.name, names / 1.12));
        for i in 0..bars {
            let value = group.values.get(i).copied().unwrap_or(f64::NAN);
            let y = y + i as f64 * BAR;
            let end = if drawable(value) {
                let (from, to) = (x.at(value.min(0.0)), x.at(value.max(0.0)));
                svg.rect(BLOCKS[i % BLOCKS.len()], from, y + 1.0, (to - from).max(1.0), BAR - 2.0);
                to.max(from + 1.0)
            } else {
                x.at(0.0)
            };
            svg.text("", end + 5.0, y + BAR - 2.5, Anchor::Start, &chart.unit.format(value));
        }
    }
    svg.line("fw-axis", x.at(0.0), top, x.at(0.0), bottom);
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_value_is_written_not_drawn() {
        let chart = BarChart {
            series: vec!["trend".to_owned(), "lstm".to_owned()],
            groups: vec![
                BarGroup { name: "checkout".to_owned(), values: vec![0.4, f64::NAN] },
                BarGroup { name: "cart".to_owned(), values: vec![0.2] },
            ],
            ..BarChart::default()
        };
        let svg = bar_chart(&chart);
        assert_eq!(svg.matches("no value").count(), 2);
        // Two swatches, two bars.
        assert_eq!(svg.matches("<rect").count(), 4);
    }

    #[test]
    fn degenerate_input_draws_and_holds_no_nan() {
        let zeros = BarGroup { name: String::new(), values: vec![0.0, -0.0, f64::MAX, f64::NEG_INFINITY] };
        for series in 0..6 {
            let chart =
                BarChart { series: vec![String::new(); series], groups: vec![zeros.clone()], ..BarChart::default() };
            let svg = bar_chart(&chart);
            assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
        }
    }
}
