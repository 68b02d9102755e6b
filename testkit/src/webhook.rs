//! The other end of a webhook: a receiver that keeps what it got, and the check of a signature as
//! Standard Webhooks 1.0 describes it (<https://www.standardwebhooks.com>), written apart from the
//! sender so that one cannot excuse the other.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::http::{Request, Response, TinyServer};

/// Keeps every request; answers 200 unless told otherwise.
#[derive(Debug)]
pub struct WebhookReceiver {
    server: TinyServer,
    inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    refusals_left: usize,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of a test thread must not hide what arrived.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WebhookReceiver {
    /// Starts on a spare loopback port. The first `refusals` requests are answered 503, and kept too.
    pub fn start(refusals: usize) -> io::Result<Self> {
        let state = State { requests: Vec::new(), refusals_left: refusals };
        let inbox = Arc::new(Inbox { state: Mutex::new(state), arrived: Condvar::new() });
        let inner = Arc::clone(&inbox);
        let server = TinyServer::start(move |request| {
            let mut state = inner.state();
            state.requests.push(request.clone());
            inner.arrived.notify_all();
            if state.refusals_left > 0 {
                state.refusals_left -= 1;
                return Response::status(503);
            }
            Response::status(200)
        })?;
        Ok(Self { server, inbox })
    }

    /// Where to send to.
    pub fn url(&self) -> String {
        self.server.url("/hook")
    }

    /// Everything so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.inbox.state().requests.clone()
    }

    /// Waits until there are `count` requests; false when `patience` runs out first.
    pub fn wait_for(&self, count: usize, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.inbox.state();
        while state.requests.len() < count {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.inbox.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Checks the signature of a request; `secret` is `whsec_` and base64. The error says what is wrong.
pub fn verify(secret: &str, request: &Request) -> Result<(), String> {
    let header = |name: &str| request.header(name).ok_or_else(|| format!("no header {name}"));
    let (id, timestamp, signatures) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    timestamp.parse::<u64>().map_err(|_| format!("webhook-timestamp must be Unix seconds, got {timestamp:?}"))?;
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").ok_or("the secret must begin with whsec_")?)
        .map_err(|e| format!("the secret is not base64: {e}"))?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|e| e.to_string())?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(&request.body);
    let matches = |signature: &str| {
        signature
            .strip_prefix("v1,")
            .and_then(|text| STANDARD.decode(text).ok())
            .is_some_and(|bytes| mac.clone().verify_slice(&bytes).is_ok())
    };
    if signatures.split(' ').any(matches) { Ok(()) } else { Err(format!("no signature of {id} matches")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification and its libraries' tests.
    fn example() -> (&'static str, Request) {
        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        let request = Request {
            method: "POST".into(),
            target: "/".into(),
            headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
            body: br#"{"test": 2432232314}"#.to_vec(),
        };
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", request)
    }

    #[test]
    fn the_published_example_verifies_and_a_changed_body_does_not() {
        let (secret, mut request) = example();
        assert_eq!(verify(secret, &request), Ok(()));
        request.body[3] = b'x';
        assert!(verify(secret, &request).is_err());
    }
}
