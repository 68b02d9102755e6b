//! How good times to breach were, by what was settled of them: one figure for the server's last weeks and for the weekly report.

use forewarn_schema::{Became, BreachKind, Settlement};

use crate::metrics::{interval_coverage, median, relative_time_error};

/// Of predictions whose breach came after they were made and whose time nobody could know beforehand: certificates are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timed {
    /// How many.
    pub count: usize,
    /// The median of `|p50 - truth| / truth`, each at most 1; `None` of nothing.
    pub median_error: Option<f64>,
    /// The share whose `[p10, p90]` held the truth, 0 to 1; `None` of nothing.
    pub coverage: Option<f64>,
}

impl Timed {
    /// Of `settled`; what says nothing of a time does not count.
    pub fn of<'a>(settled: impl IntoIterator<Item = &'a Settlement>) -> Self {
        let said = |s: &Settlement| {
            let Became::Breached { at } = s.became else { return None };
            let (ttb, truth) = (s.time_to_breach_seconds?, at.seconds_since(s.at));
            (s.kind != BreachKind::CertificateExpiry && truth > 0.0).then_some((truth, ttb))
        };
        let said: Vec<_> = settled.into_iter().filter_map(said).collect();
        Self {
            count: said.len(),
            median_error: median(said.iter().map(|(truth, ttb)| relative_time_error(Some(ttb.p50()), *truth))),
            coverage: interval_coverage(said.iter().map(|(truth, ttb)| (*truth, ttb.p10(), ttb.p90()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use forewarn_schema::{LabelSet, TimeToBreach, Timestamp};

    use super::*;

    /// Said at hour 0 to come between one and three hours later, most likely in two.
    fn settled(kind: BreachKind, became: Became) -> Settlement {
        Settlement {
            id: "p-1".to_owned(),
            request_id: None,
            service: "cart".to_owned(),
            signal: "memory".to_owned(),
            kind,
            labels: LabelSet::new(),
            at: Timestamp::from_seconds(0),
            probability: None,
            horizon_seconds: 21_600.0,
            time_to_breach_seconds: TimeToBreach::new(3600.0, 7200.0, 10_800.0).ok(),
            model_version: "rules".to_owned(),
            became,
            settled_at: Timestamp::from_seconds(86_400),
        }
    }

    #[test]
    fn only_breaches_whose_time_nobody_could_know_count() {
        let came = |hours: i64| Became::Breached { at: Timestamp::from_seconds(hours * 3600) };
        let all = [
            settled(BreachKind::Oom, came(3)),
            settled(BreachKind::Oom, came(4)),
            settled(BreachKind::Oom, came(0)),
            settled(BreachKind::Oom, Became::FalseAlarm),
            settled(BreachKind::CertificateExpiry, came(2)),
        ];
        let timed = Timed::of(&all);
        assert_eq!((timed.count, timed.coverage), (2, Some(0.5)));
        assert!((timed.median_error.unwrap() - (1.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12);
        assert_eq!(Timed::of(&all[3..]), Timed::default());
    }
}
