use forewarn_models::learning::Caution;
use forewarn_schema::{AnomalyScore, Explanation, LabelSet, Mode, PredictedBreach, TimeRange};

use super::*;

const HOUR: i64 = 3600;

fn at(hours: f64) -> Timestamp {
    Timestamp::from_seconds((hours * HOUR as f64) as i64)
}

fn request(hours: f64) -> RemediationRequest {
    let breach = at(hours + 4.0);
    RemediationRequest {
        id: format!("r-{hours}"),
        prediction_id: format!("p-{hours}"),
        at: at(hours),
        service: "cart".to_owned(),
        signal: "pool".to_owned(),
        kind: BreachKind::PoolExhaustion,
        labels: LabelSet::default(),
        predicted_breach: PredictedBreach { p10: breach, p50: breach, p90: breach },
        probability: Probability::saturating(0.6),
        evidence: Explanation::default(),
        playbook: None,
        window: None,
        mode: Mode::DryRun,
        expires_at: breach,
        outcome_url: None,
    }
}

fn prediction(id: &str, hours: f64) -> Prediction {
    Prediction {
        id: id.to_owned(),
        at: at(hours),
        service: "cart".to_owned(),
        signal: "pool".to_owned(),
        kind: BreachKind::PoolExhaustion,
        labels: LabelSet::from([("pod", "cart-1")]).into(),
        value: 40.0,
        limit: 50.0,
        breach_probability: Probability::saturating(0.9),
        horizon_seconds: 6.0 * 3600.0,
        time_to_breach_seconds: None,
        request_id: None,
        anomaly_score: AnomalyScore::default(),
        model_version: "rules".into(),
        explanation: Explanation { uncalibrated: Some(Probability::saturating(0.7)), ..Explanation::default() },
    }
}

fn label(subject: FeedbackSubject, verdict: Verdict, source: LabelSource, hours: f64) -> Feedback {
    let (note, who) = (None, String::new());
    Feedback { id: format!("f-{hours}"), subject, verdict, note, source, who, created_at: at(hours) }
}

fn settled(id: &str, became: Became, hours: f64) -> Settlement {
    Settlement {
        id: id.to_owned(),
        request_id: None,
        service: "cart".to_owned(),
        signal: "pool".to_owned(),
        kind: BreachKind::PoolExhaustion,
        labels: LabelSet::default(),
        at: at(hours),
        probability: Some(Probability::saturating(0.4)),
        horizon_seconds: 6.0 * 3600.0,
        time_to_breach_seconds: None,
        model_version: "rules".to_owned(),
        became,
        settled_at: at(hours + 6.0),
    }
}

fn of_request(id: &str) -> FeedbackSubject {
    FeedbackSubject::Request { request_id: id.to_owned() }
}

/// What is said of the only announcement there is.
fn verdict(stored: &Stored) -> (Verdict, Judge) {
    let evidence = stored.evidence();
    assert_eq!(evidence.len(), 1, "an announcement counts once: {evidence:?}");
    (evidence[0].judged.verdict, evidence[0].judged.judge)
}

#[test]
fn a_person_outranks_an_alert_and_both_the_data_and_the_newer_word_of_one_rank_speaks() {
    let mut stored = Stored { requests: vec![request(1.0)], ..Stored::default() };
    assert_eq!(stored.evidence(), []);
    stored.settlements.push(settled("p-1", Became::FalseAlarm, 1.0));
    assert_eq!(verdict(&stored), (Verdict::FalsePositive, Judge::Data));
    stored.labels.push(label(of_request("r-1"), Verdict::TruePositive, LabelSource::Alertmanager, 2.0));
    assert_eq!(verdict(&stored), (Verdict::TruePositive, Judge::Label));
    stored.labels.push(label(of_request("r-1"), Verdict::FalsePositive, LabelSource::Page, 3.0));
    stored.labels.push(label(of_request("r-1"), Verdict::TruePositive, LabelSource::Alertmanager, 4.0));
    assert_eq!(verdict(&stored), (Verdict::FalsePositive, Judge::Label));
    stored.labels.push(label(of_request("r-1"), Verdict::Unclear, LabelSource::Link, 5.0));
    assert_eq!(verdict(&stored), (Verdict::Unclear, Judge::Label));
    stored.labels.clear();
    assert_eq!(verdict(&stored), (Verdict::FalsePositive, Judge::Data), "labels taken back were never there");
}

#[test]
fn a_label_of_a_prediction_speaks_for_the_request_that_covers_it() {
    let predictions = BTreeMap::from([("p-1", 1.0), ("p-later", 2.0), ("p-before", 0.5)]);
    let predictions = predictions.into_iter().map(|(id, hours)| (id.to_owned(), prediction(id, hours))).collect();
    let mut stored = Stored { requests: vec![request(1.0)], predictions, ..Stored::default() };
    for (id, requested, said) in [("p-1", true, 0.6), ("p-later", true, 0.6), ("p-before", false, 0.7)] {
        let subject = FeedbackSubject::Prediction { prediction_id: id.to_owned() };
        stored.labels = vec![label(subject, Verdict::FalsePositive, LabelSource::Page, 3.0)];
        let judged = &stored.evidence()[0].judged;
        assert_eq!((judged.requested, judged.probability), (requested, Some(Probability::saturating(said))), "{id}");
    }
}

#[test]
fn a_span_speaks_for_all_in_it() {
    let mut stored = Stored { requests: vec![request(1.0), request(8.0), request(20.0)], ..Stored::default() };
    let span = |kind| FeedbackSubject::Span {
        service: "cart".to_owned(),
        kind,
        range: TimeRange::new(at(0.0), at(10.0)).unwrap(),
    };
    stored.labels = vec![label(span(None), Verdict::FalsePositive, LabelSource::Api, 30.0)];
    assert_eq!(stored.evidence().len(), 2);
    stored.labels = vec![label(span(Some(BreachKind::Oom)), Verdict::FalsePositive, LabelSource::Api, 30.0)];
    assert_eq!(stored.evidence(), []);
}

#[test]
fn a_miss_that_people_and_data_tell_of_is_one() {
    let mut stored = Stored::default();
    stored.settlements.push(settled("m-1", Became::Missed { at: at(5.0) }, 5.0));
    let subject = FeedbackSubject::Breach { service: "cart".to_owned(), kind: BreachKind::PoolExhaustion, at: at(5.5) };
    stored.labels.push(label(subject, Verdict::Missed, LabelSource::Api, 7.0));
    assert_eq!(verdict(&stored), (Verdict::Missed, Judge::Label));
    assert_eq!(stored.evidence()[0].judged.probability, Some(Probability::saturating(0.4)));
}

#[test]
fn what_a_true_announcement_reached_too_late_does_not_count() {
    let caution = |min_probability| Caution { min_probability, persistence: 30, persistence_racing: 5 };
    let reached = [(0.55, 1.0), (0.75, 3.0), (0.95, 4.9)];
    let reached = reached.map(|(p, hours)| Reached { caution: caution(p), at: at(hours) }).to_vec();
    let mut stored = Stored { requests: vec![request(1.0)], ..Stored::default() };
    stored.reached.insert("r-1".to_owned(), reached);
    stored.settlements.push(settled("p-1", Became::Breached { at: at(5.0) }, 1.0));
    assert_eq!(stored.evidence()[0].reached.len(), 2);
    stored.settlements = vec![settled("p-1", Became::FalseAlarm, 1.0)];
    assert_eq!(stored.evidence()[0].reached.len(), 3);
}

#[test]
fn what_the_data_say_is_kept_beside_a_label_where_they_saw_it_and_however_long_ago() {
    let mut stored = Stored { requests: vec![request(1.0)], ..Stored::default() };
    stored.labels.push(label(of_request("r-1"), Verdict::TruePositive, LabelSource::Page, 3.0));
    let beside = |stored: &Stored| {
        let evidence = stored.evidence();
        assert_eq!((evidence.len(), evidence[0].judged.judge), (1, Judge::Label));
        evidence[0].settled
    };
    assert_eq!(beside(&stored), None);
    let seen = |breach| Some(Settled { breach, at: at(7.0) });
    let would_have = |would_have| Became::Averted { by: None, would_have: Some(would_have) };
    for (became, wanted) in [
        (Became::FalseAlarm, seen(None)),
        (Became::Breached { at: at(5.0) }, seen(Some(at(5.0)))),
        (would_have(false), None),
        (would_have(true), None),
        (Became::Unsettled, None),
    ] {
        stored.settlements = vec![settled("p-1", became, 1.0)];
        assert_eq!(beside(&stored), wanted, "{:?}", stored.settlements[0].became);
    }
    stored.settlements = vec![settled("p-1", Became::FalseAlarm, 1.0)];
    stored.settled_since = at(8.0);
    assert_eq!(beside(&stored), seen(None), "too old to be learnt from by itself");
    stored.labels.clear();
    assert_eq!(stored.evidence(), []);
    stored.settled_since = at(0.0);
    assert_eq!((stored.evidence()[0].settled, stored.evidence()[0].judged.judge), (seen(None), Judge::Data));
}
