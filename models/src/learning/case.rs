//! A judged announcement, made ready to be counted: what it reached, what it counts for where label and data disagree, and with which
//! others it is one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use forewarn_schema::{BreachKind, Judge, Timestamp, Verdict};

use super::{Caution, CautionScale, Evidence, LearningParams, Settled};

/// One announcement that was judged.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) service: String,
    pub(super) kind: BreachKind,
    pub(super) truth: bool,
    pub(super) missed: bool,
    pub(super) reached: Vec<Caution>,
    /// What it counts for by the label or the data alone.
    weight: f64,
    /// What the data say of it, and whether somebody else is the judge.
    settled: Option<Settled>,
    labelled: bool,
}

/// How sure a case is that the label is no mistake.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Word {
    /// One observer's.
    One,
    /// Two that agree.
    Confirmed,
    /// Two that do not.
    Contradicted,
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
        let settled = evidence.settled.filter(|_| announced);
        let (service, kind, labelled) = (judged.service.clone(), judged.kind, judged.judge == Judge::Label);
        Some(Self { service, kind, truth, missed, reached, weight, settled, labelled })
    }

    /// What the data had said of the label before `now`.
    pub(super) fn word(&self, now: Timestamp) -> Word {
        match self.settled.filter(|settled| self.labelled && settled.at < now) {
            Some(settled) if settled.breach.is_some() == self.truth => Word::Confirmed,
            Some(_) => Word::Contradicted,
            None => Word::One,
        }
    }

    /// What it counts for.
    pub(super) fn weight(&self, now: Timestamp, params: &LearningParams) -> f64 {
        match self.word(now) {
            Word::Contradicted => self.weight * params.contradicted_counts,
            // Two that look at the same chart err together: that they agree adds nothing.
            Word::One | Word::Confirmed => self.weight,
        }
    }

    /// The breach that it announced, as far as the data have shown it before `now`.
    fn breach(&self, now: Timestamp) -> Option<(&str, BreachKind, Timestamp)> {
        let settled = self.settled.filter(|settled| self.truth && settled.at < now)?;
        Some((&self.service, self.kind, settled.breach?))
    }

    /// The highest rung that it reached; the lowest where it reached none.
    pub(super) fn rung(&self, scale: &CautionScale) -> usize {
        scale.highest(self.reached.iter()).unwrap_or(0)
    }
}

/// The cases as they are counted at `now`: of several that announced the same breach, one that reached what any of them did. What matters is
/// whether a breach is announced in time, not how often.
pub(super) fn by_breach(cases: &[Case], now: Timestamp) -> Vec<Case> {
    let mut breaches: BTreeMap<(&str, BreachKind, Timestamp), usize> = BTreeMap::new();
    let mut counted: Vec<Case> = Vec::with_capacity(cases.len());
    for case in cases {
        let before = case.breach(now).and_then(|breach| match breaches.entry(breach) {
            Entry::Occupied(place) => Some(*place.get()),
            Entry::Vacant(place) => {
                place.insert(counted.len());
                None
            }
        });
        let Some(before) = before.and_then(|i| counted.get_mut(i)) else {
            counted.push(case.clone());
            continue;
        };
        before.reached.extend_from_slice(&case.reached);
        before.weight = before.weight.max(case.weight);
        before.labelled |= case.labelled;
    }
    counted
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
