//! What is said of a target whose data are missing for a while, or for good; by the rules, without a model.

use crate::rig::{Rig, STALE, limit, memory, of_pod};

/// A leak that reaches the limit of 1000 at minute 400.
fn leak(minute: i64) -> f64 {
    200.0 + 2.0 * minute as f64
}

fn p50(output: &forewarn_models::EngineOutput, pod: &str) -> f64 {
    of_pod(output, pod).unwrap().time_to_breach_seconds.unwrap().p50()
}

#[test]
fn a_first_sample_announces_nothing() {
    let mut rig = Rig::new();
    let output = rig.run(0..1, &["a"], |_| Some(990.0));
    let prediction = of_pod(&output, "a").unwrap();
    assert_eq!((prediction.time_to_breach_seconds, output.requests.len()), (None, 0));
}

#[test]
fn a_gap_of_one_step_changes_next_to_nothing() {
    let (mut with, mut without) = (Rig::new(), Rig::new());
    let gap = with.run(0..200, &["a"], |m| (m != 150).then(|| leak(m)));
    let whole = without.run(0..200, &["a"], |m| Some(leak(m)));
    assert!((p50(&gap, "a") / p50(&whole, "a") - 1.0).abs() < 0.05, "{} and {}", p50(&gap, "a"), p50(&whole, "a"));
}

#[test]
fn a_gap_of_five_steps_is_bridged_by_the_last_value() {
    let mut rig = Rig::new();
    rig.run(0..150, &["a"], |m| Some(leak(m)));
    let within = rig.run(150..155, &["a"], |_| None);
    assert_eq!(of_pod(&within, "a").unwrap().value, leak(149));
    let after = rig.run(155..200, &["a"], |m| Some(leak(m)));
    let truth = 60.0 * (400.0 - 199.0);
    assert!((p50(&after, "a") / truth - 1.0).abs() < 0.25, "{} of {truth}", p50(&after, "a"));
}

#[test]
fn after_a_gap_of_sixty_steps_the_leak_is_still_known() {
    let mut rig = Rig::new();
    rig.run(0..150, &["a"], |m| Some(leak(m)));
    let within = rig.run(150..210, &["a"], |_| None);
    assert!(of_pod(&within, "a").is_none(), "nothing is said of what is not there");
    let after = rig.run(210..230, &["a"], |m| Some(leak(m)));
    let truth = 60.0 * (400.0 - 229.0);
    assert!((p50(&after, "a") / truth - 1.0).abs() < 0.25, "{} of {truth}", p50(&after, "a"));
}

#[test]
fn a_target_that_fell_silent_is_spoken_of_for_fifteen_minutes_and_no_longer() {
    let mut rig = Rig::new();
    rig.run(0..100, &["a"], |m| Some(leak(m)));
    let lasts = (100..140).take_while(|m| of_pod(&rig.run(*m..m + 1, &["a"], |_| None), "a").is_some()).count();
    assert!((13..=15).contains(&lasts), "{lasts} steps: five of look-back, ten of patience");
}

#[test]
fn stale_markers_and_a_return_are_one_and_the_same_target() {
    let mut rig = Rig::new();
    rig.run(0..150, &["a"], |m| Some(leak(m)));
    rig.push(&memory("a"), 150, STALE);
    rig.push(&limit("a"), 150, STALE);
    rig.step(150);
    rig.run(151..155, &["a"], |_| None);
    let after = rig.run(155..200, &["a"], |m| Some(leak(m)));
    let truth = 60.0 * (400.0 - 199.0);
    assert!((p50(&after, "a") / truth - 1.0).abs() < 0.25, "{} of {truth}", p50(&after, "a"));
}

#[test]
fn a_pod_that_takes_the_place_of_another_begins_anew() {
    let mut rig = Rig::new();
    rig.run(0..200, &["old"], |m| Some(leak(m)));
    rig.push(&memory("old"), 200, STALE);
    rig.push(&limit("old"), 200, STALE);
    let output = rig.run(201..260, &["new"], |_| Some(210.0));
    let new = of_pod(&output, "new").unwrap();
    assert!(of_pod(&output, "old").is_none(), "gone with its marker and a little patience");
    assert_eq!(new.time_to_breach_seconds, None, "it does not inherit a leak");
}

#[test]
fn a_limit_that_is_missing_for_a_while_leaves_a_gap() {
    let mut rig = Rig::new();
    rig.run(0..150, &["a"], |m| Some(leak(m)));
    for minute in 150..180 {
        rig.push(&memory("a"), minute, leak(minute));
        if minute == 150 {
            rig.push(&limit("a"), minute, STALE);
        }
        let output = rig.step(minute);
        assert_eq!(of_pod(&output, "a").is_some(), minute < 159, "minute {minute}");
    }
    let after = rig.run(180..200, &["a"], |m| Some(leak(m)));
    let truth = 60.0 * (400.0 - 199.0);
    assert!((p50(&after, "a") / truth - 1.0).abs() < 0.25, "{} of {truth}", p50(&after, "a"));
}

#[test]
fn a_limit_of_zero_is_none() {
    let mut rig = Rig::new();
    for minute in 0..120 {
        rig.push(&memory("a"), minute, leak(minute));
        rig.push(&limit("a"), minute, 0.0);
        let output = rig.step(minute);
        let said = of_pod(&output, "a").map(|p| (p.time_to_breach_seconds, p.breach_probability.get()));
        assert!(said.is_none_or(|said| said == (None, 0.0)), "{said:?}");
        assert_eq!(output.requests, []);
    }
}

#[test]
fn a_limit_that_is_raised_moves_the_breach_out() {
    let mut rig = Rig::new();
    let before = rig.run(0..200, &["a"], |m| Some(leak(m)));
    let mut after = forewarn_models::EngineOutput::default();
    for minute in 200..230 {
        rig.push(&memory("a"), minute, leak(minute));
        rig.push(&limit("a"), minute, 4000.0);
        after = rig.step(minute);
    }
    let ttb = of_pod(&after, "a").unwrap().time_to_breach_seconds;
    assert!(ttb.is_none_or(|ttb| ttb.p50() > 3.0 * p50(&before, "a")), "{ttb:?}");
}

#[test]
fn replicas_that_stay_are_spoken_of_when_one_goes() {
    let mut rig = Rig::new();
    rig.run(0..100, &["a", "b", "c"], |m| Some(leak(m)));
    rig.push(&memory("c"), 100, STALE);
    rig.push(&limit("c"), 100, STALE);
    let output = rig.run(101..120, &["a", "b"], |m| Some(leak(m)));
    assert!(of_pod(&output, "a").is_some() && of_pod(&output, "b").is_some() && of_pod(&output, "c").is_none());
}

#[test]
fn every_number_that_is_said_is_finite() {
    let mut rig = Rig::new();
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, f64::MAX, 1e-300, 700.0];
    for minute in 0..200_i64 {
        let value = if minute % 3 == 0 { odd[(minute / 3) as usize % odd.len()] } else { leak(minute) };
        rig.push(&memory("a"), minute, value);
        rig.push(&limit("a"), minute, if minute % 7 == 0 { odd[(minute / 7) as usize % odd.len()] } else { 1000.0 });
        for prediction in rig.step(minute).predictions {
            let text = serde_json::to_string(&prediction).unwrap();
            serde_json::from_str::<forewarn_schema::Prediction>(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        }
    }
}
