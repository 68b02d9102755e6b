//! The legend: swatches and names, in rows above the plot.

use crate::svg::{Anchor, Svg, fitted, text_width};

/// Height of one row of the legend, pixels.
pub(crate) const ROW: f64 = 18.0;
const SWATCH: f64 = 20.0;
const BETWEEN: f64 = 16.0;

/// How an entry's swatch looks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Swatch {
    /// A line of this class.
    Line(&'static str),
    /// An area of the first class with a line of the second through its middle.
    Area(&'static str, &'static str),
    /// A block of this class.
    Block(&'static str),
    /// A marker's shape.
    Pin(&'static str),
}

/// One entry.
pub(crate) struct Entry {
    pub(crate) swatch: Swatch,
    pub(crate) name: String,
}

/// How many rows `entries` take in `width` pixels.
pub(crate) fn rows(entries: &[Entry], width: f64) -> usize {
    place(entries, width).last().map_or(0, |(row, _)| row + 1)
}

/// Draws them from `x`, `top` on.
pub(crate) fn draw(svg: &mut Svg, entries: &[Entry], x: f64, top: f64, width: f64) {
    for (entry, (row, dx)) in entries.iter().zip(place(entries, width)) {
        let left = x + dx;
        let middle = top + row as f64 * ROW + ROW / 2.0;
        match entry.swatch {
            Swatch::Line(class) => svg.line(class, left, middle, left + SWATCH, middle),
            Swatch::Area(area, line) => {
                svg.rect(area, left, middle - 5.0, SWATCH, 10.0);
                svg.line(line, left, middle, left + SWATCH, middle);
            }
            Swatch::Block(class) => svg.rect(class, left + 4.0, middle - 5.0, 11.0, 11.0),
            Swatch::Pin(class) => svg.path(class, &pin(left + SWATCH / 2.0, middle + 4.0)),
        }
        svg.text("", left + SWATCH + 6.0, middle + 4.0, Anchor::Start, &fitted(&entry.name, width - SWATCH - 6.0));
    }
}

/// Row and x of each entry.
fn place(entries: &[Entry], width: f64) -> Vec<(usize, f64)> {
    let mut places = Vec::with_capacity(entries.len());
    let (mut row, mut x) = (0, 0.0);
    for entry in entries {
        let needed = (SWATCH + 6.0 + text_width(&entry.name)).min(width);
        if x > 0.0 && x + needed > width {
            row += 1;
            x = 0.0;
        }
        places.push((row, x));
        x += needed + BETWEEN;
    }
    places
}

/// A pin whose tip is at `x`, `y`.
pub(crate) fn pin(x: f64, y: f64) -> String {
    use crate::svg::number as n;
    format!("M{} {}L{} {}L{} {}Z", n(x), n(y), n(x - 4.5), n(y - 8.0), n(x + 4.5), n(y - 8.0))
}
