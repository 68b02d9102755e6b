//! What really happened, settled from the samples that a server gets.

use std::path::Path;
use std::time::Duration;

use forewarn_inference::{Checkpoint, CheckpointOptions, ServerOptions};
use forewarn_schema::Timestamp;
use forewarn_storage::Store;
use forewarn_testkit::postgres::Postgres;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::rig::{LATENESS, Rig, START, pool_scrape, start, start_at, start_from};

const KIND: &str = r#"{kind="pool_exhaustion",window="7d"}"#;

/// The leak of [`Rig::leak`]: from a tenth of the limit, a quarter of a hundredth a minute.
fn leaking(minute: i64) -> f64 {
    (10.0 + 0.25 * minute as f64).min(100.0)
}

/// A scrape and a step a minute.
async fn minutes(rigs: &[&Rig], minutes: std::ops::Range<i64>, value: impl Fn(i64) -> f64) {
    for minute in minutes {
        let at = START + minute * 60;
        for rig in rigs {
            rig.set_now(at + LATENESS);
            let (status, answer) = rig.write(pool_scrape(at, value(minute))).await;
            assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
            assert_eq!(rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await, 1);
        }
    }
}

/// The minute after the one in which the leak was announced.
async fn until_request(rig: &Rig) -> i64 {
    let request = rig.leak_until_request(START).await;
    let at: Timestamp = serde_json::from_value(request["at"].clone()).unwrap();
    (at.millis() / 1000 - START) / 60 + 1
}

async fn settlements(rig: &Rig) -> Vec<Value> {
    rig.get("/api/v1/settlements?limit=1000").await.1["settlements"].as_array().unwrap().clone()
}

/// What became of the only request; `None` while it is open.
async fn of_request(rig: &Rig) -> Option<Value> {
    let all = settlements(rig).await;
    let mut of_requests = all.into_iter().filter(|s| !s["request_id"].is_null());
    let one = of_requests.next();
    assert!(of_requests.next().is_none(), "one request is settled once");
    one
}

fn checkpoints(folder: &Path) -> CheckpointOptions {
    let store = Store::open(&format!("file://{}", folder.join("store").display())).unwrap();
    CheckpointOptions { store, path: "serving/test.checkpoint".to_owned(), every: Duration::from_secs(3600) }
}

#[tokio::test]
async fn a_request_whose_breach_comes_is_settled_by_it_whoever_restarts_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let keeping = |options: &mut ServerOptions| options.checkpoint = Some(checkpoints(folder.path()));
    let rig = start(folder.path(), keeping).await;
    let from = until_request(&rig).await;
    assert_eq!(of_request(&rig).await, None);
    assert_eq!(rig.metric(&format!("forewarn_rolling_precision{KIND}")).await, None, "no figure of nothing");
    rig.stop().await;

    let checkpoint = Checkpoint::read(&checkpoints(folder.path()).store, "serving/test.checkpoint").await.unwrap();
    let rig = start_from(folder.path(), START + from * 60, checkpoint.unwrap(), keeping).await;
    minutes(&[&rig], from..363, leaking).await;
    let settled = of_request(&rig).await.expect("the breach came at minute 360");
    assert_eq!(settled["became"], json!({"was": "breached", "at": "2026-01-01T06:00:00Z"}));
    assert_eq!((&settled["verdict"], &settled["judge"]), (&json!("true_positive"), &json!("data")));
    assert_eq!(rig.metric(&format!("forewarn_rolling_precision{KIND}")).await, Some(1.0));
    assert_eq!(rig.metric(&format!("forewarn_rolling_recall{KIND}")).await, Some(1.0));
    let lead = rig.metric(&format!("forewarn_rolling_lead_seconds{KIND}")).await.unwrap();
    assert_eq!(lead, 60.0 * (360 - from + 1) as f64);

    // A person's label outweighs the data, and taken back it does not.
    let label = json!({"prediction_id": settled["id"], "verdict": "false_positive"});
    let (status, given) = rig.post("/api/v1/feedback", label).await;
    assert_eq!(status, StatusCode::CREATED, "{given}");
    let said = of_request(&rig).await.unwrap();
    assert_eq!((&said["verdict"], &said["judge"]), (&json!("false_positive"), &json!("label")));
    assert_eq!(rig.metric(&format!("forewarn_rolling_precision{KIND}")).await, Some(0.0));
    let id = given["id"].as_str().unwrap();
    rig.send(reqwest::Method::DELETE, &format!("/api/v1/feedback/{id}"), Value::Null).await;
    assert_eq!(rig.metric(&format!("forewarn_rolling_precision{KIND}")).await, Some(1.0));

    // A crash, and a server that has seen nothing: what happened before is known to it, and nothing is settled anew.
    rig.crash().await;
    let rig = start_at(folder.path(), START + 363 * 60, |_| ()).await;
    minutes(&[&rig], 363..470, |minute| if minute < 370 { 100.0 } else { 20.0 }).await;
    assert_eq!(of_request(&rig).await, Some(settled));
    let missed = settlements(&rig).await.into_iter().filter(|s| s["became"]["was"] == "missed");
    assert_eq!(missed.count(), 0, "what it sees of the breach is the same breach");
    rig.stop().await;
}

#[tokio::test]
async fn a_restart_on_the_way_is_told_from_a_false_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| ()).await;
    let from = until_request(&rig).await;
    minutes(&[&rig], from..220, leaking).await;
    // The clock goes forward an hour and comes back: time is that of the samples.
    rig.set_now(START + 280 * 60);
    rig.handle.tick(Timestamp::from_seconds(START + 280 * 60)).await;
    // At two thirds of the limit, a new process.
    minutes(&[&rig], 220..from + 900, |_| 10.0).await;
    let settled = of_request(&rig).await.expect("its horizon is over");
    assert_eq!(settled["became"], json!({"was": "averted", "by": "restarted", "would_have": true}));
    assert_eq!(settled["verdict"], "true_positive");
    rig.stop().await;
}

#[tokio::test]
async fn a_request_that_nothing_comes_of_is_a_false_alarm_and_a_breach_without_one_a_miss() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| ()).await;
    let from = until_request(&rig).await;
    // It goes back as slowly as it came.
    minutes(&[&rig], from..from + 900, |minute| leaking(2 * from - minute).max(10.0)).await;
    let settled = of_request(&rig).await.expect("its horizon is over");
    assert_eq!(settled["became"], json!({"was": "false_alarm"}));
    assert_eq!(rig.metric(&format!("forewarn_rolling_precision{KIND}")).await, Some(0.0));
    assert_eq!(rig.metric(&format!("forewarn_rolling_recall{KIND}")).await, None, "there was no breach");

    // Somebody stopped requests: the next breach is announced by nobody.
    assert_eq!(rig.post("/api/v1/requests/stop", Value::Null).await.0, StatusCode::OK);
    minutes(&[&rig], from + 900..from + 1270, |minute| leaking(minute - from - 900)).await;
    let missed: Vec<Value> = settlements(&rig).await.into_iter().filter(|s| s["became"]["was"] == "missed").collect();
    assert_eq!(missed.len(), 1, "{missed:?}");
    assert!(missed[0]["probability"].as_f64().unwrap() > 0.5, "it was seen coming: {missed:?}");
    assert_eq!(rig.metric(&format!("forewarn_rolling_recall{KIND}")).await, Some(0.0));
    assert_eq!(rig.metric(r#"forewarn_settlements_total{kind="pool_exhaustion",was="missed"}"#).await, Some(1.0));

    // Pages: each once, in order.
    let all = settlements(&rig).await;
    let (mut paged, mut next) = (Vec::new(), String::from("/api/v1/settlements?limit=2"));
    loop {
        let (status, page) = rig.get(&next).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        paged.extend(page["settlements"].as_array().unwrap().iter().map(|s| s["id"].clone()));
        let Some(since) = page["next"]["since"].as_str() else { break };
        next = format!("/api/v1/settlements?limit=2&since={since}&after={}", page["next"]["after"].as_str().unwrap());
    }
    assert_eq!(paged, all.iter().map(|s| s["id"].clone()).collect::<Vec<_>>());
    assert!(paged.len() > 5, "likely predictions are settled, too");
    assert_eq!(rig.get("/api/v1/settlements?since=yesterday").await.0, StatusCode::BAD_REQUEST);

    // The page says the same.
    let page = rig.client.get(format!("{}/outcomes", rig.base)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("data-became=\"false_alarm\"") && page.contains("data-became=\"missed\""), "{page}");
    let requests = rig.client.get(format!("{}/requests", rig.base)).send().await.unwrap().text().await.unwrap();
    assert!(requests.contains("its time passed and no breach came"), "{requests}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_one_settles_and_the_next_goes_on_where_it_is_gone() {
    let Some(server) = Postgres::shared() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    let replica = || start(folder.path(), |options| options.state_url = url.clone());
    let leads = async |rig: &Rig| {
        for _ in 0..400 {
            if rig.metric("forewarn_leads").await == Some(1.0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not take the lead");
    };
    let first = replica().await;
    leads(&first).await;
    let second = replica().await;
    let mut asked = 0;
    while first.get("/api/v1/requests").await.1[0].is_null() {
        assert!(asked < 360, "the leak was not announced");
        minutes(&[&first, &second], asked..asked + 1, leaking).await;
        asked += 1;
    }
    minutes(&[&first, &second], asked..asked + 5, leaking).await;
    first.crash().await;
    leads(&second).await;
    let third = replica().await;
    minutes(&[&second, &third], asked + 5..363, leaking).await;
    let settled = of_request(&second).await.expect("the breach came at minute 360");
    assert_eq!(settled["became"]["was"], "breached");
    assert_eq!(of_request(&third).await, Some(settled), "who watches shows the same");
    assert_eq!(third.metric("forewarn_settlements_total{kind=\"pool_exhaustion\",was=\"breached\"}").await, None);
    for rig in [second, third] {
        rig.stop().await;
    }
}
