//! How a text leaves: with a tag of its content, so that who asks again every few seconds gets 304 and no bytes while
//! nothing changed, and compressed where the browser takes that.

use std::io::Write as _;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::scoring::blocking;

/// Smaller answers are not worth the work.
pub(super) const COMPRESSED_FROM: usize = 1024;
/// More is compressed off the async threads.
const MOST_AT_ONCE: usize = 256 << 10;
/// Pages are ours and made in memory; an answer beyond this is a report, and is passed on as it is.
const MOST_BYTES: usize = 8 << 20;

/// Wraps the routes of the page.
pub(crate) async fn deliver(request: Request, next: Next) -> Response {
    let asked = request.headers().clone();
    let response = next.run(request).await;
    if response.status() != StatusCode::OK || !is_text(response.headers()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let size = axum::body::HttpBody::size_hint(&body).exact();
    if size.is_none_or(|size| size > MOST_BYTES as u64) {
        return Response::from_parts(head, body);
    }
    let Ok(bytes) = to_bytes(body, MOST_BYTES).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let tag = tag(&bytes);
    head.headers.insert(header::ETAG, tag.clone());
    head.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    // What a page says stays out of caches (the script keeps the tag itself); its style and its scripts may be kept.
    if !is_page(&head.headers) {
        head.headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    }
    if is_known(&asked, &tag) {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(header::CONTENT_TYPE);
        return Response::from_parts(head, Body::empty());
    }
    if bytes.len() >= COMPRESSED_FROM && takes_gzip(&asked) {
        head.headers.remove(header::CONTENT_LENGTH);
        head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        // A page takes a millisecond, a report much longer.
        let packed = match bytes.len() {
            0..MOST_AT_ONCE => gzip(&bytes),
            _ => match blocking(move || gzip(&bytes)).await {
                Ok(packed) => packed,
                Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            },
        };
        return Response::from_parts(head, Body::from(packed));
    }
    Response::from_parts(head, Body::from(bytes))
}

fn is_text(headers: &HeaderMap) -> bool {
    ["text/css", "text/javascript", "image/svg+xml"].iter().any(|text| kind(headers).starts_with(text))
        || is_page(headers)
}

fn is_page(headers: &HeaderMap) -> bool {
    kind(headers).starts_with("text/html")
}

fn kind(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

/// An entity tag: the same bytes, the same tag.
pub(crate) fn tag(bytes: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the caller has what bears `tag` already.
pub(crate) fn is_known(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let tag = tag.to_str().unwrap_or_default();
    known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag))
}

/// A coding with weight 0 is one that is not wanted.
pub(crate) fn takes_gzip(asked: &HeaderMap) -> bool {
    let codings = asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    codings.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// Fast rather than small: it is done while somebody waits.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::fast());
    // Writing into memory cannot fail.
    let _ = out.write_all(bytes);
    out.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_browser_has_and_takes_is_read_as_it_is_written() {
        let headers = |name, value: &str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        let tag = tag(b"page");
        let quoted = tag.to_str().unwrap().to_owned();
        assert!(is_known(&headers(header::IF_NONE_MATCH, &format!("\"other\", W/{quoted}")), &tag));
        assert!(!is_known(&headers(header::IF_NONE_MATCH, "\"other\""), &tag));
        assert!(takes_gzip(&headers(header::ACCEPT_ENCODING, "br, gzip;q=0.5")));
        for no in ["br", "gzip;q=0", "", "x-gzip"] {
            assert!(!takes_gzip(&headers(header::ACCEPT_ENCODING, no)), "{no}");
        }
    }
}
