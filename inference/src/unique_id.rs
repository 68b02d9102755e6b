//! Identifiers for what comes from people, where no fact makes two of them the same.

use forewarn_schema::Timestamp;
use ulid::Ulid;

/// A ULID of `now` (lower case): unique, and sorts by time.
pub(crate) fn unique_id(now: Timestamp) -> String {
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    Ulid::from_parts(millis, u128::from_le_bytes(forewarn_storage::random_bytes())).to_string().to_lowercase()
}
