//! Native histograms by every door: the same for the expressions that read them.

use super::*;
use std::sync::Arc;

use forewarn_features::{ServiceStep, Signal, SignalSet};
use forewarn_models::{Engine, EngineOptions};
use forewarn_schema::{BucketSpan, Buckets, METRIC_NAME, NativeHistogram, Step};
use forewarn_testkit::native_histograms::{Counts, Histogram};
use forewarn_testkit::otlp as sent;
use forewarn_testkit::remote_write::{self, v2};

const START: i64 = 1_767_225_600;
const EACH: &str = r#"{"name": "latency", "kind": "context",
    "value": "histogram_quantile(0.9, sum by (service) (rate(latency_seconds[5m])))"}"#;

fn scorer() -> Scorer {
    let signal: Signal = serde_json::from_str(EACH).unwrap();
    let signals = Arc::new(SignalSet::new(&[], vec![signal]).unwrap());
    let live = LiveSignals::new(Arc::clone(&signals), Step::MINUTE, 100).unwrap();
    Scorer::new(Step::MINUTE, live, Engine::new(signals, EngineOptions::default()), None)
}

fn labels() -> LabelSet {
    LabelSet::from([(METRIC_NAME, "latency_seconds"), ("service", "cart")])
}

fn histograms() -> Vec<HistogramSample> {
    let of = |minute: i64| {
        let (rises, n) = (minute as f64, if minute < 7 { minute } else { minute - 6 } as f64);
        let spans = vec![BucketSpan { offset: -1, length: 2 }, BucketSpan { offset: 0, length: 1 }];
        let positive = Buckets { spans, counts: vec![3.0 * n, n * n, 2.0 * n] };
        let count = 5.0 * n + n * n + 1.0;
        NativeHistogram {
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 1.0,
            count,
            sum: rises,
            positive,
            ..NativeHistogram::default()
        }
    };
    let sample =
        |minute| HistogramSample { at: Timestamp::from_seconds(START + minute * 60), histogram: Arc::new(of(minute)) };
    // One after the other, with a reset in the seventh minute.
    (1..12).map(sample).collect()
}

fn timely() -> Timely {
    let now = Timestamp::from_seconds(START + 900);
    Timely { now, future: Duration::from_secs(600), past: Duration::from_secs(3600) }
}

fn by_version_1(counts: Counts) -> Vec<u8> {
    let mut series = remote_write::TimeSeries::new(&labels());
    series.histograms = histograms().iter().map(|h| Histogram::new(h.at.millis(), &h.histogram, counts)).collect();
    remote_write::compress(&remote_write::WriteRequest { timeseries: vec![series] })
}

fn by_version_2() -> Vec<u8> {
    let series = v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![],
        histograms: histograms().iter().map(Histogram::of).collect(),
    };
    let symbols = ["", "__name__", "latency_seconds", "service", "cart"].map(str::to_owned).to_vec();
    v2::compress(&v2::Request { symbols, timeseries: vec![series] })
}

fn by_otlp() -> Vec<u8> {
    let point = |h: &HistogramSample| sent::ExponentialHistogramDataPoint {
        attributes: sent::attributes(&[("service", "cart")]),
        time_unix_nano: h.at.millis().unsigned_abs() * 1_000_000,
        count: h.histogram.count as u64,
        sum: Some(h.histogram.sum),
        scale: 3,
        zero_count: 1,
        // The first bucket is -1 here, and so -2 there.
        positive: Some(sent::ExponentialBuckets {
            offset: -2,
            bucket_counts: h.histogram.positive.counts.iter().map(|count| *count as u64).collect(),
        }),
        ..sent::ExponentialHistogramDataPoint::default()
    };
    let data_points = histograms().iter().map(point).collect();
    let exponential_histogram = Some(sent::ExponentialHistogram { data_points, aggregation_temporality: 2 });
    let (name, unit) = ("latency".to_owned(), "s".to_owned());
    sent::encode(&sent::request(&[], vec![sent::Metric { name, unit, exponential_histogram, ..Default::default() }]))
}

fn steps(scorer: &Scorer) -> Vec<Vec<ServiceStep>> {
    let mut live = scorer.live_mut();
    (2..12).map(|minute| live.step(Timestamp::from_seconds(START + minute * 60)).unwrap()).collect()
}

#[test]
fn a_native_histogram_is_the_same_whichever_way_it_comes() {
    let direct = scorer();
    for histogram in histograms() {
        direct.live_mut().push_histogram(&labels(), &histogram).unwrap();
    }
    let expected = steps(&direct);
    assert!(expected.iter().all(|step| step[0].observations[0].value > 0.0), "{expected:?}");
    let written = [
        (by_version_1(Counts::Integer), Version::V1),
        (by_version_1(Counts::Float), Version::V1),
        (by_version_2(), Version::V2),
    ];
    for (body, version) in written {
        let scorer = scorer();
        // A resend keeps the same, and is known by then.
        for _ in 0..2 {
            let account = receive(&body, version, 1 << 20, &scorer, timely()).unwrap();
            assert_eq!((account.histograms_kept, account.kept, account.refused_count()), (11, 0, 0), "{account:?}");
        }
        assert_eq!(steps(&scorer), expected);
    }
    let scorer = scorer();
    let limits = otlp::Limits { max_decoded_bytes: 1 << 20, promote: &[] };
    let wants = |labels: &LabelSet| scorer.live().wants(labels);
    let mut incoming = otlp::read(&by_otlp(), otlp::Encoding::Identity, limits, &wants).unwrap();
    let account = take_points(&mut incoming, &scorer, timely());
    assert_eq!((account.histograms_kept, incoming.refused.len()), (11, 0), "{incoming:?}");
    assert_eq!(steps(&scorer), expected);
}

#[test]
fn a_bad_histogram_costs_itself_alone_and_an_unwanted_one_is_not_unfolded() {
    let good = Histogram::of(&histograms()[0]);
    let bad = Histogram { schema: 40, timestamp: good.timestamp + 1, ..good.clone() };
    let worse = Histogram { positive_deltas: vec![1], timestamp: good.timestamp + 2, ..good.clone() };
    let mut wanted = remote_write::TimeSeries::new(&labels());
    wanted.histograms = vec![good, bad, worse.clone()];
    let mut unwanted = remote_write::TimeSeries::new(&LabelSet::from([(METRIC_NAME, "other")]));
    unwanted.histograms = vec![worse];
    let body = remote_write::compress(&remote_write::WriteRequest { timeseries: vec![wanted, unwanted] });
    let account = receive(&body, Version::V1, 1 << 20, &scorer(), timely()).unwrap();
    assert_eq!((account.histograms_kept, account.histograms_unwanted), (1, 1));
    assert_eq!(account.refused, BTreeMap::from([("bad_histogram", 2)]));
    assert!(account.example.unwrap().contains("a schema in -4..=8"));
}
