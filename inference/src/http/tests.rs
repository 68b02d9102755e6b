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
