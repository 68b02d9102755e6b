use std::collections::BTreeSet;

use super::openapi::document;

/// The page's routes are HTML for people and not in the document.
#[tokio::test]
async fn the_document_and_the_routes_are_the_same() {
    let (app, _folder) = crate::app::tests::app().await;
    let routed: BTreeSet<String> = super::routes(&app).iter().map(|(path, _)| (*path).to_owned()).collect();
    let document = document();
    let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(routed, described);
}

#[tokio::test]
async fn every_described_method_is_answered_and_no_other() {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    let (app, _folder) = crate::app::tests::app().await;
    let router = super::router(app);
    let document = document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let uri = path.replace("{id}", "x").replace("{service}", "x").replace("{playbook}", "x");
            let request = Request::builder().method(method).uri(&uri).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            let described = methods.get(method.to_lowercase()).is_some();
            let refused = response.status() == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(described, !refused, "{method} {path}: {}", response.status());
            assert_eq!(response.headers()["x-content-type-options"], "nosniff");
            if response.status().as_u16() >= 400 {
                assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
            }
        }
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = document();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let pointer = reference.split('"').next().unwrap().trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn a_server_with_more_than_it_can_take_says_when_to_come_again() {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    let (app, _folder) = crate::app::tests::app().await;
    let router = super::router(app.clone());
    let send = async |path: &str| {
        let request = Request::post(path).header("content-type", "application/x-protobuf");
        let request = if path.ends_with("/write") { request.header("content-encoding", "snappy") } else { request };
        router.clone().oneshot(request.body(Body::from("x")).unwrap()).await.unwrap()
    };
    let (decoders, room) = (&app.0.decoders, &app.0.body_room);
    for all in [decoders, room] {
        let all = all.acquire_many(u32::try_from(all.available_permits()).unwrap()).await.unwrap();
        let answers = tokio::join!(send("/api/v1/write"), send("/api/v1/otlp/v1/metrics"));
        for answer in [answers.0, answers.1] {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers()["retry-after"], "5");
        }
        drop(all);
        assert_eq!(send("/api/v1/write").await.status(), StatusCode::BAD_REQUEST, "there is room again");
    }
}
