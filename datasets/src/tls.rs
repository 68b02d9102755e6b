//! The one cryptography library: ring, through rustls.

/// Makes ring the process's TLS provider, unless the program chose one before. Call it before a client is built:
/// reqwest comes without a provider, so that only one is compiled.
pub(crate) fn install_provider() {
    // An error says that there is one already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
