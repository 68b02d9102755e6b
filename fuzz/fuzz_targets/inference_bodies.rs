//! Whatever is sent to whichever path that takes a body, the answer is one that was meant: the server's router, without a network.
//! Links the whole server, so it is asked for by name (`--features inference`).
#![no_main]

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use forewarn_features::SignalSet;
use forewarn_inference::{RateOptions, Server, ServerOptions};
use forewarn_models::{Engine, EngineOptions, ModelRegistry};
use libfuzzer_sys::fuzz_target;
use tower::ServiceExt as _;

const PATHS: [(&str, &str); 11] = [
    ("/api/v1/write", "application/x-protobuf"),
    ("/api/v1/write", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("/api/v1/otlp/v1/metrics", "application/x-protobuf"),
    ("/api/v1/alertmanager", "application/json"),
    ("/api/v1/feedback", "application/json"),
    ("/api/v1/requests/x/approve", "application/json"),
    ("/api/v1/requests/x/outcome", "application/json"),
    ("/requests/x/approve", "application/x-www-form-urlencoded"),
    ("/api/v1/feedback", "application/x-ndjson"),
    ("/api/v1/feedback/links", "application/json"),
    ("/actions/label", "application/x-www-form-urlencoded"),
];

static SERVER: LazyLock<(tokio::runtime::Runtime, Router, tempfile::TempDir)> = LazyLock::new(|| {
    let (runtime, folder) = (tokio::runtime::Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let router = runtime.block_on(async {
        let signals = Arc::new(SignalSet::new(&["hikaricp".to_owned()], vec![]).unwrap());
        let registry = ModelRegistry::open(&format!("file://{}", folder.path().display())).await.unwrap();
        let engine = Engine::new(Arc::clone(&signals), EngineOptions::default());
        let rates = RateOptions { requests_per_second: 0.0, writes_per_second: 0.0 };
        let options = ServerOptions { listen: ([127, 0, 0, 1], 0).into(), rates, ..ServerOptions::default() };
        let server = Server::bind(options, signals, engine, registry).await.unwrap();
        forewarn_inference::router(server.handle().app().clone())
    });
    (runtime, router, folder)
});

fuzz_target!(|bytes: &[u8]| {
    let Some((which, body)) = bytes.split_first() else { return };
    let (path, content_type) = PATHS[usize::from(*which) % PATHS.len()];
    let mut request = Request::post(path).header("content-type", content_type);
    if path.ends_with("/write") {
        request = request.header("content-encoding", "snappy");
    }
    let (runtime, router, _) = &*SERVER;
    let request = request.body(Body::from(body.to_vec())).unwrap();
    let status = runtime.block_on(router.clone().oneshot(request)).unwrap().status();
    assert!(status.as_u16() < 500, "{path}: {status}");
});
