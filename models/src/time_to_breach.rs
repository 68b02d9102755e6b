//! Time to breach: the first passage of a forecast path through the limit.

use forewarn_schema::{Probability, TimeToBreach, Timestamp};

/// Where a target's fraction is forecast to be at one time: `low <= mid <= high`, the 0.1, 0.5 and
/// 0.9 quantiles. The limit is at 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathPoint {
    /// When.
    pub at: Timestamp,
    /// The 0.1 quantile.
    pub low: f64,
    /// The median.
    pub mid: f64,
    /// The 0.9 quantile.
    pub high: f64,
}

/// When the path first reaches 1, seconds from `now`: the high edge gives p10, the middle p50 and the
/// low edge p90, linear between points.
///
/// `None` where the middle never gets there: no breach in sight. Where only the low edge never does,
/// p90 is the end of the path, the latest time that it speaks of.
pub fn estimate_time_to_breach(now: Timestamp, path: &[PathPoint]) -> Option<TimeToBreach> {
    let p50 = first_passage(now, path, |p| p.mid)?;
    let p10 = first_passage(now, path, |p| p.high).unwrap_or(p50).min(p50);
    let end = path.last().map_or(p50, |p| p.at.seconds_since(now));
    let p90 = first_passage(now, path, |p| p.low).unwrap_or(end).max(p50);
    TimeToBreach::new(p10, p50, p90).ok()
}

fn first_passage(now: Timestamp, path: &[PathPoint], edge: impl Fn(&PathPoint) -> f64) -> Option<f64> {
    let mut before: Option<&PathPoint> = None;
    for point in path {
        if edge(point) >= 1.0 {
            let arrival = point.at.seconds_since(now);
            let Some(before) = before else { return Some(arrival.max(0.0)) };
            let (left, rise) = (before.at.seconds_since(now), edge(point) - edge(before));
            let share = if rise > 0.0 { (1.0 - edge(before)) / rise } else { 1.0 };
            return Some((left + share * (arrival - left)).max(0.0));
        }
        before = Some(point);
    }
    None
}

/// The probability that the breach comes within `horizon_seconds`: the time to breach is taken as
/// log-normal through its quantiles. No breach in sight gives 0.
pub fn breach_probability(time_to_breach: Option<&TimeToBreach>, horizon_seconds: f64) -> Probability {
    let Some(ttb) = time_to_breach else { return Probability::default() };
    if ttb.p50() <= 0.0 {
        return Probability::saturating(1.0);
    }
    // 1.2816 standard deviations lie between the median and an outer decile. The interval is never
    // taken for certain: a tenth is the least that it is believed to be off.
    let sigma = ((ttb.p90() / ttb.p50()).ln() / 1.2816).max(0.1);
    Probability::saturating(normal_cdf((horizon_seconds / ttb.p50()).ln() / sigma))
}

/// The standard normal distribution function, to 1e-7 (Abramowitz and Stegun 26.2.17).
fn normal_cdf(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.2316419 * z.abs());
    let series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * series;
    if z >= 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(slope: f64, spread: f64, points: i64) -> Vec<PathPoint> {
        (0..points)
            .map(|h| {
                let mid = 0.5 + slope * h as f64;
                let half = spread * h as f64;
                PathPoint { at: Timestamp::from_seconds(h * 3600), low: mid - half, mid, high: mid + half }
            })
            .collect()
    }

    #[test]
    fn a_straight_path_arrives_when_a_ruler_says() {
        let ttb = estimate_time_to_breach(Timestamp::default(), &ramp(0.1, 0.02, 20)).unwrap();
        assert!((ttb.p50() - 5.0 * 3600.0).abs() < 1.0);
        assert!((ttb.p10() - 0.5 / 0.12 * 3600.0).abs() < 1.0);
        assert!((ttb.p90() - 0.5 / 0.08 * 3600.0).abs() < 1.0);
    }

    #[test]
    fn no_breach_is_none_and_an_open_end_is_the_end() {
        assert_eq!(estimate_time_to_breach(Timestamp::default(), &ramp(0.01, 0.001, 20)), None);
        assert_eq!(estimate_time_to_breach(Timestamp::default(), &[]), None);
        let open = estimate_time_to_breach(Timestamp::default(), &ramp(0.1, 0.1, 20)).unwrap();
        assert_eq!(open.p90(), 19.0 * 3600.0);
    }

    #[test]
    fn probability_is_half_at_the_median_and_grows_with_the_horizon() {
        let ttb = TimeToBreach::new(3000.0, 3600.0, 4500.0).unwrap();
        assert!((breach_probability(Some(&ttb), 3600.0).get() - 0.5).abs() < 1e-6);
        assert!(breach_probability(Some(&ttb), 7200.0).get() > 0.99);
        assert!(breach_probability(Some(&ttb), 1800.0).get() < 0.01);
        assert_eq!(breach_probability(None, 3600.0).get(), 0.0);
    }
}
