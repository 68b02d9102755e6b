//! Whatever is sent, the answer is one that was meant.

use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use forewarn_testkit::otlp;
use forewarn_testkit::remote_write::HEADERS;
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::rig::{bind, options, pool_scrape};

/// One server for all cases; it never listens to anybody else.
fn server() -> &'static (Runtime, Router, tempfile::TempDir) {
    static SERVER: OnceLock<(Runtime, Router, tempfile::TempDir)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (runtime, folder) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        let router = runtime.block_on(async {
            let mut options = options(folder.path());
            // All cases come at once, and each must get in.
            options.rates.requests_per_second = 0.0;
            let server = bind(folder.path(), options).await.unwrap();
            forewarn_inference::router(server.handle().app().clone())
        });
        (runtime, router, folder)
    })
}

fn answer(path: &str, content_type: &str, body: Vec<u8>) -> StatusCode {
    let (runtime, router, _) = server();
    let mut request = Request::post(path).header("content-type", content_type);
    if path.ends_with("/write") {
        request = HEADERS.iter().filter(|(n, _)| *n != "content-type").fold(request, |r, (n, v)| r.header(*n, *v));
    }
    let request = request.body(Body::from(body)).unwrap();
    runtime.block_on(router.clone().oneshot(request)).unwrap().status()
}

fn write(body: Vec<u8>) -> u16 {
    answer("/api/v1/write", "application/x-protobuf", body).as_u16()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_write_breaks_the_server(bytes in prop::collection::vec(any::<u8>(), 0..400), compress in any::<bool>()) {
        let body = if compress { snap::raw::Encoder::new().compress_vec(&bytes).unwrap() } else { bytes };
        prop_assert!(matches!(write(body), 204 | 400 | 413 | 415));
    }

    #[test]
    fn no_damaged_write_breaks_the_server(at in any::<i64>(), value in any::<f64>(), index in 0usize..1000, byte in any::<u8>()) {
        let mut message = snap::raw::Decoder::new().decompress_vec(&pool_scrape(at / 1000, value)).unwrap();
        let index = index % message.len();
        message[index] = byte;
        let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
        prop_assert!(matches!(write(body), 204 | 400 | 413 | 415));
    }

    #[test]
    fn no_otlp_breaks_the_server(bytes in prop::collection::vec(any::<u8>(), 0..400), index in 0_usize..1000, byte: u8) {
        let gauge = otlp::gauge("hikaricp.connections.active", "", 1, 2.0, &[("service", "cart"), ("pod", "a")]);
        let mut message = otlp::encode(&otlp::request(&[("service.name", "cart"), ("x", "y")], vec![gauge]));
        let index = index % message.len();
        message[index] = byte;
        for body in [bytes, message] {
            let status = answer("/api/v1/otlp/v1/metrics", "application/x-protobuf", body).as_u16();
            prop_assert!(matches!(status, 200 | 400 | 413), "{status}");
        }
    }

    #[test]
    fn no_json_breaks_the_server(text in "\\PC{0,80}", index in 0usize..4) {
        let paths = ["/api/v1/feedback", "/api/v1/alertmanager", "/api/v1/requests/x/outcome", "/api/v1/requests/x/approve"];
        for body in [text.clone(), format!("{{\"verdict\": {text:?}}}"), format!("{{\"alerts\": [{{\"status\": {text:?}}}]}}")] {
            let status = answer(paths[index], "application/json", body.into_bytes());
            prop_assert!(status.as_u16() < 500, "{status}");
        }
    }
}
