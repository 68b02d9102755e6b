//! Signed messages as Standard Webhooks 1.0.0 says (<https://www.standardwebhooks.com>): HMAC-SHA256 over
//! `id.timestamp.body`, so that a receiver knows who sent a message, that it is whole, and that it is
//! not an old one sent again.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use forewarn_schema::Timestamp;
use hmac::{Hmac, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// How far a message's time may be from the receiver's.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What messages are signed with: 24 to 64 bytes, written as `whsec_` and base64.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

/// A text is no webhook secret.
#[derive(Debug, thiserror::Error)]
pub enum WebhookSecretError {
    /// It does not look like one. The text itself is not shown.
    #[error("a webhook secret must be whsec_ and the base64 of 24 to 64 bytes")]
    Malformed,
    /// Its file could not be read or made.
    #[error("its file cannot be read or made")]
    File(#[from] std::io::Error),
}

/// A message is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is missing or cannot be read.
    #[error("header {0} is missing or malformed")]
    Header(&'static str),
    /// It was signed too long ago, or in the future.
    #[error("the message was signed more than 5 minutes from now")]
    Stale,
    /// No signature fits.
    #[error("no signature fits the message")]
    Mismatch,
}

impl WebhookSecret {
    /// Reads `whsec_…`; white space around it is left out.
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(WebhookSecretError::Malformed)?;
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| WebhookSecretError::Malformed)?;
        if (24..=64).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(WebhookSecretError::Malformed) }
    }

    /// A new one of 32 random bytes.
    pub fn generate() -> Self {
        Self(forewarn_storage::random_bytes::<32>().to_vec())
    }

    /// The one in the file at `path`; where there is no file, a new one, in a file that only its
    /// owner can read.
    pub fn load_or_create(path: &Path) -> Result<Self, WebhookSecretError> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(path) {
            Ok(mut file) => {
                let secret = Self::generate();
                writeln!(file, "{}", secret.reveal())?;
                file.sync_all()?;
                Ok(secret)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Self::parse(&std::fs::read_to_string(path)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// As [`parse`](Self::parse) reads it; mind who sees it.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    fn mac(&self, id: &str, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        mac
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// The header `webhook-signature` of a message; `timestamp` is that of this try, in Unix seconds.
pub fn sign_webhook(secret: &WebhookSecret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let tag = secret.mac(id, timestamp, body).finalize().into_bytes();
    format!("v1,{}", BASE64_STANDARD.encode(tag))
}

/// Whether a message that came with `headers` is ours, whole, and was signed within 5 minutes of `now`.
/// Any one of several signatures will do. Telling a message from its repetition is the caller's: by
/// `webhook-id`.
pub fn verify_webhook(
    secret: &WebhookSecret,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), SignatureError> {
    let header = |name: &'static str| {
        headers.get(name).and_then(|value| value.to_str().ok()).ok_or(SignatureError::Header(name))
    };
    let id = header("webhook-id")?;
    let timestamp: i64 =
        header("webhook-timestamp")?.parse().map_err(|_| SignatureError::Header("webhook-timestamp"))?;
    if now.seconds_since(Timestamp::from_seconds(timestamp)).abs() > TOLERANCE.as_secs_f64() {
        return Err(SignatureError::Stale);
    }
    for signature in header("webhook-signature")?.split(' ') {
        let Some(encoded) = signature.strip_prefix("v1,") else { continue };
        let Ok(tag) = BASE64_STANDARD.decode(encoded) else { continue };
        // Compares in constant time.
        if secret.mac(id, timestamp, body).verify_slice(&tag).is_ok() {
            return Ok(());
        }
    }
    Err(SignatureError::Mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the Standard Webhooks specification's libraries test with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const TIMESTAMP: i64 = 1_614_265_330;

    fn headers(signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", ID.parse().unwrap());
        headers.insert("webhook-timestamp", TIMESTAMP.to_string().parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn signs_as_the_published_example() {
        let secret = WebhookSecret::parse(SECRET).unwrap();
        let signature = sign_webhook(&secret, ID, TIMESTAMP, BODY);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(secret.reveal(), SECRET);
    }

    #[test]
    fn a_changed_old_or_foreign_message_is_refused() {
        let secret = WebhookSecret::parse(SECRET).unwrap();
        let now = Timestamp::from_seconds(TIMESTAMP + 10);
        let good = headers(&format!("v1,AAAA {}", sign_webhook(&secret, ID, TIMESTAMP, BODY)));
        assert_eq!(verify_webhook(&secret, &good, BODY, now), Ok(()));
        assert_eq!(verify_webhook(&secret, &good, b"{}", now), Err(SignatureError::Mismatch));
        assert_eq!(verify_webhook(&WebhookSecret::generate(), &good, BODY, now), Err(SignatureError::Mismatch));
        let later = now + Duration::from_secs(600);
        assert_eq!(verify_webhook(&secret, &good, BODY, later), Err(SignatureError::Stale));
        assert_eq!(verify_webhook(&secret, &HeaderMap::new(), BODY, now), Err(SignatureError::Header("webhook-id")));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", WebhookSecret::parse(SECRET).unwrap()).contains("MfKQ"));
        let error = WebhookSecret::parse("whsec_tooshort").unwrap_err();
        assert!(!error.to_string().contains("tooshort"));
    }
}
