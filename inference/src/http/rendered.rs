//! What `GET /api/v1/predictions` answers, written once a step: everybody who asks until the next one gets the same bytes.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::deliver;
use crate::scoring::Snapshot;

/// The list of predictions as JSON, with its tag; written, and compressed, when somebody first asks for that.
#[derive(Default)]
pub(crate) struct Rendered {
    snapshot: Arc<Snapshot>,
    plain: OnceLock<Plain>,
    gzip: OnceLock<Bytes>,
}

struct Plain {
    json: Bytes,
    tag: HeaderValue,
}

impl Rendered {
    /// The same of the next step. Written and compressed at once where somebody asked for that in this step, so that nobody waits
    /// for it in the next: some milliseconds per thousand predictions. Where nobody asks it takes no memory.
    pub(crate) fn next(&self, snapshot: Arc<Snapshot>) -> Self {
        let next = Self { snapshot, ..Self::default() };
        if self.plain.get().is_some() {
            next.plain();
        }
        if self.gzip.get().is_some() {
            next.compressed();
        }
        next
    }

    fn plain(&self) -> &Plain {
        self.plain.get_or_init(|| {
            // Numbers and texts: writing them cannot fail.
            let json = Bytes::from(serde_json::to_vec(&self.snapshot.predictions).unwrap_or_default());
            Plain { tag: deliver::tag(&json), json }
        })
    }

    fn compressed(&self) -> &Bytes {
        self.gzip.get_or_init(|| Bytes::from(deliver::gzip(&self.plain().json)))
    }

    /// The answer to somebody who asked with these headers: 304 where they have it already.
    pub(crate) fn answer(&self, asked: &HeaderMap) -> Response {
        let Plain { json, tag } = self.plain();
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, tag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if deliver::is_known(asked, tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let bytes = if json.len() >= deliver::COMPRESSED_FROM && deliver::takes_gzip(asked) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            self.compressed().clone()
        } else {
            json.clone()
        };
        *response.body_mut() = Body::from(bytes);
        response
    }
}
