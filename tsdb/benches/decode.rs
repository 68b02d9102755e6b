//! How many samples a second one core decodes: `cargo bench -p forewarn-tsdb --bench decode`. Throughput is in samples.
//!
//! The series are seeded. `counter` and `gauge` have scrape times with a jitter of milliseconds, as a real server writes
//! them; `constant` is the best case; `random` has 52 bits of noise in each value, the worst one.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a bench panics to fail")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forewarn_schema::{BucketSpan, Buckets, NativeHistogram, ResetHint};
use forewarn_testkit::tsdb;
use forewarn_tsdb::{Block, Chunk, Encoding, Samples};

const SAMPLES: usize = 120_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Samples 15 s apart, off by up to 3 ms.
fn series(mut value: impl FnMut(usize, &mut Random) -> f64) -> Vec<(i64, f64)> {
    let mut random = Random(1);
    let time = |i: usize, random: &mut Random| 1_700_000_000_000 + i as i64 * 15_000 + (random.next() % 7) as i64 - 3;
    (0..SAMPLES).map(|i| (time(i, &mut random), value(i, &mut random))).collect()
}

fn read(chunk: tsdb::Chunk) -> Chunk {
    Chunk { encoding: Encoding::from_byte(chunk.encoding), data: chunk.data.into() }
}

fn decode_all(chunks: &[Chunk], samples: &mut Samples) {
    for chunk in chunks {
        samples.clear();
        black_box(chunk).decode(samples).unwrap();
        black_box(&mut *samples);
    }
}

fn floats(c: &mut Criterion) {
    let mut group = c.benchmark_group("floats");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    let mut counted = 0.0;
    let counter = series(|_, random| {
        counted += (random.next() % 50) as f64;
        counted
    });
    let gauge = series(|i, random| (50e6 + (i as f64 * 0.01).sin() * 1e6 + (random.next() % 4096) as f64).round());
    let random = series(|_, random| random.next() as f64 / u64::MAX as f64);
    let constant: Vec<_> = (0..SAMPLES as i64).map(|i| (i * 15_000, 1.0)).collect();
    let mut samples = Samples::default();
    for (name, series) in [("constant", &constant), ("counter", &counter), ("gauge", &gauge), ("random", &random)] {
        let xor: Vec<Chunk> = series.chunks(120).map(|part| read(tsdb::xor(part))).collect();
        group.bench_function(format!("xor/{name}"), |b| b.iter(|| decode_all(&xor, &mut samples)));
        let xor2: Vec<Chunk> = series.chunks(120).map(|part| read(tsdb::xor2(part, &[]))).collect();
        group.bench_function(format!("xor2/{name}"), |b| b.iter(|| decode_all(&xor2, &mut samples)));
    }
    group.finish();
}

fn histograms(c: &mut Criterion) {
    const HISTOGRAMS: usize = 6_000;
    const BUCKETS: u32 = 20;
    let mut random = Random(2);
    let mut counts = [0.0; BUCKETS as usize];
    let mut series = Vec::new();
    for i in 0..HISTOGRAMS {
        for count in &mut counts {
            *count += (random.next() % 5) as f64;
        }
        let spans = vec![BucketSpan { offset: -3, length: BUCKETS }];
        let histogram = NativeHistogram {
            reset_hint: ResetHint::No,
            schema: 3,
            zero_threshold: 2_f64.powi(-128),
            zero_count: i as f64,
            count: i as f64 + counts.iter().sum::<f64>(),
            sum: counts.iter().sum::<f64>() * 0.3,
            positive: Buckets { spans, counts: counts.to_vec() },
            ..NativeHistogram::default()
        };
        series.push((i as i64 * 15_000, histogram));
    }
    let mut group = c.benchmark_group("histograms of 20 buckets");
    group.throughput(Throughput::Elements(HISTOGRAMS as u64));
    let mut samples = Samples::default();
    let integer: Vec<Chunk> = series.chunks(60).map(|part| read(tsdb::integer_histogram(part, &[]))).collect();
    group.bench_function("integer", |b| b.iter(|| decode_all(&integer, &mut samples)));
    let float: Vec<Chunk> = series.chunks(60).map(|part| read(tsdb::float_histogram(part, &[]))).collect();
    group.bench_function("float", |b| b.iter(|| decode_all(&float, &mut samples)));
    group.finish();
}

/// A block on disk, from the index to the last sample: series, frames, checksums, decoding.
fn whole_block(c: &mut Criterion) {
    const SERIES: usize = 5_000;
    const EACH: usize = 400;
    let dir = tempfile::tempdir().unwrap();
    let options = tsdb::BlockOptions::new(tsdb::ulid(1, 1));
    let mut writer = tsdb::BlockWriter::create(dir.path(), options).unwrap();
    let mut random = Random(3);
    for number in 0..SERIES {
        let pod = format!("pod-{number:05}");
        let labels = [("__name__", "requests_total"), ("job", "api"), ("namespace", "shop"), ("pod", pod.as_str())];
        let mut total = 0.0;
        let mut sample = |i: usize| {
            total += (random.next() % 50) as f64;
            (i as i64 * 15_000 + (random.next() % 7) as i64, total)
        };
        let samples: Vec<_> = (0..EACH).map(&mut sample).collect();
        writer.floats(&labels.into_iter().collect(), &samples).unwrap();
    }
    let folder = writer.finish().unwrap();
    let mut group = c.benchmark_group("block of counters");
    group.throughput(Throughput::Elements((SERIES * EACH) as u64)).sample_size(20);
    let mut samples = Samples::default();
    group.bench_function("open, select and decode", |b| {
        b.iter(|| {
            let block = Block::open_folder(&folder).unwrap();
            let mut chunks = block.chunk_reader();
            for series in block.index.series(block.index.all().unwrap()) {
                let series = series.unwrap();
                samples.clear();
                chunks.prefetch(&series.chunks).unwrap();
                for meta in &series.chunks {
                    chunks.read(meta.at).unwrap().decode(&mut samples).unwrap();
                }
                assert_eq!(black_box(&mut samples).len(), EACH);
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = floats, histograms, whole_block
}
criterion_main!(benches);
