//! Where the way to a breach began: the change point of what led up to it.
//!
//! A level, and from some time on a climb that is straight or bends upwards: the least squares over all
//! such curves say when. Sees the whole way on purpose: it settles, and feeds nothing that predicts.

use forewarn_schema::Timestamp;

/// What one life of a target did, by time: how near it was to its limit, in the signal's unit.
pub(super) type Nearness = (Timestamp, f64);

/// Medians of so many stretches are fitted: a day of minutes becomes quarters of an hour.
const BINS: usize = 96;
/// The way is looked at again, in a window of so many times its length, until it fills a third of it: how
/// fine the bins are must follow from the way, not from how long the target had been well before.
const CLOSER: f64 = 3.0;
const LOOKS: usize = 6;
/// Exponents of the climb.
const SHAPES: [i32; 3] = [1, 2, 4];
/// A way that began later has to explain this much more: where two starts fit alike, the climb was under way.
const IN_FAVOUR_OF_EARLIER: f64 = 1.02;

/// When the climb to the last of `life` began; the first time of `life` where it climbed all along, or not at
/// all: a jump of the last points drowns in the medians and is the caller's to see. `None` of nothing.
pub(super) fn onset(life: &[Nearness]) -> Option<Timestamp> {
    let end = life.last()?.0;
    let mut window = life;
    for _ in 0..LOOKS {
        let bins = medians(window);
        let Some(found) = change_point(&bins) else { break };
        let started = bins[found].at;
        let span = end.seconds_since(window[0].0);
        let way = end.seconds_since(started);
        if found == 0 {
            return Some(window[0].0);
        }
        if way * CLOSER >= span || window.len() <= BINS {
            return Some(started);
        }
        let from = end - std::time::Duration::from_secs_f64((way * CLOSER).max(60.0));
        let closer = &window[window.partition_point(|(at, _)| *at < from)..];
        // Too few points to bend a line over: the last look is the best there is.
        if closer.len() < 4 || closer.len() == window.len() {
            return Some(started);
        }
        window = closer;
    }
    Some(window[0].0)
}

struct Bin {
    at: Timestamp,
    /// 0 at the first bin, 1 at the last.
    place: f64,
    value: f64,
}

/// Medians of stretches of equal length; a stretch without points is left out.
fn medians(life: &[Nearness]) -> Vec<Bin> {
    let (Some(first), Some(last)) = (life.first(), life.last()) else { return Vec::new() };
    let span = last.0.seconds_since(first.0);
    if span <= 0.0 {
        return vec![Bin { at: first.0, place: 0.0, value: first.1 }];
    }
    let bin_of = |at: Timestamp| ((at.seconds_since(first.0) / span * BINS as f64) as usize).min(BINS - 1);
    let stretches = life.chunk_by(|a, b| bin_of(a.0) == bin_of(b.0));
    let bins = stretches.filter_map(|stretch| {
        let value = crate::metrics::median(stretch.iter().map(|(_, v)| *v))?;
        let place = stretch[stretch.len() / 2].0.seconds_since(first.0) / span;
        Some(Bin { at: stretch[0].0, place, value })
    });
    bins.collect()
}

/// The index of the bin at which the climb begins. `None` with fewer than two bins.
fn change_point(bins: &[Bin]) -> Option<usize> {
    let end = bins.last()?.place;
    let mut best: Option<(usize, f64)> = None;
    for start in 0..bins.len() - 1 {
        let from = bins[start].place;
        let way = end - from;
        let squares = SHAPES
            .into_iter()
            .filter_map(|power| residual_squares(bins, |place| ((place - from).max(0.0) / way).powi(power)));
        let Some(squares) = squares.reduce(f64::min) else { continue };
        if best.is_none_or(|(_, least)| squares * IN_FAVOUR_OF_EARLIER < least) {
            best = Some((start, squares));
        }
    }
    best.map(|(start, _)| start)
}

/// What `level + climb · shape` leaves unexplained, `climb ≥ 0` by least squares.
fn residual_squares(bins: &[Bin], shape: impl Fn(f64) -> f64) -> Option<f64> {
    let n = bins.len() as f64;
    let (mut sx, mut sy, mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for bin in bins {
        let (x, y) = (shape(bin.place), bin.value);
        (sx, sy, sxx, sxy, syy) = (sx + x, sy + y, sxx + x * x, sxy + x * y, syy + y * y);
    }
    let (var, cov, total) = (sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n);
    if var <= 0.0 || !total.is_finite() {
        return None;
    }
    let explained = if cov > 0.0 { cov * cov / var } else { 0.0 };
    Some((total - explained).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(values: impl IntoIterator<Item = f64>) -> Vec<Nearness> {
        values.into_iter().enumerate().map(|(m, v)| (Timestamp::from_seconds(m as i64 * 60), v)).collect()
    }

    fn onset_minute(values: &[f64]) -> i64 {
        onset(&life(values.iter().copied())).unwrap().millis() / 60_000
    }

    /// Small, and no pattern that a median would see.
    fn noise(m: usize) -> f64 {
        (m as f64 * 12.9898).sin() * 2.0
    }

    #[test]
    fn a_leak_from_the_first_minute_on_began_with_the_life() {
        let leak: Vec<f64> = (0..1400).map(|m| m as f64 / 14.0 + noise(m)).collect();
        assert!(onset_minute(&leak) <= 30, "{}", onset_minute(&leak));
    }

    #[test]
    fn a_climb_after_days_of_quiet_is_found_within_a_tenth_of_its_way() {
        for (way, power) in [(120_u32, 1), (120, 2), (1500, 1), (1500, 2)] {
            let quiet = (0..6000).map(noise);
            let climb = (0..way).map(|m| 100.0 * (f64::from(m) / f64::from(way)).powi(power) + noise(m as usize));
            let values: Vec<f64> = quiet.chain(climb).collect();
            let off = onset_minute(&values) - 6000;
            assert!(off.unsigned_abs() <= u64::from(way) / 10, "way {way}, power {power}: off by {off}");
        }
    }

    #[test]
    fn one_point_began_with_itself_and_nothing_never() {
        assert_eq!(onset(&[]), None);
        assert_eq!(onset(&life([5.0])), Some(Timestamp::from_seconds(0)));
    }

    #[test]
    fn daily_waves_before_the_climb_are_no_climb() {
        let wave = |m: usize| 20.0 * (m as f64 / 1440.0 * std::f64::consts::TAU).sin();
        let values: Vec<f64> =
            (0..7200).map(|m| wave(m) + noise(m) + if m > 6000 { (m - 6000) as f64 / 6.0 } else { 0.0 }).collect();
        let onset = onset_minute(&values);
        assert!((5600..=6400).contains(&onset), "{onset}");
    }
}
