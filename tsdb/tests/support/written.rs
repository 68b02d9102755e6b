//! A block from the test kit's writer with something of everything, and what must be read from it.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forewarn_schema::{
    BucketSpan, Buckets, CUSTOM_BOUNDS_SCHEMA, HistogramSample, LabelSet, NativeHistogram, ResetHint, STALE_NAN_BITS,
    Timestamp,
};
use forewarn_testkit::tsdb::{self, BlockOptions, BlockWriter, Chunk, IndexVersion};
use forewarn_tsdb::Samples;

use super::metric;

/// When the samples begin.
pub(crate) const START: i64 = 1_700_000_000_000;
/// How many samples most series have: not a multiple of what a chunk holds.
pub(crate) const SAMPLES: i64 = 500;
/// How many series of plain floats there are.
pub(crate) const PODS: usize = 300;

pub(crate) fn options(version: IndexVersion) -> BlockOptions {
    // Several segment files.
    BlockOptions { version, segment_size: 64 << 10, ..BlockOptions::new(tsdb::ulid(START as u64, 7)) }
}

/// Series of counters and gauges in many pods, some of which lack labels that others have.
pub(crate) fn float_series() -> BTreeMap<LabelSet, Vec<(i64, f64)>> {
    let mut series = BTreeMap::new();
    for pod in 0..PODS {
        let name = format!("pod-{pod:04}");
        let mut labels = vec![("pod", name.as_str()), ("job", if pod % 3 == 0 { "api" } else { "web \"ü\" \\ x" })];
        if pod % 5 == 0 {
            labels.push(("zone", "eu-1"));
        }
        let samples = (0..SAMPLES).map(|i| {
            let jitter = (i * 37 + pod as i64) % 11 - 5;
            let value = match pod % 4 {
                0 => (i * 3) as f64,
                1 => (i as f64 * 0.1).sin() * 1e9,
                2 => f64::from_bits(0x7ff8_0000_0000_0001),
                _ => 42.0,
            };
            (START + i * 15_000 + jitter, value)
        });
        let mut samples: Vec<_> = samples.collect();
        if pod % 7 == 0 {
            let last = samples.last_mut().unwrap();
            last.1 = f64::from_bits(STALE_NAN_BITS);
        }
        series.insert(metric(if pod % 2 == 0 { "requests_total" } else { "queue_depth" }, &labels), samples);
    }
    series
}

/// A histogram that grows with `step`.
pub(crate) fn histogram(step: i64, schema: i32) -> NativeHistogram {
    let custom = schema == CUSTOM_BOUNDS_SCHEMA;
    let span = |offset, length| BucketSpan { offset, length };
    let counts = |first: i64, n: i64| (0..n).map(|i| (first + i * step) as f64).collect::<Vec<_>>();
    let (positive, negative) = if custom {
        (Buckets { spans: vec![span(0, 2), span(1, 1)], counts: counts(step, 3) }, Buckets::default())
    } else {
        let positive = Buckets { spans: vec![span(-2, 3), span(2, 2)], counts: counts(step * 2, 5) };
        (positive, Buckets { spans: vec![span(0, 1), span(4, 1)], counts: counts(step, 2) })
    };
    let zero_count = if custom { 0.0 } else { step as f64 };
    NativeHistogram {
        reset_hint: ResetHint::No,
        schema,
        zero_threshold: if custom { 0.0 } else { 2_f64.powi(-128) },
        zero_count,
        count: zero_count + positive.counts.iter().chain(&negative.counts).sum::<f64>(),
        sum: step as f64 * 1.5,
        positive,
        negative,
        custom_bounds: if custom { vec![0.005, 0.01, 2.5, 1.0 / 3.0 * 100.0] } else { Vec::new() },
    }
}

fn histograms(schema: i32) -> Vec<(i64, NativeHistogram)> {
    let sample = |i: i64| (START + i * 15_000, histogram(i + 1, schema));
    let mut samples: Vec<_> = (0..60).map(sample).collect();
    samples.last_mut().unwrap().1.sum = f64::from_bits(STALE_NAN_BITS);
    samples
}

fn expected(samples: &[(i64, NativeHistogram)]) -> Vec<HistogramSample> {
    let sample = |(index, (time, histogram)): (usize, &(i64, NativeHistogram))| {
        let reset_hint = if index == 0 { ResetHint::Unknown } else { ResetHint::No };
        let histogram = if histogram.is_stale() {
            NativeHistogram { reset_hint, sum: histogram.sum, ..NativeHistogram::default() }
        } else {
            NativeHistogram { reset_hint, ..histogram.clone() }
        };
        HistogramSample { at: Timestamp::from_millis(*time), histogram: Arc::new(histogram) }
    };
    samples.iter().enumerate().map(sample).collect()
}

/// What an encoder makes of histograms and start timestamps.
type HistogramEncoder = fn(&[(i64, NativeHistogram)], &[i64]) -> Chunk;

/// One series in each of the other encodings, as chunks and as what must be read from them.
pub(crate) fn odd_series() -> BTreeMap<LabelSet, (Vec<Chunk>, Samples)> {
    let floats: Vec<(i64, f64)> = float_series().into_values().next().unwrap().into_iter().take(100).collect();
    let starts: Vec<i64> = floats.iter().map(|(t, _)| t - 1000 + t % 3).collect();
    let columns = || {
        let (times, values) = floats.iter().copied().unzip();
        Samples { times, values, histograms: Vec::new() }
    };
    let mut series = BTreeMap::new();
    series.insert(metric("xor2", &[]), (vec![tsdb::xor2(&floats, &[])], columns()));
    series.insert(metric("xor2_started", &[]), (vec![tsdb::xor2(&floats, &starts)], columns()));
    let encoders: [(&str, HistogramEncoder); 2] =
        [("integer", tsdb::integer_histogram), ("float", tsdb::float_histogram)];
    for (kind, encode) in encoders {
        for (layout, schema) in [("exponential", 3), ("custom", CUSTOM_BOUNDS_SCHEMA)] {
            let samples = histograms(schema);
            let wanted = Samples { histograms: expected(&samples), ..Samples::default() };
            let starts: Vec<i64> = samples.iter().map(|(t, _)| t / 100_000 * 100_000).collect();
            let labels = |started: &str| metric("latency", &[("kind", kind), ("layout", layout), ("started", started)]);
            series.insert(labels("no"), (vec![encode(&samples, &[])], wanted.clone()));
            series.insert(labels("yes"), (vec![encode(&samples, &starts)], wanted));
        }
    }
    series
}

/// Writes both, and gives the block's folder and what must be read.
pub(crate) fn rich_block(parent: &Path, options: BlockOptions) -> (PathBuf, BTreeMap<LabelSet, Samples>) {
    let chunked = |samples: &Vec<(i64, f64)>| samples.chunks(120).map(tsdb::xor).collect::<Vec<_>>();
    let mut series: BTreeMap<LabelSet, (Vec<Chunk>, Samples)> = odd_series();
    for (labels, samples) in float_series() {
        let (times, values) = samples.iter().copied().unzip();
        series.insert(labels, (chunked(&samples), Samples { times, values, histograms: Vec::new() }));
    }
    let mut block = BlockWriter::create(parent, options).unwrap();
    let mut expected = BTreeMap::new();
    for (labels, (chunks, samples)) in series {
        block.series(&labels, &chunks).unwrap();
        expected.insert(labels, samples);
    }
    (block.finish().unwrap(), expected)
}

/// Equal bit by bit, NaN included.
pub(crate) fn assert_equal(read: &BTreeMap<LabelSet, Samples>, wanted: &BTreeMap<LabelSet, Samples>) {
    assert_eq!(read.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (labels, wanted) in wanted {
        let read = &read[labels];
        let bits = |samples: &Samples| samples.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(read.times, wanted.times, "{labels}");
        assert_eq!(bits(read), bits(wanted), "{labels}");
        assert_eq!(read.histograms.len(), wanted.histograms.len(), "{labels}");
        for (read, wanted) in read.histograms.iter().zip(&wanted.histograms) {
            let stale = wanted.histogram.is_stale() && read.histogram.is_stale();
            assert!(stale && read.at == wanted.at || read == wanted, "{labels}: {read:?} {wanted:?}");
        }
    }
}
