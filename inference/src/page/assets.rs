//! The files that the page loads, compiled in.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The charts' rules first: the page may override them.
static STYLE: LazyLock<String> =
    LazyLock::new(|| format!("{}{}", forewarn_plots::STYLE, include_str!("../../templates/assets/page.css")));
const PAGE: &str = include_str!("../../templates/assets/page.js");
const MORPH: &str = include_str!("../../templates/assets/morph.js");
const KEYS: &str = include_str!("../../templates/assets/keys.js");
const READING: &str = include_str!("../../templates/assets/reading.js");
const ZOOM: &str = include_str!("../../templates/assets/zoom.js");
const SCRIPT: &str = "text/javascript; charset=utf-8";
const ICON: &str = include_str!("../../templates/assets/icon.svg");

/// `GET /l/page.css`: for those who have a link and no login.
pub(super) async fn style() -> Response {
    file(Path("page.css".to_owned())).await
}

/// `GET /assets/{file}`.
pub(super) async fn file(Path(file): Path<String>) -> Response {
    let (kind, body): (_, &'static str) = match file.as_str() {
        "page.css" => ("text/css; charset=utf-8", STYLE.as_str()),
        "page.js" => (SCRIPT, PAGE),
        "morph.js" => (SCRIPT, MORPH),
        "keys.js" => (SCRIPT, KEYS),
        "reading.js" => (SCRIPT, READING),
        "zoom.js" => (SCRIPT, ZOOM),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}
