//! What a step shows of samples that are absent, odd or late.

use forewarn_features::promql::PushError;
use forewarn_schema::{Buckets, HistogramSample, LabelSet, NativeHistogram, Sample, Timestamp};

use crate::rig::{Rig, STALE, at, counter, limit, memory, seen, values};

#[test]
fn a_series_that_never_came_is_no_observation() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 1, 500.0);
    let steps = rig.look(1);
    assert_eq!(values(&steps, "traffic"), [0.0; 0]);
    assert_eq!(seen(&steps, "memory"), [(r#"{pod="a"}"#.to_owned(), 500.0, None)]);
}

#[test]
fn nothing_at_all_is_no_service_and_no_failure() {
    let mut rig = Rig::new();
    assert_eq!(rig.look(1), []);
    assert_eq!(rig.live.failures(), []);
    assert!(rig.step(2).predictions.is_empty());
}

#[test]
fn a_staleness_marker_ends_a_series_at_once() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 1, 500.0);
    rig.push(&memory("a"), 2, STALE);
    assert_eq!((values(&rig.look(1), "memory"), values(&rig.look(2), "memory")), (vec![500.0], vec![]));
}

#[test]
fn a_series_that_falls_silent_ends_after_five_minutes() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 10, 500.0);
    assert_eq!(values(&rig.look(14), "memory"), [500.0]);
    assert_eq!(values(&rig.look(16), "memory"), [0.0; 0]);
}

#[test]
fn nan_is_missing_and_not_zero() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 1, 500.0);
    rig.push(&memory("a"), 2, f64::NAN);
    rig.look(1);
    assert_eq!(values(&rig.look(2), "memory"), [0.0; 0]);
}

#[test]
fn infinities_are_missing() {
    let mut rig = Rig::new();
    for (minute, value) in [(1, f64::INFINITY), (2, f64::NEG_INFINITY)] {
        rig.push(&memory("a"), minute, value);
        assert_eq!(values(&rig.look(minute), "memory"), [0.0; 0], "{value}");
    }
    rig.push(&memory("b"), 3, 500.0);
    rig.push(&limit("b"), 3, f64::INFINITY);
    assert_eq!(seen(&rig.look(3), "memory"), [(r#"{pod="b"}"#.to_owned(), 500.0, None)], "no limit is none");
}

#[test]
fn zero_is_a_value() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 1, 0.0);
    assert_eq!(values(&rig.look(1), "memory"), [0.0]);
}

#[test]
fn a_counter_reset_is_no_negative_rate() {
    let mut rig = Rig::new();
    for minute in 0..20 {
        let since_start = if minute < 10 { minute } else { minute - 10 };
        rig.push(&counter("200"), minute, 600.0 * since_start as f64);
        let steps = rig.look(minute);
        if minute >= 6 {
            let rate = values(&steps, "traffic")[0];
            assert!((7.4..10.1).contains(&rate), "minute {minute}: {rate}");
        }
    }
}

#[test]
fn a_nan_in_a_counter_is_missing_while_it_is_in_the_window() {
    let mut rig = Rig::new();
    let mut missing = Vec::new();
    for minute in 0..30 {
        rig.push(&counter("200"), minute, if minute == 10 { f64::NAN } else { 600.0 * minute as f64 });
        if values(&rig.look(minute), "traffic").is_empty() && minute > 1 {
            missing.push(minute);
        }
    }
    assert_eq!((missing.first(), missing.last()), (Some(&10), Some(&15)));
}

#[test]
fn a_late_sample_is_put_where_it_belongs() {
    let mut rig = Rig::new();
    rig.push(&counter("200"), 0, 0.0);
    rig.push(&counter("200"), 4, 2400.0);
    rig.look(4);
    // Without the one between, the counter would seem to have grown by the last value alone.
    rig.push(&counter("200"), 2, 1200.0);
    rig.push(&counter("200"), 5, 3000.0);
    assert_eq!(values(&rig.look(5), "traffic"), [10.0]);
}

#[test]
fn a_sample_that_is_later_than_what_is_kept_is_refused() {
    let mut rig = Rig::new();
    for minute in 0..60 {
        rig.push(&memory("a"), minute, 500.0);
        rig.look(minute);
    }
    assert!(matches!(rig.try_push(&memory("a"), 20, 1.0), Err(PushError::OutOfOrder { .. })));
}

#[test]
fn the_same_sample_twice_is_taken_and_counts_once() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 1, 500.0);
    rig.push(&memory("a"), 1, 500.0);
    assert_eq!((rig.live.sample_count(), values(&rig.look(1), "memory")), (1, vec![500.0]));
}

#[test]
fn another_value_at_the_same_time_is_refused_and_the_first_stays() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 1, 500.0);
    assert!(matches!(rig.try_push(&memory("a"), 1, 700.0), Err(PushError::Duplicate { .. })));
    assert_eq!(values(&rig.look(1), "memory"), [500.0]);
}

#[test]
fn a_label_that_the_signal_does_not_ask_for_may_change() {
    let mut rig = Rig::new();
    let with = |zone: &str| {
        let name = "container_memory_working_set_bytes";
        LabelSet::from([("__name__", name), ("service", "cart"), ("pod", "a"), ("container", "app"), ("zone", zone)])
    };
    rig.push(&with("east"), 1, 500.0);
    rig.push(&with("east"), 2, STALE);
    rig.push(&with("west"), 2, 510.0);
    assert_eq!(seen(&rig.look(2), "memory"), [(r#"{pod="a"}"#.to_owned(), 510.0, None)]);
}

#[test]
fn a_value_without_the_service_label_is_left_out_and_counted() {
    let mut rig = Rig::new();
    let name = "container_memory_working_set_bytes";
    let nameless = LabelSet::from([("__name__", name), ("pod", "a"), ("container", "app")]);
    rig.push(&nameless, 1, 500.0);
    assert_eq!(rig.look(1), []);
    assert!(rig.live.without_service() > 0);
}

#[test]
fn a_limit_that_is_missing_leaves_the_value() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 1, 500.0);
    rig.push(&limit("a"), 1, 1000.0);
    rig.push(&memory("a"), 2, 510.0);
    rig.push(&limit("a"), 2, STALE);
    assert_eq!(seen(&rig.look(1), "memory")[0].2, Some(1000.0));
    assert_eq!((seen(&rig.look(2), "memory")[0].1, seen(&rig.look(2), "memory")[0].2), (510.0, None));
}

#[test]
fn one_replica_of_several_that_goes_leaves_the_others() {
    let mut rig = Rig::new();
    for pod in ["a", "b", "c"] {
        rig.push(&memory(pod), 1, 500.0);
    }
    assert_eq!(values(&rig.look(1), "replicas"), [3.0]);
    rig.push(&memory("b"), 2, STALE);
    let steps = rig.look(2);
    assert_eq!((values(&steps, "replicas"), values(&steps, "memory").len()), (vec![2.0], 2));
}

#[test]
fn one_lost_scrape_changes_no_rate() {
    let mut rig = Rig::new();
    for minute in (0..20).filter(|m| *m != 12) {
        rig.push(&counter("200"), minute, 600.0 * minute as f64);
        let steps = rig.look(minute);
        if minute >= 6 {
            assert_eq!(values(&steps, "traffic"), [10.0], "minute {minute}");
        }
    }
}

#[test]
fn another_scrape_interval_changes_no_value() {
    let mut rig = Rig::new();
    let mut push = |second: i64| {
        let sample = Sample { at: Timestamp::from_seconds(second), value: 10.0 * second as f64 };
        rig.live.push(&counter("200"), sample).unwrap();
    };
    (0..40).for_each(|i| push(15 * i));
    (0..15).for_each(|i| push(600 + 60 * i));
    for minute in 6..24 {
        assert_eq!(values(&rig.live.step(at(minute)).unwrap(), "traffic"), [10.0], "minute {minute}");
    }
}

#[test]
fn a_histogram_in_place_of_a_number_is_no_number() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 1, 500.0);
    rig.push(&memory("b"), 1, 500.0);
    rig.look(1);
    let histogram = NativeHistogram { count: 0.0, positive: Buckets::default(), ..NativeHistogram::default() };
    rig.live.push_histogram(&memory("a"), &HistogramSample { at: at(2), histogram: histogram.into() }).unwrap();
    assert_eq!(seen(&rig.look(2), "memory"), [(r#"{pod="b"}"#.to_owned(), 500.0, None)]);
}

#[test]
fn an_expression_that_the_data_do_not_fit_does_not_hold_up_the_others() {
    let mut rig = Rig::new();
    rig.push(&memory("a"), 1, 500.0);
    rig.push(&counter("200"), 1, f64::NAN);
    rig.push(&counter("500"), 1, STALE);
    let steps = rig.look(1);
    assert_eq!((values(&steps, "memory"), values(&steps, "errors").len()), (vec![500.0], 0));
}
