//! Which of several labels speaks for an announcement: one rule for the page, for learning and for whoever reads the
//! export. Taking a label back leaves the others as they were, so the one before it speaks again.

use crate::{BreachKind, Feedback, FeedbackSubject, LabelSource, Timestamp};

/// What labels may be of: a prediction, and the request that it emitted, where it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement<'a> {
    /// The prediction's id.
    pub prediction_id: &'a str,
    /// The request's id; `None` where it emitted none.
    pub request_id: Option<&'a str>,
    /// The workload.
    pub service: &'a str,
    /// What kind of breach.
    pub kind: BreachKind,
    /// When it was said.
    pub at: Timestamp,
}

impl FeedbackSubject {
    /// Whether a label of this is about `announcement`. One of a breach that nobody announced never is.
    pub fn covers(&self, announcement: &Announcement<'_>) -> bool {
        match self {
            Self::Prediction { prediction_id } => prediction_id == announcement.prediction_id,
            Self::Request { request_id } => announcement.request_id == Some(request_id),
            Self::Span { service, kind, range } => {
                service == announcement.service
                    && kind.is_none_or(|kind| kind == announcement.kind)
                    && range.contains(announcement.at)
            }
            Self::Breach { .. } => false,
        }
    }
}

impl LabelSource {
    /// Whether a person gave it. What an alert says loses to any person's word, however old.
    pub fn is_a_persons(self) -> bool {
        self != Self::Alertmanager
    }
}

/// The label that speaks for `announcement`: of those that are about it a person's before an alert's, then the newest;
/// of two of one time the later in `labels`. `None` where none is about it.
pub fn speaking<'a>(
    labels: impl IntoIterator<Item = &'a Feedback>,
    announcement: &Announcement<'_>,
) -> Option<&'a Feedback> {
    loudest(labels.into_iter().filter(|label| label.subject.covers(announcement)))
}

/// The same among labels that are all of one thing.
pub fn loudest<'a>(labels: impl IntoIterator<Item = &'a Feedback>) -> Option<&'a Feedback> {
    // Of equals the last one wins.
    labels.into_iter().max_by_key(|label| (label.source.is_a_persons(), label.created_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TimeRange, Verdict};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn label(id: &str, subject: FeedbackSubject, source: LabelSource, given: i64) -> Feedback {
        let (id, who) = (id.to_owned(), String::new());
        Feedback { id, subject, verdict: Verdict::Unclear, note: None, source, who, created_at: at(given) }
    }

    fn span(kind: Option<BreachKind>, start: i64, end: i64) -> FeedbackSubject {
        FeedbackSubject::Span { service: "cart".into(), kind, range: TimeRange::new(at(start), at(end)).unwrap() }
    }

    const ABOUT: Announcement<'_> = Announcement {
        prediction_id: "p-1",
        request_id: Some("r-1"),
        service: "cart",
        kind: BreachKind::Oom,
        at: Timestamp::from_millis(100_000),
    };

    #[test]
    fn a_label_is_about_its_prediction_its_request_and_all_that_was_said_in_its_span() {
        let prediction = |id: &str| FeedbackSubject::Prediction { prediction_id: id.into() };
        let request = |id: &str| FeedbackSubject::Request { request_id: id.into() };
        for subject in [prediction("p-1"), request("r-1"), span(None, 100, 101), span(Some(BreachKind::Oom), 0, 200)] {
            assert!(subject.covers(&ABOUT), "{subject:?}");
        }
        let breach = FeedbackSubject::Breach { service: "cart".into(), kind: BreachKind::Oom, at: at(100) };
        let other_kind = span(Some(BreachKind::DiskFull), 0, 200);
        for subject in [prediction("p-2"), request("r-2"), span(None, 0, 100), other_kind, breach] {
            assert!(!subject.covers(&ABOUT), "{subject:?}");
        }
        assert!(!request("r-1").covers(&Announcement { request_id: None, ..ABOUT }));
    }

    #[test]
    fn the_newest_speaks_and_an_alert_only_where_no_person_does() {
        let of = || FeedbackSubject::Prediction { prediction_id: "p-1".into() };
        let mut labels = vec![
            label("a", of(), LabelSource::Page, 10),
            label("b", span(None, 0, 200), LabelSource::Shell, 10),
            label("c", of(), LabelSource::Alertmanager, 30),
        ];
        assert_eq!(speaking(&labels, &ABOUT).unwrap().id, "b", "of one time, the later in the list");
        labels.remove(1);
        assert_eq!(speaking(&labels, &ABOUT).unwrap().id, "a");
        labels.remove(0);
        assert_eq!(speaking(&labels, &ABOUT).unwrap().id, "c");
        assert_eq!(speaking(&[], &ABOUT), None);
    }
}
