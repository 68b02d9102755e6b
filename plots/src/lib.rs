//! Charts as SVG text: pure functions from numbers to a string.
//!
//! No script, no font, no image, nothing loaded from outside. Colours are CSS custom properties (see
//! [`STYLE`]), so that one chart is readable in light and in dark; every text is escaped; each chart
//! carries a `<title>` and a `<desc>` for screen readers. Empty, NaN, infinite and degenerate input gives
//! a chart that says that there is nothing to show, never a panic. Not here: deciding what to show.
//!
//! ```
//! use forewarn_plots::{Line, TimeChart, Unit, time_chart};
//! use forewarn_schema::{Sample, Timestamp};
//!
//! let minute = |m: i64| Timestamp::from_seconds(1_767_830_400 + 60 * m);
//! let memory = (0..120).map(|m| Sample { at: minute(m), value: 4e8 + 1e6 * m as f64 }).collect();
//! let svg = time_chart(&TimeChart {
//!     title: "Memory of checkout".to_owned(),
//!     unit: Unit::Bytes,
//!     lines: vec![Line { name: "used".to_owned(), samples: memory }],
//!     ..TimeChart::default()
//! });
//! assert!(svg.starts_with("<svg"));
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails to set up should panic"))]

mod bars;
mod calibration;
mod extent;
mod histogram;
mod legend;
mod path;
mod ranges;
mod svg;
mod ticks;
mod time_chart;
mod unit;

pub use bars::{BarChart, BarGroup, bar_chart};
pub use calibration::{CalibrationChart, CalibrationPoint, calibration_chart};
pub use forewarn_schema::{BandPoint, FanPoint};
pub use histogram::{Histogram, histogram};
pub use ranges::{Range, RangeChart, RangeGroup, range_chart};
pub use time_chart::{BreachInterval, Limit, Line, Marker, MarkerKind, Reading, Size, TimeChart, readings, time_chart};
pub use unit::{Unit, format_day_time, format_utc};

/// The style sheet that every chart needs once per document: class rules, and the custom properties
/// `--fw-…` for light and, by `prefers-color-scheme`, for dark. A page may override the properties.
pub const STYLE: &str = include_str!("style.css");
