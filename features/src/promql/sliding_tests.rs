//! The law that live evaluation stands on: an evaluation that goes from step to step and one that starts
//! with nothing give the same bits, whatever comes when.

use std::sync::Arc;
use std::time::Duration;

use forewarn_schema::{
    BucketSpan, Buckets, HistogramSample, LabelSet, METRIC_NAME, NativeHistogram, STALE_NAN_BITS, Sample, Step,
    TimeRange, Timestamp,
};
use proptest::prelude::*;

use super::{EvalError, Evaluator, Expression, SampleStore};
use crate::observation::VectorSample;

const EXPRESSIONS: &[&str] = &[
    "rate(m[5m])",
    "increase(m[3m] offset 2m)",
    "delta(m[5m])",
    "irate(m[5m])",
    "idelta(m[5m])",
    "changes(m[7m])",
    "resets(m[7m])",
    "sum_over_time(m[4m])",
    "avg_over_time(m[6m])",
    "min_over_time(m[6m])",
    "max_over_time(m[6m])",
    "count_over_time(m[90s])",
    "last_over_time(m[4m])",
    "present_over_time(m[4m])",
    "absent_over_time(m{pod=\"a\"}[2m])",
    "stddev_over_time(m[5m])",
    "quantile_over_time(0.7, m[5m])",
    "deriv(m[5m])",
    "predict_linear(m[5m], 600)",
    "holt_winters(m[5m], 0.4, 0.6)",
    "m",
    "timestamp(m) - m offset 1m",
    "rate({__name__=~\"m|h\"}[5m])",
    "sum by (zone) (rate(m[5m])) / on(zone) group_left() count by (zone) (m)",
    "topk by (zone) (1, avg_over_time(m[5m]))",
    "m > 2 or max_over_time(m[3m]) unless on(pod) (m < 0)",
    "label_replace(sum without (zone) (m), \"x\", \"$1\", \"pod\", \"(.*)\")",
    "max_over_time(rate(m[2m])[5m:1m])",
    "avg_over_time(sum by (zone) (m)[6m:90s] offset 1m)",
    "min_over_time(max_over_time(rate(m[2m])[3m:30s])[5m:1m])",
    "absent_over_time(sum(m)[3m:1m])",
    "histogram_quantile(0.9, sum(rate(h[5m])))",
    "histogram_count(increase(h[4m])) + histogram_sum(increase(h[4m]))",
    "histogram_fraction(0, 2, delta(h[4m]))",
    "count_over_time(h[5m])",
    "histogram_quantile(0.5, last_over_time(sum by (zone) (h)[5m:1m]))",
];

/// One thing that happens to a store.
#[derive(Clone, Debug)]
enum Event {
    /// A scrape `seconds` after the newest one, or before it where that is negative.
    Scrape { pod: u8, seconds: i64, value: f64 },
    /// A native histogram whose buckets are as large as `size`.
    Histogram { pod: u8, seconds: i64, size: u8, schema: i32 },
    /// Evaluation `seconds` after the one before.
    Step { seconds: i64 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let seconds = || prop_oneof![8 => 0_i64..30, 1 => -200_i64..0, 1 => 30_i64..500];
    let value = prop_oneof![
        8 => (-20_i32..20).prop_map(|v| f64::from(v) * 0.3),
        2 => any::<f64>(),
        1 => Just(f64::NAN),
        2 => Just(f64::from_bits(STALE_NAN_BITS)),
        2 => (0_i32..9).prop_map(f64::from),
    ];
    let scrape = (0..4_u8, seconds(), value).prop_map(|(pod, seconds, value)| Event::Scrape { pod, seconds, value });
    let histogram = (0..3_u8, seconds(), 0..20_u8, 0..2_i32)
        .prop_map(|(pod, seconds, size, schema)| Event::Histogram { pod, seconds, size, schema });
    let step =
        prop_oneof![6 => 0_i64..90, 1 => -120_i64..0, 1 => 90_i64..700].prop_map(|seconds| Event::Step { seconds });
    prop::collection::vec(prop_oneof![6 => scrape, 3 => histogram, 4 => step], 1..120)
}

fn labels(name: &str, pod: u8) -> LabelSet {
    let zone = if pod.is_multiple_of(2) { "east" } else { "west" };
    LabelSet::from([(METRIC_NAME, name), ("pod", ["a", "b", "c", "d"][usize::from(pod % 4)]), ("zone", zone)])
}

fn histogram(at: Timestamp, size: u8, schema: i32) -> HistogramSample {
    let counts = [1.0, 2.0, 0.5].map(|share| share * f64::from(size)).to_vec();
    let spans = vec![BucketSpan { offset: -1, length: 2 }, BucketSpan { offset: 1, length: 1 }];
    let sum = if size == 19 { f64::from_bits(STALE_NAN_BITS) } else { f64::from(size) * 2.0 };
    let count = counts.iter().sum();
    let positive = Buckets { spans, counts };
    let histogram = NativeHistogram { schema, count, sum, positive, ..NativeHistogram::default() };
    HistogramSample { at, histogram: Arc::new(histogram) }
}

/// Bits instead of numbers, so that NaN is equal to itself and zeros are told apart.
fn bits(result: Result<Vec<VectorSample>, EvalError>) -> Result<Vec<(LabelSet, u64)>, String> {
    let bits =
        |vector: Vec<VectorSample>| vector.into_iter().map(|(labels, value)| (labels, value.to_bits())).collect();
    result.map(bits).map_err(|e| e.to_string())
}

fn parsed() -> Vec<Expression> {
    EXPRESSIONS.iter().map(|text| Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))).collect()
}

#[test]
fn the_ends_of_time_are_no_reason_to_panic() {
    let mut store = SampleStore::new(100);
    let times = [i64::MIN, i64::MIN + 1, -1, 0, 60_000, i64::MAX - 1, i64::MAX].map(Timestamp::from_millis);
    for (i, at) in times.into_iter().enumerate() {
        store.push(&labels("m", 0), Sample { at, value: i as f64 }).unwrap();
        store.push_histogram(&labels("h", 0), &histogram(at, i as u8, 0)).unwrap();
    }
    for expression in parsed() {
        let mut evaluator = Evaluator::new(&expression);
        for at in times {
            assert_eq!(bits(evaluator.eval(&expression, &store, at)), bits(expression.eval(&store, at)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_step_that_starts_from_the_last_one_gives_the_bits_of_one_that_starts_with_nothing(events in events()) {
        let expressions = parsed();
        let mut evaluators: Vec<Evaluator> = expressions.iter().map(Evaluator::new).collect();
        let keep = expressions.iter().map(Expression::window).max().unwrap() + Duration::from_secs(150);
        let mut store = SampleStore::new(100);
        let (mut newest, mut now) = (1_767_225_600_000_i64, 1_767_225_600_000_i64);
        for event in events {
            match event {
                Event::Scrape { pod, seconds, value } => {
                    let at = newest + seconds * 1000;
                    newest = newest.max(at);
                    // What is refused, being too old or there already, changes nothing.
                    let _ = store.push(&labels("m", pod), Sample { at: Timestamp::from_millis(at), value });
                }
                Event::Histogram { pod, seconds, size, schema } => {
                    let at = newest + seconds * 1000;
                    newest = newest.max(at);
                    let _ = store.push_histogram(&labels("h", pod), &histogram(Timestamp::from_millis(at), size, schema));
                }
                Event::Step { seconds } => {
                    now = now.max(newest - 100_000) + seconds * 1000;
                    let at = Timestamp::from_millis(now);
                    let oldest_new = store.take_oldest_new();
                    for ((text, expression), evaluator) in EXPRESSIONS.iter().zip(&expressions).zip(&mut evaluators) {
                        if let Some(oldest_new) = oldest_new {
                            evaluator.sample_came(oldest_new);
                        }
                        let slid = bits(evaluator.eval(expression, &store, at));
                        prop_assert_eq!(slid, bits(expression.eval(&store, at)), "{} at {}", text, at);
                    }
                    store.prune(at - keep);
                }
            }
        }
    }

    #[test]
    fn a_range_is_its_steps(events in events()) {
        let mut store = SampleStore::new(100);
        let start = 1_767_225_600_000_i64;
        let mut newest = start;
        for event in events {
            let (name, pod, seconds) = match &event {
                Event::Scrape { pod, seconds, .. } => ("m", *pod, *seconds),
                Event::Histogram { pod, seconds, .. } => ("h", *pod, *seconds),
                Event::Step { .. } => continue,
            };
            let at = Timestamp::from_millis(newest + seconds * 1000);
            newest = newest.max(at.millis());
            let _ = match event {
                Event::Scrape { value, .. } => store.push(&labels(name, pod), Sample { at, value }),
                Event::Histogram { size, schema, .. } => store.push_histogram(&labels(name, pod), &histogram(at, size, schema)),
                Event::Step { .. } => Ok(()),
            };
        }
        let step = Step::new(Duration::from_secs(20)).unwrap();
        let range = TimeRange::new(Timestamp::from_millis(start - 7), Timestamp::from_millis(newest + 400_001)).unwrap();
        for (text, expression) in EXPRESSIONS.iter().zip(parsed()) {
            let mut steps: Vec<(LabelSet, Timestamp, u64)> = Vec::new();
            let mut at = range.start.align_up(step);
            let mut fits = true;
            while range.contains(at) {
                match bits(expression.eval(&store, at)) {
                    Ok(vector) => steps.extend(vector.into_iter().map(|(labels, value)| (labels, at, value))),
                    Err(_) => fits = false,
                }
                at = at + step.duration();
            }
            let series = expression.eval_range(&store, range, step);
            prop_assert_eq!(series.is_ok(), fits, "{}", text);
            if let Ok(series) = series {
                steps.sort();
                let flat = series.iter().flat_map(|s| s.samples.iter().map(|x| (s.labels.clone(), x.at, x.value.to_bits())));
                prop_assert_eq!(flat.collect::<Vec<_>>(), steps, "{}", text);
            }
        }
    }
}
