//! Messages that did not get there: seen, and sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use forewarn_inference::{Reach, Webhook, WebhookSecret};
use forewarn_testkit::http::{Response, TinyServer};
use forewarn_testkit::webhook::WebhookReceiver;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::rig::{Rig, START, start, started_after_expiry, webhook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(20);

async fn until_message(rig: &Rig, query: &str, state: &str) -> Value {
    for _ in 0..200 {
        let message = rig.get(&format!("/api/v1/outbox{query}")).await.1["messages"][0].clone();
        if message["state"] == state {
            return message;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no message became {state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_seen_with_its_error_and_sent_again_with_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let answer = Arc::new(AtomicU16::new(400));
    let (says, ids) = (Arc::clone(&answer), Arc::new(std::sync::Mutex::new(Vec::new())));
    let seen = Arc::clone(&ids);
    let server = TinyServer::start(move |request| {
        seen.lock().unwrap().push(request.header("webhook-id").unwrap().to_owned());
        Response::status(says.load(Ordering::SeqCst))
    })
    .unwrap();
    let rig = start(folder.path(), |options| {
        let secret = Some(WebhookSecret::parse(SECRET).unwrap());
        options.webhook = Some(Webhook { url: server.url("/hook").parse().unwrap(), secret, reach: Reach::default() });
    })
    .await;
    let request = rig.leak_until_request(START).await;
    let message = until_message(&rig, "", "refused").await;
    assert_eq!((&message["request_id"], &message["attempts"]), (&request["id"], &json!(1)));
    assert_eq!(message["last_error"], "the webhook answered 400 Bad Request");
    assert_eq!(rig.metric(r#"forewarn_outbox_messages{state="refused"}"#).await, Some(1.0));
    let id = message["event_id"].as_str().unwrap();
    answer.store(200, Ordering::SeqCst);
    let (status, pending) = rig.post(&format!("/api/v1/outbox/{id}/resend"), Value::Null).await;
    assert_eq!((status, &pending["state"]), (StatusCode::OK, &json!("pending")));
    let delivered = until_message(&rig, "?state=delivered", "delivered").await;
    assert_eq!((&delivered["attempts"], &delivered["last_error"]), (&json!(2), &Value::Null));
    assert_eq!(*ids.lock().unwrap(), [id, id]);
    assert_eq!(rig.get("/api/v1/outbox").await.1["messages"], json!([]));

    assert_eq!(rig.post("/api/v1/outbox/r-none/resend", Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(rig.get("/api/v1/outbox?state=lost").await.0, StatusCode::BAD_REQUEST);
    rig.post(&format!("/api/v1/requests/{id}/reject"), Value::Null).await;
    let (status, problem) = rig.post(&format!("/api/v1/outbox/{id}/resend"), Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["detail"], format!("message {id} is not sent again: its request is rejected"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_is_sent_only_at_a_clear_word() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let (rig, request) = started_after_expiry(folder.path(), &receiver, SECRET).await;
    let message = until_message(&rig, "", "expired").await;
    let path = format!("/api/v1/outbox/{}/resend", message["event_id"].as_str().unwrap());
    let (status, problem) = rig.post(&path, Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().contains("send after_expiry = true"), "{problem}");
    assert_eq!(receiver.requests().len(), 0);
    assert_eq!(rig.post(&path, json!({"after_expiry": true})).await.0, StatusCode::OK);
    assert!(receiver.wait_for(1, PATIENCE));
    let body: Value = serde_json::from_slice(&receiver.requests()[0].body).unwrap();
    assert_eq!(body["expires_at"], request["expires_at"], "it says of itself that it is expired");
    let (_, trail) = rig.get("/api/v1/audit").await;
    assert_eq!(
        (&trail["entries"][0]["action"], &trail["entries"][0]["detail"]),
        (&json!("resend"), &json!("after its expiry"))
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_its_next_try_is_tried_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let deaf = WebhookReceiver::start(usize::MAX).unwrap();
    let rig = start(folder.path(), |options| options.webhook = Some(webhook(&deaf, SECRET))).await;
    let request = rig.leak_until_request(START).await;
    // The fourth try waits between four and eight seconds for the fifth.
    assert!(deaf.wait_for(4, PATIENCE));
    let path = format!("/api/v1/outbox/{}/resend", request["id"].as_str().unwrap());
    assert_eq!(rig.post(&path, Value::Null).await.0, StatusCode::OK);
    assert!(deaf.wait_for(5, Duration::from_secs(2)));
    rig.stop().await;
}
