//! A judged announcement, made ready to be counted.

use std::collections::BTreeMap;

use forewarn_schema::{BreachKind, Judge, Verdict};

use super::{Caution, CautionScale, Evidence, LearningParams};

/// One announcement that was judged.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) service: String,
    pub(super) kind: BreachKind,
    pub(super) truth: bool,
    pub(super) missed: bool,
    pub(super) weight: f64,
    pub(super) reached: Vec<Caution>,
}

impl Case {
    /// What counts of a piece of evidence, for a threshold that stands at `stands` of `scale`; `None` where it says nothing of
    /// thresholds.
    pub(super) fn of(
        evidence: &Evidence,
        scale: &CautionScale,
        stands: usize,
        params: &LearningParams,
    ) -> Option<Self> {
        let judged = &evidence.judged;
        let (truth, missed) = match judged.verdict {
            Verdict::TruePositive => (true, false),
            Verdict::Missed => (true, true),
            Verdict::FalsePositive => (false, false),
            Verdict::Unclear => return None,
        };
        // What was said and led to no request would have been announced with less caution: a false one speaks against that. Of a
        // true one, its miss speaks.
        if !judged.requested && judged.verdict == Verdict::TruePositive {
            return None;
        }
        let announced = judged.requested && !missed;
        let reached = match announced {
            true if !evidence.reached.is_empty() => evidence.reached.iter().map(|r| r.caution).collect(),
            _ => {
                let said = judged.probability.map_or(0.0, |p| p.get());
                let below = stands.saturating_sub(usize::from(!announced));
                let start = scale.rungs()[scale.start()];
                let known = |(i, rung): &(usize, &Caution)| {
                    // How long it lasted was not seen.
                    let lasted = rung.persistence <= start.persistence;
                    rung.min_probability <= said && (announced && lasted || *i <= below)
                };
                scale.rungs().iter().enumerate().filter(known).map(|(_, rung)| *rung).collect()
            }
        };
        let weight = match judged.judge {
            Judge::Label => 1.0,
            Judge::Data => params.data_counts,
        };
        let (service, kind) = (judged.service.clone(), judged.kind);
        Some(Self { service, kind, truth, missed, weight, reached })
    }

    /// The highest rung that it reached; the lowest where it reached none.
    pub(super) fn rung(&self, scale: &CautionScale) -> usize {
        scale.highest(self.reached.iter()).unwrap_or(0)
    }
}

/// Evidence in the order in which it is counted, whatever the order in which it came: by when it was known. Of what was said and
/// led to no request, one a day, service and kind counts: the likeliest; from minute to minute it is the same again.
pub(super) fn sorted(evidence: &[Evidence]) -> Vec<&Evidence> {
    let (mut kept, mut unasked): (Vec<&Evidence>, BTreeMap<_, &Evidence>) = (Vec::new(), BTreeMap::new());
    for one in evidence {
        let judged = &one.judged;
        if judged.requested || judged.verdict == Verdict::Missed {
            kept.push(one);
            continue;
        }
        let day = judged.at.millis().div_euclid(86_400_000);
        let said = |e: &Evidence| e.judged.probability.map_or(0.0, |p| p.get());
        let place = unasked.entry((&judged.service, judged.kind, day)).or_insert(one);
        // The one known first, where two are alike: the order in which they came must not matter.
        let better = said(one).total_cmp(&said(place)).then(place.known_at.cmp(&one.known_at));
        if better.is_gt() {
            *place = one;
        }
    }
    kept.extend(unasked.into_values());
    let order = |e: &&Evidence| (e.known_at, e.judged.judge, e.judged.verdict);
    kept.sort_by(|a, b| {
        let by_name = || (&a.judged.service, a.judged.kind).cmp(&(&b.judged.service, b.judged.kind));
        order(a).cmp(&order(b)).then_with(by_name)
    });
    kept
}
