//! What a day of history costs: `eval_range`, whose windows move forwards, beside `eval` at each step, which
//! looks every window up and goes through it anew.
//!
//! 100 series with a sample every 15 s for a day, 576,000 in all, and a step every minute.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark is a program of its own")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forewarn_features::promql::{Expression, SampleStore};
use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Series, Step, TimeRange, Timestamp};

const SERIES: i64 = 100;
const SCRAPES: i64 = 5760;

fn day() -> SampleStore {
    let mut store = SampleStore::new(1000);
    for i in 0..SERIES {
        let (pod, service) = (format!("pod-{i}"), format!("service-{}", i % 10));
        let labels = LabelSet::from([(METRIC_NAME, "m"), ("pod", &*pod), ("service", &*service)]);
        let value = |scrape: i64| ((scrape * 7 + i * 13) % 5003) as f64 * 0.37;
        let samples = (0..SCRAPES).map(|s| Sample { at: Timestamp::from_seconds(s * 15), value: value(s) }).collect();
        store.push_series(Series { labels, samples }).unwrap();
    }
    store
}

fn a_day(c: &mut Criterion) {
    let store = day();
    let range = TimeRange::new(Timestamp::from_seconds(0), Timestamp::from_seconds(86_400)).unwrap();
    for text in ["sum by (service) (rate(m[5m]))", "avg_over_time(m[1h])", "m"] {
        let expression = Expression::parse(text).unwrap();
        let mut group = c.benchmark_group(text);
        group.throughput(Throughput::Elements((SERIES * SCRAPES).unsigned_abs()));
        group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
        group.bench_function("eval_range", |b| {
            b.iter(|| black_box(expression.eval_range(&store, range, Step::MINUTE).unwrap()));
        });
        group.bench_function("eval at each step", |b| {
            b.iter(|| {
                let mut at = range.start;
                while range.contains(at) {
                    black_box(expression.eval(&store, at).unwrap());
                    at = at + Step::MINUTE.duration();
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, a_day);
criterion_main!(benches);
