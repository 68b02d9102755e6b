//! Several servers on one real PostgreSQL keep to limits together, and store once what all of them are told.

use forewarn_schema::Timestamp;
use forewarn_testkit::postgres::Postgres;
use forewarn_testkit::remote_write::encode_scrape;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::guarding::{ANNOUNCED, asked_for, held};
use crate::replicas::wait_to_lead;
use crate::rig::{LATENESS, Rig, START, pool_series, start};

/// A minute of a leak of each server's own services, at the same instant.
async fn minute(of: &[(&Rig, &[&str])], minute: i64) {
    let at = START + minute * 60;
    for (rig, services) in of {
        rig.set_now(at + LATENESS);
        let all: Vec<_> = services.iter().flat_map(|s| pool_series(s, 10.0 + 0.25 * minute as f64)).collect();
        let (status, answer) = rig.write(encode_scrape(Timestamp::from_seconds(at), &all)).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    }
    let ticks = of.iter().map(|(rig, _)| {
        let handle = rig.handle.clone();
        tokio::spawn(async move { handle.tick(Timestamp::from_seconds(at + LATENESS)).await })
    });
    for tick in ticks.collect::<Vec<_>>() {
        assert_eq!(tick.await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_and_their_replicas_keep_to_the_hourly_rate_together() {
    let Some(server) = Postgres::shared() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    let replica = |shard: &'static str| {
        start(folder.path(), |options| {
            options.state_url = url.clone();
            options.shard = shard.to_owned();
            options.safety.max_per_hour = Some(2);
        })
    };
    let (first, second) = (replica("0").await, replica("1").await);
    wait_to_lead(&first).await;
    wait_to_lead(&second).await;
    let follower = replica("1").await;
    let (cart, others): (&[&str], &[&str]) = (&["cart"], &["pay", "search"]);
    let mut at = 0;
    while asked_for(&first).await.is_empty() {
        assert!(at < ANNOUNCED, "the leaks were not announced");
        minute(&[(&first, cart), (&second, others), (&follower, others)], at).await;
        at += 1;
    }
    let asked = asked_for(&first).await;
    assert_eq!(asked.len(), 2, "of three that were due at once: {asked:?}");
    let waiting = [held(&first).await, held(&second).await].concat();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!(waiting[0].1, "hourly_rate");
    assert!(!asked.contains(&waiting[0].0), "{waiting:?} {asked:?}");

    // Whoever leads next knows what was asked before, and the third comes once the hour is over.
    second.crash().await;
    wait_to_lead(&follower).await;
    for at in at..at + 59 {
        minute(&[(&first, cart), (&follower, others)], at).await;
    }
    assert_eq!(asked_for(&first).await, asked);
    for at in at + 59..at + 61 {
        minute(&[(&first, cart), (&follower, others)], at).await;
    }
    assert_eq!(asked_for(&first).await, ["cart", "pay", "search"]);
    let (_, requests) = first.get("/api/v1/requests").await;
    let at = |i: usize| requests[i]["at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(at(0).seconds_since(at(2)), 3600.0, "newest first: {requests}");
    first.stop().await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_several_servers_are_told_at_once_is_one_label() {
    let Some(server) = Postgres::shared() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    let replica = || start(folder.path(), |options| options.state_url = url.clone());
    let rigs = [replica().await, replica().await];
    let alert = |minute: i64, pod: &str| {
        let began = Timestamp::from_seconds(START - minute * 60);
        let labels = json!({"alertname": "PodKilled", "service": "cart", "kind": "oom", "pod": pod});
        json!({"status": "firing", "labels": labels, "startsAt": began})
    };
    let mut labelled = 0;
    for number in 0..10 {
        // Another pod of the same service at the same time is the same breach.
        let body = json!({"alerts": [alert(number, "cart-1"), alert(number, "cart-2")]});
        let tell = |rig: &Rig| {
            let (client, url, body) = (rig.client.clone(), rig.base.clone(), body.clone());
            tokio::spawn(async move {
                let response = client.post(format!("{url}/api/v1/alertmanager")).json(&body).send().await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                response.json::<Value>().await.unwrap()["labelled"].as_u64().unwrap()
            })
        };
        let told = [tell(&rigs[0]), tell(&rigs[1]), tell(&rigs[0]), tell(&rigs[1])];
        for told in told {
            labelled += told.await.unwrap();
        }
    }
    assert_eq!(labelled, 10);
    for rig in rigs {
        assert_eq!(rig.get("/api/v1/feedback").await.1.as_array().unwrap().len(), 10);
        rig.stop().await;
    }
}
