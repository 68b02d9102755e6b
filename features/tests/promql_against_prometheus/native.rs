//! Native histograms: what a Prometheus that got them by remote write makes of them.

use std::sync::Arc;
use std::time::Duration;

use forewarn_features::promql::SampleStore;
use forewarn_schema::{
    BucketSpan, Buckets, HistogramSample, LabelSet, METRIC_NAME, NativeHistogram, STALE_NAN_BITS, Step, TimeRange,
    Timestamp,
};
use forewarn_testkit::http::post;
use forewarn_testkit::noise::Noise;
use forewarn_testkit::{remote_write, servers};

use crate::support::{Compared, Served, corpus, refuse_empty};

const CORPUS: &str = include_str!("../corpus/native_histograms.promql");
const START_MS: i64 = 1_767_225_600_000;
const SCRAPES: i64 = 240;

#[test]
fn native_histograms_are_read_as_prometheus_reads_them() {
    let flags = ["--enable-feature=native-histograms"];
    let Some(server) = servers::prometheus_with("global: {}\n", None, &flags).unwrap() else { return };
    let series = latencies(11);
    let url = format!("{}/api/v1/write", server.url());
    let answer = post(&url, &remote_write::HEADERS, &remote_write::encode_histograms(&series)).unwrap();
    assert_eq!(answer.status / 100, 2, "{}", answer.body_text());
    let mut store = SampleStore::new(1000);
    for (labels, histograms) in &series {
        histograms.iter().for_each(|h| store.push_histogram(labels, h).unwrap());
    }
    let served = Served { url: server.url(), store };
    let range = TimeRange::new(Timestamp::from_millis(START_MS), Timestamp::from_millis(START_MS + 4_200_000)).unwrap();
    let step = Step::new(Duration::from_secs(30)).unwrap();
    let mut compared = Compared::new();
    for text in corpus(CORPUS) {
        served.compare_steps(&text, range, step, &mut compared);
        for i in 0..20 {
            served.compare_at(&text, Timestamp::from_millis(START_MS + i * 177_777), &mut compared);
        }
    }
    refuse_empty(&compared);
}

/// An hour of latencies of two services in two pods each: counters that are reset, resolutions that change,
/// zero buckets that widen, lost scrapes and a series that ends. Whole numbers, so that sums are exact.
fn latencies(seed: u64) -> Vec<(LabelSet, Vec<HistogramSample>)> {
    let noise = Noise::new(seed);
    let mut all = Vec::new();
    for (k, (service, pod)) in [("cart", "a"), ("cart", "b"), ("user", "a"), ("user", "b")].into_iter().enumerate() {
        let stream = k as u64 * 10;
        let labels = LabelSet::from([(METRIC_NAME, "latency"), ("service", service), ("pod", pod)]);
        let mut positive = [0.0; 12];
        let mut negative = [0.0; 3];
        let (mut zero_count, mut sum, mut schema) = (0.0, 0.0, k as i32);
        let mut histograms = Vec::new();
        for i in 0..SCRAPES {
            let draw = noise.uniform(stream, i);
            let whole = |salt: u64| (noise.uniform(stream + salt, i) * 6.0).floor();
            if draw < 0.02 {
                (positive, negative, zero_count, sum) = ([0.0; 12], [0.0; 3], 0.0, 0.0);
                schema = (schema + 1) % 4;
            }
            let bucket = (noise.uniform(stream + 1, i) * 12.0) as usize;
            positive[bucket.min(11)] += whole(2);
            positive[5] += whole(3);
            if service == "user" {
                negative[(bucket / 4).min(2)] += whole(4);
            }
            zero_count += whole(5);
            sum += whole(6) * 0.25;
            let gap = (60..90).contains(&(i + k as i64 * 7));
            if draw > 0.95 || gap {
                continue;
            }
            let ended = service == "cart" && pod == "b" && (150..=170).contains(&i);
            // Two spans with a gap between them.
            let spans = vec![BucketSpan { offset: -6, length: 5 }, BucketSpan { offset: 2, length: 7 }];
            let below = if service == "user" { negative.to_vec() } else { vec![] };
            let negative_spans = if below.is_empty() { vec![] } else { vec![BucketSpan { offset: 0, length: 3 }] };
            let count = positive.iter().chain(&below).sum::<f64>() + zero_count;
            let histogram = NativeHistogram {
                schema,
                zero_threshold: if i < SCRAPES / 2 { 0.001 } else { 0.01 },
                zero_count,
                count,
                sum: if ended { f64::from_bits(STALE_NAN_BITS) } else { sum },
                positive: Buckets { spans, counts: positive.to_vec() },
                negative: Buckets { spans: negative_spans, counts: below },
                ..NativeHistogram::default()
            };
            let at = Timestamp::from_millis(START_MS + i * 15_000 + (draw * 3000.0) as i64);
            histograms.push(HistogramSample { at, histogram: Arc::new(histogram) });
        }
        all.push((labels, histograms));
    }
    all
}
