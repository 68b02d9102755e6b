//! From samples to a signed request at the webhook, through refusals and a crash, and back as a label.

use std::time::Duration;

use forewarn_inference::{WebhookSecret, verify_webhook};
use forewarn_schema::{RemediationRequest, Timestamp};
use forewarn_testkit::webhook::{WebhookReceiver, verify};
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{START, start, start_at, started_after_expiry, webhook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_leak_becomes_a_signed_request_an_outcome_and_a_label() {
    let folder = tempfile::tempdir().unwrap();
    // The first two tries are answered 503.
    let receiver = WebhookReceiver::start(2).unwrap();
    let rig = start(folder.path(), |options| options.webhook = Some(webhook(&receiver, SECRET))).await;
    let request = rig.leak_until_request(START).await;
    assert_eq!(request["kind"], "pool_exhaustion");
    assert_eq!(request["mode"], "dry_run");
    assert!(receiver.wait_for(3, PATIENCE));

    let tries = receiver.requests();
    let delivered = tries.last().unwrap();
    verify(SECRET, delivered).unwrap();
    let headers: HeaderMap = delivered
        .headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    let secret = WebhookSecret::parse(SECRET).unwrap();
    let now = Timestamp::from_millis(i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap());
    assert_eq!(verify_webhook(&secret, &headers, &delivered.body, now), Ok(()));
    let ids: Vec<_> = tries.iter().map(|t| t.header("webhook-id").unwrap().to_owned()).collect();
    let id = request["id"].as_str().unwrap();
    assert_eq!(ids, [id, id, id], "every try carries the same id");
    let body: RemediationRequest = serde_json::from_slice(&delivered.body).unwrap();
    assert_eq!(body.outcome_url, Some(format!("{}/api/v1/requests/{id}/outcome", rig.base)));
    let message: Value = serde_json::from_slice(&delivered.body).unwrap();
    assert_eq!(message["type"], "remediation.requested");

    let delivered = async || rig.get("/api/v1/requests").await.1[0]["delivered_at"].is_string();
    for _ in 0..100 {
        if delivered().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(delivered().await);
    let path = format!("/api/v1/requests/{id}/outcome");
    let (status, settled) = rig.post(&path, json!({"outcome": "succeeded", "note": "restarted"})).await;
    assert_eq!((status, &settled["status"]), (StatusCode::OK, &json!("succeeded")));
    let (status, _) = rig.post(&path, json!({"outcome": "failed"})).await;
    assert_eq!(status, StatusCode::CONFLICT);

    let prediction = request["prediction_id"].as_str().unwrap();
    let label = json!({"prediction_id": prediction, "verdict": "true_positive", "note": "it did leak"});
    let (status, stored) = rig.post("/api/v1/feedback", label.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{stored}");
    assert_eq!(rig.get("/api/v1/feedback").await.1, json!([stored]));
    let of_label = format!("/api/v1/feedback/{}", stored["id"].as_str().unwrap());
    assert_eq!(rig.send(Method::DELETE, &of_label, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(rig.send(Method::DELETE, &of_label, Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(rig.get("/api/v1/feedback").await.1, json!([]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_before_a_crash_is_delivered_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let deaf = WebhookReceiver::start(usize::MAX).unwrap();
    let rig = start(folder.path(), |options| options.webhook = Some(webhook(&deaf, SECRET))).await;
    let request = rig.leak_until_request(START).await;
    assert!(deaf.wait_for(1, PATIENCE));
    let at: Timestamp = serde_json::from_value(request["at"].clone()).unwrap();
    let restart = at.millis() / 1000 + 60;
    rig.crash().await;

    let receiver = WebhookReceiver::start(0).unwrap();
    let rig = start_at(folder.path(), restart, |options| options.webhook = Some(webhook(&receiver, SECRET))).await;
    assert!(receiver.wait_for(1, PATIENCE));
    let first = &receiver.requests()[0];
    verify(SECRET, first).unwrap();
    assert_eq!(first.header("webhook-id"), request["id"].as_str());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.requests().len(), 1, "delivered once it is taken, not again");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_request_is_never_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let (rig, request) = started_after_expiry(folder.path(), &receiver, SECRET).await;
    for _ in 0..100 {
        if rig.metric(r#"forewarn_deliveries_total{result="expired"}"#).await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rig.metric(r#"forewarn_deliveries_total{result="expired"}"#).await, Some(1.0));
    assert_eq!(receiver.requests().len(), 0);
    let id = request["id"].as_str().unwrap();
    let (status, problem) = rig.post(&format!("/api/v1/requests/{id}/approve"), Value::Null).await;
    assert_eq!(
        (status, &problem["detail"]),
        (StatusCode::CONFLICT, &json!(format!("request {id} is expired already")))
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_made_once_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let hook = || forewarn_inference::Webhook {
        url: receiver.url().parse().unwrap(),
        secret: None,
        reach: forewarn_inference::Reach::default(),
    };
    let rig = start(folder.path(), |options| options.webhook = Some(hook())).await;
    let path = folder.path().join("webhook.secret");
    let secret = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    rig.stop().await;
    let rig = start(folder.path(), |options| options.webhook = Some(hook())).await;
    rig.leak_until_request(START).await;
    assert!(receiver.wait_for(1, PATIENCE));
    verify(secret.trim(), &receiver.requests()[0]).unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_become_labels_once() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let request = rig.leak_until_request(START).await;
    let emitted: Timestamp = serde_json::from_value(request["at"].clone()).unwrap();
    let alert = |labels: Value, at: Timestamp| json!({"status": "firing", "labels": labels, "startsAt": at});
    let announced = json!({"alertname": "PoolExhausted", "service": "cart", "kind": "pool_exhaustion"});
    let missed = json!({"alertname": "oom", "service": "pay"});
    let notification = json!({"version": "4", "status": "firing", "alerts": [
        alert(announced, emitted + Duration::from_secs(300)),
        alert(missed, emitted),
        alert(json!({"alertname": "Watchdog"}), emitted),
        {"status": "resolved", "labels": {"alertname": "oom", "service": "pay"}, "startsAt": emitted},
    ]});
    let (status, answer) = rig.post("/api/v1/alertmanager", notification.clone()).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"labelled": 2, "ignored": 2})));
    assert_eq!(rig.post("/api/v1/alertmanager", notification).await.1, json!({"labelled": 0, "ignored": 4}));
    let (_, labels) = rig.get("/api/v1/feedback").await;
    let mut said: Vec<_> =
        labels.as_array().unwrap().iter().map(|l| (l["verdict"].as_str().unwrap(), &l["subject"])).collect();
    said.sort_by_key(|(verdict, _)| *verdict);
    assert_eq!(said[0].0, "missed");
    assert_eq!(said[0].1["service"], "pay");
    assert_eq!(said[1].0, "true_positive");
    assert_eq!(said[1].1["prediction_id"], request["prediction_id"]);
    rig.stop().await;
}
