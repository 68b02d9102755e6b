//! How much one caller may ask for: a bucket of tokens each, filled at the rate and holding two seconds of it. Nobody's hurry
//! becomes somebody else's wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Callers that are told apart; the others share one bucket.
const MOST_CALLERS: usize = 10_000;
/// Seconds of the rate that may come at once.
const BURST: f64 = 2.0;

/// Requests a second for each caller; 0: as many as they like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateOptions {
    /// Of all but samples: the page, the API, metrics.
    pub requests_per_second: f64,
    /// Of remote write and OTLP. A Prometheus that is told 429 drops what it sent unless `retry_on_http_429` is set.
    pub writes_per_second: f64,
}

impl Default for RateOptions {
    /// 1000 requests, any number of writes: those are held back by what the machine can take, with a 503 that loses nothing.
    fn default() -> Self {
        Self { requests_per_second: 1000.0, writes_per_second: 0.0 }
    }
}

/// One rate, kept for each caller.
pub(crate) struct Rate {
    per_second: f64,
    buckets: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Rate {
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second, buckets: Mutex::default() }
    }

    /// Takes one token of `caller`'s; in how many seconds to come again where there is none.
    pub(crate) fn take(&self, caller: &str, now: Instant) -> Result<(), u64> {
        if self.per_second <= 0.0 {
            return Ok(());
        }
        let full = (self.per_second * BURST).max(1.0);
        let refilled = |tokens: f64, since: Instant| {
            (tokens + now.saturating_duration_since(since).as_secs_f64() * self.per_second).min(full)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_CALLERS && !buckets.contains_key(caller) {
            // A bucket that is full again is as good as none.
            buckets.retain(|_, (tokens, since)| refilled(*tokens, *since) < full);
        }
        let caller = if buckets.len() >= MOST_CALLERS && !buckets.contains_key(caller) { "" } else { caller };
        let (tokens, since) = buckets.entry(caller.to_owned()).or_insert((full, now));
        (*tokens, *since) = (refilled(*tokens, *since), now);
        if *tokens >= 1.0 {
            *tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - *tokens) / self.per_second).ceil().max(1.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_caller_has_a_burst_and_then_the_rate() {
        let (rate, start) = (Rate::new(5.0), Instant::now());
        for _ in 0..10 {
            assert_eq!(rate.take("a", start), Ok(()));
        }
        assert_eq!(rate.take("a", start), Err(1));
        assert_eq!(rate.take("b", start), Ok(()), "others do not wait");
        let later = start + Duration::from_millis(1000);
        for _ in 0..5 {
            assert_eq!(rate.take("a", later), Ok(()));
        }
        assert!(rate.take("a", later).is_err());
        let slow = Rate::new(0.1);
        assert_eq!(slow.take("a", start), Ok(()), "a rate below one a second lets one through");
        assert_eq!(slow.take("a", start), Err(10));
        assert_eq!(Rate::new(0.0).take("a", start), Ok(()));
    }

    #[test]
    fn too_many_callers_share_a_bucket_and_memory_stays_bounded() {
        let (rate, start) = (Rate::new(1.0), Instant::now());
        for caller in 0..MOST_CALLERS + 10 {
            let _ = rate.take(&caller.to_string(), start);
        }
        assert!(rate.buckets.lock().unwrap().len() <= MOST_CALLERS + 1);
        assert!(rate.take("one more", start).is_err(), "the shared bucket is empty");
    }
}
