//! How long a request speaks, and how long it stays open. "Between now and in five weeks" is worth little: whatever its p90 says,
//! it is over after three horizons of its kind.

use std::time::Duration;

use forewarn_schema::{BreachKind, Timestamp};

use crate::scorer::horizon_seconds;

/// A request speaks of so many horizons of its kind at most: 18 hours of memory, pools, errors and what is custom, 36 of a disk, nine
/// days of a certificate.
pub const MOST_HORIZONS: u32 = 3;
/// Nothing could be done in less, however near the breach.
const LEAST_OPEN: Duration = Duration::from_secs(300);

/// The longest that a request of this kind is open.
pub fn most_open(kind: BreachKind) -> Duration {
    horizon(kind) * MOST_HORIZONS
}

/// Until when nobody may act on a request that is made at `at` any more: until its p90, past which there is nothing left to prevent,
/// but at least five minutes and at most [`most_open`].
pub fn expires_at(kind: BreachKind, at: Timestamp, p90: Timestamp) -> Timestamp {
    p90.min(at + most_open(kind)).max(at + LEAST_OPEN)
}

/// How long a breach has to come that makes a request right which was not on the way to it: until its p90, but at least the horizon of
/// its kind, which is what its probability is of, and at most [`most_open`].
pub fn speaks_for(kind: BreachKind, at: Timestamp, p90: Timestamp) -> Duration {
    let said = Duration::try_from_secs_f64(p90.seconds_since(at)).unwrap_or(Duration::ZERO);
    said.clamp(horizon(kind), most_open(kind))
}

fn horizon(kind: BreachKind) -> Duration {
    Duration::from_secs_f64(horizon_seconds(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(h: f64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + (h * 3_600_000.0).round() as i64)
    }

    #[test]
    fn a_request_is_open_until_its_p90_and_no_longer_than_three_horizons() {
        let expires = |kind, p90| expires_at(kind, hour(0.0), hour(p90)).seconds_since(hour(0.0)) / 3600.0;
        assert_eq!(expires(BreachKind::Oom, 8.0), 8.0);
        assert_eq!(expires(BreachKind::Oom, 35.0 * 24.0), 18.0);
        assert_eq!(expires(BreachKind::DiskFull, 35.0 * 24.0), 36.0);
        assert_eq!(expires(BreachKind::CertificateExpiry, 64.4), 64.4, "its end is known");
        assert_eq!(expires(BreachKind::Oom, 0.0), 1.0 / 12.0, "past its limit already");
    }

    #[test]
    fn what_comes_weeks_later_was_not_meant() {
        let speaks = |p90| speaks_for(BreachKind::Oom, hour(0.0), hour(p90)).as_secs_f64() / 3600.0;
        assert_eq!([speaks(-1.0), speaks(2.0), speaks(8.0), speaks(500.0)], [6.0, 6.0, 8.0, 18.0]);
    }
}
