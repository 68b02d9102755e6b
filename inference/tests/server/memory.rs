//! What a server does when memory runs out.

use forewarn_inference::Footprint;
use forewarn_schema::Timestamp;
use forewarn_testkit::remote_write::encode_scrape;
use reqwest::StatusCode;

use crate::rig::{LATENESS, Rig, START, pool_series, start};

async fn minute(rig: &Rig, minute: i64, services: &[&str]) -> Vec<StatusCode> {
    let at = START + minute * 60;
    rig.set_now(at + LATENESS);
    let mut answers = Vec::new();
    for service in services {
        let body = encode_scrape(Timestamp::from_seconds(at), &pool_series(service, 10.0));
        answers.push(rig.write(body).await.0);
    }
    rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await;
    answers
}

#[tokio::test]
async fn the_newest_series_are_refused_when_memory_is_full_and_those_that_were_there_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let room_for_one = Footprint { series: 2, samples: 40, targets: 1, loads: 0, models: 0 }.bytes();
    let rig = start(folder.path(), |options| options.max_memory = Some(room_for_one)).await;
    let taken = StatusCode::NO_CONTENT;
    assert_eq!(minute(&rig, 0, &["cart", "pay"]).await, [taken, taken], "whoever is there before it is full stays");
    assert_eq!(rig.metric("forewarn_series_full").await, Some(1.0));
    let answers = minute(&rig, 1, &["cart", "shop", "pay"]).await;
    assert_eq!(answers, [taken, StatusCode::BAD_REQUEST, taken]);
    let (_, predictions) = rig.get("/api/v1/predictions").await;
    let services: Vec<&str> = predictions.as_array().unwrap().iter().filter_map(|p| p["service"].as_str()).collect();
    assert_eq!(services, ["cart", "pay"]);
    assert!(rig.metric(r#"forewarn_samples_refused_total{reason="too_many_series"}"#).await > Some(0.0));

    // Two services end, and there is room again.
    for later in 2..40 {
        minute(&rig, later, &["cart"]).await;
    }
    assert_eq!(rig.metric("forewarn_series_full").await, Some(0.0));
}
