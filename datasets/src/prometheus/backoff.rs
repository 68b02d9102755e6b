//! How long to wait before a request is made again: exponential, capped, with full jitter
//! (<https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>), or as long as the server asks.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Waits at most this long on its own account; a server may ask for more.
const CAP: Duration = Duration::from_secs(30);

/// The waits of one request.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    base: Duration,
    attempt: u32,
    random: u64,
}

impl Backoff {
    pub(super) fn new(base: Duration, seed: u64) -> Self {
        Self { base, attempt: 0, random: seed }
    }

    /// The next wait: uniform in zero to `base × 2^attempt`, at most 30 s.
    pub(super) fn next(&mut self) -> Duration {
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

/// How long the server asks to be left alone: seconds or any of the three forms of a date (RFC 9110, 5.6.7).
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More seconds than there are numbers for is long.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let obsolete = |form| NaiveDateTime::parse_from_str(text, form).ok().map(|at| at.and_utc());
    let at = DateTime::parse_from_rfc2822(text)
        .ok()
        .map(|at| at.with_timezone(&Utc))
        .or_else(|| obsolete("%A, %d-%b-%y %H:%M:%S GMT"))
        .or_else(|| obsolete("%a %b %e %H:%M:%S %Y"))?;
    Some(at.signed_duration_since(now).to_std().unwrap_or_default())
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

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Thu, 01 Jan 2026 00:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Wed, 31 Dec 2025 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("Thursday, 01-Jan-26 00:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Thu Jan  1 00:01:00 2026"), Some(Duration::from_secs(60)));
        assert_eq!(read("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        for text in ["soon", "", "-1", "1.5"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
