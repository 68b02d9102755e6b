//! The HTTP client under a bucket, with what object_store's own retries leave out: it waits as long as `Retry-After`
//! says, takes a part of an object only where it is the part that was asked for, asks again for a list or a delete
//! whose answer broke off, and takes an error's status for what it says though its text broke off. Whole and partial
//! reads that break off are resumed by object_store itself.

use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// A server that asks for more patience is asked again earlier, and then fails the request.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often an answer that broke off is asked for again.
const ATTEMPTS: u32 = 4;

/// Makes patient clients.
#[derive(Debug)]
pub(crate) struct PatientConnector;

impl HttpConnector for PatientConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Patient(ReqwestConnector::default().connect(options)?)))
    }
}

/// The header's value in that request or response.
macro_rules! header {
    ($message:expr, $name:literal) => {
        $message.headers().get($name).and_then(|value| value.to_str().ok())
    };
}

#[derive(Debug)]
struct Patient(HttpClient);

#[async_trait]
impl HttpService for Patient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_small = request.method() == "POST" || request.uri().query().is_some_and(is_listing);
        if !is_small {
            return self.once(request).await;
        }
        let mut attempt = 1;
        loop {
            let (parts, body) = self.once(request.clone()).await?.into_parts();
            match body.bytes().await {
                Ok(bytes) => return Ok(HttpResponse::from_parts(parts, bytes.into())),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50 << attempt)).await,
            }
            attempt += 1;
        }
    }
}

impl Patient {
    async fn once(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let wanted = header!(request, "range").and_then(requested);
        let response = self.0.execute(request).await?;
        match response.status().as_u16() {
            429 | 503 => {
                let seconds = header!(response, "retry-after").and_then(|text| text.trim().parse().ok());
                // object_store, which asks again, adds its own wait to this.
                tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST_WAIT)).await;
            }
            206 => {
                let got = header!(response, "content-range").and_then(given);
                if let (Some((start, end)), Some((got_start, got_end, size))) = (wanted, got)
                    && (got_start, got_end) != (start, end.min(size.saturating_sub(1)))
                {
                    let reason = format!("asked for bytes {start} to {end}, got {got_start} to {got_end} of {size}");
                    // `Request` is the kind that is asked for again.
                    return Err(HttpError::new(HttpErrorKind::Request, std::io::Error::other(reason)));
                }
            }
            _ => {}
        }
        if response.status().as_u16() < 400 {
            return Ok(response);
        }
        // An object that is not there is not there, and object_store would give up over the text.
        let (parts, body) = response.into_parts();
        Ok(HttpResponse::from_parts(parts, body.bytes().await.unwrap_or_default().into()))
    }
}

fn is_listing(query: &str) -> bool {
    query.split('&').any(|pair| pair == "list-type=2" || pair == "delete")
}

/// First and last byte of `bytes=1-9`; `None` for any other form.
fn requested(range: &str) -> Option<(u64, u64)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, end.parse().ok()?))
}

/// First and last byte and the size of `bytes 1-9/100`.
fn given(range: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    Some((start.parse().ok()?, end.parse().ok()?, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_other_forms_are_left_alone() {
        assert_eq!(requested("bytes=1-9"), Some((1, 9)));
        assert_eq!((requested("bytes=-9"), requested("bytes=1-"), requested("lines=1-2")), (None, None, None));
        assert_eq!(given("bytes 1-9/100"), Some((1, 9, 100)));
        assert_eq!((given("bytes */100"), given("bytes 1-9/*")), (None, None));
    }
}
