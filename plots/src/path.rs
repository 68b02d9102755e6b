//! Series to path data: gaps stay gaps, and a long series is drawn by its lowest and highest value in
//! each pixel column, so that a spike is never lost and the SVG stays small.

use std::fmt::Write as _;

use crate::svg::number;

/// One point on the screen, with the time it stands for (milliseconds).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dot {
    pub(crate) millis: i64,
    pub(crate) x: f64,
    pub(crate) y: f64,
}

/// A point of an area: its lower and upper edge on the screen (y grows downwards).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) millis: i64,
    pub(crate) x: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

/// Cuts `points` (sorted by time; `None` is a missing value) where a value is missing or where two are
/// farther apart than `max_gap` milliseconds.
pub(crate) fn runs<T: Copy>(
    points: impl Iterator<Item = Option<T>>,
    millis: impl Fn(&T) -> i64,
    max_gap: i64,
) -> Vec<Vec<T>> {
    let mut runs: Vec<Vec<T>> = Vec::new();
    let mut open = false;
    for point in points {
        let Some(point) = point else {
            open = false;
            continue;
        };
        match runs.last_mut() {
            Some(run) if open && run.last().is_none_or(|l| millis(&point).saturating_sub(millis(l)) <= max_gap) => {
                run.push(point);
            }
            _ => runs.push(vec![point]),
        }
        open = true;
    }
    runs
}

/// The gap to cut at where none is given: five times the usual distance, at least a millisecond.
pub(crate) fn usual_gap(millis: &[i64]) -> i64 {
    let mut distances: Vec<i64> = millis.windows(2).map(|w| w[1].saturating_sub(w[0])).filter(|d| *d > 0).collect();
    if distances.is_empty() {
        return i64::MAX;
    }
    let middle = distances.len() / 2;
    let (_, median, _) = distances.select_nth_unstable(middle);
    median.saturating_mul(5).max(1)
}

/// Path data of a line. A run of one point becomes a dot (a round cap without a length).
pub(crate) fn line_path(runs: &[Vec<Dot>]) -> String {
    let mut d = String::new();
    for run in runs {
        for (i, dot) in thinned(run).iter().enumerate() {
            let _ = write!(d, "{}{} {}", if i == 0 { 'M' } else { 'L' }, number(dot.x), number(dot.y));
        }
        if run.len() == 1 {
            d.push_str("h0");
        }
    }
    d
}

/// Path data of an area between two edges.
pub(crate) fn area_path(runs: &[Vec<Edge>]) -> String {
    let mut d = String::new();
    for run in runs.iter().filter(|r| r.len() > 1) {
        let edges = merged(run);
        for (i, edge) in edges.iter().enumerate() {
            let _ = write!(d, "{}{} {}", if i == 0 { 'M' } else { 'L' }, number(edge.x), number(edge.top));
        }
        for edge in edges.iter().rev() {
            let _ = write!(d, "L{} {}", number(edge.x), number(edge.bottom));
        }
        d.push('Z');
    }
    d
}

/// First, highest, lowest and last of each pixel column, in the order of time.
fn thinned(run: &[Dot]) -> Vec<Dot> {
    let mut kept: Vec<Dot> = Vec::new();
    for column in run.chunk_by(|a, b| a.x.floor() == b.x.floor()) {
        if column.len() <= 4 {
            kept.extend(column);
            continue;
        }
        let by_y = |pick: fn(f64, f64) -> bool| {
            let mut best = 0;
            for (i, dot) in column.iter().enumerate() {
                if pick(dot.y, column[best].y) {
                    best = i;
                }
            }
            best
        };
        let mut picks = vec![0, by_y(|a, b| a < b), by_y(|a, b| a > b), column.len() - 1];
        picks.sort_unstable();
        picks.dedup();
        kept.extend(picks.into_iter().map(|i| column[i]));
    }
    kept
}

/// One edge a pixel column: the outermost of those in it.
fn merged(run: &[Edge]) -> Vec<Edge> {
    let mut kept: Vec<Edge> = run
        .chunk_by(|a, b| a.x.floor() == b.x.floor())
        .map(|column| {
            let outermost = |a: Edge, b: &Edge| Edge { top: a.top.min(b.top), bottom: a.bottom.max(b.bottom), ..a };
            column.iter().skip(1).fold(column[0], outermost)
        })
        .collect();
    // The last column's own x would end the area up to a pixel early.
    if let (Some(last), Some(end)) = (kept.last_mut(), run.last()) {
        last.x = end.x;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(i: i64, y: f64) -> Dot {
        Dot { millis: i * 60_000, x: i as f64 / 100.0, y }
    }

    #[test]
    fn a_spike_survives_thinning_and_the_path_stays_small() {
        let run: Vec<Dot> = (0..100_000).map(|i| dot(i, if i == 54_321 { -300.0 } else { (i % 7) as f64 })).collect();
        let d = line_path(&[run]);
        assert!(d.contains("543.2 -300"), "the spike is gone");
        assert!(d.len() < 60_000, "{} bytes for a thousand columns", d.len());
    }

    #[test]
    fn gap_is_not_bridged() {
        let points = [Some(dot(0, 1.0)), Some(dot(1, 1.0)), None, Some(dot(2, 1.0)), Some(dot(30, 1.0))];
        let lengths: Vec<usize> = runs(points.into_iter(), |d| d.millis, 5 * 60_000).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 1]);
    }

    #[test]
    fn usual_gap_is_five_steps() {
        assert_eq!(usual_gap(&[0, 60, 120, 180, 10_000]), 300);
        assert_eq!(usual_gap(&[7]), i64::MAX);
    }
}
