use forewarn_schema::{AnomalyScore, BreachKind, Explanation, Probability, TimeToBreach};

use super::*;

fn prediction(at: Timestamp, pod: &str, hours: Option<f64>) -> Prediction {
    let labels = LabelSet::from([("pod", pod)]);
    let ttb = hours.map(|h| TimeToBreach::new(3240.0 * h, 3600.0 * h, 4000.0 * h).unwrap());
    Prediction {
        id: Prediction::derive_id("cart", "pool", &labels, at),
        at,
        service: "cart".into(),
        signal: "pool".into(),
        kind: BreachKind::PoolExhaustion,
        labels: labels.into(),
        value: 400.0,
        limit: 500.0,
        breach_probability: Probability::saturating(if hours.is_some_and(|h| h < 5.0) { 0.95 } else { 0.1 }),
        horizon_seconds: 6.0 * 3600.0,
        time_to_breach_seconds: ttb,
        request_id: None,
        anomaly_score: AnomalyScore::default(),
        model_version: "rules".into(),
        explanation: Explanation::default(),
    }
}

/// Feeds a minute at a time; returns the minutes and labels of the requests.
fn run(policy: &mut RequestPolicy, minutes: std::ops::Range<i64>, pods: &[(&str, Option<f64>)]) -> Vec<(i64, String)> {
    let mut requests = Vec::new();
    for minute in minutes {
        let at = Timestamp::from_seconds(minute * 60);
        let mut predictions: Vec<_> = pods.iter().map(|(pod, hours)| prediction(at, pod, *hours)).collect();
        for a in policy.decide(at, &mut predictions) {
            assert_eq!(predictions[a.prediction].request_id.as_ref(), Some(&a.request.id));
            requests.push((minute, a.request.labels.to_string()));
        }
    }
    requests
}

fn policy() -> RequestPolicy {
    RequestPolicy::new(DecisionParams::default(), Step::MINUTE, Mode::DryRun)
}

#[test]
fn one_request_an_episode_after_it_lasted() {
    let mut policy = policy();
    assert_eq!(run(&mut policy, 0..600, &[("a", Some(3.0))]), [(30, r#"{pod="a"}"#.to_owned())]);
    assert_eq!(run(&mut policy, 600..700, &[("a", None)]), []);
    assert_eq!(run(&mut policy, 700..900, &[("a", Some(3.0))]).len(), 1, "a new episode is announced");
}

#[test]
fn a_request_that_lies_weeks_ahead_is_open_for_three_horizons_and_says_what_it_said() {
    let mut policy = policy();
    let five_weeks = 35.0 * 86_400.0;
    let (mut asked, mut expires) = (Vec::new(), Vec::new());
    for minute in 0..40 * 60 {
        let at = Timestamp::from_seconds(minute * 60);
        let mut vague = prediction(at, "a", Some(3.0));
        vague.time_to_breach_seconds = TimeToBreach::new(3600.0, 10_800.0, five_weeks).ok();
        for a in policy.decide(at, &mut vec![vague]) {
            asked.push(minute);
            expires.push(a.request.expires_at.seconds_since(at) / 3600.0);
            assert_eq!(a.request.predicted_breach.p90.seconds_since(at), five_weeks, "what was said stays as it was");
        }
    }
    assert_eq!((asked, expires), (vec![30], vec![18.0]), "an episode is announced once");
}

#[test]
fn a_flicker_is_not_announced() {
    let mut policy = policy();
    for start in (0..900).step_by(90) {
        assert_eq!(run(&mut policy, start..start + 10, &[("a", Some(1.0))]), []);
        assert_eq!(run(&mut policy, start + 10..start + 90, &[("a", None)]), []);
    }
}

#[test]
fn what_has_lasted_starts_anew_after_a_lapse() {
    let mut policy = policy();
    assert_eq!(run(&mut policy, 0..25, &[("a", Some(1.0))]), []);
    assert_eq!(run(&mut policy, 25..40, &[("a", None)]), [], "longer than the lapse that is forgiven");
    assert_eq!(run(&mut policy, 40..60, &[("a", Some(1.0))]), []);
    assert_eq!(run(&mut policy, 60..65, &[("a", None)]), []);
    assert_eq!(run(&mut policy, 65..90, &[("a", Some(1.0))]), [(70, r#"{pod="a"}"#.to_owned())]);
}

#[test]
fn a_race_from_a_start_is_not_waited_for() {
    let mut policy = policy();
    let first = (0..30).find(|minute| {
        let at = Timestamp::from_seconds(minute * 60);
        let mut racing = prediction(at, "a", Some(0.2));
        racing.explanation.forecast = BY_RACE.into();
        !policy.decide(at, &mut vec![racing]).is_empty()
    });
    assert_eq!(first, Some(5));
}

#[test]
fn a_service_may_ask_for_more_certainty() {
    let mut policy = policy();
    policy.set_min_probability("cart", Some(0.97));
    let learnt = |minute: i64| {
        let at = Timestamp::from_seconds(minute * 60);
        Prediction { model_version: "v1".into(), ..prediction(at, "a", Some(3.0)) }
    };
    let requests = |policy: &mut RequestPolicy, minutes: std::ops::Range<i64>| {
        let decide = |m: i64| policy.decide(Timestamp::from_seconds(m * 60), &mut vec![learnt(m)]).len();
        minutes.map(decide).sum::<usize>()
    };
    assert_eq!(requests(&mut policy, 0..100), 0);
    policy.set_min_probability("cart", None);
    assert_eq!(requests(&mut policy, 100..200), 1, "the default again");
}

#[test]
fn nothing_is_automatic_while_a_service_is_warming() {
    let at = Timestamp::from_seconds(0);
    let mut warming = prediction(at, "a", Some(3.0));
    let mode_of = |p: &Prediction, mode| request(p, at, mode).unwrap().mode;
    assert_eq!(mode_of(&warming, Mode::Automatic), Mode::Automatic);
    warming.explanation.warming = true;
    assert_eq!(mode_of(&warming, Mode::Automatic), Mode::Approval);
    assert_eq!(mode_of(&warming, Mode::DryRun), Mode::DryRun);
}

#[test]
fn siblings_share_one_request() {
    let requests = run(&mut policy(), 0..600, &[("a", Some(3.0)), ("b", Some(8.0)), ("c", None)]);
    assert_eq!(requests, [(30, "{}".to_owned())]);
}

#[test]
fn the_budget_holds_back_and_a_restart_remembers() {
    let mut tight =
        RequestPolicy::new(DecisionParams { weekly_budget: 1, ..Default::default() }, Step::MINUTE, Mode::DryRun);
    assert_eq!(run(&mut tight, 0..100, &[("a", Some(3.0))]).len(), 1);
    assert_eq!(run(&mut tight, 100..200, &[("b", Some(3.0))]), []);
    assert_eq!(tight.held_back(), &BTreeMap::from([(HeldBy::WeeklyBudget, 1)]));

    let at = Timestamp::from_seconds(0);
    let open = request(&prediction(at, "a", Some(3.0)), at, Mode::DryRun).unwrap();
    let mut restarted = policy();
    restarted.restore(&[open]);
    assert_eq!(run(&mut restarted, 5..100, &[("a", Some(3.0))]), []);
}

/// Of these services, each as urgent as its hours; returns the minutes and services of the requests.
fn run_services(
    policy: &mut RequestPolicy,
    minutes: std::ops::Range<i64>,
    services: &[(&str, f64)],
) -> Vec<(i64, String)> {
    let mut requests = Vec::new();
    for minute in minutes {
        let at = Timestamp::from_seconds(minute * 60);
        let of = |(service, hours): &(&str, f64)| Prediction {
            service: (*service).to_owned(),
            ..prediction(at, "a", Some(*hours))
        };
        let mut predictions: Vec<_> = services.iter().map(of).collect();
        requests.extend(policy.decide(at, &mut predictions).into_iter().map(|a| (minute, a.request.service)));
    }
    requests
}

fn approving(guardrails: Guardrails) -> RequestPolicy {
    let mut policy = RequestPolicy::new(DecisionParams::default(), Step::MINUTE, Mode::Approval);
    policy.set_guardrails(guardrails);
    policy
}

fn counts(policy: &RequestPolicy) -> Vec<(&'static str, u64)> {
    policy.held_back().iter().map(|(by, count)| (by.as_str(), *count)).collect()
}

#[test]
fn what_a_stop_holds_back_is_counted_once_shown_and_announced_later() {
    let mut policy = approving(Guardrails { stopped: true, ..Guardrails::default() });
    assert_eq!(run_services(&mut policy, 0..60, &[("cart", 3.0)]), []);
    assert_eq!(counts(&policy), [("stopped", 1)]);
    let held: Vec<_> = policy.holding().map(|h| (h.service.as_str(), h.by, h.since)).collect();
    assert_eq!(held, [("cart", HeldBy::Stopped, Timestamp::from_seconds(30 * 60))]);
    policy.set_guardrails(Guardrails::default());
    assert_eq!(run_services(&mut policy, 60..70, &[("cart", 3.0)]), [(60, "cart".to_owned())]);
    assert_eq!(policy.holding().count(), 0);
}

#[test]
fn what_is_no_longer_true_after_maintenance_is_not_announced() {
    let maintenance = crate::guardrails::Maintenance { everything: false, services: ["cart".to_owned()].into() };
    let mut policy = approving(Guardrails { maintenance, ..Guardrails::default() });
    let both = [("cart", 3.0), ("pay", 3.0)];
    assert_eq!(run_services(&mut policy, 0..60, &both), [(30, "pay".to_owned())]);
    assert_eq!(counts(&policy), [("maintenance", 1)]);
    policy.set_guardrails(Guardrails::default());
    assert_eq!(run_services(&mut policy, 60..90, &[("cart", 100.0)]), [], "the breach went away meanwhile");
}

#[test]
fn at_most_so_many_workloads_at_once_and_the_soonest_first() {
    let guardrails = Guardrails { max_workloads: Some(2), under_way: ["pay".to_owned()].into(), ..Default::default() };
    let mut policy = approving(guardrails.clone());
    let three = [("a", 3.0), ("b", 1.0), ("pay", 4.0)];
    let soonest = [(30, "b".to_owned()), (30, "pay".to_owned())];
    assert_eq!(run_services(&mut policy, 0..31, &three), soonest, "pay is one of the two already");
    policy.set_guardrails(Guardrails { under_way: ["b", "pay"].map(str::to_owned).into(), ..guardrails.clone() });
    assert_eq!(run_services(&mut policy, 31..60, &three), [], "as long as both are under way");
    assert_eq!(counts(&policy), [("blast_radius", 1)]);
    let mut dry = RequestPolicy::new(DecisionParams::default(), Step::MINUTE, Mode::DryRun);
    dry.set_guardrails(guardrails);
    assert_eq!(run_services(&mut dry, 0..60, &three).len(), 3, "nothing acts on a dry run");
}

#[test]
fn at_most_so_many_requests_an_hour_over_all() {
    let mut policy = approving(Guardrails { max_per_hour: Some(2), ..Guardrails::default() });
    let three = [("a", 3.0), ("b", 1.0), ("c", 2.0)];
    let made = run_services(&mut policy, 0..100, &three);
    assert_eq!(made, [(30, "b".to_owned()), (30, "c".to_owned()), (90, "a".to_owned())]);
    assert_eq!(counts(&policy), [("hourly_rate", 1)]);
}

#[test]
fn what_others_made_counts_as_well() {
    let others = |made| Guardrails { max_per_hour: Some(2), made_this_hour: Some(made), ..Guardrails::default() };
    let mut policy = approving(others(2));
    assert_eq!(run_services(&mut policy, 0..60, &[("a", 3.0), ("b", 1.0)]), []);
    policy.set_guardrails(others(1));
    assert_eq!(run_services(&mut policy, 60..61, &[("a", 3.0), ("b", 1.0)]), [(60, "b".to_owned())]);
}

#[test]
fn a_request_that_is_withdrawn_is_held_back_and_made_once_there_is_room() {
    let mut policy = approving(Guardrails::default());
    let at = Timestamp::from_seconds(30 * 60);
    assert_eq!(run_services(&mut policy, 0..30, &[("a", 3.0)]), []);
    let made = policy.decide(at, &mut vec![Prediction { service: "a".to_owned(), ..prediction(at, "a", Some(3.0)) }]);
    policy.withdraw(&made[0].request, HeldBy::HourlyRate);
    assert_eq!(counts(&policy), [("hourly_rate", 1)]);
    assert_eq!(policy.holding().map(|held| (held.by, held.since)).collect::<Vec<_>>(), [(HeldBy::HourlyRate, at)]);
    policy.set_guardrails(Guardrails { max_per_hour: Some(2), made_this_hour: Some(2), ..Guardrails::default() });
    assert_eq!(run_services(&mut policy, 31..60, &[("a", 3.0)]), [], "as long as there is no room");
    assert_eq!(counts(&policy), [("hourly_rate", 1)], "it is one episode");
    policy.set_guardrails(Guardrails::default());
    assert_eq!(run_services(&mut policy, 60..90, &[("a", 3.0)]), [(60, "a".to_owned())]);
}

#[test]
fn a_mode_of_a_service_and_playbook_takes_the_place_of_the_default() {
    let text = r#"{"name": "pool", "kind": "pool_exhaustion", "value": "x", "limit": 1, "playbook": "restart-pod"}"#;
    let signals = SignalSet::new(&[], vec![serde_json::from_str(text).unwrap()]).unwrap();
    let modes = [("cart", "restart-pod", Mode::Automatic), ("pay", "other", Mode::Automatic)];
    let modes = modes.map(|(service, playbook, mode)| ((service.to_owned(), playbook.to_owned()), mode));
    let mut policy = policy().with_playbooks(&signals);
    policy.set_guardrails(Guardrails { modes: modes.into(), ..Guardrails::default() });
    let mut found = BTreeMap::new();
    for minute in 0..60 {
        let at = Timestamp::from_seconds(minute * 60);
        let of = |service: &str| Prediction { service: service.to_owned(), ..prediction(at, "a", Some(1.0)) };
        for announcement in policy.decide(at, &mut vec![of("cart"), of("pay")]) {
            let request = announcement.request;
            found.insert(request.service, (request.mode, request.playbook));
        }
    }
    let restart = Some("restart-pod".to_owned());
    assert_eq!(found["cart"], (Mode::Automatic, restart.clone()));
    assert_eq!(found["pay"], (Mode::DryRun, restart));
}
