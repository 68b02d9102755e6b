//! What goes away and comes back: the database, the webhook, the registry, the right time.

use std::time::{Duration, Instant};

use forewarn_models::ModelRegistry;
use forewarn_schema::Timestamp;
use forewarn_storage::Store;
use forewarn_testkit::gate::Gate;
use forewarn_testkit::postgres::Postgres;
use forewarn_testkit::webhook::WebhookReceiver;
use forewarn_testkit::{http, servers};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::rig::{LATENESS, Rig, START, pool_scrape, start, start_on, webhook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(30);

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < PATIENCE, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

async fn is_ready(rig: &Rig) -> bool {
    rig.get("/-/ready").await.0 == StatusCode::OK
}

fn label(seconds: i64) -> Value {
    json!({"service": "cart", "kind": "oom", "at": Timestamp::from_seconds(seconds), "verdict": "missed"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_stopped_and_started_loses_nothing() {
    let Some(server) = Postgres::start().unwrap() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    let receiver = WebhookReceiver::start(0).unwrap();
    let rig = start(folder.path(), |options| {
        options.state_url = url;
        options.webhook = Some(webhook(&receiver, SECRET));
        // Time moves by itself too, so that the server looks for its database without being asked.
        options.ticker = true;
    })
    .await;
    until("the lead", async || rig.metric("forewarn_leads").await == Some(1.0)).await;
    let (status, acknowledged) = rig.post("/api/v1/feedback", label(START)).await;
    assert_eq!(status, StatusCode::CREATED);
    server.stop().unwrap();
    until("the alarm", async || !is_ready(&rig).await).await;
    assert_eq!(rig.get("/-/healthy").await.0, StatusCode::OK);
    let (status, problem) = rig.write(pool_scrape(START, 10.0)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "so that the sender keeps them: {problem}");
    let (status, problem) = rig.post("/api/v1/feedback", label(START)).await;
    assert!(status.is_server_error() && !problem.to_string().contains("hunter"), "{status} {problem}");
    server.start_again().unwrap();
    let took = until("the all-clear", async || is_ready(&rig).await).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(rig.get("/api/v1/feedback").await.1, json!([acknowledged]));
    for minute in 0..480 {
        rig.set_now(START + minute * 60 + LATENESS);
        let (status, answer) = rig.write(pool_scrape(START + minute * 60, 10.0 + 0.25 * minute as f64)).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
        rig.handle.tick(Timestamp::from_seconds(START + minute * 60 + LATENESS)).await;
        if rig.get("/api/v1/requests").await.1[0].is_object() {
            break;
        }
    }
    assert!(receiver.wait_for(1, PATIENCE));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_away_for_ten_minutes_gets_what_it_missed_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let behind: reqwest::Url = receiver.url().parse().unwrap();
    let gate = Gate::start(behind.socket_addrs(|| None).unwrap()[0]).unwrap();
    gate.shut();
    let rig = start(folder.path(), |options| {
        let mut hook = webhook(&receiver, SECRET);
        hook.url = format!("{}/hook", gate.url()).parse().unwrap();
        options.webhook = Some(hook);
    })
    .await;
    let request = rig.leak_until_request(START).await;
    let id = request["id"].as_str().unwrap();
    let emitted: Timestamp = serde_json::from_value(request["at"].clone()).unwrap();
    assert_eq!(rig.post(&format!("/api/v1/requests/{id}/approve"), Value::Null).await.0, StatusCode::OK);
    let from = emitted.millis() / 1000;
    for minute in 1..=10 {
        let (at, value) = (from + minute * 60, 10.0 + 0.25 * ((from - START) / 60 + minute) as f64);
        rig.set_now(at + LATENESS);
        assert_eq!(rig.write(pool_scrape(at, value)).await.0, StatusCode::NO_CONTENT);
        rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await;
    }
    until("the third try", async || {
        rig.metric(r#"forewarn_deliveries_total{result="failed"}"#).await.is_some_and(|tries| tries >= 3.0)
    })
    .await;
    assert!(is_ready(&rig).await, "a webhook is not what the server stands on");
    assert_eq!(rig.metric("forewarn_outbox_pending").await, Some(2.0));
    gate.open().unwrap();
    assert!(receiver.wait_for(2, PATIENCE));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ids: Vec<_> = receiver.requests().iter().map(|r| r.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids, [id.to_owned(), format!("{id}-approved")]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_an_hour_and_back_neither_repeats_nor_stops_anything() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let rig = start(folder.path(), |options| options.webhook = Some(webhook(&receiver, SECRET))).await;
    let mut refused = 0;
    for minute in 0..300 {
        // Wrong by an hour for ten minutes each, before and while the leak is announced; the samples' times are right.
        let wrong = match minute {
            60..70 | 200..210 => 3600,
            100..110 | 240..250 => -3600,
            _ => 0,
        };
        let at = START + minute * 60;
        rig.set_now(at + LATENESS + wrong);
        let (status, problem) = rig.write(pool_scrape(at, 10.0 + 0.25 * minute as f64)).await;
        if wrong < 0 {
            refused += 1;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(problem["detail"].as_str().unwrap().contains("too_far_in_future"), "{problem}");
        } else {
            assert_eq!(status, StatusCode::NO_CONTENT, "{problem}");
        }
        rig.handle.tick(rig.handle.app().now()).await;
        assert!(is_ready(&rig).await);
    }
    assert_eq!(refused, 20, "what claims to be an hour ahead is not believed");
    let (_, requests) = rig.get("/api/v1/requests").await;
    assert_eq!(requests.as_array().unwrap().len(), 1, "one request an episode: {requests}");
    assert!(receiver.wait_for(1, PATIENCE));
    let status = rig.handle.app().status().await;
    assert_eq!(status.evaluated_at, Some(Timestamp::from_seconds(START + 299 * 60)), "and the last step is scored");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.requests().len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_registry_what_served_serves_on_and_models_come_when_it_does() {
    let Some(s3) = servers::s3().unwrap() else { return };
    assert_eq!(http::send("PUT", &format!("{}/forewarn", s3.url()), &[], &[]).unwrap().status, 200);
    let gate = Gate::start(([127, 0, 0, 1], s3.port()).into()).unwrap();
    let store = |endpoint: &str| {
        let keys = [("aws_access_key_id", "test"), ("aws_secret_access_key", "test"), ("aws_region", "us-east-1")];
        let options: Vec<_> = keys.into_iter().chain([("aws_endpoint", endpoint)]).collect();
        ModelRegistry::new(Store::open_with("s3://forewarn/models", &options).unwrap())
    };
    let own_way = store(&s3.url());
    let version = own_way.publish(&crate::bundles::bundle("cart", 1, 7)).await.unwrap();
    own_way.promote("cart", &version, Timestamp::from_seconds(START), "by hand").await.unwrap();
    gate.shut();
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let rig = start_on(folder.path(), store(&gate.url()), |options| {
        options.registry_poll = Some(Duration::from_millis(200));
    })
    .await;
    println!("started without a registry in {:.1} s", began.elapsed().as_secs_f64());
    assert!(is_ready(&rig).await);
    let serving = format!(r#"forewarn_model_info{{model_version="{version}",service="cart"}}"#);
    assert_eq!(rig.metric(&serving).await, None, "the rules serve");
    gate.open().unwrap();
    until("the model", async || rig.metric(&serving).await == Some(1.0)).await;
    gate.shut();
    for minute in 0..3 {
        let at = START + minute * 60;
        rig.set_now(at + LATENESS);
        assert_eq!(rig.write(pool_scrape(at, 10.0)).await.0, StatusCode::NO_CONTENT);
        assert_eq!(rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await, 1);
    }
    let (_, predictions) = rig.get("/api/v1/predictions").await;
    assert_eq!(predictions[0]["model_version"], json!(version), "what was loaded serves on: {predictions}");
    assert!(is_ready(&rig).await);
    rig.stop().await;
}
