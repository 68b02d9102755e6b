//! Series as they are in the worst of real life: staleness markers, resets, gaps, NaN and infinities.

use std::time::Duration;

use forewarn_features::promql::SampleStore;
use forewarn_schema::{LabelSet, METRIC_NAME, STALE_NAN_BITS, Sample, Series, Timestamp};
use forewarn_testkit::http::post;
use forewarn_testkit::noise::Noise;
use forewarn_testkit::{remote_write, servers};

use crate::support::{Compared, Served, corpus, refuse_empty};

const CORPUS: &str = include_str!("../corpus/odd_series.promql");

#[test]
fn staleness_resets_gaps_and_odd_values_are_read_as_prometheus_reads_them() {
    let Some(server) = servers::prometheus("global: {}\n", None).unwrap() else { return };
    let series = odd_series(7);
    let url = format!("{}/api/v1/write", server.url());
    let answer = post(&url, &remote_write::HEADERS, &remote_write::encode_series(&series)).unwrap();
    assert_eq!(answer.status / 100, 2, "{}", answer.body_text());
    let mut store = SampleStore::new(1000);
    for series in &series {
        for sample in &series.samples {
            store.push(&series.labels, *sample).unwrap();
        }
    }
    let served = Served { url: server.url(), store };
    let mut times: Vec<Timestamp> = (0..40).map(|i| Timestamp::from_millis(START_MS + i * 77_777)).collect();
    // The edges of the look-back and of the window, to the millisecond: both belong to it.
    for pair in series.iter().flat_map(|s| s.samples.windows(2)) {
        if pair[1].at.seconds_since(pair[0].at) > 420.0 {
            times.extend([300_000, 300_001, 420_000, 420_001].map(|ms| pair[0].at + Duration::from_millis(ms)));
        }
    }
    let mut compared = Compared::new();
    for text in corpus(CORPUS) {
        times.iter().for_each(|at| served.compare_at(&text, *at, &mut compared));
    }
    refuse_empty(&compared);
}

const START_MS: i64 = 1_767_225_600_000;

/// 45 minutes of series as they are in the worst of real life. Values are multiples of 0.25, so that
/// sums are exact in any order.
fn odd_series(seed: u64) -> Vec<Series> {
    let noise = Noise::new(seed);
    let mut all = Vec::new();
    for (k, kind) in ["gauge", "counter", "infinite", "ending"].into_iter().enumerate() {
        for copy in 0..3 {
            let stream = (k * 10 + copy) as u64;
            let labels = LabelSet::from([(METRIC_NAME, "odd"), ("kind", kind), ("copy", &*copy.to_string())]);
            let (mut samples, mut counter) = (Vec::new(), 0.0);
            for i in 0..180 {
                let draw = noise.uniform(stream, i);
                let jitter = (noise.uniform(stream + 100, i) * 4000.0) as i64;
                let quarter = (noise.normal(stream + 200, i) * 40.0).round() / 4.0;
                counter = if draw < 0.03 { 0.0 } else { counter + quarter.abs() };
                let value = match kind {
                    "gauge" => quarter,
                    "infinite" if draw > 0.95 => f64::INFINITY,
                    "infinite" if draw > 0.9 => f64::NEG_INFINITY,
                    "infinite" if draw > 0.8 => f64::NAN,
                    "ending" if draw > 0.7 => f64::from_bits(STALE_NAN_BITS),
                    _ => counter,
                };
                // Lost scrapes, and one long gap.
                if draw > 0.1 && !(60..100).contains(&(i + copy as i64 * 10)) {
                    let at = Timestamp::from_millis(START_MS + i * 15_000 + jitter);
                    samples.push(Sample { at, value });
                }
            }
            all.push(Series { labels, samples });
        }
    }
    all
}
