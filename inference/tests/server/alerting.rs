//! Requests as alerts, at two real Alertmanagers.

use std::time::Duration;

use forewarn_inference::{Alertmanagers, Reach};
use forewarn_testkit::http;
use forewarn_testkit::servers::{RunningServer, alertmanager};
use forewarn_testkit::webhook::WebhookReceiver;
use serde_json::{Value, json};

use crate::rig::{START, start};

/// Told often, so that what an hour shows otherwise shows in seconds; forgotten after four times as long.
const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

fn config(receiver: &WebhookReceiver) -> String {
    format!(
        "global: {{resolve_timeout: 1h}}\n\
         route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: '{}', send_resolved: true}}]}}]\n",
        receiver.url()
    )
}

fn alerts(server: &RunningServer) -> Vec<Value> {
    let answer = http::get(&format!("{}/api/v2/alerts", server.url())).unwrap();
    serde_json::from_str(&answer.body_text()).unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn notified(receiver: &WebhookReceiver, status: &str) -> Vec<Value> {
    let bodies = receiver.requests().into_iter().map(|r| serde_json::from_slice::<Value>(&r.body).unwrap());
    bodies.filter(|body| body["status"] == status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alertmanager_is_told_while_a_request_is_open_and_when_it_is_over() {
    let hooks = [WebhookReceiver::start(0).unwrap(), WebhookReceiver::start(0).unwrap()];
    let Some(first) = alertmanager(&config(&hooks[0])).unwrap() else { return };
    let Some(mut second) = alertmanager(&config(&hooks[1])).unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let urls: Vec<url::Url> = [&first, &second].iter().map(|server| server.url().parse().unwrap()).collect();
    let rig = start(folder.path(), |options| {
        let told = Alertmanagers { tell_every: EVERY, ..Alertmanagers::new(urls.clone(), Reach::default()) };
        options.alertmanagers = Some(told);
    })
    .await;
    let request = rig.leak_until_request(START).await;
    until("an alert at both", || alerts(&first).len() == 1 && alerts(&second).len() == 1).await;
    let (alert, other) = (alerts(&first).remove(0), alerts(&second).remove(0));
    assert_eq!(alert["fingerprint"], other["fingerprint"], "the pair knows it for the same");
    assert_eq!(
        alert["labels"],
        json!({"alertname": "ForewarnPredictedBreach", "service": "cart", "kind": "pool_exhaustion", "signal": "pool",
            "pod": "cart-1", "mode": "dry_run", "playbook": "restart-pod"})
    );
    assert_eq!(alert["annotations"]["request_id"], request["id"]);
    assert_eq!(alert["annotations"]["predicted_breach_p50"], request["predicted_breach"]["p50"]);
    assert!(alert["generatorURL"].as_str().unwrap().starts_with(&rig.base), "{alert}");

    // One goes down; the other is told as before, for longer than an alert lives by itself.
    second.stop();
    tokio::time::sleep(EVERY * 6).await;
    assert_eq!(alerts(&first).len(), 1, "told again before it was forgotten");
    let (_, outbox) = rig.get("/api/v1/outbox").await;
    let ups: Vec<_> = outbox["alertmanagers"].as_array().unwrap().iter().map(|a| (&a["up"], &a["firing"])).collect();
    assert_eq!(ups, [(&json!(true), &json!(1)), (&json!(false), &json!(1))], "{outbox}");
    assert!(outbox["alertmanagers"][1]["last_error"].is_string() && outbox["alertmanagers"][1]["failures"] != json!(0));
    let up = format!(r#"forewarn_alertmanager_up{{alertmanager="{}"}}"#, first.url());
    assert_eq!(rig.metric(&up).await, Some(1.0));
    assert_eq!(rig.metric(&up.replace(&first.url(), &second.url())).await, Some(0.0));

    let path = format!("/api/v1/requests/{}/outcome", request["id"].as_str().unwrap());
    rig.post(&path, json!({"outcome": "succeeded"})).await;
    until("its end", || alerts(&first).is_empty()).await;
    until("the news of its end", || !notified(&hooks[0], "resolved").is_empty()).await;
    assert_eq!(notified(&hooks[0], "firing").len(), 1, "one episode, one notification");

    // What Alertmanager makes of it does not come back as something that happened.
    let back = notified(&hooks[0], "firing").remove(0);
    assert_eq!(rig.post("/api/v1/alertmanager", back).await.1, json!({"labelled": 0, "ignored": 1}));
    assert_eq!(rig.get("/api/v1/feedback").await.1, json!([]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_ends_with_a_stop_and_with_the_server() {
    let hook = WebhookReceiver::start(0).unwrap();
    let Some(server) = alertmanager(&config(&hook)).unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let urls = vec![server.url().parse().unwrap()];
    let rig = start(folder.path(), |options| {
        let told = Alertmanagers { tell_every: EVERY, ..Alertmanagers::new(urls, Reach::default()) };
        options.alertmanagers = Some(told);
    })
    .await;
    rig.leak_until_request(START).await;
    until("the alert", || alerts(&server).len() == 1).await;
    rig.post("/api/v1/requests/stop", Value::Null).await;
    until("its end", || alerts(&server).is_empty()).await;
    rig.post("/api/v1/requests/resume", Value::Null).await;
    until("the alert again", || alerts(&server).len() == 1).await;
    rig.crash().await;
    until("its end without a word", || alerts(&server).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_out_of_reach_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = crate::rig::options(folder.path());
    let urls = vec!["http://169.254.169.254/".parse().unwrap()];
    options.alertmanagers = Some(Alertmanagers::new(urls, Reach::default()));
    let server = crate::rig::bind(folder.path(), options).await.unwrap();
    let error = server.run(std::future::pending()).await.unwrap_err();
    assert_eq!(error.to_string(), "requests.webhook or requests.alertmanager cannot be used");
}
