//! People's labels beside what was measured: listed, counted, and the precision that they speak of.
//!
//! Labels never change a settled figure: the data say what happened, people say whether it mattered.

use std::collections::BTreeMap;

use forewarn_schema::{BreachKind, Feedback, FeedbackSubject, Timestamp, Verdict};

use crate::report::{FeedbackReport, LabelReport};

/// What a replay knows of a labelled prediction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Labelled {
    pub(crate) service: String,
    pub(crate) kind: BreachKind,
    pub(crate) at: Timestamp,
}

/// The ids of the predictions that somebody labelled.
pub(crate) fn labelled_predictions(feedback: &[Feedback]) -> impl Iterator<Item = &str> {
    feedback.iter().filter_map(|f| match &f.subject {
        FeedbackSubject::Prediction { prediction_id } => Some(prediction_id.as_str()),
        FeedbackSubject::Request { .. } | FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => None,
    })
}

/// Lists and counts `feedback`; `seen` tells of predictions that the replay made too.
///
/// The precision takes the newest label of each prediction (the later in the list where two are of one
/// time) and leaves `missed` and `unclear` out.
pub(crate) fn feedback_report(feedback: &[Feedback], seen: &BTreeMap<String, Labelled>) -> FeedbackReport {
    let mut sorted: Vec<&Feedback> = feedback.iter().collect();
    sorted.sort_by_key(|f| f.created_at);
    let mut report = FeedbackReport::default();
    let mut newest: BTreeMap<&str, Verdict> = BTreeMap::new();
    for label in sorted {
        *report.counts.entry(label.verdict.to_string()).or_default() += 1;
        let about = match &label.subject {
            FeedbackSubject::Prediction { prediction_id } => {
                newest.insert(prediction_id, label.verdict);
                seen.get(prediction_id).cloned()
            }
            FeedbackSubject::Breach { service, kind, at } => {
                Some(Labelled { service: service.clone(), kind: *kind, at: *at })
            }
            FeedbackSubject::Request { .. } | FeedbackSubject::Span { .. } => None,
        };
        report.labels.push(LabelReport {
            id: label.id.clone(),
            subject: label.subject.clone(),
            service: about.as_ref().map(|a| a.service.clone()),
            kind: about.as_ref().map(|a| a.kind),
            at: about.as_ref().map(|a| a.at),
            verdict: label.verdict,
            note: label.note.clone(),
            source: label.source,
            created_at: label.created_at,
        });
    }
    let of = |wanted| newest.values().filter(|v| **v == wanted).count() as f64;
    let (right, wrong) = (of(Verdict::TruePositive), of(Verdict::FalsePositive));
    report.precision = (right + wrong > 0.0).then(|| right / (right + wrong));
    report
}

#[cfg(test)]
mod tests {
    use forewarn_schema::LabelSource;

    use super::*;

    fn label(id: &str, prediction: &str, verdict: Verdict, second: i64) -> Feedback {
        Feedback {
            id: id.to_owned(),
            subject: FeedbackSubject::Prediction { prediction_id: prediction.to_owned() },
            verdict,
            note: Some("the nightly import".to_owned()),
            source: LabelSource::Page,
            who: String::new(),
            created_at: Timestamp::from_seconds(second),
        }
    }

    #[test]
    fn the_newest_label_of_a_prediction_speaks_for_it() {
        let feedback = [
            label("b", "p-1", Verdict::FalsePositive, 20),
            label("a", "p-1", Verdict::TruePositive, 10),
            label("c", "p-2", Verdict::TruePositive, 30),
            label("d", "p-3", Verdict::Unclear, 40),
        ];
        let report = feedback_report(&feedback, &BTreeMap::new());
        assert_eq!(report.precision, Some(0.5));
        assert_eq!(report.counts["true_positive"], 2);
        assert_eq!(report.labels[0].id, "a");
        assert_eq!(feedback_report(&[], &BTreeMap::new()).precision, None);
    }
}
