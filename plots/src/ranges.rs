//! Ranges side by side: one group a row, one bar with its middle a series. For figures with their
//! intervals, and for where values lay then and now.

use crate::extent::{Extent, Scale, drawable};
use crate::legend::{self, Entry, Swatch};
use crate::svg::{Anchor, Svg, bold_width, fitted, text_width};
use crate::ticks::value_ticks;
use crate::unit::Unit;

/// From where to where, with what is in between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Where it begins.
    pub low: f64,
    /// The dot: an estimate, a median.
    pub mid: f64,
    /// Where it ends.
    pub high: f64,
}

/// The ranges of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeGroup {
    /// Beside the ranges.
    pub name: String,
    /// At the right end, in words.
    pub note: String,
    /// One a series, in their order; what is missing is left out, what is not finite is drawn as far as it is.
    pub ranges: Vec<Option<Range>>,
}

/// What [`range_chart`] draws.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeChart {
    /// Drawn above the chart.
    pub title: String,
    /// For screen readers.
    pub description: String,
    /// Of every value.
    pub unit: Unit,
    /// Names of the series, for the legend; up to four are told apart.
    pub series: Vec<String>,
    /// A value to compare with, drawn through all rows.
    pub reference: Option<f64>,
    /// Nothing further out than this is drawn: one runaway row must not flatten the others.
    pub shown: Option<(f64, f64)>,
    /// Rows, from the top; the first 200 are drawn.
    pub groups: Vec<RangeGroup>,
    /// Pixels; the height follows from the number of ranges.
    pub width: u32,
}

impl Default for RangeChart {
    fn default() -> Self {
        Self {
            title: String::new(),
            description: String::new(),
            unit: Unit::default(),
            series: Vec::new(),
            reference: None,
            shown: None,
            groups: Vec::new(),
            width: 720,
        }
    }
}

const BLOCKS: [&str; 4] = ["fw-b0", "fw-b1", "fw-b2", "fw-b3"];
const RANGE: f64 = 11.0;
const BETWEEN: f64 = 10.0;
const MOST_GROUPS: usize = 200;

/// Draws `chart` as one `<svg>` element, as high as it needs to be.
pub fn range_chart(chart: &RangeChart) -> String {
    let width = f64::from(chart.width.clamp(200, 4000));
    let groups = &chart.groups[..chart.groups.len().min(MOST_GROUPS)];
    let series = chart.series.len();
    let swatch = |i: usize| Swatch::Block(BLOCKS[i % BLOCKS.len()]);
    let entries: Vec<Entry> = (0..series).map(|i| Entry { swatch: swatch(i), name: chart.series[i].clone() }).collect();
    let top = 28.0 + legend::rows(&entries, width - 4.0) as f64 * legend::ROW + 6.0;
    let row = series as f64 * RANGE + BETWEEN;
    let extent = extent_of(chart, groups);
    let is_empty = groups.is_empty() || extent.is_empty();
    let height = if is_empty { top + 60.0 } else { top + groups.len() as f64 * row + 24.0 };

    let mut svg = Svg::new(width, height, &chart.title, &chart.description);
    svg.text("fw-title", 2.0, 18.0, Anchor::Start, &fitted(&chart.title, (width - 4.0) / 1.15));
    if is_empty {
        svg.text("", width / 2.0, height / 2.0, Anchor::Middle, "No data to show");
        return svg.finish();
    }
    legend::draw(&mut svg, &entries, 2.0, 28.0, width - 4.0);

    let names = groups.iter().map(|g| bold_width(&g.name)).fold(20.0, f64::max).min(width * 0.3);
    let notes = groups.iter().map(|g| text_width(&g.note)).fold(0.0, f64::max).min(width * 0.3);
    let (left, right, bottom) = (names + 12.0, width - notes - 24.0, height - 24.0);
    let x = Scale::new(extent.padded(), left, right);
    let shown = extent.padded();
    for tick in value_ticks(chart.unit, shown.low, shown.high, ((right - left) / 90.0).clamp(2.0, 8.0) as usize) {
        svg.line("fw-grid", x.at(tick), top, x.at(tick), bottom);
        svg.text("", x.at(tick), bottom + 16.0, Anchor::Middle, &chart.unit.format(tick));
    }
    if let Some(reference) = chart.reference.filter(|r| drawable(*r)) {
        svg.line("fw-ideal", x.at(reference), top, x.at(reference), bottom);
    }
    for (g, group) in groups.iter().enumerate() {
        let y = top + g as f64 * row + BETWEEN / 2.0;
        let middle = y + series as f64 * RANGE / 2.0 + 4.0;
        svg.text("fw-strong", left - 8.0, middle, Anchor::End, &fitted(&group.name, names / 1.12));
        svg.text("", width - 4.0, middle, Anchor::End, &fitted(&group.note, notes + 2.0));
        for (i, range) in group.ranges.iter().take(series).enumerate() {
            let Some(range) = range else { continue };
            let at = |value: f64| x.at(value.clamp(shown.low, shown.high));
            let y = y + i as f64 * RANGE + RANGE / 2.0;
            let class = BLOCKS[i % BLOCKS.len()];
            if !range.low.is_nan() && !range.high.is_nan() {
                let (from, to) = (at(range.low.min(range.high)), at(range.high.max(range.low)));
                svg.rect(class, from, y - 1.5, (to - from).max(1.0), 3.0);
            }
            if !range.mid.is_nan() {
                svg.rect(class, at(range.mid) - 2.0, y - 4.5, 4.0, 9.0);
            }
        }
    }
    svg.finish()
}

fn extent_of(chart: &RangeChart, groups: &[RangeGroup]) -> Extent {
    let mut extent = Extent::EMPTY;
    let ranges = groups.iter().flat_map(|g| g.ranges.iter().take(chart.series.len()).flatten());
    let mut any = false;
    for value in ranges.flat_map(|r| [r.low, r.mid, r.high]).filter(|v| drawable(*v)) {
        any = true;
        extent.add(chart.shown.map_or(value, |(low, high)| value.max(low).min(high)));
    }
    if any {
        chart.reference.into_iter().for_each(|r| extent.add(r));
    }
    extent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(ranges: Vec<Option<Range>>) -> RangeChart {
        RangeChart {
            series: vec!["then".to_owned(), "now".to_owned()],
            groups: vec![RangeGroup { name: "traffic".to_owned(), note: "moved".to_owned(), ranges }],
            ..RangeChart::default()
        }
    }

    #[test]
    fn a_range_is_a_bar_and_its_middle() {
        let svg = range_chart(&chart(vec![Some(Range { low: 0.0, mid: 0.5, high: 1.0 }), None]));
        // Two swatches, a bar, a middle.
        assert_eq!(svg.matches("<rect").count(), 4);
        assert!(svg.contains("traffic") && svg.contains("moved"));
    }

    #[test]
    fn degenerate_input_draws_and_holds_no_nan() {
        let odd = |low, mid, high| Some(Range { low, mid, high });
        for ranges in [
            vec![],
            vec![odd(f64::NAN, f64::NAN, f64::NAN)],
            vec![odd(f64::NEG_INFINITY, 0.0, f64::INFINITY), odd(1.0, 1.0, 1.0)],
            vec![odd(5.0, 1.0, -5.0), odd(f64::MAX, 0.0, f64::MIN)],
        ] {
            let svg = range_chart(&chart(ranges));
            assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
        }
        assert!(range_chart(&RangeChart::default()).contains("No data to show"));
    }

    #[test]
    fn a_runaway_is_cut_at_what_is_shown() {
        let mut chart =
            chart(vec![Some(Range { low: 0.0, mid: 1.0, high: 2.0 }), Some(Range { low: 0.0, mid: 9e9, high: 9e9 })]);
        chart.shown = Some((-5.0, 5.0));
        assert!(extent_of(&chart, &chart.groups).high <= 5.0);
    }
}
