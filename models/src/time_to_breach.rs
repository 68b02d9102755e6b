//! Time to breach: the quantiles of the first passage of a forecast through the limit.

use forewarn_schema::{Probability, Step, TimeToBreach};

use crate::growth::Passage;

pub(crate) use crate::growth::normal_cdf;

/// When the limit is passed: the times by which it has been with probability 0.1, 0.5 and 0.9.
///
/// `None` where it is likelier that it never is, as far as the passage was followed: no breach in sight. Where only the last tenth
/// never comes, p90 is the end of what was followed, the latest time that it speaks of.
pub fn estimate_time_to_breach(passage: &Passage, step: Step) -> Option<TimeToBreach> {
    let seconds = |quantile| Some(passage.quantile(quantile)? * step.seconds());
    let p50 = seconds(0.5)?;
    let p10 = seconds(0.1).unwrap_or(p50).min(p50);
    let p90 = seconds(0.9).unwrap_or(passage.end() * step.seconds()).max(p50);
    TimeToBreach::new(p10, p50, p90).ok()
}

/// The probability that a breach whose time is known but for its interval comes within `horizon_seconds`: the time is taken as
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probability_is_half_at_the_median_and_grows_with_the_horizon() {
        let ttb = TimeToBreach::new(3000.0, 3600.0, 4500.0).unwrap();
        assert!((breach_probability(Some(&ttb), 3600.0).get() - 0.5).abs() < 1e-6);
        assert!(breach_probability(Some(&ttb), 7200.0).get() > 0.99);
        assert!(breach_probability(Some(&ttb), 1800.0).get() < 0.01);
        assert_eq!(breach_probability(None, 3600.0).get(), 0.0);
    }
}
