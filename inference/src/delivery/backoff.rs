//! How long to wait before the next try: doubling, with a spread so that many messages to one
//! receiver do not come back together. The same message waits the same, so that a test can tell.

use std::time::Duration;

use forewarn_schema::stable_id;

const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer, whatever the receiver asks for: a request is of no use after its expiry.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// After `failed` tries that failed before this one; between half and all of 1 s doubled that often,
/// at most [`LONGEST`].
pub(super) fn delay(event_id: &str, failed: u32) -> Duration {
    let full = FIRST.saturating_mul(2u32.saturating_pow(failed)).min(LONGEST);
    let id = stable_id("", &[event_id, &failed.to_string()]);
    let spread = u8::from_str_radix(&id[id.len() - 2..], 16).unwrap_or(0);
    full / 2 + full / 2 * u32::from(spread) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wait_is_between_half_and_all_of_its_double() {
        for failed in [0, 1, 2, 5, 8, 9, 31, 32, u32::MAX] {
            let full = Duration::from_secs(1u64.checked_shl(failed).unwrap_or(u64::MAX).min(300));
            for id in ["r-1", "r-2", ""] {
                let wait = delay(id, failed);
                assert!(full / 2 <= wait && wait <= full, "{failed} {id:?}: {wait:?} against {full:?}");
            }
        }
        assert_ne!(delay("r-1", 5), delay("r-2", 5));
    }
}
