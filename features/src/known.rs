//! Series by the fingerprints of their labels: what a sender sends again with every sample is looked up, not unfolded.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::promql::SeriesPlace;

/// More fingerprints than this are not remembered; then all are learnt anew. 20 bytes each, and the room that a table leaves.
const MOST: usize = 1 << 22;
/// Stands for a place, of which there are fewer.
const UNWANTED: u32 = u32::MAX;

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
pub(crate) struct KnownSeries(HashMap<Fingerprint, u32, BuildHasherDefault<Uniform>>);

/// Of words, so that entries do not have the alignment of 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint([u32; 4]);

impl Fingerprint {
    fn new(bits: u128) -> Self {
        Self([bits as u32, (bits >> 32) as u32, (bits >> 64) as u32, (bits >> 96) as u32])
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(u64::from(self.0[0]) | u64::from(self.0[1]) << 32);
    }
}

impl KnownSeries {
    pub(crate) fn get(&self, fingerprint: u128) -> Option<Known> {
        self.0.get(&Fingerprint::new(fingerprint)).map(|place| match *place {
            UNWANTED => Known::Unwanted,
            place => Known::At(SeriesPlace::new(place)),
        })
    }

    pub(crate) fn remember(&mut self, fingerprint: u128, known: Known) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let place = match known {
            Known::Unwanted => UNWANTED,
            Known::At(place) => place.position(),
        };
        self.0.insert(Fingerprint::new(fingerprint), place);
    }

    /// Places are not what they were: only what nobody wants is still known.
    pub(crate) fn forget_places(&mut self) {
        self.0.retain(|_, place| *place == UNWANTED);
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

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
