//! What made-up histories are made of: a clock from 1 January 2026, two presets of signals, seeded noise.

use std::sync::Arc;

use forewarn_features::SignalSet;
use forewarn_schema::Timestamp;

/// Minutes since 2026-01-01T00:00:00Z.
pub(crate) fn minute(m: i64) -> Timestamp {
    Timestamp::from_seconds(1_767_225_600 + 60 * m)
}

pub(crate) fn signals() -> Arc<SignalSet> {
    Arc::new(SignalSet::new(&["kubernetes".to_owned(), "http".to_owned()], vec![]).unwrap())
}

/// Uniform in -1..1, the same for the same seed and minute.
pub(crate) fn noise(seed: u64, m: i64) -> f64 {
    let mut x = (m as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xd1b5_4a32_d192_ed03);
    x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}
