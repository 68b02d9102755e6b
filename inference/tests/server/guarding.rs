//! What holds requests back: a stop, silences and maintenance, how many at once and how fast, and how far a playbook may act.

use std::time::Duration;

use forewarn_inference::{MaintenanceWindow, When};
use forewarn_schema::{TimeRange, Timestamp};
use forewarn_testkit::remote_write::encode_scrape;
use forewarn_testkit::webhook::WebhookReceiver;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{LATENESS, Rig, START, pool_series, start, start_at, webhook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(20);
const SERVICES: [&str; 3] = ["cart", "pay", "search"];

/// Connections of each of these services leak, all alike, through these minutes.
async fn leak(rig: &Rig, minutes: std::ops::Range<i64>, services: &[&str]) {
    for minute in minutes {
        let at = START + minute * 60;
        rig.set_now(at + LATENESS);
        let all: Vec<_> = services.iter().flat_map(|s| pool_series(s, 10.0 + 0.25 * minute as f64)).collect();
        let (status, answer) = rig.write(encode_scrape(Timestamp::from_seconds(at), &all)).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
        assert_eq!(rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await, 1);
    }
}

pub(crate) async fn asked_for(rig: &Rig) -> Vec<String> {
    let (_, requests) = rig.get("/api/v1/requests").await;
    let mut services: Vec<String> =
        requests.as_array().unwrap().iter().map(|r| r["service"].as_str().unwrap().to_owned()).collect();
    services.sort();
    services
}

pub(crate) async fn held(rig: &Rig) -> Vec<(String, String)> {
    let (_, safety) = rig.get("/api/v1/safety").await;
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    safety["held"].as_array().unwrap().iter().map(|h| (text(&h["service"]), text(&h["by"]))).collect()
}

async fn held_back(rig: &Rig, reason: &str) -> Option<f64> {
    rig.metric(&format!(r#"forewarn_requests_held_back_total{{reason="{reason}"}}"#)).await
}

/// By when the leak of these services is announced, if nothing holds it back.
pub(crate) const ANNOUNCED: i64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_outlives_a_restart_and_what_is_still_due_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let rig = start(folder.path(), |options| options.webhook = Some(webhook(&receiver, SECRET))).await;
    let (status, safety) = rig.post("/api/v1/requests/stop", json!({"note": "a drill"})).await;
    assert_eq!((status, &safety["stopped"]["note"]), (StatusCode::OK, &json!("a drill")));
    leak(&rig, 0..ANNOUNCED, &["cart"]).await;
    assert_eq!(asked_for(&rig).await, [""; 0]);
    assert!(!rig.get("/api/v1/predictions").await.1.as_array().unwrap().is_empty(), "predictions go on");
    assert_eq!(held(&rig).await, [("cart".to_owned(), "stopped".to_owned())]);
    assert_eq!(
        (held_back(&rig, "stopped").await, rig.metric("forewarn_requests_stopped").await),
        (Some(1.0), Some(1.0))
    );
    assert_eq!(rig.metric(r#"forewarn_requests_held{reason="stopped"}"#).await, Some(1.0));
    let page = rig.client.get(&rig.base).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Requests are stopped since"));
    rig.crash().await;

    let begin = START + ANNOUNCED * 60;
    let rig = start_at(folder.path(), begin, |options| options.webhook = Some(webhook(&receiver, SECRET))).await;
    assert_eq!(rig.get("/api/v1/safety").await.1["stopped"]["note"], "a drill");
    leak(&rig, ANNOUNCED..ANNOUNCED + 60, &["cart"]).await;
    assert_eq!((asked_for(&rig).await, receiver.requests().len()), (vec![], 0));
    rig.post("/api/v1/requests/resume", Value::Null).await;
    leak(&rig, ANNOUNCED + 60..ANNOUNCED + 140, &["cart"]).await;
    assert_eq!(asked_for(&rig).await, ["cart"]);
    assert!(receiver.wait_for(1, PATIENCE));
    let (_, trail) = rig.get("/api/v1/audit").await;
    let actions: Vec<_> = trail["entries"].as_array().unwrap().iter().map(|e| &e["action"]).collect();
    assert_eq!(actions, [&json!("resume"), &json!("stop")]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_keeps_what_waits_and_takes_no_approval() {
    let folder = tempfile::tempdir().unwrap();
    let deaf = WebhookReceiver::start(usize::MAX).unwrap();
    let rig = start(folder.path(), |options| options.webhook = Some(webhook(&deaf, SECRET))).await;
    let request = rig.leak_until_request(START).await;
    assert!(deaf.wait_for(1, PATIENCE));
    rig.post("/api/v1/requests/stop", Value::Null).await;
    let path = format!("/api/v1/requests/{}/approve", request["id"].as_str().unwrap());
    let (status, problem) = rig.post(&path, Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["detail"], "requests are stopped; resume them before one is approved");
    // A try may be on its way at the moment of the stop.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tries = deaf.requests().len();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(deaf.requests().len(), tries, "nothing leaves, not even what waited before");
    rig.post("/api/v1/requests/resume", Value::Null).await;
    assert!(deaf.wait_for(tries + 1, PATIENCE));
    assert_eq!(rig.post(&path, Value::Null).await.0, StatusCode::OK);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_of_a_silenced_service_until_the_silence_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let rig = start(folder.path(), |options| options.webhook = Some(webhook(&receiver, SECRET))).await;
    let until = Timestamp::from_seconds(START + (ANNOUNCED + 30) * 60);
    let (status, silence) =
        rig.post("/api/v1/silences", json!({"service": "cart", "until": until, "note": "deploy"})).await;
    assert_eq!(status, StatusCode::CREATED, "{silence}");
    leak(&rig, 0..ANNOUNCED, &["cart", "pay"]).await;
    assert_eq!(asked_for(&rig).await, ["pay"]);
    assert_eq!(held(&rig).await, [("cart".to_owned(), "maintenance".to_owned())]);
    leak(&rig, ANNOUNCED..ANNOUNCED + 29, &["cart", "pay"]).await;
    assert_eq!(asked_for(&rig).await, ["pay"]);
    leak(&rig, ANNOUNCED + 29..ANNOUNCED + 32, &["cart", "pay"]).await;
    assert_eq!(asked_for(&rig).await, ["cart", "pay"]);
    assert_eq!(rig.get("/api/v1/silences").await.1, json!([]), "it is over");

    let of_all = rig.post("/api/v1/silences", json!({"until": until + Duration::from_secs(86_400)})).await.1;
    let path = format!("/api/v1/silences/{}", of_all["id"].as_str().unwrap());
    assert_eq!(rig.send(Method::DELETE, &path, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(rig.send(Method::DELETE, &path, Value::Null).await.0, StatusCode::NOT_FOUND);
    for wrong in [
        json!({"until": Timestamp::from_seconds(START)}),
        json!({"until": until + Duration::from_secs(400 * 86_400)}),
        json!({"until": until + Duration::from_secs(86_400), "service": ""}),
    ] {
        let (status, problem) = rig.post("/api/v1/silences", wrong.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {problem}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_of_the_configuration_holds_requests_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |minute: i64| Timestamp::from_seconds(START + minute * 60);
    let rig = start(folder.path(), |options| {
        let range = TimeRange { start: at(0), end: at(ANNOUNCED) };
        options.safety.maintenance = vec![MaintenanceWindow { service: None, when: When::Once(range) }];
    })
    .await;
    leak(&rig, 0..ANNOUNCED, &["cart"]).await;
    assert_eq!(asked_for(&rig).await, [""; 0]);
    leak(&rig, ANNOUNCED..ANNOUNCED + 2, &["cart"]).await;
    assert_eq!(asked_for(&rig).await, ["cart"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_so_many_workloads_at_once_and_the_next_when_one_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |options| options.safety.max_workloads = Some(2)).await;
    for service in SERVICES {
        let path = format!("/api/v1/modes/{service}/restart-pod");
        let (status, mode) = rig.send(Method::PUT, &path, json!({"mode": "approval"})).await;
        assert_eq!((status, &mode["mode"]), (StatusCode::OK, &json!("approval")), "{mode}");
    }
    leak(&rig, 0..ANNOUNCED, &SERVICES).await;
    assert_eq!(asked_for(&rig).await, ["cart", "pay"]);
    assert_eq!(held(&rig).await, [("search".to_owned(), "blast_radius".to_owned())]);
    assert_eq!(rig.get("/api/v1/safety").await.1["under_way"], json!(["cart", "pay"]));
    let (_, requests) = rig.get("/api/v1/requests").await;
    let path = |what: &str| format!("/api/v1/requests/{}/{what}", requests[0]["id"].as_str().unwrap());
    rig.post(&path("approve"), Value::Null).await;
    leak(&rig, ANNOUNCED..ANNOUNCED + 1, &SERVICES).await;
    assert_eq!(asked_for(&rig).await.len(), 2, "what is approved is under way");
    rig.post(&path("outcome"), json!({"outcome": "succeeded"})).await;
    leak(&rig, ANNOUNCED + 1..ANNOUNCED + 2, &SERVICES).await;
    assert_eq!(asked_for(&rig).await, SERVICES);
    assert_eq!(held_back(&rig, "blast_radius").await, Some(1.0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_so_many_requests_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |options| options.safety.max_per_hour = Some(2)).await;
    leak(&rig, 0..ANNOUNCED, &SERVICES).await;
    let first = asked_for(&rig).await.len();
    assert!(first >= 2);
    leak(&rig, ANNOUNCED..ANNOUNCED + 61, &SERVICES).await;
    assert_eq!(asked_for(&rig).await, SERVICES, "the third once the hour is over");
    assert_eq!(held_back(&rig, "hourly_rate").await, Some(1.0));
    let (_, requests) = rig.get("/api/v1/requests").await;
    let at = |i: usize| requests[i]["at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(at(0).seconds_since(at(1)), 3600.0, "newest first: {requests}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_is_set_listed_audited_and_acting_alone_must_be_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    assert_eq!(rig.get("/api/v1/modes").await.1, json!({"default": "dry_run", "modes": []}));
    let path = "/api/v1/modes/cart/restart-pod";
    let (status, problem) = rig.send(Method::PUT, path, json!({"mode": "automatic"})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("0 of 20 verified successes") && detail.contains("unearned = true"), "{detail}");
    let wanted = json!({"mode": "automatic", "unearned": true, "note": "we know it"});
    assert_eq!(rig.send(Method::PUT, path, wanted).await.0, StatusCode::OK);
    let (_, modes) = rig.get("/api/v1/modes").await;
    let mode = &modes["modes"][0];
    assert_eq!(
        (&mode["service"], &mode["playbook"], &mode["mode"]),
        (&json!("cart"), &json!("restart-pod"), &json!("automatic"))
    );
    assert_eq!((&mode["verified"], &mode["who"]), (&json!(0), &json!("unauthenticated")));
    // A service that is still warming up acts with a person all the same.
    leak(&rig, 0..ANNOUNCED, &["cart", "pay"]).await;
    let (_, requests) = rig.get("/api/v1/requests").await;
    let mut modes: Vec<_> = requests.as_array().unwrap().iter().map(|r| (&r["service"], &r["mode"])).collect();
    modes.sort_by_key(|(service, _)| service.to_string());
    assert_eq!(modes, [(&json!("cart"), &json!("approval")), (&json!("pay"), &json!("dry_run"))]);
    assert_eq!(rig.send(Method::DELETE, path, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(rig.send(Method::DELETE, path, Value::Null).await.0, StatusCode::NOT_FOUND);

    let (_, newest) = rig.get("/api/v1/audit?limit=1").await;
    assert_eq!(
        (&newest["entries"][0]["action"], &newest["entries"][0]["detail"]),
        (&json!("mode"), &json!("to the default"))
    );
    let (_, next) = rig.get(&format!("/api/v1/audit?limit=1&before={}", newest["before"])).await;
    assert_eq!(next["entries"][0]["detail"], "dry_run to automatic: we know it");
    assert_eq!(next["entries"][0]["object"], "cart/restart-pod");
    let (_, last) = rig.get(&format!("/api/v1/audit?before={}", next["before"])).await;
    assert_eq!(last, json!({"entries": [], "before": null}));
    assert_eq!(rig.get("/api/v1/audit?page=1").await.0, StatusCode::BAD_REQUEST);
    rig.stop().await;
}
