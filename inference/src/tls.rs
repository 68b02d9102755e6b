//! The one cryptography library: ring, through rustls, for outgoing TLS and for random bytes.

use forewarn_schema::Timestamp;
use ulid::Ulid;

/// Makes ring the process's TLS provider, unless the program chose one before.
pub(crate) fn install_provider() {
    // An error says that there is one already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Random bytes for secrets and identifiers, from the operating system.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the operating system gives random bytes, or the process could not make a TLS connection either");
    bytes
}

/// A ULID of `now` (lower case): unique, and sorts by time.
pub(crate) fn unique_id(now: Timestamp) -> String {
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    Ulid::from_parts(millis, u128::from_le_bytes(random_bytes())).to_string().to_lowercase()
}
