//! How long does one week of one service's steps take to fit and to score, and what does a row with
//! missing values cost? 2,016 five-minute steps of 12 features, the paper's 100 trees of 256 rows.
#![allow(missing_docs, reason = "criterion's macros write functions without docs")]
#![allow(clippy::unwrap_used, reason = "the sizes below are in range")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forewarn_models::isolation_forest::IsolationForestParams;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROWS: usize = 2_016;
const FEATURES: usize = 12;

fn isolation_forest(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let rows: Vec<f32> = (0..ROWS * FEATURES).map(|_| rng.random()).collect();
    let params = IsolationForestParams::default().check().unwrap();
    let forest = params.fit(&rows, FEATURES).unwrap();
    let mut scores = vec![0.0; ROWS];

    let mut group = criterion.benchmark_group("isolation_forest");
    group.bench_function("fit", |bencher| bencher.iter(|| params.fit(&rows, FEATURES).unwrap()));
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("score", |bencher| bencher.iter(|| forest.score_rows(&rows, &mut scores, 1)));
    let mut holed = rows.clone();
    holed.chunks_mut(FEATURES).for_each(|row| row[3] = f32::NAN);
    group.bench_function("score, one of 12 missing", |bencher| {
        bencher.iter(|| forest.score_rows(&holed, &mut scores, 1));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("score, one row at a time", |bencher| bencher.iter(|| forest.score(&rows[..FEATURES])));
    group.bench_function("explain", |bencher| bencher.iter(|| forest.explain(&rows[..FEATURES])));
    group.finish();
}

criterion_group!(benches, isolation_forest);
criterion_main!(benches);
