use std::time::Duration;

use forewarn_models::guardrails::HeldBy;
use forewarn_schema::{
    AnomalyScore, Became, BreachKind, Explanation, FeedbackSubject, Judge, LabelSet, LabelSource, Mode,
    PredictedBreach, Probability, SignalEvidence, TimeToBreach, Verdict,
};
use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_767_225_600 + seconds)
}

fn week() -> TimeRange {
    TimeRange { start: at(7 * DAY), end: at(14 * DAY) }
}

fn request(id: &str, seconds: i64, status: RequestStatus) -> RequestRecord {
    let due = |hours: i64| at(seconds + hours * 3600);
    RequestRecord {
        request: RemediationRequest {
            id: id.to_owned(),
            prediction_id: format!("p-{id}"),
            at: at(seconds),
            service: "cart".to_owned(),
            signal: "memory".to_owned(),
            kind: BreachKind::Oom,
            labels: LabelSet::from([("pod", "cart-1")]),
            predicted_breach: PredictedBreach { p10: due(1), p50: due(2), p90: due(3) },
            probability: Probability::saturating(0.9),
            evidence: Explanation { summary: "memory <rises>".to_owned(), ..Explanation::default() },
            playbook: Some("restart".to_owned()),
            window: None,
            mode: Mode::Approval,
            expires_at: due(4),
            outcome_url: None,
        },
        status,
        note: (status == RequestStatus::Failed).then(|| "it came back".to_owned()),
    }
}

fn settled(of: &RequestRecord, became: Became) -> Settlement {
    let request = &of.request;
    Settlement {
        id: request.prediction_id.clone(),
        request_id: Some(request.id.clone()),
        service: request.service.clone(),
        signal: request.signal.clone(),
        kind: request.kind,
        labels: request.labels.clone(),
        at: request.at,
        probability: Some(request.probability),
        horizon_seconds: 4.0 * 3600.0,
        time_to_breach_seconds: TimeToBreach::new(3600.0, 7200.0, 10_800.0).ok(),
        model_version: "v1".to_owned(),
        became,
        settled_at: request.at + Duration::from_secs(4 * 3600),
    }
}

fn label(id: &str, subject: FeedbackSubject, verdict: Verdict, seconds: i64) -> Feedback {
    Feedback {
        id: id.to_owned(),
        subject,
        verdict,
        note: Some("a load test".to_owned()),
        source: LabelSource::Page,
        who: "ann".to_owned(),
        created_at: at(seconds),
    }
}

fn sighting(service: &str, seconds: i64, signals: &[(&str, f64)]) -> Sighting {
    let evidence = |(name, weight): &(&str, f64)| SignalEvidence {
        signal: (*name).to_owned(),
        seen: if *weight < 0.0 { 0.1 } else { 0.9 },
        expected: Some(0.5),
        weight: weight.abs(),
    };
    Sighting {
        service: service.to_owned(),
        at: at(seconds),
        score: AnomalyScore::saturating(0.9995),
        signals: signals.iter().map(evidence).collect(),
    }
}

/// A week with one of everything, and one request in the week before.
fn records() -> WeekRecords {
    let start = 7 * DAY;
    let came = request("r-came", start + 3600, RequestStatus::Open);
    let wrong = request("r-wrong", start + DAY, RequestStatus::Expired);
    let denied = request("r-denied", start + 2 * DAY, RequestStatus::Open);
    let helped = request("r-helped", start + 3 * DAY, RequestStatus::Succeeded);
    let failed = request("r-failed", start + 4 * DAY, RequestStatus::Failed);
    let earlier = request("r-earlier", DAY, RequestStatus::Expired);
    let missed = Settlement {
        id: "m-1".to_owned(),
        request_id: None,
        probability: Some(Probability::saturating(0.4)),
        at: at(start + 5 * DAY),
        became: Became::Missed { at: at(start + 5 * DAY) },
        ..settled(&came, Became::FalseAlarm)
    };
    let of_request = |r: &RequestRecord| FeedbackSubject::Request { request_id: r.request.id.clone() };
    let breach =
        |seconds| FeedbackSubject::Breach { service: "cart".to_owned(), kind: BreachKind::Oom, at: at(seconds) };
    WeekRecords {
        settlements: vec![
            settled(&came, Became::Breached { at: came.request.at + Duration::from_secs(9000) }),
            settled(&wrong, Became::FalseAlarm),
            settled(&denied, Became::FalseAlarm),
            settled(&helped, Became::Averted { by: None, would_have: Some(true) }),
            settled(&failed, Became::Breached { at: failed.request.at + Duration::from_secs(90_000) }),
            settled(&earlier, Became::FalseAlarm),
            missed,
        ],
        labels: vec![
            label("f-1", of_request(&denied), Verdict::TruePositive, start + 2 * DAY + 60),
            label("f-2", breach(start + 5 * DAY + 600), Verdict::Missed, start + 5 * DAY + 700),
            label("f-3", breach(start + 6 * DAY), Verdict::Missed, start + 6 * DAY + 60),
        ],
        requests: vec![came, wrong, denied, helped, failed, earlier],
        held: vec![Held {
            service: "cart".to_owned(),
            signal: "memory".to_owned(),
            labels: LabelSet::new(),
            by: HeldBy::WeeklyBudget,
            since: at(start + 5 * DAY - 3600),
        }],
        decisions: vec![Decided {
            at: at(start + 60),
            who: "forewarn".to_owned(),
            action: "threshold".to_owned(),
            object: "cart/oom".to_owned(),
            detail: "0.55 to 0.65: 3 false alarms".to_owned(),
        }],
        ..WeekRecords::default()
    }
}

#[test]
fn every_figure_is_a_count_of_records() {
    let report = weekly_report(&records(), week(), None);
    let f = &report.figures;
    assert_eq!((f.requests, f.right, f.false_alarms), (5, 4, 1), "a label outweighs the data: {:#?}", report.announced);
    assert_eq!((f.announced, f.missed, f.saved), (2, 2, 1), "a labelled miss near a settled one is the same");
    assert_eq!((f.precision, f.recall), (Some(0.8), Some(0.5)));
    assert_eq!(f.median_lead_seconds, Some((9000.0 + 90_000.0) / 2.0));
    assert_eq!((f.intervals, f.interval_coverage), (2, Some(0.5)));
    assert_eq!((f.held, f.labels), (1, 3));
    assert_eq!((report.before.requests, report.before.false_alarms), (1, 1));
    assert_eq!(report.before.recall, None, "a share of nothing is nothing");
    let restart = &report.playbooks[0];
    assert_eq!((restart.requests, restart.success_rate, restart.saved), (5, Some(0.5), 1));
    assert_eq!(restart.failures, ["cart: it came back"]);
    assert_eq!(report.held[0].services["cart"], 1);
    assert_eq!(report.thresholds.len(), 1);
    assert_eq!(
        report.headline,
        "2 of 4 breaches were announced, 1 false alarm in 5 requests. \
        One breach did not come after something was done about it."
    );
}

#[test]
fn a_miss_says_that_it_was_held_back() {
    let report = weekly_report(&records(), week(), None);
    assert!(report.missed[0].cause.contains("held back by the weekly budget"), "{}", report.missed[0].cause);
    assert!(report.missed[0].cause.starts_with("a load test ("), "what a person wrote comes first");
}

#[test]
fn an_unclear_label_takes_the_datas_word_away() {
    let mut records = records();
    let subject = FeedbackSubject::Prediction { prediction_id: "p-r-wrong".to_owned() };
    records.labels.push(label("f-9", subject, Verdict::Unclear, 8 * DAY + 60));
    let report = weekly_report(&records, week(), None);
    assert_eq!(report.figures.false_alarms, 0);
    let wrong = report.announced.iter().find(|a| a.id == "r-wrong").unwrap();
    assert_eq!((wrong.verdict, wrong.judge), (None, Some(Judge::Label)));
}

#[test]
fn anomalies_that_look_alike_are_one_pattern_and_explained_ones_are_none() {
    let start = 7 * DAY;
    let mut records = records();
    let slow: &[(&str, f64)] = &[("latency", 0.6), ("traffic", -0.3)];
    let slower: &[(&str, f64)] = &[("latency", 0.7), ("traffic", -0.2), ("memory", 0.1)];
    let opposite: &[(&str, f64)] = &[("latency", -0.6), ("traffic", 0.3)];
    for (service, begin, look) in
        [("pay", 10_000, slow), ("search", 200_000, slower), ("pay", 300_000, opposite), ("cart", 3600, slow)]
    {
        for n in 0..3 {
            records.sightings.push(sighting(service, start + begin + 600 * n, look));
        }
    }
    records.sightings.push(sighting("mail", start + 50_000, slow));
    let patterns = weekly_report(&records, week(), None).patterns;
    let services: Vec<_> = patterns.iter().map(|p| p.services.join("+")).collect();
    assert_eq!(services, ["pay+search", "pay"], "cart had a request then, mail a single moment");
    assert_eq!(patterns[0].signals[0].0, "latency");
    assert!(patterns[0].signals[1].1 < 0.0, "less traffic than expected");
    assert_eq!(patterns[0].episodes[0].range.duration(), Duration::from_secs(1200));
}

#[test]
fn pages_hold_no_markup_of_others_and_an_empty_week_is_a_page() {
    let mut records = records();
    records.requests[1].request.service = "<script>*x*".to_owned();
    let report = weekly_report(&records, week(), None);
    let (html, markdown) = (render_week_html(&report), render_week_markdown(&report));
    assert!(html.contains("&#60;script&#62;") && !html.contains("<script"), "escaped");
    assert!(markdown.contains("\\<script\\>\\*x\\*"), "{markdown}");
    assert!(markdown.contains("- breaches announced: 2 of 4 (the week before: 0 of 0)"), "{markdown}");
    let empty = weekly_report(&WeekRecords::default(), week(), None);
    assert_eq!(empty.headline, "No breach came, no false alarm in 0 requests.");
    assert!(render_week_html(&empty).contains("Nothing: no breach was missed"));
    assert_eq!(serde_json::from_str::<WeeklyReport>(&serde_json::to_string(&report).unwrap()).unwrap(), report);
}

#[test]
fn the_time_of_a_report_is_in_its_name() {
    assert_eq!(time_of_name("20260108T000000Z-until-x"), Some("2026-01-08T00:00:00Z".parse().unwrap()));
    for other in ["", "weekly", "20260108T0000", "2026010aT000000Z", "日本語日本語"] {
        assert_eq!(time_of_name(other), None, "{other}");
    }
}

proptest! {
    #[test]
    fn the_order_of_the_records_changes_nothing(seed in any::<u64>()) {
        let mut records = records();
        let first = weekly_report(&records, week(), None);
        let mut state = seed | 1;
        let mut next = |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % n as u64) as usize
        };
        for i in (1..records.requests.len()).rev() {
            records.requests.swap(i, next(i + 1));
        }
        for i in (1..records.settlements.len()).rev() {
            records.settlements.swap(i, next(i + 1));
        }
        for i in (1..records.labels.len()).rev() {
            records.labels.swap(i, next(i + 1));
        }
        prop_assert_eq!(weekly_report(&records, week(), None), first);
    }

    #[test]
    fn what_lies_outside_the_two_weeks_changes_nothing(seconds in prop_oneof![-100 * DAY..-1, 14 * DAY + 1..100 * DAY]) {
        let first = weekly_report(&records(), week(), None);
        let mut records = records();
        let far = request("r-far", seconds, RequestStatus::Failed);
        records.settlements.push(settled(&far, Became::FalseAlarm));
        records.sightings.extend((0..3).map(|n| sighting("pay", seconds.max(14 * DAY + 1) + 600 * n, &[("x", 1.0)])));
        records.requests.push(far);
        prop_assert_eq!(weekly_report(&records, week(), None), first);
    }
}
