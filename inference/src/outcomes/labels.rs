//! What people and alerts say of what was settled: of each announcement the newest label counts, and a person's before any other.

use std::collections::BTreeMap;

use forewarn_schema::{BreachKind, Feedback, FeedbackSubject, LabelSource, Settlement, TimeRange, Timestamp, Verdict};

/// An alert and a person may differ by so much on when a breach came.
const SAME_BREACH: std::time::Duration = std::time::Duration::from_secs(3600);

/// Whether a person said it, and when: the greatest counts.
type Rank = (bool, Timestamp);

/// Labels, to be looked up by what they are of.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    predictions: BTreeMap<String, (Rank, Verdict)>,
    requests: BTreeMap<String, (Rank, Verdict)>,
    spans: Vec<(String, Option<BreachKind>, TimeRange, Rank, Verdict)>,
    breaches: Vec<Miss>,
}

/// A breach that somebody says nobody announced.
#[derive(Clone, Debug, PartialEq)]
pub struct Miss {
    /// The workload.
    pub service: String,
    /// What kind of breach.
    pub kind: BreachKind,
    /// When it came.
    pub at: Timestamp,
}

impl Labels {
    /// All that were given, in any order.
    pub fn of(feedback: &[Feedback]) -> Self {
        let mut labels = Self::default();
        for label in feedback {
            let rank = (label.source != LabelSource::Alertmanager, label.created_at);
            let newest = |known: &mut BTreeMap<String, (Rank, Verdict)>, id: &str| {
                let newest = known.entry(id.to_owned()).or_insert((rank, label.verdict));
                if rank >= newest.0 {
                    *newest = (rank, label.verdict);
                }
            };
            match &label.subject {
                FeedbackSubject::Prediction { prediction_id } => newest(&mut labels.predictions, prediction_id),
                FeedbackSubject::Request { request_id } => newest(&mut labels.requests, request_id),
                FeedbackSubject::Span { service, kind, range } => {
                    labels.spans.push((service.clone(), *kind, *range, rank, label.verdict));
                }
                FeedbackSubject::Breach { service, kind, at } if label.verdict == Verdict::Missed => {
                    labels.breaches.push(Miss { service: service.clone(), kind: *kind, at: *at });
                }
                FeedbackSubject::Breach { .. } => {}
            }
        }
        labels
    }

    /// What is said of it; `None` where nobody said anything, and of a miss where nobody objects.
    pub fn verdict_of(&self, settled: &Settlement) -> Option<Verdict> {
        let request = settled.request_id.as_ref().and_then(|id| self.requests.get(id));
        let own = [self.predictions.get(&settled.id), request].into_iter().flatten().copied();
        let spans = self.spans.iter().filter(|(service, kind, range, ..)| {
            *service == settled.service && kind.is_none_or(|kind| kind == settled.kind) && range.contains(settled.at)
        });
        own.chain(spans.map(|(.., rank, verdict)| (*rank, *verdict))).max_by_key(|(rank, _)| *rank).map(|(_, v)| v)
    }

    /// Breaches in `range` that people or alerts call missed and that are not among `known`.
    pub fn misses<'a>(&'a self, range: TimeRange, known: &'a [&Settlement]) -> impl Iterator<Item = &'a Miss> {
        let is_known = |miss: &Miss| {
            known.iter().any(|one| {
                one.service == miss.service
                    && one.kind == miss.kind
                    && one.at.seconds_since(miss.at).abs() <= SAME_BREACH.as_secs_f64()
            })
        };
        self.breaches.iter().filter(move |miss| range.contains(miss.at) && !is_known(miss))
    }
}
