use forewarn_schema::{Feedback, FeedbackSubject, Happening, LabelSet, LabelSource, Probability, TimeToBreach};

use super::*;

const HOUR: i64 = 3600;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_seconds(hours * HOUR)
}

fn week() -> TimeRange {
    TimeRange { start: at(0), end: at(168) }
}

/// Said at an hour, of a breach two hours ahead (one to three).
fn said(id: &str, hour: i64, became: Became) -> Settlement {
    Settlement {
        id: id.to_owned(),
        request_id: Some(format!("r-{id}")),
        service: "cart".to_owned(),
        signal: "memory".to_owned(),
        kind: BreachKind::Oom,
        labels: LabelSet::new(),
        at: at(hour),
        probability: Some(Probability::saturating(0.8)),
        horizon_seconds: 21_600.0,
        time_to_breach_seconds: TimeToBreach::new(3600.0, 7200.0, 10_800.0).ok(),
        model_version: "rules".to_owned(),
        became,
        settled_at: at(hour + 7),
    }
}

fn missed(id: &str, hour: i64) -> Settlement {
    let miss = said(id, hour, Became::Missed { at: at(hour) });
    Settlement { request_id: None, time_to_breach_seconds: None, settled_at: at(hour), ..miss }
}

fn label(subject: FeedbackSubject, verdict: Verdict, source: LabelSource, hour: i64) -> Feedback {
    let (id, who, note) = (format!("{hour}"), String::new(), None);
    Feedback { id, subject, verdict, note, source, who, created_at: at(hour) }
}

fn of(settled: &[Settlement], feedback: &[Feedback]) -> Rolling {
    Rolling::of(settled, &Labels::of(feedback), week(), Scope::default())
}

#[test]
fn nothing_settled_is_no_figure() {
    let nothing = of(&[], &[]);
    assert_eq!(nothing, Rolling::default());
    assert!(nothing.is_empty());
    let unknown = of(&[said("a", 1, Became::Unsettled), said("b", 2, Became::InBreach)], &[]);
    assert!(unknown.is_empty(), "what nobody can tell is no case: {unknown:?}");
}

#[test]
fn figures_are_those_that_one_counts_by_hand() {
    let settled = [
        said("a", 1, Became::Breached { at: at(3) }),
        // Once more about the same breach: one breach, two requests that were right.
        said("b", 2, Became::Breached { at: at(3) }),
        said("c", 10, Became::Breached { at: at(16) }),
        said("d", 20, Became::FalseAlarm),
        said("e", 30, Became::Averted { by: Some(Happening::Restarted), would_have: Some(true) }),
        said("f", 40, Became::Averted { by: Some(Happening::Scaled), would_have: None }),
        missed("m", 50),
        // A request that came too late to help: the breach is missed all the same.
        said("g", 49, Became::Breached { at: at(50) }),
    ];
    let figures = of(&settled, &[]);
    assert_eq!(figures.cases, Cases { requests: 6, breaches: 4, leads: 2, intervals: 4 });
    assert_eq!(figures.recall, Some(0.75));
    assert_eq!(figures.precision, Some(5.0 / 6.0));
    assert_eq!(figures.false_alarms_per_week, Some(1.0));
    assert_eq!(figures.median_lead_seconds, Some(4.0 * 3600.0), "2 h and 6 h");
    assert_eq!(figures.interval_coverage, Some(0.75), "2 h, 1 h, 1 h and 6 h after 1 to 3 h were said");
    assert_eq!(figures.time_to_breach_error, Some((2.0 / 3.0 + 1.0) / 2.0));
}

#[test]
fn a_label_outweighs_the_data_and_a_person_any_other() {
    let settled = [said("a", 1, Became::FalseAlarm)];
    let of_request = || FeedbackSubject::Request { request_id: "r-a".to_owned() };
    let person = label(of_request(), Verdict::TruePositive, LabelSource::Page, 2);
    let alert = label(of_request(), Verdict::FalsePositive, LabelSource::Alertmanager, 3);
    assert_eq!(of(&settled, &[]).precision, Some(0.0));
    assert_eq!(of(&settled, std::slice::from_ref(&person)).precision, Some(1.0));
    assert_eq!(of(&settled, &[alert.clone(), person.clone()]).precision, Some(1.0));
    assert_eq!(of(&settled, std::slice::from_ref(&alert)).precision, Some(0.0));
    let later = label(of_request(), Verdict::Unclear, LabelSource::Shell, 4);
    assert_eq!(of(&settled, &[person, later]).precision, None, "somebody took it back to unclear");
}

#[test]
fn a_span_speaks_for_all_that_was_said_in_it() {
    let settled = [said("a", 1, Became::FalseAlarm), said("b", 30, Became::FalseAlarm)];
    let range = TimeRange { start: at(0), end: at(10) };
    let span = FeedbackSubject::Span { service: "cart".to_owned(), kind: None, range };
    let figures = of(&settled, &[label(span, Verdict::TruePositive, LabelSource::Page, 50)]);
    assert_eq!(figures.precision, Some(0.5));
}

#[test]
fn a_miss_that_both_people_and_the_data_name_is_one_and_one_that_a_person_denies_is_none() {
    let breach = |hour| FeedbackSubject::Breach { service: "cart".to_owned(), kind: BreachKind::Oom, at: at(hour) };
    let of_miss = |hour| label(breach(hour), Verdict::Missed, LabelSource::Alertmanager, 60);
    let settled = [said("a", 1, Became::Breached { at: at(3) }), missed("m", 50)];
    assert_eq!(of(&settled, &[of_miss(50)]).recall, Some(0.5));
    assert_eq!(of(&settled, &[of_miss(50), of_miss(90)]).recall, Some(1.0 / 3.0));
    let denied = FeedbackSubject::Prediction { prediction_id: "m".to_owned() };
    let denied = label(denied, Verdict::FalsePositive, LabelSource::Page, 60);
    assert_eq!(of(&settled, &[denied]).recall, Some(1.0));
}

#[test]
fn a_window_before_anything_was_settled_makes_no_quiet_weeks() {
    let settled = [said("a", 1, Became::FalseAlarm)];
    let outcomes = super::super::Outcomes::of(&settled, &Labels::default(), at(84));
    let rates: Vec<_> = outcomes.windows.iter().map(|w| (w.name, w.all.false_alarms_per_week.unwrap())).collect();
    assert!(rates.iter().all(|(_, rate)| (2.0..2.1).contains(rate)), "one in half a week: {rates:?}");
    assert_eq!(outcomes.windows[0].kinds.keys().collect::<Vec<_>>(), [&BreachKind::Oom]);
    assert_eq!(outcomes.windows[0].services.keys().collect::<Vec<_>>(), ["cart"]);
    assert_eq!(outcomes.weeks.len(), 4, "the days since");
}
