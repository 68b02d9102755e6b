//! People's labels beside what was measured: listed, counted, and the precision that they speak of.
//!
//! Labels never change a settled figure: the data say what happened, people say whether it mattered.

use std::collections::BTreeMap;

use forewarn_schema::{
    BreachKind, Feedback, FeedbackSubject, LabelSource, RemediationRequest, TimeRange, Timestamp, Verdict,
};

use crate::report::{FeedbackReport, LabelReport};

/// What is known of something that was said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Labelled {
    pub(crate) service: String,
    pub(crate) kind: BreachKind,
    pub(crate) at: Timestamp,
}

/// The ids of the predictions that somebody labelled by themselves.
pub(crate) fn labelled_predictions(feedback: &[Feedback]) -> impl Iterator<Item = &str> {
    feedback.iter().filter_map(|f| match &f.subject {
        FeedbackSubject::Prediction { prediction_id } => Some(prediction_id.as_str()),
        FeedbackSubject::Request { .. } | FeedbackSubject::Breach { .. } | FeedbackSubject::Span { .. } => None,
    })
}

/// Lists and counts `feedback`. `requests` are those that were made: a label of one speaks for the prediction that emitted it, one of a
/// span for every one in it. `seen` tells of labelled predictions that the replay made too, by their ids.
///
/// The precision takes of each prediction the newest label (the later in the list where two are of one time), of a person where one said
/// anything, and leaves `missed` and `unclear` out.
pub(crate) fn feedback_report(
    feedback: &[Feedback],
    requests: &[RemediationRequest],
    seen: &BTreeMap<String, Labelled>,
) -> FeedbackReport {
    let mut sorted: Vec<&Feedback> = feedback.iter().collect();
    sorted.sort_by_key(|f| f.created_at);
    let said = Said::new(requests, seen);
    let mut report = FeedbackReport::default();
    let mut words: BTreeMap<&str, (bool, Verdict)> = BTreeMap::new();
    for label in sorted {
        *report.counts.entry(label.verdict.to_string()).or_default() += 1;
        let by_person = label.source != LabelSource::Alertmanager;
        for id in said.meant(&label.subject) {
            let word = words.entry(id).or_insert((by_person, label.verdict));
            if by_person >= word.0 {
                *word = (by_person, label.verdict);
            }
        }
        let (service, kind, at) = said.about(&label.subject);
        report.labels.push(LabelReport {
            id: label.id.clone(),
            subject: label.subject.clone(),
            service,
            kind,
            at,
            verdict: label.verdict,
            note: label.note.clone(),
            source: label.source,
            created_at: label.created_at,
        });
    }
    let of = |wanted| words.values().filter(|(_, verdict)| *verdict == wanted).count() as f64;
    let (right, wrong) = (of(Verdict::TruePositive), of(Verdict::FalsePositive));
    report.precision = (right + wrong > 0.0).then(|| right / (right + wrong));
    report
}

/// What labels can be of, by the ids of predictions: a request goes by that which emitted it.
struct Said<'a> {
    by_request: BTreeMap<&'a str, &'a str>,
    by_prediction: BTreeMap<&'a str, Labelled>,
}

impl<'a> Said<'a> {
    fn new(requests: &'a [RemediationRequest], seen: &'a BTreeMap<String, Labelled>) -> Self {
        let mut by_prediction: BTreeMap<&str, Labelled> = seen.iter().map(|(id, l)| (id.as_str(), l.clone())).collect();
        by_prediction.extend(requests.iter().map(|r| {
            let labelled = Labelled { service: r.service.clone(), kind: r.kind, at: r.at };
            (r.prediction_id.as_str(), labelled)
        }));
        let by_request = requests.iter().map(|r| (r.id.as_str(), r.prediction_id.as_str())).collect();
        Self { by_request, by_prediction }
    }

    /// The predictions that a label speaks for. One that nobody knows any more is still one.
    fn meant<'s>(&'s self, subject: &'s FeedbackSubject) -> Vec<&'s str> {
        match subject {
            FeedbackSubject::Prediction { prediction_id } => vec![prediction_id],
            FeedbackSubject::Request { request_id } => {
                vec![self.by_request.get(request_id.as_str()).copied().unwrap_or(request_id)]
            }
            FeedbackSubject::Breach { .. } => Vec::new(),
            FeedbackSubject::Span { service, kind, range } => {
                let within = |l: &Labelled| {
                    l.service == *service && kind.is_none_or(|kind| kind == l.kind) && range.contains(l.at)
                };
                self.by_prediction.iter().filter(|(_, l)| within(l)).map(|(id, _)| *id).collect()
            }
        }
    }

    /// Service, kind and time that a label is about, as far as they are known.
    fn about(&self, subject: &FeedbackSubject) -> (Option<String>, Option<BreachKind>, Option<Timestamp>) {
        let of = |id: &str| match self.by_prediction.get(id) {
            Some(Labelled { service, kind, at }) => (Some(service.clone()), Some(*kind), Some(*at)),
            None => (None, None, None),
        };
        match subject {
            FeedbackSubject::Prediction { prediction_id } => of(prediction_id),
            FeedbackSubject::Request { request_id } => {
                self.by_request.get(request_id.as_str()).map_or_else(|| of(""), |id| of(id))
            }
            FeedbackSubject::Breach { service, kind, at } => (Some(service.clone()), Some(*kind), Some(*at)),
            FeedbackSubject::Span { service, kind, range: TimeRange { start, .. } } => {
                (Some(service.clone()), *kind, Some(*start))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use forewarn_schema::{Explanation, LabelSet, Mode, PredictedBreach, Probability};

    use super::*;

    fn label(id: &str, subject: FeedbackSubject, verdict: Verdict, second: i64) -> Feedback {
        Feedback {
            id: id.to_owned(),
            subject,
            verdict,
            note: Some("the nightly import".to_owned()),
            source: LabelSource::Page,
            who: String::new(),
            created_at: Timestamp::from_seconds(second),
        }
    }

    fn prediction(id: &str) -> FeedbackSubject {
        FeedbackSubject::Prediction { prediction_id: id.to_owned() }
    }

    fn of_request(id: &str) -> FeedbackSubject {
        FeedbackSubject::Request { request_id: id.to_owned() }
    }

    /// Everything, or one kind, said of `cart` in the first so many seconds.
    fn span(kind: Option<BreachKind>, seconds: i64) -> FeedbackSubject {
        let range = TimeRange { start: Timestamp::from_seconds(0), end: Timestamp::from_seconds(seconds) };
        FeedbackSubject::Span { service: "cart".to_owned(), kind, range }
    }

    fn request(number: u32, kind: BreachKind, second: i64) -> RemediationRequest {
        let at = Timestamp::from_seconds(second);
        RemediationRequest {
            id: format!("r-{number}"),
            prediction_id: format!("p-{number}"),
            at,
            service: "cart".to_owned(),
            signal: "memory".to_owned(),
            kind,
            labels: LabelSet::default(),
            predicted_breach: PredictedBreach { p10: at, p50: at, p90: at },
            probability: Probability::saturating(0.9),
            evidence: Explanation::default(),
            playbook: None,
            window: None,
            mode: Mode::DryRun,
            expires_at: at,
            outcome_url: None,
        }
    }

    fn report(feedback: &[Feedback], requests: &[RemediationRequest]) -> FeedbackReport {
        feedback_report(feedback, requests, &BTreeMap::new())
    }

    #[test]
    fn the_newest_label_of_a_prediction_speaks_for_it() {
        let feedback = [
            label("b", prediction("p-1"), Verdict::FalsePositive, 20),
            label("a", prediction("p-1"), Verdict::TruePositive, 10),
            label("c", prediction("p-2"), Verdict::TruePositive, 30),
            label("d", prediction("p-3"), Verdict::Unclear, 40),
        ];
        let all = report(&feedback, &[]);
        assert_eq!(all.precision, Some(0.5));
        assert_eq!(all.counts["true_positive"], 2);
        assert_eq!(all.labels[0].id, "a");
        assert_eq!(report(&[], &[]).precision, None);
    }

    #[test]
    fn a_label_of_a_request_and_one_of_its_prediction_are_of_one_thing() {
        let requests = [request(1, BreachKind::Oom, 10), request(2, BreachKind::Oom, 20)];
        let mut feedback = vec![
            label("a", of_request("r-1"), Verdict::TruePositive, 30),
            label("b", of_request("r-2"), Verdict::FalsePositive, 31),
            label("c", of_request("r-long-gone"), Verdict::FalsePositive, 32),
        ];
        let all = report(&feedback, &requests);
        assert_eq!(all.precision, Some(1.0 / 3.0));
        let of_first = &all.labels[0];
        assert_eq!((of_first.service.as_deref(), of_first.kind), (Some("cart"), Some(BreachKind::Oom)));
        assert_eq!((of_first.at, all.labels[2].service.as_ref()), (Some(Timestamp::from_seconds(10)), None));
        feedback.push(label("d", prediction("p-1"), Verdict::FalsePositive, 40));
        assert_eq!(report(&feedback, &requests).precision, Some(0.0), "the newer word on the same");
    }

    #[test]
    fn a_span_speaks_for_every_announcement_in_it_and_a_newer_word_on_one_for_that_one() {
        let (oom, disk) = (BreachKind::Oom, BreachKind::DiskFull);
        let requests = [request(1, oom, 10), request(2, oom, 20), request(3, disk, 30), request(4, oom, 100)];
        let everything = label("a", span(None, 100), Verdict::FalsePositive, 200);
        let all = report(std::slice::from_ref(&everything), &requests);
        assert_eq!(all.precision, Some(0.0));
        assert_eq!((all.labels[0].service.as_deref(), all.labels[0].kind), (Some("cart"), None));
        let one = label("b", of_request("r-2"), Verdict::TruePositive, 201);
        assert_eq!(report(&[everything.clone(), one], &requests).precision, Some(1.0 / 3.0));
        let disks = label("c", span(Some(disk), 100), Verdict::TruePositive, 202);
        assert_eq!(report(&[everything, disks], &requests).precision, Some(1.0 / 3.0));
        let nothing = label("d", span(Some(BreachKind::ErrorRate), 100), Verdict::FalsePositive, 203);
        assert_eq!(report(&[nothing], &requests).precision, None, "nothing was said in it");
    }

    #[test]
    fn a_person_outranks_an_alert_whoever_spoke_later() {
        let requests = [request(1, BreachKind::Oom, 10)];
        let person = label("a", of_request("r-1"), Verdict::FalsePositive, 20);
        let mut alert = label("b", prediction("p-1"), Verdict::TruePositive, 30);
        alert.source = LabelSource::Alertmanager;
        assert_eq!(report(std::slice::from_ref(&alert), &requests).precision, Some(1.0));
        assert_eq!(report(&[person, alert], &requests).precision, Some(0.0));
    }
}
