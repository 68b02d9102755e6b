//! What a live step costs for each new sample, against how wide the windows are: it should not matter.
//!
//! 100 series are scraped every 15 s; a step every minute takes in 400 samples and evaluates one
//! expression. `cargo bench -p forewarn-features --bench live` prints the time of a minute; per sample
//! is that over 400.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark is a program of its own")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forewarn_features::{LiveSignals, SignalSet};
use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Step, Timestamp};

const SERIES: usize = 100;
const SCRAPES_PER_STEP: i64 = 4;
const FUNCTIONS: [(&str, &str); 6] = [
    ("rate", "sum by (service) (rate(m[W]))"),
    ("avg", "avg_over_time(m[W])"),
    ("max", "max_over_time(m[W])"),
    ("subquery", "max_over_time(sum by (service) (rate(m[5m]))[W:1m])"),
    ("deriv", "deriv(m[W])"),
    ("quantile", "quantile_over_time(0.9, m[W])"),
];
const WINDOWS: [(&str, i64); 4] = [("5m", 5), ("1h", 60), ("6h", 360), ("24h", 1440)];

/// A shop that has been watched for as long as its window is wide.
struct Watched {
    live: LiveSignals,
    labels: Vec<LabelSet>,
    minute: i64,
}

impl Watched {
    fn new(expression: &str, minutes: i64) -> Self {
        let signal = serde_json::json!({"name": "m", "kind": "context", "value": expression});
        let signals = SignalSet::new(&[], vec![serde_json::from_value(signal).unwrap()]).unwrap();
        let live = LiveSignals::new(Arc::new(signals), Step::MINUTE, SERIES).unwrap();
        let labels = (0..SERIES).map(|i| {
            let (pod, service) = (format!("pod-{i}"), format!("service-{}", i % 10));
            LabelSet::from([(METRIC_NAME, "m"), ("pod", &*pod), ("service", &*service)])
        });
        let mut watched = Self { live, labels: labels.collect(), minute: 0 };
        (0..minutes + 10).for_each(|_| watched.minute());
        watched
    }

    /// A minute of scrapes, and the step at its end.
    fn minute(&mut self) {
        let start = Timestamp::from_seconds(self.minute * 60);
        for scrape in 1..=SCRAPES_PER_STEP {
            let at = start + Duration::from_secs(scrape.unsigned_abs() * 60 / SCRAPES_PER_STEP.unsigned_abs());
            for (i, labels) in self.labels.iter().enumerate() {
                // A counter with a reset now and then, not the same in any two series.
                let value = ((self.minute * SCRAPES_PER_STEP + scrape) * 7 + i as i64 * 13) % 5003;
                self.live.push(labels, Sample { at, value: value as f64 * 0.37 }).unwrap();
            }
        }
        self.minute += 1;
        black_box(self.live.step(Timestamp::from_seconds(self.minute * 60)).unwrap());
    }
}

fn step_by_window(c: &mut Criterion) {
    for (name, expression) in FUNCTIONS {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(SERIES as u64 * SCRAPES_PER_STEP as u64));
        group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        for (window, minutes) in WINDOWS {
            let mut watched = Watched::new(&expression.replace('W', window), minutes);
            group.bench_function(BenchmarkId::from_parameter(window), |b| {
                b.iter_batched(|| (), |()| watched.minute(), BatchSize::PerIteration);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, step_by_window);
criterion_main!(benches);
