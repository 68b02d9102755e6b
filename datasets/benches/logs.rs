//! How many log lines a second does one core take, from packed bytes to counts by template? 20,000 lines of four services
//! as Fluent Bit writes them in Kubernetes, about 430 bytes each, of a dozen statements.
#![allow(missing_docs, reason = "criterion's macros write functions without docs")]
#![allow(clippy::unwrap_used, reason = "memory takes every write")]

use std::io::Write;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forewarn_datasets::LogsOptions;
use forewarn_datasets::fuzzing::LineCounter;

const LINES: u64 = 20_000;

const STATEMENTS: [&str; 12] = [
    "INFO order {} of customer {} paid in {}ms",
    "INFO GET /api/v1/orders/{} 200 {}ms",
    "WARN slow query took {}ms: \\\"select * from orders where id = {}\\\"",
    "ERROR connection to 10.0.0.{}:5432 refused after {} attempts",
    "INFO cache hit ratio 0.{} over {} keys",
    "DEBUG session 6f1ed002-ab5b-4b4e-8c4f-{} extended by {}s",
    "INFO scheduled job cleanup-{} finished, {} rows",
    "level=info msg=\\\"request done\\\" status=200 duration={}ms bytes={}",
    "ERROR payment of order {} failed: timeout after {}ms",
    "INFO consumer group rebalanced, {} partitions, generation {}",
    "TRACE span 3f9c01ab{} closed in {}us",
    "INFO user {} logged in from 192.168.1.{}",
];

fn object() -> Vec<u8> {
    let mut text = String::new();
    for i in 0..LINES {
        let mut message = STATEMENTS[(i % 12) as usize].to_owned();
        while message.contains("{}") {
            message = message.replacen("{}", &(i.wrapping_mul(2_654_435_761) % 1000).to_string(), 1);
        }
        let (second, micros, service) =
            (i / 100 % 60, i * 7919 % 1_000_000, ["cart", "pay", "ship", "web"][(i % 4) as usize]);
        text.push_str(&format!(
            "{{\"date\":\"2026-01-02T10:{:02}:{second:02}.{micros:06}Z\",\"stream\":\"stdout\",\"_p\":\"F\",\"log\":\"{message}\\n\",\"kubernetes\":{{\"pod_name\":\"{service}-7d9f8b6c5-x2k4p\",\"namespace_name\":\"shop\",\"pod_id\":\"6f1ed002-ab5b-4b4e-8c4f-0123456789ab\",\"labels\":{{\"app\":\"{service}\",\"pod-template-hash\":\"7d9f8b6c5\"}},\"host\":\"node-3.internal\",\"container_name\":\"{service}\",\"container_image\":\"registry.example/{service}:1.4.2\"}}}}\n",
            i / 6000
        ));
    }
    text.into_bytes()
}

fn logs(criterion: &mut Criterion) {
    let plain = object();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&plain).unwrap();
    let gzip = encoder.finish().unwrap();
    let zstd = zstd::encode_all(&*plain, 3).unwrap();
    let mut group = criterion.benchmark_group("logs");
    group.sample_size(20);
    group.throughput(Throughput::Elements(LINES));
    for (name, object) in [("plain", &plain), ("gzip", &gzip), ("zstd", &zstd)] {
        let counter = || LineCounter::new(LogsOptions::default());
        assert_eq!(counter().count(object), LINES);
        group.bench_function(name, |b| b.iter_batched(counter, |mut c| c.count(object), BatchSize::PerIteration));
    }
    let without = || LineCounter::new(LogsOptions { dedup_window: Duration::ZERO, ..LogsOptions::default() });
    group.bench_function("plain, every line counts", |b| {
        b.iter_batched(without, |mut c| c.count(&plain), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, logs);
criterion_main!(benches);
