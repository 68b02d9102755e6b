//! A playbook earns, fails and is taken back: over HTTP, with leaks that are remedied or not.

use std::time::Duration;

use forewarn_inference::{Alertmanagers, Climb, Reach};
use forewarn_models::ModelRegistry;
use forewarn_schema::Timestamp;
use forewarn_testkit::http;
use forewarn_testkit::postgres::Postgres;
use forewarn_testkit::servers::alertmanager;
use forewarn_testkit::webhook::WebhookReceiver;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{LATENESS, Rig, START, pool_scrape, start, start_at, start_on, webhook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(20);
const MODE: &str = "/api/v1/modes/cart/restart-pod";

/// So many minutes from `from` on (its second) in which the pool has so many connections in use; gives the next minute's second.
async fn minutes(rig: &Rig, from: i64, count: i64, active: impl Fn(i64) -> f64) -> i64 {
    for minute in 0..count {
        let at = from + minute * 60;
        rig.set_now(at + LATENESS);
        let (status, answer) = rig.write(pool_scrape(at, active(minute))).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
        rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await;
    }
    from + count * 60
}

/// A leak that is announced while the playbook needs approval (or whatever `mode` says), and the second of the next minute.
async fn announced(rig: &Rig, mode: Value) -> (Value, i64) {
    assert_eq!(rig.send(Method::PUT, MODE, mode).await.0, StatusCode::OK);
    let request = rig.leak_until_request(START).await;
    let at: Timestamp = serde_json::from_value(request["at"].clone()).unwrap();
    (request, at.millis() / 1000 + 60)
}

async fn ladder(rig: &Rig) -> Value {
    rig.get("/api/v1/ladders").await.1["ladders"][0].clone()
}

async fn verification(rig: &Rig) -> Value {
    rig.get("/api/v1/requests").await.1[0]["verification"].clone()
}

fn path(request: &Value, what: &str) -> String {
    format!("/api/v1/requests/{}/{what}", request["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_is_verified_by_the_forecast_and_counted_once_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let (request, next) = announced(&rig, json!({"mode": "approval"})).await;
    for (what, body) in [("approve", Value::Null), ("outcome", json!({"outcome": "succeeded"}))] {
        for _ in 0..2 {
            assert_eq!(rig.post(&path(&request, what), body.clone()).await.0, StatusCode::OK, "{what}, said twice");
        }
    }
    let next = minutes(&rig, next, 40, |_| 10.0).await;
    assert_eq!(verification(&rig).await, Value::Null, "it has not stayed out for long enough");
    assert_eq!(rig.metric(r#"forewarn_verifications{finding="watched"}"#).await, Some(1.0));
    rig.crash().await;
    let rig = start_at(folder.path(), next, |_| {}).await;
    let next = minutes(&rig, next, 35, |_| 10.0).await;
    let found = verification(&rig).await;
    assert_eq!(found["finding"], "verified", "{found}");
    let stands = ladder(&rig).await;
    assert_eq!((&stands["mode"], &stands["verified"], &stands["wanted"]), (&json!("approval"), &json!(1), &json!(20)));
    let labels = r#"{playbook="restart-pod",service="cart"}"#;
    assert_eq!(rig.metric(&format!("forewarn_autonomy_verified{labels}")).await, Some(1.0));
    assert_eq!(rig.metric(&format!("forewarn_autonomy_mode{labels}")).await, Some(1.0));
    minutes(&rig, next, 90, |_| 10.0).await;
    assert_eq!(ladder(&rig).await["verified"], 1);
    let page = rig.client.get(format!("{}/requests", rig.base)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("1 of 20 successes verified") && page.contains("success 1 verified"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_exited_0_and_changed_nothing_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let (request, next) = announced(&rig, json!({"mode": "automatic", "unearned": true})).await;
    assert_eq!(request["mode"], "approval", "while it warms up a person is asked");
    rig.post(&path(&request, "approve"), Value::Null).await;
    rig.post(&path(&request, "outcome"), json!({"outcome": "succeeded"})).await;
    let leaked = (next - START) / 60;
    minutes(&rig, next, 15, |minute| 10.0 + 0.25 * (leaked + minute) as f64).await;
    let found = verification(&rig).await;
    assert_eq!((&found["finding"], &found["reason"]), (&json!("failed"), &json!("the breach is in sight again")));
    assert_eq!(ladder(&rig).await["mode"], "approval");
    let (_, moves) = rig.get("/api/v1/ladders/cart/restart-pod").await;
    assert_eq!(
        (&moves[0]["event"], &moves[0]["from"], &moves[0]["to"]),
        (&json!("failed"), &json!("automatic"), &json!("approval"))
    );
    assert_eq!((&moves[0]["who"], &moves[1]["event"]), (&json!("forewarn"), &json!("set")));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_made_it_worse_calls_people_also_while_requests_are_stopped() {
    let receiver = WebhookReceiver::start(0).unwrap();
    let hook = WebhookReceiver::start(0).unwrap();
    let config = format!(
        "route: {{receiver: hook, group_wait: 0s}}\nreceivers: [{{name: hook, webhook_configs: [{{url: '{}'}}]}}]\n",
        hook.url()
    );
    let alertmanager = alertmanager(&config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |options| {
        options.webhook = Some(webhook(&receiver, SECRET));
        let urls = alertmanager.iter().map(|server| server.url().parse().unwrap()).collect();
        let every = Duration::from_secs(1);
        options.alertmanagers = Some(Alertmanagers { tell_every: every, ..Alertmanagers::new(urls, Reach::default()) });
    })
    .await;
    let (request, next) = announced(&rig, json!({"mode": "approval"})).await;
    rig.post(&path(&request, "approve"), Value::Null).await;
    rig.post(&path(&request, "outcome"), json!({"outcome": "succeeded"})).await;
    assert!(receiver.wait_for(2, PATIENCE));
    rig.post("/api/v1/requests/stop", json!({"note": "something is wrong"})).await;
    minutes(&rig, next, 4, |minute| if minute < 2 { 60.0 } else { 100.0 }).await;
    assert!(receiver.wait_for(3, PATIENCE));
    let message = receiver.requests().pop().unwrap();
    let id = request["id"].as_str().unwrap();
    assert_eq!(message.header("webhook-id"), Some(format!("{id}-worsened").as_str()));
    let said: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!((&said["type"], &said["id"]), (&json!("remediation.worsened"), &request["id"]));
    assert_eq!(said["verification"]["finding"], "worsened");
    assert_eq!(said["verification"]["evidence"]["value"], 100.0);
    assert_eq!(ladder(&rig).await["mode"], "dry_run");
    assert_eq!(rig.get("/api/v1/ladders").await.1["worsened"][0]["id"], request["id"]);
    let page = rig.client.get(format!("{}/requests", rig.base)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("A remediation made it worse: people are needed"));
    if let Some(server) = &alertmanager {
        let begun = tokio::time::Instant::now();
        let alert = loop {
            let answer = http::get(&format!("{}/api/v2/alerts", server.url())).unwrap().body_text();
            let alerts: Vec<Value> = serde_json::from_str(&answer).unwrap();
            let worse = alerts.into_iter().find(|a| a["labels"]["alertname"] == "ForewarnRemediationWorsened");
            if let Some(worse) = worse {
                break worse;
            }
            assert!(begun.elapsed() < PATIENCE, "Alertmanager was not told: {answer}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(
            (&alert["labels"]["service"], &alert["labels"]["playbook"]),
            (&json!("cart"), &json!("restart-pod"))
        );
        let back = json!({"alerts": [{"status": "firing", "labels": alert["labels"], "startsAt": alert["startsAt"]}]});
        assert_eq!(
            rig.post("/api/v1/alertmanager", back).await.1,
            json!({"labelled": 0, "ignored": 1}),
            "our own word"
        );
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_a_failure_once_and_an_outcome_that_comes_after_it_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let (request, next) = announced(&rig, json!({"mode": "approval"})).await;
    rig.post(&path(&request, "approve"), Value::Null).await;
    let expires: Timestamp = serde_json::from_value(request["expires_at"].clone()).unwrap();
    let until = (expires.millis() / 1000 - next) / 60 + 14;
    let next = minutes(&rig, next, until, |_| 10.0).await;
    assert_eq!(verification(&rig).await, Value::Null, "the grace is not over");
    let next = minutes(&rig, next, 5, |_| 10.0).await;
    let found = verification(&rig).await;
    assert_eq!(found["finding"], "failed");
    assert!(found["reason"].as_str().unwrap().starts_with("no outcome was reported until its expiry"), "{found}");
    assert_eq!(rig.post(&path(&request, "outcome"), json!({"outcome": "succeeded"})).await.0, StatusCode::OK);
    minutes(&rig, next, 80, |_| 10.0).await;
    let stands = ladder(&rig).await;
    assert_eq!((&stands["mode"], &stands["verified"]), (&json!("dry_run"), &json!(0)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drift_in_the_newest_report_costs_a_step_once_and_a_cap_is_no_matter_of_earning() {
    let folder = tempfile::tempdir().unwrap();
    let registry = ModelRegistry::open(&format!("file://{}", folder.path().join("store").display())).await.unwrap();
    let rig = start_on(folder.path(), registry.clone(), |options| {
        options.registry_poll = Some(Duration::from_millis(50));
        options.autonomy.playbooks = [("drain-node".to_owned(), forewarn_schema::Mode::Approval)].into();
    })
    .await;
    let automatic = json!({"mode": "automatic", "unearned": true});
    assert_eq!(rig.send(Method::PUT, MODE, automatic.clone()).await.0, StatusCode::OK);
    let (status, problem) = rig.send(Method::PUT, "/api/v1/modes/cart/drain-node", automatic).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().contains("no further than approval"), "{problem}");
    let report = json!({"headline": "", "services": [{"service": "cart", "candidate": null, "verdict": null,
        "drift": [{"moved": "much"}, {"moved": "steady"}]}]});
    let files = [("report.json".to_owned(), report.to_string().into())];
    registry.put_report("20260101T000000Z", &files.into()).await.unwrap();
    let begun = tokio::time::Instant::now();
    while ladder(&rig).await["mode"] != "approval" {
        assert!(begun.elapsed() < PATIENCE, "the drift was not taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ladder(&rig).await["mode"], "approval", "the same report is read again and again");
    let (_, moves) = rig.get("/api/v1/ladders/cart/restart-pod").await;
    let reason = moves[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("report 20260101T000000Z found that 1 signals of cart have moved"), "{reason}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_who_takes_over_goes_on_watching() {
    let Some(server) = Postgres::shared() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    let replica = || {
        start(folder.path(), |options| {
            options.state_url = url.clone();
            options.autonomy.climb = Climb::ByItself;
        })
    };
    let first = replica().await;
    wait_to_lead(&first).await;
    let (request, next) = announced(&first, json!({"mode": "approval"})).await;
    let second = replica().await;
    // People speak to the one that does not lead.
    second.set_now(next);
    assert_eq!(second.post(&path(&request, "approve"), Value::Null).await.0, StatusCode::OK);
    assert_eq!(second.post(&path(&request, "outcome"), json!({"outcome": "succeeded"})).await.0, StatusCode::OK);
    let leaked = |minute: i64| if minute < 0 { 50.0 } else { 10.0 };
    minutes(&second, next, 40, leaked).await;
    let next = minutes(&first, next, 40, leaked).await;
    first.crash().await;
    wait_to_lead(&second).await;
    minutes(&second, next, 35, leaked).await;
    assert_eq!(verification(&second).await["finding"], "verified");
    assert_eq!(ladder(&second).await["verified"], 1);
    second.stop().await;
}

async fn wait_to_lead(rig: &Rig) {
    let begun = tokio::time::Instant::now();
    while rig.metric("forewarn_leads").await != Some(1.0) {
        assert!(begun.elapsed() < PATIENCE, "it does not take the lead");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
