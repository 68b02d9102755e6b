//! Several servers on one real PostgreSQL: one asks and delivers, and another goes on when it is gone.

use std::time::{Duration, Instant};

use forewarn_schema::Timestamp;
use forewarn_testkit::postgres::Postgres;
use forewarn_testkit::webhook::WebhookReceiver;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::rig::{LATENESS, Rig, START, pool_scrape, start, webhook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(20);

async fn leads(rig: &Rig) -> bool {
    rig.metric("forewarn_leads").await == Some(1.0)
}

/// Waits until `rig` leads; gives how long that took.
pub(crate) async fn wait_to_lead(rig: &Rig) -> Duration {
    let began = Instant::now();
    while !leads(rig).await {
        assert!(began.elapsed() < PATIENCE, "it does not take the lead");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

/// The same minute of the same leak to each.
pub(crate) async fn minute(rigs: &[&Rig], minute: i64) {
    let at = START + minute * 60;
    for rig in rigs {
        rig.set_now(at + LATENESS);
        let (status, answer) = rig.write(pool_scrape(at, 10.0 + 0.25 * minute as f64)).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
        assert_eq!(rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await, 1);
    }
}

async fn requests(rig: &Rig) -> Vec<Value> {
    rig.get("/api/v1/requests").await.1.as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_episode_is_announced_once_whoever_leads_when() {
    let Some(server) = Postgres::shared() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    let receiver = WebhookReceiver::start(0).unwrap();
    let replica = || {
        start(folder.path(), |options| {
            options.state_url = url.clone();
            options.webhook = Some(webhook(&receiver, SECRET));
        })
    };
    let first = replica().await;
    wait_to_lead(&first).await;
    let second = replica().await;

    // Both see it coming; one says so.
    let mut at = 0;
    while requests(&first).await.is_empty() {
        assert!(at < 480, "the leak was not announced");
        minute(&[&first, &second], at).await;
        at += 1;
    }
    for later in at..at + 40 {
        minute(&[&second, &first], later).await;
    }
    at += 40;
    assert!(!leads(&second).await);
    let announced = requests(&second).await;
    assert_eq!(announced.len(), 1, "one request, and the one who watches shows it: {announced:?}");
    let id = announced[0]["id"].as_str().unwrap().to_owned();
    let (_, of_second) = second.get("/api/v1/predictions").await;
    let (_, of_first) = first.get("/api/v1/predictions").await;
    assert_eq!(of_first, of_second, "the same samples, the same predictions");

    // Said to one, delivered by the other.
    let (status, _) = second.post(&format!("/api/v1/requests/{id}/approve"), Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert!(receiver.wait_for(2, PATIENCE));
    // What was taken is also noted: a leader that dies in between says it once more, under the same id.
    while first.metric("forewarn_outbox_pending").await != Some(0.0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let label = json!({"service": "cart", "kind": "oom", "at": "2026-01-01T00:00:00Z", "verdict": "missed"});
    assert_eq!(second.post("/api/v1/feedback", label).await.0, StatusCode::CREATED);
    assert_eq!(first.get("/api/v1/feedback").await.1.as_array().unwrap().len(), 1);

    // The leader dies; nothing is announced again.
    first.crash().await;
    let took = wait_to_lead(&second).await;
    assert!(took < Duration::from_secs(9), "{took:?}");
    for later in at..at + 40 {
        minute(&[&second], later).await;
    }
    at += 40;
    assert_eq!(requests(&second).await.len(), 1);

    // One that leaves in order is followed at once.
    let third = replica().await;
    second.stop().await;
    let took = wait_to_lead(&third).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    for later in at..at + 40 {
        minute(&[&third], later).await;
    }
    assert_eq!(requests(&third).await.len(), 1);
    let ids: Vec<_> = receiver.requests().iter().map(|r| r.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids, [id.clone(), format!("{id}-approved")]);
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_leader_did_not_come_to_say_its_follower_says() {
    let Some(server) = Postgres::shared() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    let replica = || start(folder.path(), |options| options.state_url = url.clone());
    let first = replica().await;
    wait_to_lead(&first).await;
    let second = replica().await;
    // Only the one who watches gets samples: the leader's Prometheus cannot reach it.
    for at in 0..300 {
        minute(&[&second], at).await;
    }
    assert_eq!(requests(&second).await, Vec::<Value>::new(), "it is not its to say");
    first.crash().await;
    wait_to_lead(&second).await;
    minute(&[&second], 300).await;
    assert_eq!(requests(&second).await.len(), 1);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_two_shards_each_speak_for_their_own() {
    let Some(server) = Postgres::shared() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    let receiver = WebhookReceiver::start(0).unwrap();
    let mut rigs = Vec::new();
    for shard in ["0", "1"] {
        let rig = start(folder.path(), |options| {
            options.state_url = url.clone();
            options.shard = shard.to_owned();
            options.webhook = Some(webhook(&receiver, SECRET));
        });
        rigs.push(rig.await);
        wait_to_lead(rigs.last().unwrap()).await;
    }
    assert!(leads(&rigs[0]).await && leads(&rigs[1]).await);
    let request = rigs[1].leak_until_request(START).await;
    assert!(receiver.wait_for(1, PATIENCE));
    rigs[0].set_now(rigs[1].handle.app().now().millis() / 1000);
    // Approved at the other shard's server, delivered by its own.
    let path = format!("/api/v1/requests/{}/approve", request["id"].as_str().unwrap());
    assert_eq!(rigs[0].post(&path, Value::Null).await.0, StatusCode::OK);
    assert!(receiver.wait_for(2, PATIENCE));
    for rig in rigs {
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_signs_with_the_same_secret() {
    let Some(server) = Postgres::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut options = crate::rig::options(folder.path());
    options.state_url = server.database().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    options.webhook = Some(webhook(&receiver, SECRET));
    options.webhook.as_mut().unwrap().secret = None;
    let refused = crate::rig::bind(folder.path(), options).await.err().unwrap().to_string();
    assert!(refused.contains("requests.webhook_secret_file is needed"), "{refused}");
}
