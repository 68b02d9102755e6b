//! How long to wait before a request is made again: exponential, capped, with full jitter
//! (<https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>).

use std::time::Duration;

/// Waits at most this long on its own account; a server may ask for more.
const CAP: Duration = Duration::from_secs(30);

/// The waits of one request.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    base: Duration,
    attempt: u32,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(base: Duration, seed: u64) -> Self {
        Self { base, attempt: 0, random: seed }
    }

    /// The next wait: uniform in zero to `base × 2^attempt`, at most 30 s.
    pub(crate) fn next(&mut self) -> Duration {
        let ceiling = self.base.saturating_mul(1 << self.attempt.min(20)).min(CAP);
        self.attempt = self.attempt.saturating_add(1);
        // 53 bits are what a float holds.
        let unit = (self.next_random() >> 11) as f64 / (1_u64 << 53) as f64;
        ceiling.mul_f64(unit)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): jitter needs no more.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_stay_below_their_ceiling_and_repeat_with_the_seed(seed: u64, base in 0_u64..100_000) {
            let base = Duration::from_millis(base);
            let (mut first, mut again) = (Backoff::new(base, seed), Backoff::new(base, seed));
            for attempt in 0..40 {
                let wait = first.next();
                prop_assert!(wait <= base.saturating_mul(1 << attempt.min(20)).min(CAP));
                prop_assert_eq!(wait, again.next());
            }
        }
    }
}
