//! One small message to somebody who was configured and does not matter enough to wait for: tried a few times, then let go.
//! Requests leave by the outbox (`delivery`), which loses nothing.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(5);
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(300);

/// Posts `json` to `url`, with `token` as its bearer's; `Err` says in one line why nobody took it. A refusal (4xx) is not tried
/// again. Takes 16 seconds at most.
pub async fn post_json(url: &Url, token: Option<&str>, json: &serde_json::Value) -> Result<(), String> {
    forewarn_storage::install_crypto_provider();
    let client = reqwest::Client::builder()
        // A redirect would take the token to an address that nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()
        .map_err(|e| e.to_string())?;
    let body = json.to_string();
    let mut last = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(BETWEEN_TRIES * attempt).await;
        }
        let mut request = client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("forewarn/", env!("CARGO_PKG_VERSION")))
            .body(body.clone());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) if answer.status().is_client_error() => return Err(format!("answered {}", answer.status())),
            Ok(answer) => last = format!("answered {}", answer.status()),
            Err(error) => last = error.without_url().to_string(),
        }
    }
    Err(last)
}
