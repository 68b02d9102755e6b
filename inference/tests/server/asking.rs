//! Who may ask for what, over HTTP: roles, the browser's question for a password, and the audit that names who decided.

use forewarn_inference::{Credential, CredentialKind, Role, ServerOptions};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::rig::{Rig, START, bind, options, start};

pub(crate) fn credentials() -> Vec<Credential> {
    let of = |name, role, kind, secret| Credential::new(name, role, kind, secret).unwrap();
    vec![
        of("prometheus", Role::Write, CredentialKind::Token, "token-of-prometheus"),
        of("grafana", Role::Read, CredentialKind::Token, "token-of-grafana"),
        of("anna", Role::Operate, CredentialKind::Password, "password-of-anna"),
    ]
}

async fn ask(rig: &Rig, method: Method, path: &str, body: Value, bearer: &str) -> StatusCode {
    let mut request = rig.client.request(method, format!("{}{path}", rig.base)).bearer_auth(bearer);
    if !body.is_null() {
        request = request.json(&body);
    }
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_do_what_their_role_allows_and_the_audit_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |options| options.access = credentials()).await;

    let unasked = rig.client.get(format!("{}/", rig.base)).send().await.unwrap();
    assert_eq!(unasked.status(), StatusCode::UNAUTHORIZED);
    let challenge = unasked.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
    assert!(challenge.starts_with("Basic "), "a browser asks for a password: {challenge}");
    assert_eq!(rig.get("/-/ready").await.0, StatusCode::OK, "a kubelet has no secret");

    let (grafana, prometheus) = ("token-of-grafana", "token-of-prometheus");
    assert_eq!(ask(&rig, Method::GET, "/metrics", Value::Null, grafana).await, StatusCode::OK);
    assert_eq!(ask(&rig, Method::GET, "/metrics", Value::Null, prometheus).await, StatusCode::FORBIDDEN);
    assert_eq!(ask(&rig, Method::POST, "/-/reload", Value::Null, grafana).await, StatusCode::FORBIDDEN);
    let alert = json!({ "alerts": [] });
    assert_ne!(ask(&rig, Method::POST, "/api/v1/alertmanager", alert, prometheus).await, StatusCode::FORBIDDEN);

    let label = json!({ "service": "cart", "kind": "pool_exhaustion", "at": START, "verdict": "missed" });
    assert_eq!(ask(&rig, Method::POST, "/api/v1/feedback", label.clone(), grafana).await, StatusCode::FORBIDDEN);
    let request = rig.client.post(format!("{}/api/v1/feedback", rig.base)).json(&label);
    let labelled = request.basic_auth("anna", Some("password-of-anna")).send().await.unwrap();
    assert_eq!(labelled.status(), StatusCode::CREATED, "{}", labelled.text().await.unwrap());

    let url = format!("sqlite://{}", folder.path().join("state.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let audit: Vec<(String, String)> =
        sqlx::query_as("SELECT action, who FROM audit").fetch_all(&mut database).await.unwrap();
    assert_eq!(audit, [("label".to_owned(), "anna".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_is_let_near_only_where_somebody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let remote = |access| ServerOptions { listen: ([0, 0, 0, 0], 0).into(), access, ..options(folder.path()) };
    let refused = bind(folder.path(), remote(vec![])).await.err().unwrap().to_string();
    assert!(refused.contains("[[serve.access]]"), "{refused}");
    assert!(bind(folder.path(), remote(credentials())).await.is_ok());
}
