//! How long does one training step take on each device, and one forecast? Batch 64, 60 steps of 8
//! features, hidden size 32, four horizons.
#![allow(missing_docs, reason = "criterion's macros write functions without docs")]
#![allow(clippy::unwrap_used, reason = "the sizes below are in range")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use forewarn_models::lstm::{Device, LstmParams, LstmTrainingSet};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const STEPS: usize = 5;

fn lstm(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let set = LstmTrainingSet {
        inputs: (0..64 * 60 * 8).map(|_| rng.random()).collect(),
        targets: (0..64 * 4).map(|_| rng.random()).collect(),
    };
    let mut group = criterion.benchmark_group("lstm");
    group.sample_size(10);
    for device in Device::available() {
        let params = LstmParams { features: 8, steps: STEPS, device: *device, ..Default::default() };
        let params = params.check().unwrap();
        group.bench_function(format!("{STEPS} training steps on {device}"), |bencher| {
            bencher.iter_batched(|| (), |()| params.fit(&set, &|_, _| {}).unwrap(), BatchSize::PerIteration);
        });
    }
    let params = LstmParams { features: 8, steps: 1, ..Default::default() }.check().unwrap();
    let forecaster = params.fit(&set, &|_, _| {}).unwrap();
    group.bench_function("forecast", |bencher| bencher.iter(|| forecaster.forecast(&set.inputs[..60 * 8])));
    group.finish();
}

criterion_group!(benches, lstm);
criterion_main!(benches);
