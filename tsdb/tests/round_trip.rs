//! Every encoding, written by the test kit's encoders and read back: times, values bit for bit, histograms.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

use forewarn_schema::{BucketSpan, Buckets, CUSTOM_BOUNDS_SCHEMA, NativeHistogram, ResetHint, STALE_NAN_BITS};
use forewarn_testkit::tsdb;
use forewarn_tsdb::{Chunk, Encoding, Samples};
use proptest::collection::vec;
use proptest::prelude::*;

fn decode(chunk: &tsdb::Chunk) -> Samples {
    let mut samples = Samples::default();
    let read = Chunk { encoding: Encoding::from_byte(chunk.encoding), data: chunk.data.clone().into() };
    assert_eq!(read.promised_samples() as u64, chunk.samples);
    read.decode(&mut samples).unwrap();
    samples
}

fn bits(samples: &Samples) -> Vec<(i64, u64)> {
    samples.times.iter().copied().zip(samples.values.iter().map(|v| v.to_bits())).collect()
}

/// Times whose deltas of deltas need each of the widths, and some that need all 64 bits.
fn time_deltas() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => Just(15_000_i64),
        4 => 14_900_i64..15_100,
        2 => 0_i64..200_000,
        1 => 0_i64..2_000_000,
        1 => any::<i64>(),
    ]
}

/// Values as metrics have them, and any bits at all.
fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => Just(1.0),
        4 => (0_u32..1000).prop_map(f64::from),
        3 => -1e6..1e6_f64,
        1 => Just(f64::from_bits(STALE_NAN_BITS)),
        1 => any::<u64>().prop_map(f64::from_bits),
    ]
}

fn float_samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    (any::<i64>(), vec((time_deltas(), values()), 0..200)).prop_map(|(start, steps)| {
        let mut time = start;
        let mut sample = |(delta, value): (i64, f64)| {
            let at = time;
            time = time.wrapping_add(delta);
            (at, value)
        };
        steps.into_iter().map(&mut sample).collect()
    })
}

fn start_times(samples: usize) -> impl Strategy<Value = Vec<i64>> {
    let known = vec(prop_oneof![4 => Just(1000_i64), 2 => Just(0), 1 => any::<i64>()], samples);
    prop_oneof![known, Just(vec![0; samples]), Just(vec![77; samples])]
}

fn spans() -> impl Strategy<Value = Vec<BucketSpan>> {
    vec((-5_i32..40, 0_u32..6).prop_map(|(offset, length)| BucketSpan { offset, length }), 0..4)
}

/// Histograms of one layout; with whole counts if `whole`. A stale one ends them.
fn histograms(whole: bool) -> impl Strategy<Value = Vec<(i64, NativeHistogram)>> {
    let exponential = (-4_i32..=8, spans(), spans(), prop_oneof![Just(0.0), Just(2_f64.powi(-128)), Just(1e-3)])
        .prop_map(|(schema, positive, negative, zero)| (schema, positive, negative, zero, Vec::new()));
    let bounds = vec(prop_oneof![Just(0.005), Just(2.5), -3.0..1e9_f64, Just(1e-7), Just(f64::INFINITY)], 1..12);
    let custom = (spans(), bounds).prop_map(|(spans, bounds)| (CUSTOM_BOUNDS_SCHEMA, spans, Vec::new(), 0.0, bounds));
    let hint = prop_oneof![Just(ResetHint::Unknown), Just(ResetHint::Yes), Just(ResetHint::No), Just(ResetHint::Gauge)];
    let layout = prop_oneof![exponential, custom];
    (layout, hint, vec((0_i64..100_000, any::<u64>(), values()), 1..60), any::<bool>()).prop_map(
        move |((schema, positive, negative, zero_threshold, custom_bounds), reset_hint, steps, stale)| {
            let count = steps.len();
            let mut time = 1_700_000_000_000;
            let sample = |(index, (delta, seed, sum)): (usize, (i64, u64, f64))| {
                time += delta;
                let mut random = seed;
                let mut next = || {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    // Small steps mostly, large ones sometimes.
                    let size = 53 - (random >> 58).min(50);
                    let number = (random >> 4 & ((1 << size) - 1)) as f64;
                    if whole { number } else { number / 3.0 }
                };
                let mut counts =
                    |spans: &[BucketSpan]| (0..spans.iter().map(|s| s.length).sum()).map(|_| next()).collect();
                let (positive_counts, negative_counts) = (counts(&positive), counts(&negative));
                let last = index + 1 == count;
                let sum =
                    if (last && stale) || f64::to_bits(sum) == STALE_NAN_BITS { STALE_NAN_BITS } else { sum.to_bits() };
                // Only the last may be stale.
                let sum = if !last && sum == STALE_NAN_BITS { 0 } else { sum };
                let histogram = NativeHistogram {
                    reset_hint,
                    schema,
                    zero_threshold,
                    zero_count: next(),
                    count: next(),
                    sum: f64::from_bits(sum),
                    positive: Buckets { spans: positive.clone(), counts: positive_counts },
                    negative: Buckets { spans: negative.clone(), counts: negative_counts },
                    custom_bounds: custom_bounds.clone(),
                };
                (time, histogram)
            };
            steps.into_iter().enumerate().map(sample).collect()
        },
    )
}

/// What a reader may say: stale samples are empty, and only some hints hold.
fn expected(samples: &[(i64, NativeHistogram)]) -> Vec<(i64, NativeHistogram)> {
    let hint = |index: usize, first: ResetHint| match (first, index) {
        (ResetHint::Gauge, _) => ResetHint::Gauge,
        (ResetHint::Yes, 0) => ResetHint::Yes,
        (_, 0) => ResetHint::Unknown,
        _ => ResetHint::No,
    };
    let first = samples[0].1.reset_hint;
    let with_hint = |(index, (time, histogram)): (usize, &(i64, NativeHistogram))| {
        let reset_hint = hint(index, first);
        let histogram = if histogram.is_stale() {
            NativeHistogram { reset_hint, sum: histogram.sum, ..NativeHistogram::default() }
        } else {
            NativeHistogram { reset_hint, ..histogram.clone() }
        };
        (*time, histogram)
    };
    samples.iter().enumerate().map(with_hint).collect()
}

/// Compares by bits: a NaN equals itself.
fn assert_histograms(chunk: &tsdb::Chunk, samples: &[(i64, NativeHistogram)]) {
    let read = decode(chunk);
    let wanted = expected(samples);
    assert_eq!(read.histograms.len(), wanted.len());
    for (sample, (time, histogram)) in read.histograms.iter().zip(&wanted) {
        assert_eq!(sample.at.millis(), *time);
        let numbers = |h: &NativeHistogram| {
            let floats = [h.sum, h.count, h.zero_count, h.zero_threshold].into_iter();
            let lists = h.positive.counts.iter().chain(&h.negative.counts).chain(&h.custom_bounds).copied();
            floats.chain(lists).map(f64::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&sample.histogram), numbers(histogram));
        assert_eq!(sample.histogram.positive.spans, histogram.positive.spans);
        assert_eq!(sample.histogram.negative.spans, histogram.negative.spans);
        assert_eq!((sample.histogram.schema, sample.histogram.reset_hint), (histogram.schema, histogram.reset_hint));
    }
}

proptest! {
    #[test]
    fn xor_keeps_every_bit(samples in float_samples()) {
        let wanted: Vec<_> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
        prop_assert_eq!(bits(&decode(&tsdb::xor(&samples))), wanted);
    }

    #[test]
    fn xor2_keeps_every_bit_with_and_without_start_times(
        (samples, start_times) in float_samples().prop_flat_map(|s| { let n = s.len(); (Just(s), start_times(n)) })
    ) {
        let wanted: Vec<_> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
        prop_assert_eq!(bits(&decode(&tsdb::xor2(&samples, &[]))), wanted.clone());
        prop_assert_eq!(bits(&decode(&tsdb::xor2(&samples, &start_times))), wanted);
    }

    #[test]
    fn integer_histograms_read_back(
        (samples, start_times) in histograms(true).prop_flat_map(|s| { let n = s.len(); (Just(s), start_times(n)) })
    ) {
        assert_histograms(&tsdb::integer_histogram(&samples, &[]), &samples);
        assert_histograms(&tsdb::integer_histogram(&samples, &start_times), &samples);
    }

    #[test]
    fn float_histograms_read_back(
        (samples, start_times) in histograms(false).prop_flat_map(|s| { let n = s.len(); (Just(s), start_times(n)) })
    ) {
        assert_histograms(&tsdb::float_histogram(&samples, &[]), &samples);
        assert_histograms(&tsdb::float_histogram(&samples, &start_times), &samples);
    }
}

#[test]
fn samples_are_appended_to_what_is_there() {
    let mut samples = Samples::default();
    for start in [0, 100] {
        let chunk = tsdb::xor(&[(start, 1.0), (start + 10, 2.0)]);
        Chunk { encoding: Encoding::Xor, data: chunk.data.into() }.decode(&mut samples).unwrap();
    }
    assert_eq!(samples.times, [0, 10, 100, 110]);
    assert_eq!(samples.values, [1.0, 2.0, 1.0, 2.0]);
}

#[test]
fn a_chunk_without_samples_is_empty() {
    for chunk in [tsdb::xor(&[]), tsdb::xor2(&[], &[]), tsdb::integer_histogram(&[], &[])] {
        assert!(decode(&chunk).is_empty());
    }
}
