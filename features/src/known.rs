//! Series by the fingerprints of their labels: what a sender sends again with every sample is looked up, not unfolded.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::promql::SeriesPlace;

/// More fingerprints than this are not remembered; then all are learnt anew. 32 bytes each.
const MOST: usize = 1 << 22;

/// What is known of a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// No expression reads its series.
    Unwanted,
    /// Its series is in memory.
    At(SeriesPlace),
}

/// Every fingerprint that was met.
#[derive(Debug, Default)]
pub(crate) struct KnownSeries(HashMap<u128, Known, BuildHasherDefault<Uniform>>);

impl KnownSeries {
    pub(crate) fn get(&self, fingerprint: u128) -> Option<Known> {
        self.0.get(&fingerprint).copied()
    }

    pub(crate) fn remember(&mut self, fingerprint: u128, known: Known) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(fingerprint, known);
    }

    /// Places are not what they were: only what nobody wants is still known.
    pub(crate) fn forget_places(&mut self) {
        self.0.retain(|_, known| *known == Known::Unwanted);
    }
}

/// A fingerprint is uniform and secret already; hashing it again would add nothing.
#[derive(Debug, Default)]
struct Uniform(u64);

impl Hasher for Uniform {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
