//! A histogram of seconds with fixed bounds.

use std::time::Duration;

/// Upper bounds of the buckets, seconds: from a step of a few targets to one that takes as long as a step is apart.
pub(super) const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// How often something took how long.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// One a bound; what took longer is only in `count`.
    counts: [u64; BOUNDS.len()],
    pub(super) count: u64,
    pub(super) sum: f64,
}

impl Histogram {
    pub(super) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.counts[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// Bound and how many took at most that long, as Prometheus counts them.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut total = 0;
        BOUNDS.into_iter().zip(self.counts).map(move |(bound, count)| {
            total += count;
            (bound, total)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_up_and_the_last_bound_is_not_the_end() {
        let mut histogram = Histogram::default();
        for millis in [3, 20, 20, 90_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!((histogram.count, histogram.sum), (4, 90.043));
    }
}
