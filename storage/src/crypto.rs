//! The one cryptography library: ring, through rustls, for outgoing TLS and for random bytes.

/// Makes ring the process's TLS provider, unless the program chose one before. Call it before a client is built:
/// reqwest comes without a provider, so that only one is compiled. Calling it again does nothing.
pub fn install_crypto_provider() {
    // An error says that there is one already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Random bytes for secrets and identifiers, from the operating system.
///
/// # Panics
/// Where the operating system has none to give.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the operating system gives random bytes, or the process could not make a TLS connection either");
    bytes
}
