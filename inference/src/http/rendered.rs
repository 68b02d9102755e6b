//! What `GET /api/v1/predictions` answers, written once a step: everybody who asks until the next one gets the same bytes.

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use forewarn_schema::Prediction;

use super::deliver;

/// The list of predictions as JSON, with its tag; compressed when somebody first asks for that.
pub(crate) struct Rendered {
    json: Bytes,
    tag: HeaderValue,
    gzip: OnceLock<Bytes>,
}

impl Default for Rendered {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl Rendered {
    /// The same of the next step. Takes some milliseconds per thousand predictions; compresses at once where somebody
    /// asked for that in this step, so that nobody waits for it in the next.
    pub(crate) fn next(&self, predictions: &[Prediction]) -> Self {
        let next = Self::of(predictions);
        if self.gzip.get().is_some() {
            next.compressed();
        }
        next
    }

    fn of(predictions: &[Prediction]) -> Self {
        // Numbers and texts: writing them cannot fail.
        let json = Bytes::from(serde_json::to_vec(predictions).unwrap_or_default());
        Self { tag: deliver::tag(&json), json, gzip: OnceLock::new() }
    }

    fn compressed(&self) -> &Bytes {
        self.gzip.get_or_init(|| Bytes::from(deliver::gzip(&self.json)))
    }

    /// The answer to somebody who asked with these headers: 304 where they have it already.
    pub(crate) fn answer(&self, asked: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if deliver::is_known(asked, &self.tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let bytes = if self.json.len() >= deliver::COMPRESSED_FROM && deliver::takes_gzip(asked) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            self.compressed().clone()
        } else {
            self.json.clone()
        };
        *response.body_mut() = Body::from(bytes);
        response
    }
}
