//! How good forecasts, scores and times to breach are, as numbers in the field's words.
//!
//! Every function is pure, skips pairs that hold a NaN, and returns `None` where nothing is left to
//! judge: no figure is better than a made-up one. Which predictions go in is decided in `evaluate`.

/// The mean pinball (quantile) loss of forecasts of one quantile, in the unit of the series:
///
/// `mean(max(q · (y − f), (q − 1) · (y − f)))` over pairs `(truth y, forecast f)`.
///
/// `quantile` is in 0..1 and a truth above the forecast costs `quantile` a unit, one below it costs
/// `1 − quantile`. 0 is perfect; at 0.5 it is half of the mean absolute error. Koenker and Bassett
/// 1978; equals scikit-learn's `mean_pinball_loss(y, f, alpha=q)`.
pub fn pinball_loss(pairs: impl IntoIterator<Item = (f64, f64)>, quantile: f64) -> Option<f64> {
    mean(pairs.into_iter().map(|(truth, forecast)| {
        let miss = truth - forecast;
        (quantile * miss).max((quantile - 1.0) * miss)
    }))
}

/// The share of truths that lie inside their interval, bounds included, 0..=1.
///
/// `(truth, low, high)`; an interval whose bounds are crossed holds nothing. An honest 80 % interval
/// gives 0.8. Gneiting and Raftery 2007; equals `numpy.mean((low <= y) & (y <= high))`.
pub fn interval_coverage(intervals: impl IntoIterator<Item = (f64, f64, f64)>) -> Option<f64> {
    mean(intervals.into_iter().map(|(truth, low, high)| {
        if truth.is_nan() || low.is_nan() || high.is_nan() {
            return f64::NAN;
        }
        f64::from(u8::from(low <= truth && truth <= high))
    }))
}

/// The mean squared distance of probabilities from what happened (1 or 0): `mean((p − y)²)`.
///
/// 0 is perfect, 0.25 is what always saying one half gets, 1 is always wrong. Brier 1950; equals
/// scikit-learn's `brier_score_loss`.
pub fn brier_score(pairs: impl IntoIterator<Item = (f64, bool)>) -> Option<f64> {
    mean(pairs.into_iter().map(|(probability, happened)| (probability - f64::from(u8::from(happened))).powi(2)))
}

/// The mean precision over the true positives when scores are walked from high to low:
/// `Σ (Rₙ − Rₙ₋₁) · Pₙ` over distinct scores; ties are taken together.
///
/// The share of positives is what random scores get; accuracy says nothing where incidents are
/// rare, this does. `None` without a positive. Equals scikit-learn's `average_precision_score`.
pub fn average_precision(pairs: impl IntoIterator<Item = (f64, bool)>) -> Option<f64> {
    let mut pairs: Vec<(f64, bool)> = pairs.into_iter().filter(|(score, _)| !score.is_nan()).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = pairs.iter().filter(|(_, positive)| *positive).count() as f64;
    let (mut seen, mut hits, mut recall, mut sum) = (0.0, 0.0, 0.0, 0.0);
    for (i, (score, positive)) in pairs.iter().enumerate() {
        seen += 1.0;
        hits += f64::from(u8::from(*positive));
        let last_of_its_tie = pairs.get(i + 1).is_none_or(|next| next.0 != *score);
        if last_of_its_tie && positives > 0.0 {
            let (now, precision) = (hits / positives, hits / seen);
            sum += (now - recall) * precision;
            recall = now;
        }
    }
    (positives > 0.0).then_some(sum)
}

/// The share of comparable pairs of targets whose predicted times are in the order of the true
/// ones, a tie of predictions counting half: Harrell's C, 0..=1, 0.5 for random.
///
/// `(true time, predicted time)`, any one unit; pairs of equal true times are not comparable, and
/// there is no censoring here. `None` without a comparable pair. O(n²): for breaches, not for
/// samples. Harrell 1982; equals lifelines' `concordance_index`.
pub fn concordance_index(times: &[(f64, f64)]) -> Option<f64> {
    let (mut agreed, mut comparable) = (0.0, 0.0);
    for (i, a) in times.iter().enumerate() {
        for b in &times[i + 1..] {
            if [a.0, a.1, b.0, b.1].iter().any(|v| v.is_nan()) || a.0 == b.0 {
                continue;
            }
            comparable += 1.0;
            agreed += match (a.1 == b.1, (a.0 < b.0) == (a.1 < b.1)) {
                (true, _) => 0.5,
                (false, true) => 1.0,
                (false, false) => 0.0,
            };
        }
    }
    (comparable > 0.0).then(|| agreed / comparable)
}

/// How far off a time to breach is, as a share of the truth: `|p50 − truth| / truth`, at most 1.
///
/// Nothing predicted (`None`) counts as 1: "no breach in sight" before a breach is all wrong. A truth
/// that is not in the future (0 s or less, NaN) counts as 1 too. The cap keeps one early guess from
/// drowning the others.
pub fn relative_time_error(predicted_seconds: Option<f64>, true_seconds: f64) -> f64 {
    match predicted_seconds {
        Some(predicted) if true_seconds > 0.0 && !predicted.is_nan() => {
            ((predicted - true_seconds).abs() / true_seconds).min(1.0)
        }
        _ => 1.0,
    }
}

/// The `q`-quantile (0..=1), interpolated linearly between order statistics; NaN left out.
///
/// Hyndman and Fan 1996, type 7; equals numpy's default `quantile`.
pub fn quantile(values: impl IntoIterator<Item = f64>, q: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    let place = q.clamp(0.0, 1.0) * values.len().checked_sub(1)? as f64;
    let (low, weight) = (place.floor() as usize, place - place.floor());
    let high = (low + 1).min(values.len() - 1);
    Some(values[low] + weight * (values[high] - values[low]))
}

/// The median; the mean of the middle two where the count is even; NaN left out.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(values, 0.5)
}

/// The mean; NaN left out.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) =
        values.into_iter().filter(|v| !v.is_nan()).fold((0.0, 0_usize), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of a few tenths: rounding only.
    const ROUNDING: f64 = 1e-12;

    fn close(got: Option<f64>, wanted: f64) {
        let got = got.expect("a figure");
        assert!((got - wanted).abs() < ROUNDING, "{got} is not {wanted}");
    }

    #[test]
    fn a_low_forecast_of_a_high_quantile_costs_most() {
        // Misses +2 and -1 at q = 0.9: 0.9·2 = 1.8 and 0.1·1 = 0.1.
        close(pinball_loss([(12.0, 10.0), (9.0, 10.0)], 0.9), 0.95);
        // scikit-learn 1.5: mean_pinball_loss([1, 2, 3], [0, 2, 3], alpha=0.1) = 0.0333…
        close(pinball_loss([(1.0, 0.0), (2.0, 2.0), (3.0, 3.0)], 0.1), 0.1 / 3.0);
        assert_eq!(pinball_loss([(f64::NAN, 1.0)], 0.5), None);
    }

    #[test]
    fn bounds_are_inside_and_a_crossed_interval_holds_nothing() {
        close(interval_coverage([(1.0, 1.0, 2.0), (3.0, 1.0, 2.0), (1.5, 2.0, 1.0), (2.0, 0.0, 2.0)]), 0.5);
        assert_eq!(interval_coverage([(1.0, f64::NAN, 2.0)]), None);
    }

    #[test]
    fn brier_of_a_hedge_is_a_quarter() {
        close(brier_score([(0.5, true), (0.5, false)]), 0.25);
        // scikit-learn's documentation: brier_score_loss([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.3]) = 0.0375.
        close(brier_score([(0.1, false), (0.9, true), (0.8, true), (0.3, false)]), 0.0375);
    }

    #[test]
    fn average_precision_is_scikit_learns() {
        // scikit-learn's documentation: average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) = 0.8333…
        close(average_precision([(0.1, false), (0.4, false), (0.35, true), (0.8, true)]), 5.0 / 6.0);
        // All tied: the share of positives.
        close(average_precision([(0.5, true), (0.5, false), (0.5, false), (0.5, false)]), 0.25);
        assert_eq!(average_precision([(0.5, false)]), None);
    }

    #[test]
    fn concordance_counts_ordered_pairs() {
        // Pairs (1,2) right, (1,3) right, (2,3) swapped.
        close(concordance_index(&[(1.0, 10.0), (2.0, 30.0), (3.0, 20.0)]), 2.0 / 3.0);
        close(concordance_index(&[(1.0, 5.0), (2.0, 5.0)]), 0.5);
        assert_eq!(concordance_index(&[(1.0, 5.0), (1.0, 6.0)]), None);
    }

    #[test]
    fn nothing_predicted_is_all_wrong() {
        assert_eq!(relative_time_error(None, 60.0), 1.0);
        assert_eq!(relative_time_error(Some(90.0), 60.0), 0.5);
        assert_eq!(relative_time_error(Some(600.0), 60.0), 1.0);
        assert_eq!(relative_time_error(Some(60.0), 0.0), 1.0);
    }

    #[test]
    fn quantiles_are_numpys() {
        close(quantile([4.0, 1.0, f64::NAN, 3.0, 2.0], 0.9), 3.7);
        close(median([3.0, 1.0]), 2.0);
        assert_eq!(median([]), None);
    }
}
