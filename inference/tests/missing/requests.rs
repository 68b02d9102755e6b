//! What missing data do to requests: they start none, end none, and do not ask twice.

use crate::rig::{Rig, STALE, limit, memory};

/// A leak that reaches the limit of 1000 at minute 400, steep enough to be announced by the rules.
fn leak(minute: i64) -> f64 {
    200.0 + 2.0 * minute as f64
}

/// The first minute at which a leak without a gap is announced.
fn announced() -> i64 {
    let mut rig = Rig::new();
    (0..400).find(|m| !rig.run(*m..m + 1, &["a"], |m| Some(leak(m))).requests.is_empty()).unwrap()
}

#[test]
fn nothing_is_asked_within_a_gap() {
    let gap = announced() - 5;
    let mut rig = Rig::new();
    assert!(rig.run(0..gap, &["a"], |m| Some(leak(m))).requests.is_empty());
    // Five minutes of look-back, and then of patience; a request on values that are no longer there would be blind.
    let within = rig.run(gap + 16..gap + 76, &["a"], |_| None);
    assert!(within.requests.is_empty(), "{:?}", within.requests);
}

#[test]
fn urgency_that_a_long_gap_cut_begins_anew() {
    let gap = announced() - 5;
    let mut rig = Rig::new();
    rig.run(0..gap, &["a"], |m| Some(leak(m)));
    rig.run(gap..gap + 60, &["a"], |_| None);
    let back = gap + 60;
    assert!(rig.run(back..back + 20, &["a"], |m| Some(leak(m))).requests.is_empty(), "it has not lasted yet");
}

#[test]
fn a_target_that_returns_within_its_episode_is_not_announced_twice() {
    let first = announced();
    let mut rig = Rig::new();
    assert_eq!(rig.run(0..first + 1, &["a"], |m| Some(leak(m))).requests.len(), 1);
    rig.push(&memory("a"), first + 1, STALE);
    rig.push(&limit("a"), first + 1, STALE);
    rig.run(first + 2..first + 20, &["a"], |_| None);
    let again = rig.run(first + 20..first + 60, &["a"], |m| Some(leak(m)));
    assert!(again.requests.is_empty(), "{:?}", again.requests);
}

#[test]
fn a_counter_that_falls_to_zero_with_its_pod_asks_for_nothing() {
    let mut rig = Rig::new();
    let output = rig.run(0..300, &["a"], |m| Some(if m < 200 { 500.0 } else { 0.0 }));
    assert!(output.requests.is_empty());
}

#[test]
fn one_false_sample_asks_for_nothing() {
    let mut rig = Rig::new();
    let output = rig.run(0..300, &["a"], |m| Some(if m == 150 { 999_999.0 } else { 500.0 + (m % 3) as f64 }));
    assert!(output.requests.is_empty());
}

#[test]
fn a_renamed_service_asks_for_nothing_and_leaves_nothing_behind() {
    let mut rig = Rig::new();
    rig.run(0..200, &["a"], |_| Some(500.0));
    let renamed = |labels: forewarn_schema::LabelSet| {
        let pairs: Vec<(String, String)> = labels
            .iter()
            .map(|(k, v)| (k.to_owned(), if k == "service" { "basket".to_owned() } else { v.to_owned() }))
            .collect();
        pairs.into_iter().collect::<forewarn_schema::LabelSet>()
    };
    for minute in 200..260 {
        rig.push(&renamed(memory("a")), minute, 500.0);
        rig.push(&renamed(limit("a")), minute, 1000.0);
        let output = rig.step(minute);
        assert!(output.requests.is_empty());
        if minute > 230 {
            let services: Vec<_> = output.predictions.iter().map(|p| p.service.as_str()).collect();
            assert_eq!(services, ["basket"], "minute {minute}");
        }
    }
}
