//! Labels: what is given is there, what is taken back never was, what is given back is as it was.

use forewarn_schema::{Announcement, Feedback, TimeRange, speaking};
use proptest::prelude::*;

use super::*;
use crate::access::as_caller;
use crate::labels::LabelFilter;

fn label(subject: FeedbackSubject, verdict: Verdict, source: LabelSource) -> NewFeedback {
    NewFeedback { subject, verdict, note: Some(format!("{verdict}, for a reason")), source }
}

fn of(p: &Prediction) -> FeedbackSubject {
    FeedbackSubject::Prediction { prediction_id: p.id.clone() }
}

fn span(kind: Option<BreachKind>, from: i64, to: i64) -> FeedbackSubject {
    FeedbackSubject::Span { service: "cart".into(), kind, range: TimeRange::new(at(from), at(to)).unwrap() }
}

fn ids(labels: &[Feedback]) -> Vec<&str> {
    labels.iter().map(|label| label.id.as_str()).collect()
}

on_both! {
async fn labels_of_each_kind_read_back_with_who_when_and_why(store) {
    let p = prediction("a", 60, 0.9);
    store.keep_step(&output(vec![p.clone()], vec![request(&p, 900)]), false).await.unwrap();
    let breach = FeedbackSubject::Breach { service: "cart".into(), kind: BreachKind::Oom, at: at(50) };
    let asked = FeedbackSubject::Request { request_id: format!("r-{}", p.id) };
    let new = [
        label(of(&p), Verdict::FalsePositive, LabelSource::Shell),
        label(asked, Verdict::TruePositive, LabelSource::Link),
        label(breach, Verdict::Missed, LabelSource::Alertmanager),
        label(span(None, 0, 100), Verdict::Unclear, LabelSource::Page),
    ];
    let stored = as_caller("anna".into(), store.add_labels(&new, &[], at(100))).await.unwrap();
    assert_eq!(store.feedback().await.unwrap(), stored, "in the order in which they came, though all at one time");
    for (stored, new) in stored.iter().zip(&new) {
        assert_eq!((&stored.subject, stored.verdict, &stored.note), (&new.subject, new.verdict, &new.note));
        assert_eq!((stored.source, stored.who.as_str(), stored.created_at), (new.source, "anna", at(100)));
    }
    let trail = store.trail(None, 10).await.unwrap();
    assert_eq!(trail.iter().filter(|t| t.action == "label" && t.who == "anna").count(), 4);
}

async fn of_many_labels_all_are_stored_or_none(store) {
    let p = prediction("a", 60, 0.9);
    let unknown = FeedbackSubject::Request { request_id: "r-none".into() };
    let new = [
        label(of(&p), Verdict::FalsePositive, LabelSource::Api),
        label(unknown, Verdict::Unclear, LabelSource::Api),
    ];
    let refused = store.add_labels(&new, std::slice::from_ref(&p), at(100)).await.unwrap_err();
    assert_eq!(refused.to_string(), "no request with id r-none");
    assert_eq!(store.feedback().await.unwrap(), []);
    assert_eq!(store.prediction(&p.id).await.unwrap(), None, "nor is what only a label would have kept");
    let unknown = store.add_labels(&new[..1], &[], at(100)).await.unwrap_err();
    assert_eq!(unknown.to_string(), format!("no prediction with id {}", p.id));
    store.add_labels(&new[..1], std::slice::from_ref(&p), at(100)).await.unwrap();
    assert_eq!(store.prediction(&p.id).await.unwrap(), Some(p));
}

async fn taking_back_and_giving_back_leave_everything_as_it_was(store) {
    let p = prediction("a", 60, 0.9);
    let keep = std::slice::from_ref(&p);
    let [wrong, right] = [Verdict::FalsePositive, Verdict::TruePositive].map(|v| label(of(&p), v, LabelSource::Page));
    let first = store.add_labels(&[wrong], keep, at(100)).await.unwrap().remove(0);
    let before = store.feedback().await.unwrap();
    // At the same time: what came later speaks.
    let second = store.add_feedback(&right, at(100)).await.unwrap();
    let both = store.feedback().await.unwrap();
    let id = [second.id.clone()];
    assert_eq!(store.take_back(&id, at(300)).await.unwrap(), 1);
    assert_eq!(store.take_back(&id, at(300)).await.unwrap(), 0, "twice is once");
    assert_eq!(store.feedback().await.unwrap(), before);
    let gone = LabelFilter { taken_back: true, ..LabelFilter::default() };
    assert_eq!(ids(&store.labels(&gone, 10).await.unwrap()), [second.id.as_str()]);
    assert_eq!(store.restore(&id, at(400)).await.unwrap(), 1);
    assert_eq!(store.restore(&id, at(400)).await.unwrap(), 0);
    assert_eq!(store.feedback().await.unwrap(), both);
    assert_eq!(ids(&both), [first.id.as_str(), second.id.as_str()]);
    let trail: Vec<String> = store.trail(None, 2).await.unwrap().into_iter().map(|t| t.action).collect();
    assert_eq!(trail, ["relabel", "unlabel"]);

    store.take_back(&id, at(500)).await.unwrap();
    store.prune(at(500 + 91 * 86_400)).await.unwrap();
    assert_eq!(store.restore(&id, at(600)).await.unwrap(), 0, "after the retention nobody has it");
    assert_eq!(store.feedback().await.unwrap(), before);
}

async fn labels_are_found_by_what_they_are_about_and_page_by_page(store) {
    let p = prediction("a", 60, 0.9);
    store.keep_step(&output(vec![p.clone()], vec![request(&p, 900)]), false).await.unwrap();
    let asked = FeedbackSubject::Request { request_id: format!("r-{}", p.id) };
    let other = FeedbackSubject::Breach { service: "search".into(), kind: BreachKind::Oom, at: at(50) };
    let mut given = Vec::new();
    for (seconds, new) in [
        (100, label(of(&p), Verdict::FalsePositive, LabelSource::Shell)),
        (100, label(asked, Verdict::TruePositive, LabelSource::Link)),
        (200, label(other, Verdict::Missed, LabelSource::Alertmanager)),
        (200, label(span(None, 0, 100), Verdict::FalsePositive, LabelSource::Page)),
        (300, label(span(Some(BreachKind::Oom), 0, 100), Verdict::FalsePositive, LabelSource::Page)),
    ] {
        given.push(store.add_feedback(&new, at(seconds)).await.unwrap().id);
    }
    let all = LabelFilter::default();
    for (filter, expected) in [
        (all.clone(), vec![4, 3, 2, 1, 0]),
        (LabelFilter { service: Some("cart".into()), ..all.clone() }, vec![4, 3, 1, 0]),
        (LabelFilter { kind: Some(BreachKind::PoolExhaustion), ..all.clone() }, vec![3, 1, 0]),
        (LabelFilter { kind: Some(BreachKind::Oom), service: Some("cart".into()), ..all.clone() }, vec![4, 3]),
        (LabelFilter { verdict: Some(Verdict::FalsePositive), since: Some(at(200)), ..all.clone() }, vec![4, 3]),
        (LabelFilter { source: Some(LabelSource::Link), ..all.clone() }, vec![1]),
        (LabelFilter { service: Some("ca\0rt".into()), ..all.clone() }, vec![]),
        (LabelFilter { before: Some(given[1].clone()), ..all.clone() }, vec![0]),
        (LabelFilter { before: Some(given[3].clone()), service: Some("cart".into()), ..all.clone() }, vec![1, 0]),
    ] {
        let found = store.labels(&filter, 10).await.unwrap();
        let expected: Vec<&str> = expected.into_iter().map(|place: usize| given[place].as_str()).collect();
        assert_eq!(ids(&found), expected, "{filter:?}");
    }
    // Page by page everything is seen once, also when the page's last label is taken back meanwhile.
    let mut seen: Vec<String> = Vec::new();
    let mut before = None;
    loop {
        let page = store.labels(&LabelFilter { before, ..all.clone() }, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        store.take_back(std::slice::from_ref(&last.id), at(400)).await.unwrap();
        before = Some(last.id.clone());
        seen.extend(page.into_iter().map(|label| label.id));
    }
    seen.reverse();
    assert_eq!(seen, given);
    let unknown = LabelFilter { before: Some("f-none".into()), ..all };
    assert!(store.labels(&unknown, 2).await.unwrap_err().is_not_found());
}

async fn the_key_of_links_is_made_once_for_all_servers(store) {
    let other = store.clone();
    let (a, b) = tokio::join!(store.link_key(), other.link_key());
    assert_eq!(a.unwrap(), b.unwrap());
}
}

/// What somebody does to labels.
#[derive(Clone, Debug)]
enum Step {
    /// Labels something, so many seconds after the step before.
    Add { new: NewFeedback, later: i64 },
    /// Takes back one of those given so far, by its place, whatever it is.
    TakeBack(usize),
    /// Gives one back.
    Restore(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let subjects: Vec<FeedbackSubject> = announced()
        .iter()
        .flat_map(|p| [of(p), FeedbackSubject::Request { request_id: format!("r-{}", p.id) }])
        .chain([span(None, 0, 90), span(Some(BreachKind::PoolExhaustion), 90, 150)])
        .collect();
    let verdict = prop::sample::select(vec![Verdict::TruePositive, Verdict::FalsePositive, Verdict::Unclear]);
    let source = prop::sample::select(vec![LabelSource::Page, LabelSource::Alertmanager, LabelSource::Link]);
    let add = (prop::sample::select(subjects), verdict, source, 0_i64..3)
        .prop_map(|(subject, verdict, source, later)| Step::Add { new: label(subject, verdict, source), later });
    let step =
        prop_oneof![4 => add, 2 => (0_usize..12).prop_map(Step::TakeBack), 2 => (0_usize..12).prop_map(Step::Restore)];
    prop::collection::vec(step, 1..25)
}

fn announced() -> Vec<Prediction> {
    vec![prediction("a", 60, 0.9), prediction("b", 120, 0.9)]
}

async fn prepared() -> StateStore {
    let (store, all) = (in_memory().await, announced());
    let requests = all.iter().map(|p| request(p, 9000)).collect();
    store.keep_step(&output(all, requests), false).await.unwrap();
    store
}

/// What `GET /api/v1/feedback` answers, but for the ids, and the verdict that speaks for each announcement.
async fn state(store: &StateStore) -> (Vec<Feedback>, Vec<Option<Verdict>>) {
    let mut labels = store.labels(&LabelFilter::default(), 1000).await.unwrap();
    let ordered = store.feedback().await.unwrap();
    let all = announced();
    let speaks = all.iter().map(|p| {
        let request_id = format!("r-{}", p.id);
        let about = Announcement {
            prediction_id: &p.id,
            request_id: Some(&request_id),
            service: &p.service,
            kind: p.kind,
            at: p.at,
        };
        speaking(&ordered, &about).map(|label| label.verdict)
    });
    let speaks = speaks.collect();
    for label in &mut labels {
        label.id.clear();
    }
    (labels, speaks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever was given, taken back and given back, in whatever order: what is left is what somebody would have who only
    /// ever gave the labels that stand.
    #[test]
    fn what_was_taken_back_never_was(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (lived, clean) = runtime.block_on(async {
            let store = prepared().await;
            let (mut given, mut now): (Vec<(String, NewFeedback, i64, bool)>, i64) = (Vec::new(), 1000);
            for step in &steps {
                match step {
                    Step::Add { new, later } => {
                        now += later;
                        let id = store.add_feedback(new, at(now)).await.unwrap().id;
                        given.push((id, new.clone(), now, true));
                    }
                    Step::TakeBack(place) | Step::Restore(place) => {
                        let Some((id, _, _, stands)) = given.get_mut(*place) else { continue };
                        let ids = std::slice::from_ref(&*id);
                        let restores = matches!(step, Step::Restore(_));
                        let moved = if restores {
                            store.restore(ids, at(now)).await.unwrap()
                        } else {
                            store.take_back(ids, at(now)).await.unwrap()
                        };
                        assert_eq!(moved == 1, *stands != restores);
                        *stands = restores;
                    }
                }
            }
            let clean = prepared().await;
            for (_, new, when, _) in given.iter().filter(|(.., stands)| *stands) {
                clean.add_feedback(new, at(*when)).await.unwrap();
            }
            (state(&store).await, state(&clean).await)
        });
        prop_assert_eq!(lived, clean);
    }
}
