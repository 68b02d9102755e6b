use forewarn_schema::{BreachKind, Judge, Judged, Probability, Verdict};
use proptest::prelude::*;

use super::*;
use crate::decision::DecisionParams;

const KIND: BreachKind = BreachKind::Oom;

fn day(days: f64) -> Timestamp {
    Timestamp::from_seconds((days * 86_400.0) as i64)
}

fn caution(min_probability: f64) -> Caution {
    let DecisionParams { persistence, persistence_racing, .. } = DecisionParams::default();
    Caution { min_probability, persistence, persistence_racing }
}

/// An announcement that would have been made with `reached`, too.
fn judged(service: &str, verdict: Verdict, reached: f64, known: f64) -> Evidence {
    Evidence {
        judged: Judged {
            service: service.to_owned(),
            kind: KIND,
            at: day(known - 0.5),
            probability: Some(Probability::saturating(reached)),
            requested: verdict != Verdict::Missed,
            verdict,
            judge: Judge::Label,
        },
        reached: vec![Reached { caution: caution(reached), at: day(known - 0.5) }],
        known_at: day(known),
        settled: None,
    }
}

fn false_alarms(service: &str, count: usize, reached: f64) -> Vec<Evidence> {
    (0..count).map(|i| judged(service, Verdict::FalsePositive, reached, 1.0 + 0.01 * i as f64)).collect()
}

fn learnt(evidence: &[Evidence], days: f64) -> Learnt {
    learn(&|_, _| caution(0.2), evidence, day(days), &LearningParams::default())
}

fn stands(evidence: &[Evidence], days: f64, service: &str) -> f64 {
    learnt(evidence, days).thresholds.of(service, KIND, caution(0.2)).min_probability
}

#[test]
fn without_labels_everything_stays_bit_for_bit() {
    let nothing = learnt(&[], 100.0);
    assert_eq!(nothing, Learnt::default());
    assert!(nothing.thresholds.is_empty());
    let start = caution(0.123);
    assert_eq!(nothing.thresholds.of("cart", KIND, start), start);
    let unclear = [judged("cart", Verdict::Unclear, 0.3, 1.0)];
    assert_eq!(stands(&unclear, 100.0, "cart"), 0.2);
}

#[test]
fn false_alarms_raise_a_threshold_a_step_a_day_up_to_what_silences_them() {
    let noisy = false_alarms("cart", 8, 0.5);
    let course: Vec<f64> = (1..6).map(|days| stands(&noisy, f64::from(days) + 0.5, "cart")).collect();
    assert_eq!(course, [0.2, 0.35, 0.55, 0.55, 0.55]);
    let moves = learnt(&noisy, 10.0).moves;
    let of_cart: Vec<&Move> = moves.iter().filter(|m| m.service.is_some()).collect();
    assert_eq!(of_cart.len(), 2);
    assert_eq!((of_cart[0].at, of_cart[0].because.falses), (day(2.0), 8.0));
}

#[test]
fn a_few_labels_swing_nothing() {
    assert_eq!(stands(&false_alarms("cart", 2, 0.5), 30.0, "cart"), 0.2);
}

#[test]
fn what_true_announcements_needed_stays_audible() {
    let mut all = false_alarms("cart", 30, 0.2);
    all.extend((0..4).map(|i| judged("cart", Verdict::TruePositive, 0.35, 1.0 + 0.1 * f64::from(i))));
    all.extend(false_alarms("cart", 10, 0.9));
    assert_eq!(stands(&all, 60.0, "cart"), 0.35, "those at 0.35 are announced as before");
}

#[test]
fn a_wrong_label_in_ten_stops_nothing() {
    let mut all = false_alarms("cart", 18, 0.5);
    all.extend((0..2).map(|_| judged("cart", Verdict::TruePositive, 0.5, 1.1)));
    assert_eq!(stands(&all, 30.0, "cart"), 0.55);
}

#[test]
fn the_fleet_teaches_those_that_have_few_labels_and_no_others_kind() {
    let mut all = false_alarms("cart", 5, 0.5);
    all.extend(false_alarms("user", 5, 0.5));
    assert_eq!(stands(&all, 30.0, "web"), 0.55, "never labelled");
    let other = learnt(&all, 30.0).thresholds.of("web", BreachKind::DiskFull, caution(0.2));
    assert_eq!(other, caution(0.2));
    all.push(judged("web", Verdict::TruePositive, 0.35, 1.0));
    assert_eq!(stands(&all, 30.0, "web"), 0.35, "its own true one weighs more than the fleet");
}

#[test]
fn misses_take_steps_back() {
    let mut all = false_alarms("cart", 8, 0.5);
    assert_eq!(stands(&all, 9.5, "cart"), 0.55);
    all.push(judged("cart", Verdict::Missed, 0.4, 10.0));
    assert_eq!(stands(&all, 30.0, "cart"), 0.35, "a breach was missed at 0.4");
    let missed: Vec<Evidence> =
        (0..6).map(|i| judged("cart", Verdict::Missed, 0.15, 1.0 + 0.1 * f64::from(i))).collect();
    assert_eq!(stands(&missed, 30.0, "cart"), 0.1, "below its start, to where they were");
}

#[test]
fn people_outweigh_the_data() {
    let by_data = |mut e: Evidence| {
        e.judged.judge = Judge::Data;
        e
    };
    let four: Vec<Evidence> = false_alarms("cart", 4, 0.5);
    assert_eq!(stands(&four, 30.0, "cart"), 0.55);
    let four: Vec<Evidence> = four.into_iter().map(by_data).collect();
    assert_eq!(stands(&four, 30.0, "cart"), 0.2);
}

/// What the data say of it, half a day after the label.
fn settled(mut evidence: Evidence, breached: bool) -> Evidence {
    let at = evidence.known_at + Duration::from_secs(43_200);
    evidence.settled = Some(Settled { breach: breached.then_some(evidence.known_at), at });
    evidence
}

/// Eleven false alarms, and three more of which somebody says that they were right.
fn three_of_fourteen(of_the_three: impl Fn(Evidence) -> Evidence) -> Vec<Evidence> {
    let mut all = false_alarms("cart", 11, 0.5);
    all.extend((0..3).map(|i| of_the_three(judged("cart", Verdict::TruePositive, 0.5, 1.2 + 0.1 * f64::from(i)))));
    all
}

#[test]
fn labels_that_the_data_contradict_hold_back_less() {
    assert_eq!(stands(&three_of_fourteen(|e| e), 30.0, "cart"), 0.35, "more than a wrong label in ten explains");
    assert_eq!(stands(&three_of_fourteen(|e| settled(e, true)), 30.0, "cart"), 0.35);
    assert_eq!(stands(&three_of_fourteen(|e| settled(e, false)), 30.0, "cart"), 0.55);
}

#[test]
fn a_person_whom_the_data_contradict_is_still_believed_more_than_the_data() {
    let trues = |count: u32| -> Vec<Evidence> {
        let said = |i| judged("cart", Verdict::TruePositive, 0.35, 1.2 + 0.1 * f64::from(i));
        (0..count).map(|i| settled(said(i), false)).collect()
    };
    let mut others = false_alarms("user", 6, 0.5);
    others.extend(false_alarms("web", 6, 0.5));
    let among = |own: Vec<Evidence>| stands(&[others.clone(), own].concat(), 30.0, "cart");
    assert_eq!(among(vec![]), 0.55, "as the fleet teaches");
    assert_eq!(among(trues(2)), 0.35, "who says it twice is not silenced");
}

#[test]
fn a_breach_that_the_data_confirm_is_not_explained_by_wrong_labels() {
    let noisy = false_alarms("cart", 18, 0.5);
    let said = judged("cart", Verdict::TruePositive, 0.5, 1.5);
    let with = |one: Evidence| stands(&[noisy.clone(), vec![one]].concat(), 30.0, "cart");
    assert_eq!((with(said.clone()), with(settled(said, true))), (0.55, 0.35));
}

#[test]
fn announcements_of_one_breach_are_one_and_need_not_all_be_made() {
    let noisy = false_alarms("cart", 8, 0.2);
    let breach = |at: f64| Some(Settled { breach: Some(day(at)), at: day(at) });
    // Two days before it with little confidence, and again when it was near.
    let early = Evidence { settled: breach(3.0), ..judged("cart", Verdict::TruePositive, 0.2, 3.0) };
    let near = Evidence { settled: breach(3.0), ..judged("cart", Verdict::TruePositive, 0.9, 3.0) };
    let with = |more: &[Evidence]| stands(&[&noisy, more].concat(), 30.0, "cart");
    assert_eq!(with(&[early.clone(), near.clone()]), 0.35, "as if there were only the one that was near");
    assert_eq!(with(&[near]), 0.35);
    assert_eq!(with(std::slice::from_ref(&early)), 0.2, "there is no other");
    let of_another = Evidence { settled: breach(4.0), ..judged("cart", Verdict::TruePositive, 0.9, 4.0) };
    assert_eq!(with(&[early, of_another]), 0.2);
}

#[test]
fn what_the_data_say_of_a_label_counts_once_it_is_known() {
    let early = |e: Evidence| settled(e, false);
    let late = |e: Evidence| Evidence { settled: Some(Settled { breach: None, at: day(20.0) }), ..e };
    let before = stands(&three_of_fourteen(late), 20.0, "cart");
    assert_eq!((before, stands(&three_of_fourteen(early), 20.0, "cart")), (0.35, 0.55));
    assert_eq!(stands(&three_of_fourteen(late), 30.0, "cart"), 0.55);
    assert_eq!(
        learnt(&three_of_fourteen(late), 20.0),
        learnt(&three_of_fourteen(|e| e), 20.0),
        "nothing from the future"
    );
}

#[test]
fn persistence_grows_with_the_steps_up_to_the_defaults() {
    let start = Caution { min_probability: 0.05, persistence: 0, persistence_racing: 0 };
    let scale = CautionScale::from_start(start);
    let lasting: Vec<u32> = scale.rungs().iter().map(|r| r.persistence).collect();
    assert_eq!((scale.start(), lasting), (0, vec![0, 2, 4, 8, 16, 30, 30, 30, 30]));
    let default = CautionScale::from_start(caution(0.55));
    assert_eq!((default.start(), default.rungs().len()), (2, 7));
    assert!(default.rungs().iter().all(|r| r.persistence == 30 && r.persistence_racing == 5));
    let odd = CautionScale::from_start(caution(f64::NAN));
    assert_eq!(odd.rungs().len(), 1);
}

#[test]
fn few_settled_predictions_leave_probabilities_alone_and_many_correct_them() {
    let said = |days: u32, verdict: fn(u32) -> Verdict| -> Vec<Evidence> {
        (0..days).map(|d| judged("cart", verdict(d), 0.9, 1.0 + f64::from(d))).collect()
    };
    let params = LearningParams::default();
    let few = Recalibration::learn(&said(9, |_| Verdict::FalsePositive), day(400.0), &params);
    let p = Probability::saturating(0.9);
    assert!(few.is_empty());
    assert_eq!(few.apply(KIND, p), p);
    let half = |d: u32| if d.is_multiple_of(2) { Verdict::TruePositive } else { Verdict::FalsePositive };
    let many = Recalibration::learn(&said(200, half), day(400.0), &params);
    assert!((many.apply(KIND, p).get() - 0.5).abs() < 0.06, "{many:?}");
    assert_eq!(many.apply(BreachKind::DiskFull, p), p);
    for certain in [0.0, 1.0] {
        assert_eq!(many.apply(KIND, Probability::saturating(certain)).get(), certain);
    }
    let some = Recalibration::learn(&said(12, half), day(400.0), &params).apply(KIND, p).get();
    assert!((0.6..0.89).contains(&some), "shrunk towards what was said: {some}");
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    let verdicts = prop::sample::select(Verdict::ALL.to_vec());
    let services = prop::sample::select(vec!["cart", "user", "web"]);
    let seen = prop::option::of((any::<bool>(), 0..20_u32));
    (services, verdicts, 0.0..1.0_f64, 0..20_u32, any::<bool>(), any::<bool>(), seen).prop_map(
        |(service, verdict, reached, known, by_data, unasked, seen)| {
            let mut evidence = judged(service, verdict, reached, f64::from(known) + 0.25);
            evidence.settled = seen.map(|(breached, at)| {
                let at = day(f64::from(at));
                Settled { breach: breached.then_some(at), at }
            });
            if by_data {
                evidence.judged.judge = Judge::Data;
            }
            if unasked {
                evidence.judged.requested = false;
                evidence.reached.clear();
            }
            evidence
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_labels_does_not_matter(evidence in prop::collection::vec(any_evidence(), 0..40), by in 0..40_usize) {
        let mut turned = evidence.clone();
        turned.rotate_left(if evidence.is_empty() { 0 } else { by % evidence.len() });
        turned.reverse();
        prop_assert_eq!(learnt(&evidence, 30.0), learnt(&turned, 30.0));
        let params = LearningParams::default();
        let learn = |all: &[Evidence]| Recalibration::learn(all, day(30.0), &params);
        prop_assert_eq!(learn(&evidence), learn(&turned));
    }

    #[test]
    fn thresholds_stay_on_their_scale_and_move_by_steps(evidence in prop::collection::vec(any_evidence(), 0..60)) {
        let scale = CautionScale::from_start(caution(0.2));
        let place = |c: &Caution| scale.rungs().iter().position(|r| r == c);
        let learnt = learnt(&evidence, 60.0);
        for moved in &learnt.moves {
            let (from, to) = (place(&moved.from), place(&moved.to));
            prop_assert!(from.zip(to).is_some_and(|(a, b)| a.abs_diff(b) == 1), "{:?}", moved);
        }
        for (i, moved) in learnt.moves.iter().enumerate() {
            let same = |m: &&Move| (&m.service, m.kind, m.at) == (&moved.service, moved.kind, moved.at);
            prop_assert_eq!(learnt.moves[i..].iter().filter(same).count(), 1, "one step a day");
        }
        prop_assert!(learnt.standing.iter().all(|s| s.now.min_probability <= 0.95));
    }

    #[test]
    fn a_label_that_says_false_never_leaves_a_threshold_lower_than_one_that_says_true(
        evidence in prop::collection::vec(any_evidence(), 0..30), reached in 0.2..1.0_f64
    ) {
        let all: Vec<Evidence> = evidence.into_iter().filter(|e| e.judged.requested).collect();
        let with = |verdict| {
            let mut more = all.clone();
            more.push(judged("cart", verdict, reached, 3.0));
            stands(&more, 90.0, "cart")
        };
        prop_assert!(with(Verdict::FalsePositive) >= with(Verdict::TruePositive));
    }

    /// Whatever the rest of the fleet is like, and whether or not the data speak.
    #[test]
    fn one_wrong_label_in_ten_silences_no_kind_that_is_worth_announcing(
        own in prop::collection::vec((0.2..1.0_f64, 0..40_u32, any::<bool>()), 1..40),
        worth in 0.6..=1.0_f64,
        others in prop::collection::vec(any_evidence(), 0..60),
        first in any::<prop::sample::Index>(),
    ) {
        let trues = ((own.len() as f64 * worth).ceil() as usize).min(own.len());
        let wrong = own.len() / 10;
        // So many in a row are wrong, from anywhere on; where the data speak they say what is so.
        let from = first.index(own.len());
        let is_wrong = |i: usize| (i + own.len() - from) % own.len() < wrong;
        let label = |(i, (reached, at, seen)): (usize, &(f64, u32, bool))| {
            let says_true = (i < trues) != is_wrong(i);
            let verdict = if says_true { Verdict::TruePositive } else { Verdict::FalsePositive };
            let evidence = judged("mail", verdict, *reached, f64::from(*at) / 2.0 + 0.25);
            if *seen { settled(evidence, i < trues) } else { evidence }
        };
        let mut all: Vec<Evidence> = own.iter().enumerate().map(label).collect();
        all.extend(others);
        let stands = stands(&all, 90.0, "mail");
        let loudest = own[..trues].iter().map(|(reached, ..)| *reached).fold(0.0, f64::max);
        let scale = CautionScale::from_start(caution(0.2));
        let audible = scale.rungs().iter().rev().find(|r| r.min_probability <= loudest).map_or(0.0, |r| r.min_probability);
        prop_assert!(stands <= audible, "stands at {}, the loudest true one is heard up to {}", stands, audible);
    }

    #[test]
    fn recalibration_keeps_the_order(evidence in prop::collection::vec(any_evidence(), 0..60), a in 0.0..=1.0_f64, b in 0.0..=1.0_f64) {
        let map = Recalibration::learn(&evidence, day(60.0), &LearningParams::default());
        let of = |p| map.apply(KIND, Probability::saturating(p)).get();
        prop_assert!((a <= b) == (of(a) <= of(b)) || of(a) == of(b));
        prop_assert!((0.0..=1.0).contains(&of(a)));
    }

    #[test]
    fn worth_is_monotone_and_never_a_nan(trues in 0.0..50.0_f64, falses in 0.0..50.0_f64, more in 0.0..5.0_f64, odd in prop::sample::select(vec![f64::NAN, f64::INFINITY, -1.0])) {
        let worth = Worth::new(0.1, 0.5);
        let base = worth.probability(trues, falses);
        prop_assert!(worth.probability(trues + more, falses) >= base - 1e-12);
        prop_assert!(worth.probability(trues, falses + more) <= base + 1e-12);
        prop_assert!((0.0..=1.0).contains(&worth.probability(odd, falses)));
        prop_assert!((0.0..=1.0).contains(&Worth::new(odd, odd).probability(trues, falses)));
    }
}
